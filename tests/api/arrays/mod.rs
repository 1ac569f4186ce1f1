//! Arrays: the functions that make them, their elements, their properties, and copies between them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod copies;
mod elements;

use crate::common::{self, Root, bad};
use ndarray::{Array, Array0, Array2, Array3, ArrayD, Ix0, Ix1, Ix2, IxDyn, ShapeBuilder, s};
use ndshm::{
    Bool, DType, Element, Error, Handle, Manager, Order, Scope, SharedArray, SharedArray0,
    SharedArray1, SharedArrayD,
};
use std::collections::BTreeMap;

#[test]
fn every_verb_makes_what_ndarray_makes() {
    let root = Root::new();
    let manager = root.manager();
    assert_eq!(
        manager
            .zeros::<i32, _>((2, 3))
            .unwrap()
            .to_ndarray()
            .unwrap(),
        Array2::<i32>::zeros((2, 3))
    );
    assert_eq!(
        manager
            .ones::<i32, _>([2, 3])
            .unwrap()
            .to_ndarray()
            .unwrap(),
        Array2::<i32>::ones([2, 3])
    );
    assert_eq!(
        manager.from_elem(4, 7u8).unwrap().to_ndarray().unwrap(),
        Array::from_elem(4, 7u8)
    );
    assert_eq!(
        manager.empty::<f64, _>(IxDyn(&[2, 3])).unwrap().shape(),
        [2, 3]
    );
    let number = |(i, j, k): (usize, usize, usize)| (100 * i + 10 * j + k) as i64;
    for (ours, theirs) in [
        (
            manager.from_shape_fn((2, 3, 4), number),
            Array3::from_shape_fn((2, 3, 4), number),
        ),
        (
            manager.from_shape_fn((2, 3, 4).f(), number),
            Array3::from_shape_fn((2, 3, 4).f(), number),
        ),
        (
            manager.from_shape_fn((2, 0, 4), number),
            Array3::from_shape_fn((2, 0, 4), number),
        ),
    ] {
        let ours = ours.unwrap();
        assert_eq!(
            (ours.to_ndarray().unwrap(), ours.strides()),
            (theirs.clone(), theirs.strides())
        );
    }
}

#[test]
fn the_order_is_c_unless_f_is_asked_for_and_a_contiguous_source_keeps_its_own() {
    let root = Root::new();
    let manager = root.manager();
    let order = |array: &SharedArray<f64, Ix2>| {
        (
            array.order(),
            array
                .handle()
                .open::<f64, Ix2>()
                .unwrap()
                .strides()
                .to_vec(),
        )
    };
    assert_eq!(
        order(&manager.zeros((2, 3)).unwrap()),
        (Some(Order::C), vec![3, 1])
    );
    assert_eq!(
        order(&manager.zeros((2, 3).f()).unwrap()),
        (Some(Order::F), vec![1, 2])
    );
    let (c, f) = (Array2::<f64>::ones((2, 3)), Array2::<f64>::ones((2, 3).f()));
    assert_eq!(order(&manager.from_ndarray(&c).unwrap()).0, Some(Order::C));
    let from_f = manager.from_ndarray(&f).unwrap();
    assert_eq!(order(&from_f).0, Some(Order::F));
    assert_eq!(
        order(&manager.from_ndarray(&c.t()).unwrap()).0,
        Some(Order::F)
    );
    assert_eq!(
        order(&manager.from_ndarray(&c.slice(s![.., ..;-1])).unwrap()).0,
        Some(Order::C)
    );
    assert_eq!(order(&from_f.copy().unwrap()).0, Some(Order::F));
    assert_eq!(
        order(&manager.from_ndarray(&*from_f.read().unwrap()).unwrap()).0,
        Some(Order::F)
    );
    assert_eq!(from_f.to_ndarray().unwrap().strides(), [1, 2]);
    assert_eq!(from_f.slice(s![..;-1, ..]).unwrap().order(), None);
}

