//! Single views that chains of random operations do not reach.

use super::*;

#[test]
fn axes_that_are_permuted_or_broadcast_wrongly_are_errors() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((2, 3)).unwrap();
    let wide = xs.into_dyn().unwrap();
    for axes in [[0, 0], [1, 2], [usize::MAX, 0]] {
        assert!(
            matches!(xs.permuted_axes(axes), Err(Error::Layout { .. })),
            "{axes:?}"
        );
    }
    assert!(matches!(
        wide.permuted_axes(&[0][..]),
        Err(Error::Layout { .. })
    ));
    for shape in [
        &[2, 4][..],
        &[3],
        &[3, 1, 1],
        &[usize::MAX, 2, 3],
        &[0, usize::MAX, 2, 3],
        &[1; 40],
    ] {
        assert!(
            matches!(wide.broadcast(shape), Err(Error::Layout { .. })),
            "{shape:?}"
        );
        assert!(
            matches!(wide.into_shape_with_order(shape), Err(Error::Layout { .. })),
            "{shape:?}"
        );
    }
    assert!(matches!(
        wide.into_dimensionality::<ndarray::Ix1>(),
        Err(Error::Rank {
            expected: 1,
            found: 2,
            ..
        })
    ));
    assert_eq!(wide.into_dimensionality::<Ix2>().unwrap().dim(), (2, 3));
}

#[test]
fn views_have_no_more_than_32_axes() {
    let root = Root::new();
    let manager = root.manager();
    let mut xs = manager.ones::<f64, _>(vec![1; 31]).unwrap();
    let new_axes = vec![[SliceInfoElem::NewAxis, SliceInfoElem::Index(0)]; 31].concat();
    assert_eq!(
        xs.slice(new_axes.as_slice()).unwrap().read().unwrap().sum(),
        1.0
    );
    xs = xs.insert_axis(Axis(31)).unwrap();
    assert_eq!(
        (
            xs.ndim(),
            hop(manager.zeros(vec![1; 32]).unwrap(), 1).ndim(),
            xs.read().unwrap().sum()
        ),
        (32, 32, 1.0)
    );
    assert!(matches!(xs.insert_axis(Axis(0)), Err(Error::Layout { .. })));
    let whole = SliceInfoElem::Slice {
        start: 0,
        end: None,
        step: 1,
    };
    let elements = [vec![SliceInfoElem::NewAxis], vec![whole; 32]].concat();
    assert!(matches!(
        xs.slice(elements.as_slice()),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        manager.ones::<f64, _>(vec![1; 33]),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        manager.from_ndarray(&ArrayD::<f64>::zeros(vec![1; 33])),
        Err(Error::Layout { .. })
    ));
}

#[test]
fn the_shared_array_of_an_ndarray_view_must_lie_inside_the_memory_of_its_own() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<i32, _>((4, 5), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let guard = xs.read().unwrap();
    let part = xs.subview(&guard.slice(s![1..;2, ..;-1]).t()).unwrap();
    assert_eq!(*part.read().unwrap(), guard.slice(s![1..;2, ..;-1]).t());
    assert_eq!(
        xs.subview(&guard.row(2)).unwrap().to_ndarray().unwrap(),
        guard.row(2)
    );
    let rows = xs.slice(s![..2, ..]).unwrap();
    assert!(
        matches!(rows.subview(&guard.row(2)), Err(Error::NotShared { .. })),
        "another part of the array"
    );
    assert!(
        matches!(xs.subview(&guard.to_owned()), Err(Error::NotShared { .. })),
        "a private copy"
    );
    assert!(
        matches!(xs.subview(&(&*guard + 1)), Err(Error::NotShared { .. })),
        "the result of an operator"
    );
    assert!(
        matches!(
            xs.subview(&guard.select(Axis(0), &[0, 2])),
            Err(Error::NotShared { .. })
        ),
        "a fancy selection"
    );
    let twin = xs.copy().unwrap();
    assert!(
        matches!(
            xs.subview(&*twin.read().unwrap()),
            Err(Error::NotShared { .. })
        ),
        "another shared array"
    );
    let wide = guard.slice(s![.., 0]);
    let wide = xs.subview(&wide.broadcast((3, 4)).unwrap()).unwrap();
    assert!(
        !wide.is_writable() && wide.read().unwrap().row(2) == guard.column(0),
        "elements that share memory are read-only"
    );
}

#[test]
fn a_view_of_a_view_of_a_view_travels_through_three_processes() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<i32, _>((6, 8), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let first = xs.slice(s![1.., ..;2]).unwrap();
    let printed = common::run(
        child_slices_and_sends_on,
        &[
            "2".to_owned(),
            first.into_dyn().unwrap().handle().to_string(),
        ],
    );
    let plain = Array::from_shape_fn((6, 8), |(i, j)| (10 * i + j) as i32);
    let third = plain.slice(s![1.., ..;2]);
    let third = third.slice(s![..;-1, 1..]);
    let third = third.slice(s![..;-1, 1..]);
    assert!(
        printed.contains(&format!("elements {:?}", third.iter().collect::<Vec<_>>())),
        "{printed} {third}"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_slices_and_sends_on() {
    let arguments = common::arguments();
    let hops: usize = arguments[0].parse().unwrap();
    let view: SharedArrayD<i32> = arguments[1].parse::<Handle>().unwrap().open().unwrap();
    if hops == 0 {
        println!(
            "elements {:?}",
            view.read().unwrap().iter().collect::<Vec<_>>()
        );
    } else {
        let view = view
            .into_dimensionality::<Ix2>()
            .unwrap()
            .slice(s![..;-1, 1..])
            .unwrap()
            .into_dyn()
            .unwrap();
        print!(
            "{}",
            common::run(
                child_slices_and_sends_on,
                &[(hops - 1).to_string(), view.handle().to_string()]
            )
        );
    }
    common::done();
}
