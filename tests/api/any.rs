//! Arrays whose element type is known at run time only.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{Root, bad};
use ndarray::{Array, Axis, Ix1, Ix2, IxDyn, ShapeBuilder, s};
use ndshm::{
    AnyArray, Bool, DType, Element, Error, Order, Scope, SharedArrayD, dispatch, dispatch_real,
};
use std::time::Duration;

const SCALARS: [&str; 13] = [
    "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "uint128", "int128", "<f4", "<f8",
    "|b1",
];

#[test]
fn an_array_of_any_type_is_made_opened_and_read_as_bytes() {
    let root = Root::new();
    let manager = root.manager();
    for dtype in SCALARS.into_iter().chain(["|V5", "(3,)<f4", "(3,2)<f4"]) {
        let dtype: DType = dtype.parse().unwrap();
        let any = manager.zeros_any(&dtype, &[2, 3]).unwrap();
        let bytes: Vec<u8> = (0..6 * dtype.itemsize()).map(|byte| byte as u8).collect();
        any.write_bytes(&bytes).unwrap();
        for opened in [
            any.handle().open_any().unwrap(),
            AnyArray::open_path(any.path()).unwrap(),
            through_serde(&any),
        ] {
            assert_eq!(
                (
                    opened.dtype(),
                    opened.shape(),
                    opened.order(),
                    opened.is_view()
                ),
                (&dtype, &[2, 3][..], Some(Order::C), false)
            );
            assert_eq!(opened.read_bytes().unwrap(), bytes);
            let element = opened
                .slice(s![1, ..;-1].as_ref())
                .unwrap()
                .slice(s![1..2].as_ref())
                .unwrap();
            assert_eq!(
                element.read_bytes().unwrap(),
                bytes[4 * dtype.itemsize()..5 * dtype.itemsize()]
            );
            assert_eq!(
                element.handle().open_any().unwrap().read_bytes().unwrap(),
                element.read_bytes().unwrap()
            );
        }
        assert!(matches!(
            any.write_bytes(&bytes[1..]),
            Err(Error::Layout { .. })
        ));
    }
    for wrong in ["|O", ">f8", "f8", "<f3", "float64"] {
        assert!(
            matches!(wrong.parse::<DType>(), Err(Error::Layout { .. })),
            "{wrong}"
        );
    }
    assert!(matches!(
        manager.zeros_any(&f64::DTYPE, &[usize::MAX, 2]),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        manager.zeros_any(&f64::DTYPE, &[1; 33]),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        manager.array_any("none"),
        Err(Error::NotFound { .. })
    ));
}

fn through_serde(any: &AnyArray) -> AnyArray {
    serde_json::from_str(&serde_json::to_string(any).unwrap()).unwrap()
}