#[test]
fn an_array_of_rank_zero_and_one_without_elements_live_like_any_other() {
    let root = Root::new();
    let manager = root.manager();
    let scalar: SharedArray0<f64> = manager.from_ndarray(&Array0::from_elem((), 2.5)).unwrap();
    *scalar.write().unwrap().first_mut().unwrap() *= 2.0;
    let opened: SharedArray0<f64> = scalar.handle().open().unwrap();
    assert_eq!(
        (
            opened.read().unwrap()[()],
            opened.len(),
            opened.ndim(),
            opened.is_view()
        ),
        (5.0, 1, 0, false)
    );
    assert_eq!(manager.zeros::<f32, Ix0>(Ix0()).unwrap().dim(), ());
    for shape in [vec![0], vec![3, 0], vec![0, 0, 5]] {
        let empty = manager.zeros::<f64, _>(shape.as_slice()).unwrap();
        let (a, b) = (empty.write().unwrap(), empty.write().unwrap());
        assert!(
            a.is_empty() && b.is_empty(),
            "guards without elements exclude no guard"
        );
        assert_eq!(empty.handle().open::<f64, IxDyn>().unwrap().shape(), shape);
        assert_eq!(
            empty.copy().unwrap().to_ndarray().unwrap(),
            ArrayD::<f64>::zeros(shape)
        );
    }
    drop(scalar);
    assert_eq!(
        manager.list().unwrap().len(),
        1,
        "the array that was opened from its handle is left"
    );
}

#[test]
fn an_array_tells_what_it_is_and_so_do_its_views() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .options()
        .name("xs")
        .zeros::<u16, _>((4, 6))
        .unwrap();
    let path = manager.path().join("xs.ndshm");
    assert_eq!(
        (xs.name().as_deref(), xs.path(), xs.scope(), xs.is_view()),
        (Some("xs"), path.as_path(), Scope::Store, false)
    );
    assert_eq!(
        (
            xs.len(),
            xs.ndim(),
            xs.dim(),
            xs.is_empty(),
            xs.is_writable()
        ),
        (24, 2, (4, 6), false, true)
    );
    let column = xs.slice(s![.., 2]).unwrap();
    assert_eq!(
        (column.id(), column.name(), column.path(), column.is_view()),
        (xs.id(), xs.name(), xs.path(), true)
    );
    assert_eq!(
        (column.strides(), column.order(), column.dim()),
        (&[6][..], None, 4usize)
    );
    assert!(
        !xs.view().unwrap().is_view()
            && !xs.slice(s![.., ..]).unwrap().is_view()
            && xs.t().unwrap().is_view()
    );
    assert_eq!(column.manager().path(), manager.path());
    let unnamed = manager.zeros::<u16, _>(3).unwrap();
    assert_eq!((unnamed.name(), unnamed.scope()), (None, Scope::Local));
    let stem = unnamed.path().file_stem().unwrap().to_str().unwrap();
    assert!(
        stem.len() == 32 && stem.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{stem}"
    );
    assert!(format!("{column:?}").contains("shape: [4]"), "{column:?}");
}

#[test]
fn names_that_cannot_be_file_names_are_refused() {
    let root = Root::new();
    let manager = root.manager();
    for name in &bad::names() {
        assert!(
            matches!(
                manager.options().name(name).zeros::<u8, _>(1),
                Err(Error::Name { .. })
            ),
            "{name:?}"
        );
        assert!(
            matches!(
                manager
                    .options()
                    .name(name)
                    .from_ndarray(&Array::from_elem(1, 1)),
                Err(Error::Name { .. })
            ),
            "{name:?}"
        );
        assert!(
            matches!(manager.array::<u8, Ix1>(name), Err(Error::Name { .. })),
            "{name:?}"
        );
        assert!(
            matches!(manager.contains(name), Err(Error::Name { .. })),
            "{name:?}"
        );
        assert!(
            matches!(manager.remove(name), Err(Error::Name { .. })),
            "{name:?}"
        );
    }
    assert!(matches!(
        manager.options().open_or_zeros::<u8, _>(1),
        Err(Error::Name { .. })
    ));
    for name in ["a b", "ä\n", "x.ndshm", "-", &"x".repeat(200)] {
        manager.options().name(name).from_elem(1, 7u8).unwrap();
        assert_eq!(
            manager.array::<u8, Ix1>(name).unwrap().name().as_deref(),
            Some(name)
        );
    }
    assert_eq!(manager.list().unwrap().len(), 5);
}

