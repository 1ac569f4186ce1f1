//! Export to other formats and import from them: arrays come back as they were, and no file or
//! array is ever incomplete.
//!
//! `files` looks at what becomes of files, links and streams, `imports` at the new arrays and at
//! refusals, `large` at transfers of several threads, `npz` and `safetensors` at those formats.
#![allow(clippy::unwrap_used, reason = "tests")]

mod files;
mod imports;
mod large;
#[cfg(feature = "zip")]
mod npz;
#[cfg(feature = "safetensors")]
mod safetensors;

use crate::common::Root;
use ndarray::{Ix2, IxDyn, ShapeBuilder, s};
use ndshm::{AnyArray, DType, Export, Exportable, Import, Manager, Order};
use std::fs;

/// Every element type, or one of its kind.
fn dtypes() -> Vec<DType> {
    let mut dtypes: Vec<DType> = [
        "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "uint128", "int128", "<f2",
        "bfloat16", "<f4", "<f8", "<c8", "<c16", "|V5", "(3,)<f4", "(2,3)<u2", "(2,)|V3",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    let inner = DType::structure(
        [
            ("x", "<f8".parse().unwrap(), 8),
            ("y", "(2,)<i2".parse().unwrap(), 0),
        ],
        24,
    )
    .unwrap();
    dtypes.push(
        DType::structure(
            [
                ("n", "|u1".parse().unwrap(), 1),
                ("inner", inner, 8),
                ("it's", "|V2".parse().unwrap(), 4),
            ],
            40,
        )
        .unwrap(),
    );
    dtypes
}

/// An array of such elements, whose bytes differ from the bytes beside them.
fn sample(manager: &Manager, dtype: &DType, shape: &[usize]) -> AnyArray {
    let array = manager.zeros_any(dtype, shape).unwrap();
    let is_bool = dtype.to_string() == "|b1";
    let bytes: Vec<u8> = (0..array.len() * dtype.itemsize())
        .map(|i| {
            if is_bool {
                (i % 3 == 0).into()
            } else {
                (i * 37 + 11) as u8
            }
        })
        .collect();
    array.write_bytes(&bytes).unwrap();
    array
}

fn shapes() -> [&'static [usize]; 5] {
    [&[], &[7], &[3, 4, 5], &[0], &[2, 0, 3]]
}

fn contents(array: &AnyArray) -> Vec<u8> {
    array.read_bytes().unwrap()
}

#[test]
fn every_type_and_shape_comes_back_from_npy() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    for dtype in dtypes() {
        for shape in shapes() {
            let path = scratch.path().join("x.npy");
            let array = sample(&manager, &dtype, shape);
            Export::new().replace().npy(&array, &path).unwrap();
            let read = Import::new().npy(&manager, &path).unwrap();
            assert_eq!(contents(&read), contents(&array), "{dtype} {shape:?}");
            if dtype.subarray().is_none() || dtype.to_string().starts_with("|V") {
                assert_eq!(read.shape(), shape);
            }
            let is_plain = !dtype.to_string().starts_with(['(', '{']);
            if is_plain {
                let read = Import::new().dtype(&dtype).npy(&manager, &path).unwrap();
                assert_eq!(*read.dtype(), dtype);
            }
        }
    }
}

#[test]
fn views_with_any_strides_are_written_in_their_logical_order() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u16, _>((5, 6, 7), |(i, j, k)| (100 * i + 10 * j + k) as u16)
        .unwrap()
        .into_dyn()
        .unwrap();
    let views = [
        array.slice(s![..;-1, 1..;2, ..].as_ref()).unwrap(),
        array.slice(s![2, .., ..;3].as_ref()).unwrap(),
        array.t().unwrap(),
        array.slice(s![1..4, .., ..].as_ref()).unwrap(),
        array.slice(s![.., 3, 0..0].as_ref()).unwrap(),
        array.slice(s![4, 5, 6].as_ref()).unwrap(),
        array
            .slice(s![0, 0, 0..1].as_ref())
            .unwrap()
            .broadcast(IxDyn(&[9, 1]))
            .unwrap(),
    ];
    for (number, view) in views.iter().enumerate() {
        let path = scratch.path().join(format!("{number}.npy"));
        Export::new().npy(view, &path).unwrap();
        let read = Import::new()
            .npy(&manager, &path)
            .unwrap()
            .downcast::<u16, IxDyn>()
            .unwrap();
        assert_eq!(
            *read.read().unwrap(),
            *view.read().unwrap(),
            "view {number}"
        );
        let path = scratch.path().join(format!("{number}.raw"));
        Export::new().raw(view, &path).unwrap();
        let read = Import::new()
            .raw(&manager, &path, &"<u2".parse().unwrap(), view.shape())
            .unwrap()
            .downcast::<u16, IxDyn>()
            .unwrap();
        assert_eq!(
            *read.read().unwrap(),
            *view.read().unwrap(),
            "view {number}"
        );
    }
}