#[test]
fn bytes_come_in_c_order_whatever_the_order_in_memory() {
    let root = Root::new();
    let manager = root.manager();
    let plain = Array::from_shape_fn((3, 4).f(), |(i, j)| (10 * i + j) as u16);
    let any = manager.from_ndarray(&plain).unwrap().into_any().unwrap();
    let bytes = |values: Vec<u16>| {
        values
            .into_iter()
            .flat_map(u16::to_ne_bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (any.order(), any.read_bytes().unwrap()),
        (Some(Order::F), bytes(plain.iter().copied().collect()))
    );
    assert_eq!(
        any.t().unwrap().read_bytes().unwrap(),
        bytes(plain.t().iter().copied().collect())
    );
    let part = any.slice(s![..;2, 1..;-2].as_ref()).unwrap();
    part.write_bytes(&bytes(vec![1, 2, 3, 4])).unwrap();
    let mut expected = plain.clone();
    expected
        .slice_mut(s![..;2, 1..;-2])
        .assign(&ndarray::array![[1, 2], [3, 4]]);
    assert_eq!(
        any.downcast::<u16, Ix2>().unwrap().to_ndarray().unwrap(),
        expected
    );
    assert_eq!(
        any.index_axis(Axis(0), 1).unwrap().read_bytes().unwrap(),
        bytes(expected.row(1).to_vec())
    );
    assert!(
        any.index_axis(Axis(0), 3).is_err()
            && any.index_axis(Axis(2), 0).is_err()
            && any.slice(s![5, ..].as_ref()).is_err()
    );
    assert_eq!(any.byte_strides(), [2, 6]);
}

#[test]
fn a_downcast_names_the_type_that_is_there() {
    let root = Root::new();
    let manager = root.manager();
    let any = manager
        .options()
        .name("xs")
        .scope(Scope::Store)
        .zeros_any(&f32::DTYPE, &[4, 5])
        .unwrap();
    assert_eq!(any.downcast::<f32, IxDyn>().unwrap().shape(), [4, 5]);
    assert!(
        matches!(any.downcast::<i32, Ix2>(), Err(Error::Dtype { found, .. }) if found == f32::DTYPE)
    );
    assert!(matches!(
        any.downcast::<f32, Ix1>(),
        Err(Error::Rank {
            expected: 1,
            found: 2,
            ..
        })
    ));
    let typed = any
        .slice(s![1.., 2].as_ref())
        .unwrap()
        .downcast::<f32, Ix1>()
        .unwrap();
    typed.write().unwrap().fill(1.0);
    assert_eq!(
        manager
            .array::<f32, Ix2>("xs")
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        3.0
    );
    assert!(
        !any.read_only()
            .unwrap()
            .downcast::<f32, Ix2>()
            .unwrap()
            .is_writable()
    );
    assert_eq!(
        (any.name(), any.scope(), any.len(), any.ndim()),
        (Some("xs".to_owned()), Scope::Store, 20, 2)
    );
}

#[test]
fn guards_of_typed_arrays_and_bytes_exclude_each_other() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((4, 4)).unwrap();
    let any = xs.handle().open_any().unwrap();
    let _column = xs.slice(s![.., 1]).unwrap().write().unwrap();
    assert_eq!(
        any.slice(s![.., 2..].as_ref())
            .unwrap()
            .read_bytes()
            .unwrap(),
        [0; 64],
        "other columns"
    );
    assert!(matches!(any.read_bytes(), Err(Error::WouldDeadlock { .. })));
}

#[test]
fn a_claim_is_kept_by_use_and_given_back_without() {
    let root = Root::new();
    let manager = root.manager();
    let source = manager
        .options()
        .scope(Scope::Remote)
        .ones::<u8, _>(3)
        .unwrap();
    let handle = source.handle();
    drop(handle.open_any().unwrap());
    assert!(
        source.path().exists(),
        "an opening that was not used gives the claim back"
    );
    assert_eq!(handle.open_any().unwrap().read_bytes().unwrap(), [1, 1, 1]);
    drop(source);
    assert!(
        manager.list().unwrap().is_empty(),
        "one that was read deletes"
    );
}

/// A tool that is written once.
fn describe(any: &AnyArray) -> String {
    fn name<T: Element>(xs: &SharedArrayD<T>) -> String {
        format!("{} x {}", xs.len(), T::DTYPE)
    }
    dispatch!(any, xs: T => {
        let again: &SharedArrayD<T> = &xs;
        name(again)
    }, else => format!("{} of another kind", any.len()))
    .unwrap()
}

#[test]
fn one_piece_of_code_serves_every_scalar_type() {
    let root = Root::new();
    let manager = root.manager();
    let mut names: Vec<&str> = SCALARS.to_vec();
    if cfg!(feature = "half") {
        names.extend(["<f2", "bfloat16"]);
    }
    if cfg!(feature = "complex") {
        names.extend(["<c8", "<c16"]);
    }
    for name in names {
        assert_eq!(
            describe(&manager.zeros_any(&name.parse().unwrap(), &[2, 3]).unwrap()),
            format!("6 x {name}")
        );
    }
    assert_eq!(
        describe(&manager.zeros_any(&"|V3".parse().unwrap(), &[5]).unwrap()),
        "5 of another kind"
    );
    let flags = manager
        .from_elem(3, Bool::TRUE)
        .unwrap()
        .into_any()
        .unwrap();
    assert_eq!(describe(&flags), "3 x |b1");
}

