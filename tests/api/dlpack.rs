//! Frozen arrays as DLPack tensors: their description, and the lifetime of their memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    unsafe_code,
    reason = "the elements of a tensor are read through its pointer"
)]

use crate::common::Root;
use dlpark::{
    DlpackFlags,
    ffi::{DLDataType, DLDevice},
    versioned::Dlpack,
};
use ndarray::{ArrayView, IxDyn, s};
use ndshm::{Bool, Element, Error, Manager};
use std::{fs, path::Path, thread};

/// The element at an index, as a consumer in C finds it.
fn at<T: Copy>(tensor: &Dlpack, index: &[i64]) -> T {
    let tensor = tensor.validate_export().unwrap();
    let steps = tensor
        .strides()
        .unwrap_or_default()
        .iter()
        .zip(index)
        .map(|(stride, i)| stride * i)
        .sum::<i64>();
    assert_eq!(tensor.byte_offset(), 0);
    // SAFETY: the tests give indices that are within the tensor's shape.
    unsafe {
        tensor
            .data_ptr()
            .cast::<T>()
            .wrapping_offset(steps as isize)
            .read()
    }
}

fn is_mapped(path: &Path) -> bool {
    fs::read_to_string("/proc/self/maps")
        .unwrap()
        .contains(path.to_str().unwrap())
}

#[test]
fn a_tensor_has_the_shape_strides_and_elements_of_its_view() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<i32, _>((4, 6), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let views = [
        xs.view().unwrap(),
        xs.slice(s![1..3, ..;2]).unwrap(),
        xs.slice(s![..;-1, 2..]).unwrap(),
        xs.slice(s![..4, ..4]).unwrap().t().unwrap(),
    ];
    for view in views {
        let frozen = view.freeze().unwrap();
        let tensor = frozen.to_dlpack().unwrap();
        let found = tensor.validate_export().unwrap();
        assert!(
            found
                .shape()
                .iter()
                .map(|&n| n as usize)
                .eq(frozen.shape().iter().copied())
        );
        assert!(
            found
                .strides()
                .unwrap()
                .iter()
                .map(|&n| n as isize)
                .eq(frozen.strides().iter().copied())
        );
        assert_eq!(
            (found.data_ptr(), found.device()),
            (frozen.as_ptr().cast(), DLDevice::CPU)
        );
        for ((i, j), &expected) in frozen.indexed_iter() {
            assert_eq!(at::<i32>(&tensor, &[i as i64, j as i64]), expected);
        }
    }
}

#[test]
fn a_tensor_says_that_it_is_read_only_and_not_a_copy() {
    let root = Root::new();
    let mut tensor = root
        .manager()
        .zeros::<f64, _>(5)
        .unwrap()
        .freeze()
        .unwrap()
        .to_dlpack()
        .unwrap();
    assert_eq!(
        (tensor.flags(), tensor.version().major),
        (DlpackFlags::READ_ONLY, 1)
    );
    assert!(tensor.validate_mut().is_err());
}

#[test]
fn every_scalar_type_has_its_name() {
    fn check<T: Element>(manager: &Manager, expected: DLDataType) {
        let tensor = manager
            .empty::<T, _>(3)
            .unwrap()
            .freeze()
            .unwrap()
            .to_dlpack()
            .unwrap();
        let found = tensor.validate().unwrap();
        assert!(found.dtype().matches(expected), "{}", T::DTYPE);
        assert_eq!(found.num_bytes(), 3 * size_of::<T>(), "{}", T::DTYPE);
    }
    let root = Root::new();
    let manager = root.manager();
    check::<Bool>(&manager, DLDataType::BOOL);
    check::<u8>(&manager, DLDataType::U8);
    check::<u16>(&manager, DLDataType::U16);
    check::<u32>(&manager, DLDataType::U32);
    check::<u64>(&manager, DLDataType::U64);
    check::<i8>(&manager, DLDataType::I8);
    check::<i16>(&manager, DLDataType::I16);
    check::<i32>(&manager, DLDataType::I32);
    check::<i64>(&manager, DLDataType::I64);
    check::<f32>(&manager, DLDataType::F32);
    check::<f64>(&manager, DLDataType::F64);
    #[cfg(feature = "half")]
    {
        check::<half::f16>(&manager, DLDataType::F16);
        check::<half::bf16>(&manager, DLDataType::BF16);
    }
    #[cfg(feature = "complex")]
    {
        check::<num_complex::Complex32>(&manager, DLDataType::C64);
        check::<num_complex::Complex64>(&manager, DLDataType::C128);
    }
}

