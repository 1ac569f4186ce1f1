//! Views that begin in the middle of an element, and other ways in which fields could share bytes.
#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::Root;
use ndarray::Ix1;
use ndshm::{DType, Element, Error, Handle};

/// Two halves and a whole word, so that a view in the middle of it mixes them.
#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Halves {
    a: u16,
    b: u16,
    c: u32,
}

// A handle with the layout (4, [9], [8]) was once accepted here: its `a` and the array's `c` shared
// bytes, and atomics of two sizes on the same bytes are undefined behaviour.
#[test]
fn a_view_that_begins_in_the_middle_of_an_element_is_refused() {
    let root = Root::new();
    let manager = root.manager();
    let structs = manager.zeros::<Halves, _>(10).unwrap();
    let nested = manager.zeros::<[[f32; 2]; 3], _>(4).unwrap();
    let words = manager.zeros::<u64, _>(10).unwrap();
    let complex = manager.zeros::<num_complex::Complex<f32>, _>(10).unwrap();
    let layout = |handle: Handle, offset, shape: &[usize], strides: &[isize]| {
        handle.with_layout(offset, shape, strides).unwrap()
    };
    let cases = [
        layout(structs.handle(), 4, &[9], &[8]),
        layout(structs.handle(), 4, &[9], &[-8]),
        layout(structs.handle(), 2, &[1], &[0]),
        layout(nested.handle(), 8, &[3], &[24]),
        layout(words.handle(), 4, &[9], &[8]),
        layout(complex.handle(), 4, &[9], &[8]),
    ];
    for handle in cases {
        let typed = match () {
            () if handle.id() == structs.id() => handle.open::<Halves, Ix1>().map(drop),
            () if handle.id() == nested.id() => handle.open::<[[f32; 2]; 3], Ix1>().map(drop),
            () if handle.id() == words.id() => handle.open::<u64, Ix1>().map(drop),
            () => handle.open::<num_complex::Complex<f32>, Ix1>().map(drop),
        };
        assert!(matches!(typed, Err(Error::Layout { .. })), "{typed:?}");
        let any = handle.open_any();
        assert!(matches!(any, Err(Error::Layout { .. })), "{any:?}");
    }
    let whole = layout(structs.handle(), 8, &[9], &[8]);
    assert_eq!(whole.open::<Halves, Ix1>().unwrap().shape(), [9]);
    let empty = layout(structs.handle(), 4, &[0], &[8]);
    assert_eq!(empty.open::<Halves, Ix1>().unwrap().shape(), [0]);
}

#[test]
fn a_slice_that_was_cast_out_of_phase_is_no_view() {
    let root = Root::new();
    let xs = root.manager().zeros::<Halves, _>(10).unwrap();
    let guard = xs.read().unwrap();
    let words: &[u32] = bytemuck::cast_slice(guard.as_slice().unwrap());
    let shifted: &[Halves] = bytemuck::cast_slice(&words[1..19]);
    let part = ndarray::ArrayView1::from(shifted);
    assert!(matches!(xs.subview(&part), Err(Error::NotShared { .. })));
    let in_phase: &[Halves] = bytemuck::cast_slice(&words[2..]);
    let part = ndarray::ArrayView1::from(in_phase);
    assert_eq!(xs.subview(&part).unwrap().shape(), [9]);
}

#[test]
fn a_constant_type_whose_fields_share_bytes_is_refused() {
    use ndshm::Field;
    fn with_offsets(offsets: [usize; 2]) -> std::thread::Result<DType> {
        let fields = offsets.map(|offset| Field::constant("field", u32::DTYPE, offset));
        std::panic::catch_unwind(|| DType::constant_struct(Box::leak(Box::new(fields)), 8))
    }
    assert!(with_offsets([0, 4]).is_ok());
    for offsets in [[0, 0], [0, 2], [4, 0], [0, 5], [0, usize::MAX]] {
        assert!(with_offsets(offsets).is_err(), "{offsets:?}");
    }
}

/// The macro once had a trait of this name in the scope of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Described {
    value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Describes {
    described: Described,
    other: [u16; 2],
}

#[test]
fn a_struct_may_have_any_name() {
    assert_eq!(Describes::DTYPE.fields()[0].dtype(), &Described::DTYPE);
}