// Code of `dispatch!` that compiled in one build broke in another, where any crate turned on a
// feature: complex numbers do not convert with `as`. The types of `dispatch_real!` do not depend on
// features: this compiles with all of them.
#[test]
#[allow(clippy::unnecessary_cast, reason = "for types other than f64")]
fn one_piece_of_code_serves_every_real_number_whatever_the_features() {
    fn sum(any: &AnyArray) -> Option<f64> {
        dispatch_real!(any, xs: T => {
            let larger = |a: T, &b: &T| if b > a { b } else { a };
            let largest = xs.read().unwrap().iter().fold(T::MIN, larger);
            Some(largest as f64 * xs.len() as f64)
        }, else => None)
        .unwrap()
    }
    let root = Root::new();
    let manager = root.manager();
    let zeros = |name: &str| manager.zeros_any(&name.parse().unwrap(), &[2, 3]).unwrap();
    let reals = SCALARS.iter().filter(|&&name| name != "|b1");
    for name in reals.clone() {
        assert_eq!(sum(&zeros(name)), Some(0.0), "{name}");
    }
    assert_eq!(reals.count(), 12);
    for other in ["|b1", "<f2", "bfloat16", "<c8", "<c16", "|V8"] {
        assert_eq!(sum(&zeros(other)), None, "{other}");
    }
    let halves = manager.from_elem::<f32, _>((2, 2), 0.5).unwrap();
    assert_eq!(sum(&halves.into_any().unwrap()), Some(2.0));
}

#[test]
fn guards_over_bytes_exclude_those_over_elements() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((2, 3)).unwrap();
    let any = xs.into_any().unwrap();
    let first = any.slice(s![0, ..].as_ref()).unwrap();
    let guard = first.write().unwrap();
    assert_eq!((guard.shape(), guard.strides()), (&[3, 8][..], &[8, 1][..]));
    assert!(matches!(
        xs.try_read(),
        Err(Error::WouldBlock { .. } | Error::WouldDeadlock { .. })
    ));
    assert!(xs.slice(s![1, ..]).unwrap().try_write().is_ok());
    drop(guard);
    let held = xs.read().unwrap();
    assert!(any.try_read().is_ok());
    assert!(matches!(
        any.try_write(),
        Err(Error::WouldBlock { .. } | Error::WouldDeadlock { .. })
    ));
    assert!(matches!(
        any.write_timeout(Duration::from_millis(10)),
        Err(Error::Timeout { .. } | Error::WouldDeadlock { .. })
    ));
    drop(held);
    assert!(matches!(
        any.read_only().unwrap().write(),
        Err(Error::ReadOnly { .. })
    ));
}

#[test]
fn a_guard_that_is_told_to_leaves_poison_on_its_bytes_only() {
    let root = Root::new();
    let manager = root.manager();
    let any = manager.zeros::<f64, _>((2, 3)).unwrap().into_any().unwrap();
    let first = any.slice(s![0, ..].as_ref()).unwrap();
    let mut guard = first.write().unwrap();
    guard.fill(1);
    guard.poison();
    assert!(matches!(&any.poisoned().unwrap()[..], [range] if *range == (0..24)));
    assert!(matches!(any.read(), Err(Error::Poisoned { .. })));
    assert!(any.slice(s![1, ..].as_ref()).unwrap().read().is_ok());
    first.recover().unwrap().poison();
    assert!(any.is_poisoned().unwrap());
    any.recover().unwrap().fill(0);
    assert!(!any.is_poisoned().unwrap());
    // Nothing to lock, nothing to poison.
    let empty = any.with_layout(0, &[0], &[8]).unwrap();
    empty.write().unwrap().poison();
    assert!(!any.is_poisoned().unwrap());
}

#[test]
fn a_view_by_numbers_stays_inside_of_its_source_and_in_the_grid_of_its_elements() {
    let root = Root::new();
    let manager = root.manager();
    let any = manager
        .from_shape_fn::<u32, _>((4, 6), |(i, j)| (10 * i + j) as u32)
        .unwrap()
        .into_any()
        .unwrap();
    let middle = any.slice(s![1..3, ..].as_ref()).unwrap();
    assert_eq!(middle.byte_offset(), 24);
    let view = middle.with_layout(44, &[6], &[-4]).unwrap();
    assert_eq!(
        view.downcast::<u32, Ix1>().unwrap().to_ndarray().unwrap(),
        ndarray::array![15, 14, 13, 12, 11, 10]
    );
    for (offset, shape, strides) in [
        (20, &[1][..], &[4][..]),
        (72, &[1], &[4]),
        (24, &[13], &[4]),
        (26, &[1], &[4]),
        (24, &[2], &[2]),
        (24, &[2], &[]),
    ] {
        assert!(
            matches!(
                middle.with_layout(offset, shape, strides),
                Err(Error::Layout { .. })
            ),
            "{offset} {shape:?} {strides:?}"
        );
    }
    let six = manager.ones::<f64, _>(6).unwrap().into_any().unwrap();
    for (view, _) in bad::VIEWS {
        let refused = six.with_layout(view.offset, view.shape, view.strides);
        assert!(
            matches!(refused, Err(Error::Layout { .. })),
            "{}",
            view.what
        );
    }
    let wide = middle.with_layout(24, &[3, 6], &[0, 4]).unwrap();
    assert!(!wide.is_writable() && matches!(wide.write(), Err(Error::ReadOnly { .. })));
    assert!(
        matches!(any.unpack(), Err(Error::Layout { .. }))
            && matches!(any.field_array("x"), Err(Error::Layout { .. }))
    );
}