#[test]
fn the_order_in_memory_is_kept_by_npy() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<i32, _>((3, 4).f(), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let path = scratch.path().join("x.npy");
    Export::new().npy(&array, &path).unwrap();
    let read = Import::new()
        .npy(&manager, &path)
        .unwrap()
        .downcast::<i32, Ix2>()
        .unwrap();
    assert_eq!((read.order(), read.shape()), (Some(Order::F), &[3, 4][..]));
    assert_eq!(*read.read().unwrap(), *array.read().unwrap());
}

#[test]
fn booleans_are_written_as_0_and_1() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager.zeros_any(&"|b1".parse().unwrap(), &[4]).unwrap();
    array.write_bytes(&[0, 1, 2, 255]).unwrap();
    Export::new().raw(&array, scratch.path().join("x")).unwrap();
    assert_eq!(fs::read(scratch.path().join("x")).unwrap(), [0, 1, 1, 1]);
}

#[test]
fn any_writer_and_reader_carries_every_format() {
    let root = Root::new();
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u16, _>((3, 4), |(i, j)| (4 * i + j) as u16)
        .unwrap();
    let any = array.into_any().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::read(scratch.path().join(name)).unwrap();
    let mut bytes = Vec::new();
    Export::new().npy_to(&any, &mut bytes).unwrap();
    Export::new().npy(&any, scratch.path().join("npy")).unwrap();
    assert_eq!(bytes, file("npy"));
    Export::new().raw_to(&any, &mut bytes).unwrap();
    // One after another: an import takes no byte more than it needs.
    let mut stream = &bytes[..];
    let npy = Import::new().npy_from(&manager, &mut stream).unwrap();
    let raw = Import::new()
        .raw_from(&manager, &mut stream, any.dtype(), &[3, 4])
        .unwrap();
    assert!(stream.is_empty());
    for read in [npy, raw] {
        assert_eq!(read.read_bytes().unwrap(), any.read_bytes().unwrap());
    }
    #[cfg(feature = "safetensors")]
    {
        let mut bytes = Vec::new();
        Export::new()
            .safetensors_to(&[("a", &any)], &mut bytes)
            .unwrap();
        Export::new()
            .safetensors(&[("a", &any)], scratch.path().join("s"))
            .unwrap();
        assert_eq!(bytes, file("s"));
        let (key, read) = Import::new()
            .safetensors_from(&manager, &bytes[..])
            .unwrap()
            .arrays
            .remove(0);
        assert_eq!((key.as_str(), read.shape()), ("a", &[3, 4][..]));
        let error = Import::new().safetensors_from(&manager, &bytes[..bytes.len() - 1]);
        assert!(error.unwrap_err().to_string().contains("ends too early"));
    }
    #[cfg(feature = "zip")]
    {
        let mut bytes = Vec::new();
        Export::new().npz_to(&[("a", &any)], &mut bytes).unwrap();
        Export::new()
            .npz(&[("a", &any)], scratch.path().join("z"))
            .unwrap();
        assert_eq!(bytes, file("z"));
        let (key, read) = Import::new()
            .npz_from(&manager, &bytes[..])
            .unwrap()
            .arrays
            .remove(0);
        assert_eq!((key.as_str(), read.shape()), ("a", &[3, 4][..]));
    }
    let error = Import::new()
        .npy_from(&manager, &b"\x93NUMPY"[..])
        .unwrap_err();
    assert_eq!(error.to_string(), "stream: it ends too early");
}

#[test]
fn typed_frozen_and_run_time_typed_arrays_are_exported_alike() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let typed = manager
        .from_shape_fn::<i16, _>((3, 4), |(i, j)| (10 * i + j) as i16)
        .unwrap();
    let (any, frozen) = (typed.into_any().unwrap(), typed.freeze().unwrap());
    let view = typed.slice(s![.., ..]).unwrap();
    let arrays: [&dyn Exportable; 4] = [&typed, &any, &frozen, &view];
    let mut files = Vec::new();
    for (number, array) in arrays.into_iter().enumerate() {
        let path = scratch.path().join(number.to_string());
        Export::new().npy(array, &path).unwrap();
        files.push(fs::read(&path).unwrap());
        Export::new().replace().raw(array, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), contents(&any));
    }
    assert!(files.iter().all(|file| *file == files[0]));
}