#[test]
fn attributes_and_axis_names_are_kept_with_the_array() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Camera {
        exposure_ms: f64,
        model: String,
    }
    let root = Root::new();
    let manager = root.manager();
    let camera = Camera {
        exposure_ms: 2.5,
        model: "T-1".into(),
    };
    let options = manager
        .options()
        .attrs(&camera)
        .unwrap()
        .axis_names(["row", "column"]);
    let frame = options.zeros::<u8, _>((4, 6)).unwrap();
    let opened = frame
        .slice(s![.., 1])
        .unwrap()
        .handle()
        .open::<u8, Ix1>()
        .unwrap();
    assert_eq!(opened.attrs::<Camera>().unwrap(), camera);
    assert_eq!(
        opened.axis_names(),
        [Some("row".to_owned()), Some("column".to_owned())]
    );
    assert_eq!(
        frame.handle().info().unwrap().attrs::<Camera>().unwrap(),
        camera
    );
    assert!(matches!(
        opened.attrs::<BTreeMap<String, u64>>(),
        Err(Error::Attrs { .. })
    ));
    assert_eq!(
        manager
            .zeros::<u8, _>(1)
            .unwrap()
            .attrs::<BTreeMap<String, u64>>()
            .unwrap(),
        BTreeMap::new()
    );
    assert!(
        matches!(options.zeros::<u8, _>(3), Err(Error::Attrs { .. })),
        "two names for one axis"
    );
    assert!(matches!(
        manager.options().attrs(&3),
        Err(Error::Attrs { .. })
    ));
    assert!(matches!(
        manager.options().attrs(&BTreeMap::from([(1, 2)])),
        Err(Error::Attrs { .. })
    ));
    let large = BTreeMap::from([("text", "x".repeat(70_000))]);
    let error = manager
        .options()
        .attrs(&large)
        .unwrap()
        .zeros::<u8, _>(1)
        .unwrap_err();
    assert!(error.to_string().contains("header"), "{error}");
    let nested = (0..20).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    assert!(matches!(
        manager.options().attrs(&BTreeMap::from([("deep", nested)])),
        Err(Error::Attrs { .. })
    ));
    assert_eq!(manager.list().unwrap().len(), 1, "what failed left nothing");
}

#[test]
fn an_array_that_is_there_is_opened_and_not_made_again() {
    let root = Root::new();
    let manager = root.manager();
    let options = manager.options().name("done");
    let first = options.open_or_zeros::<u8, _>((2, 3)).unwrap();
    first.write().unwrap().fill(7);
    let again = options.open_or_zeros::<u8, _>((2, 3)).unwrap();
    assert_eq!((again.id(), again.read().unwrap().sum()), (first.id(), 42));
    assert!(matches!(
        options.open_or_zeros::<i8, _>((2, 3)),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        options.open_or_zeros::<u8, _>(6),
        Err(Error::Rank { .. })
    ));
    assert!(matches!(
        options.open_or_zeros::<u8, _>((3, 2)),
        Err(Error::Layout { .. })
    ));
    // Of many that race for one name, all get the same array.
    let ids: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    manager
                        .options()
                        .name("raced")
                        .open_or_zeros::<f64, _>(3)
                        .unwrap()
                        .id()
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn shapes_that_are_too_large_are_errors_and_leave_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let max = isize::MAX as usize;
    for shape in bad::SHAPES {
        assert!(
            matches!(manager.zeros::<f64, _>(shape), Err(Error::Layout { .. })),
            "{shape:?}"
        );
    }
    assert!(matches!(
        manager.zeros::<u8, _>(max - common::page()),
        Err(Error::NoSpace { .. } | Error::Io { .. })
    ));
    assert!(matches!(
        manager.zeros::<u8, _>(max),
        Err(Error::Layout { .. })
    ));
    assert_eq!(root.contents().len(), 2, "{:?}", root.contents());
}

#[test]
fn a_source_that_panics_leaves_no_array() {
    let root = Root::new();
    let manager = root.manager();
    let made = std::panic::catch_unwind(|| {
        manager
            .options()
            .name("xs")
            .from_shape_fn::<f64, _>(10, |i| if i < 5 { 1.0 } else { panic!("no") })
    });
    assert!(made.is_err());
    assert_eq!(root.contents().len(), 2, "{:?}", root.contents());
    manager.options().name("xs").zeros::<f64, _>(10).unwrap();
}

#[test]
fn large_elements_and_alignments_are_met() {
    let root = Root::new();
    let manager = root.manager();
    let blocks = manager.from_elem(3, [7u8; 1 << 16]).unwrap();
    assert_eq!(
        (blocks.dtype().itemsize(), blocks.read().unwrap()[2][5]),
        (1 << 16, 7)
    );
    let wide: SharedArrayD<u128> = manager.ones(IxDyn(&[3, 5])).unwrap();
    assert_eq!(wide.read().unwrap().as_ptr().addr() % 4096, 0);
}