#[test]
fn arrays_of_bytes_have_the_order_that_was_asked_for() {
    let root = Root::new();
    let manager = root.manager();
    let dtype = "<u2".parse().unwrap();
    let bytes: Vec<u8> = (0..12).collect();
    let any = manager
        .options()
        .from_bytes(&dtype, &[2, 3], Order::F, &bytes)
        .unwrap();
    assert_eq!(
        (any.order(), any.byte_strides()),
        (Some(Order::F), vec![2, 4])
    );
    assert_eq!(
        any.handle().open_any().unwrap().read_bytes().unwrap(),
        [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]
    );
    assert!(matches!(
        manager
            .options()
            .from_bytes(&dtype, &[2, 3], Order::C, &bytes[1..]),
        Err(Error::Layout { .. })
    ));
    for shape in bad::SHAPES {
        let refused = manager
            .options()
            .from_bytes(&"<f8".parse().unwrap(), shape, Order::C, &[]);
        assert!(matches!(refused, Err(Error::Layout { .. })), "{shape:?}");
    }
    let filled = manager
        .options()
        .from_bytes_fn(&dtype, &[2, 0], Order::C, |bytes| assert!(bytes.is_empty()))
        .unwrap();
    assert!(
        filled.is_empty()
            && manager
                .options()
                .name("x/y")
                .empty_any(&dtype, &[1], Order::C)
                .is_err()
    );
}

#[test]
fn freezing_without_a_type_is_freezing() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(5).unwrap();
    let any = xs.handle().open_any().unwrap();
    let handle = any.handle();
    assert!(matches!(
        any.read_only().unwrap().freeze(),
        Err(Error::ReadOnly { .. })
    ));
    assert!(matches!(
        handle.wait_frozen(Duration::from_millis(10)),
        Err(Error::Timeout { .. })
    ));
    any.freeze().unwrap();
    any.freeze().unwrap();
    any.read_only().unwrap().freeze().unwrap();
    handle.wait_frozen(Duration::from_secs(10)).unwrap();
    assert!(
        xs.is_frozen()
            && matches!(xs.write(), Err(Error::Frozen { .. }))
            && matches!(any.recover(), Err(Error::Frozen { .. }))
    );
    // Held beside each other: there is no lock any more.
    let guards: Vec<_> = (0..100).map(|_| any.read().unwrap()).collect();
    assert_eq!(guards.len(), 100);
}

/// A guard of an array of run-time type is a view of bytes, with one more axis: that of a broadcast
/// could have more of them than fit into a number, and ndarray would have taken it for an empty one
/// that goes on for ever.
#[test]
fn memory_that_is_kept_stays_mapped_and_is_nothing_else() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let any = manager.zeros_any(&"<f8".parse().unwrap(), &[4]).unwrap();
    let path = any.path().to_path_buf();
    let mapped = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(path.file_name().unwrap().to_str().unwrap())
    };
    let memory = any.memory();
    // Neither the lock nor the array.
    drop(any.try_write().unwrap());
    drop(any);
    assert!(!path.exists() && mapped());
    drop(memory);
    assert!(!mapped());
}

#[test]
fn a_broadcast_of_more_bytes_than_can_be_counted_is_refused() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(1).unwrap();
    let wide = xs.broadcast(1 << 61).unwrap();
    assert!(matches!(wide.into_any(), Err(Error::Layout { .. })));
    assert!(matches!(
        wide.handle().open_any(),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        xs.into_any().unwrap().with_layout(0, &[1 << 61], &[0]),
        Err(Error::Layout { .. })
    ));
    let most = xs.broadcast((1 << 60) - 1).unwrap().into_any().unwrap();
    assert_eq!(most.read().unwrap().len(), (1 << 63) - 8);
    assert_eq!(wide.read().unwrap()[(1 << 61) - 1], 1.0);
}