#[test]
fn types_that_dlpack_lacks_are_refused_and_their_parts_are_exported() {
    let root = Root::new();
    let manager = root.manager();
    let wide = manager.zeros::<i128, _>(3).unwrap().freeze().unwrap();
    let error = wide.to_dlpack().err().unwrap();
    assert!(
        matches!(error, Error::Transfer { .. }) && error.to_string().contains("int128"),
        "{error}"
    );
    let colours = manager
        .from_elem::<[u8; 3], _>(4, [1, 2, 3])
        .unwrap()
        .freeze()
        .unwrap();
    assert!(matches!(colours.to_dlpack(), Err(Error::Transfer { .. })));
    let parts = colours
        .shared()
        .unpack::<u8>()
        .unwrap()
        .freeze()
        .unwrap()
        .to_dlpack()
        .unwrap();
    assert_eq!(parts.validate().unwrap().shape(), [4, 3]);
    assert_eq!(at::<u8>(&parts, &[3, 1]), 2);
}

#[test]
fn scalars_empty_arrays_and_broadcasts_are_tensors_too() {
    let root = Root::new();
    let manager = root.manager();
    let scalar = manager
        .from_elem::<u16, _>((), 7)
        .unwrap()
        .freeze()
        .unwrap()
        .to_dlpack()
        .unwrap();
    assert_eq!(scalar.validate_export().unwrap().ndim(), 0);
    assert_eq!(at::<u16>(&scalar, &[]), 7);
    let empty = manager
        .zeros::<u16, _>((2, 0))
        .unwrap()
        .freeze()
        .unwrap()
        .to_dlpack()
        .unwrap();
    let found = empty.validate_export().unwrap();
    assert_eq!(
        (found.shape(), found.data_ptr().is_null()),
        (&[2, 0][..], true)
    );
    let row = manager.from_shape_fn::<u16, _>(3, |i| i as u16).unwrap();
    row.freeze().unwrap();
    let rows = row
        .broadcast((5, 3))
        .unwrap()
        .freeze()
        .unwrap()
        .to_dlpack()
        .unwrap();
    assert_eq!(rows.validate_export().unwrap().strides(), Some(&[0, 1][..]));
    assert_eq!(at::<u16>(&rows, &[4, 2]), 2);
}

#[test]
fn a_tensor_keeps_the_array_until_its_deleter_is_called_in_another_thread() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let xs = manager.from_shape_fn::<f64, _>(1000, |i| i as f64).unwrap();
    let path = xs.path().to_path_buf();
    let tensor = xs.freeze().unwrap().to_dlpack().unwrap();
    let raw = tensor.into_raw() as usize;
    drop(xs);
    assert!(
        path.exists() && is_mapped(&path),
        "the tensor holds the last array of a local one"
    );
    let sum = thread::spawn(move || {
        // SAFETY: the pointer is the one that `into_raw` gave, and given back once.
        let tensor = unsafe { Dlpack::from_raw(raw as *mut _) }.unwrap();
        let found = tensor.validate_export().unwrap();
        let pointer = found.data_ptr().cast::<f64>();
        // SAFETY: the tensor has a thousand elements in order, and is kept.
        unsafe { ArrayView::from_shape_ptr(IxDyn(&[1000]), pointer) }.sum()
    });
    assert_eq!(sum.join().unwrap(), 499_500.0);
    assert!(
        !path.exists() && !is_mapped(&path),
        "the deleter dropped it"
    );
}

#[test]
fn a_tensor_outlives_the_store() {
    let root = Root::new();
    let manager = root.manager();
    let tensor = manager
        .ones::<f64, _>(1000)
        .unwrap()
        .freeze()
        .unwrap()
        .to_dlpack()
        .unwrap();
    drop(manager);
    assert!(root.contents().is_empty());
    assert_eq!(at::<f64>(&tensor, &[999]), 1.0);
}
