//! Shared arrays used like those of ndarray: operators, filling in place, stacking, short handles.

use super::*;

#[test]
fn operators_and_fancy_selections_give_plain_arrays() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.from_shape_fn::<f64, _>(8, |i| i as f64).unwrap();
    let guard = xs.read().unwrap();
    let mask = guard.mapv(|x| x % 3.0 == 1.0);
    let chosen = |mask: &Array1<bool>| {
        guard
            .iter()
            .zip(mask)
            .filter(|(_, is_in)| **is_in)
            .map(|(&x, _)| x)
            .collect::<Array1<f64>>()
    };
    let plain: [(&str, Array1<f64>, Array1<f64>); 7] = [
        (
            "a list of indices",
            guard.select(Axis(0), &[6, 0, 6]),
            array![6.0, 0.0, 6.0],
        ),
        (
            "a list of neighbours",
            guard.select(Axis(0), &[2, 3, 4]),
            array![2.0, 3.0, 4.0],
        ),
        ("a mask", chosen(&mask), array![1.0, 4.0, 7.0]),
        (
            "a mask of all",
            chosen(&Array1::from_elem(8, true)),
            Array1::range(0.0, 8.0, 1.0),
        ),
        ("a sum", &*guard + &*guard, Array1::range(0.0, 16.0, 2.0)),
        ("a product", &*guard * 2.0, Array1::range(0.0, 16.0, 2.0)),
        ("a negation", -&*guard, Array1::range(0.0, -8.0, -1.0)),
    ];
    for (what, mut result, expected) in plain {
        assert_eq!(result, expected, "{what}");
        assert!(
            matches!(xs.subview(&result), Err(Error::NotShared { path }) if path == xs.path()),
            "{what}"
        );
        result.fill(-1.0);
    }
    assert_eq!(
        xs.subview(&guard.slice(s![2..;3])).unwrap().id(),
        xs.id(),
        "a slice shares"
    );
    assert_eq!((guard.sum(), manager.list().unwrap().len()), (28.0, 1));
}

/// As any function of another library that fills a given array.
fn fill_with_squares(out: &mut ArrayRef<f64, Ix2>) {
    out.indexed_iter_mut()
        .for_each(|((i, j), x)| *x = ((i + j) * (i + j)) as f64);
}

#[test]
fn an_existing_array_is_filled_in_place_through_a_guard() {
    let root = Root::new();
    let manager = root.manager();
    let a = manager
        .from_shape_fn::<f64, _>((2, 3), |(i, j)| (i + j) as f64)
        .unwrap();
    let b = manager
        .from_shape_fn::<f64, _>((3, 2), |(i, j)| (2 * i + j) as f64)
        .unwrap();
    let out = manager.ones::<f64, _>((4, 4)).unwrap();
    let corner = out.slice(s![1..3, 2..]).unwrap();
    let received: SharedArray2<f64> = out.handle().open().unwrap();
    let expected = a.read().unwrap().dot(&*b.read().unwrap());
    general_mat_mul(
        1.0,
        &a.read().unwrap(),
        &b.read().unwrap(),
        0.0,
        &mut corner.write().unwrap(),
    );
    assert_eq!(received.read().unwrap().slice(s![1..3, 2..]), expected);
    assert_eq!(
        received.read().unwrap().sum(),
        expected.sum() + 12.0,
        "nothing else was touched"
    );
    general_mat_mul(
        1.0,
        &a.read().unwrap(),
        &b.read().unwrap(),
        1.0,
        &mut corner.write().unwrap(),
    );
    assert_eq!(
        received.slice(s![1..3, 2..]).unwrap().to_ndarray().unwrap(),
        &expected * 2.0
    );
    let (two, three) = (
        manager.from_elem((4, 4), 2.0).unwrap(),
        manager.from_elem((4, 4), 3.0).unwrap(),
    );
    Zip::from(&mut *out.write().unwrap())
        .and(&*two.read().unwrap())
        .and(&*three.read().unwrap())
        .for_each(|x, &y, &z| *x = y * z);
    assert!(received.read().unwrap().iter().all(|&x| x == 6.0));
    azip!((x in &mut *out.t().unwrap().write().unwrap(), &y in &*two.read().unwrap()) *x += y);
    assert!(received.read().unwrap().iter().all(|&x| x == 8.0));
    fill_with_squares(&mut corner.write().unwrap());
    assert_eq!(received.read().unwrap().row(2), array![8.0, 8.0, 1.0, 4.0]);
    out.write().unwrap().assign(&two.read().unwrap());
    assert_eq!(received.read().unwrap().sum(), 32.0);
}

#[test]
fn an_array_is_squeezed_without_a_copy() {
    let root = Root::new();
    let manager = root.manager();
    let mut worker = Peer::start(child_works_on_what_it_is_sent, &[""]);
    let xs = manager.zeros::<f64, _>((1, 5, 1)).unwrap();
    let squeezed: SharedArray1<f64> = xs
        .index_axis(Axis(2), 0)
        .unwrap()
        .index_axis(Axis(0), 0)
        .unwrap();
    let reshaped = xs.into_shape_with_order(5).unwrap();
    let single = squeezed
        .slice(s![3..4])
        .unwrap()
        .index_axis(Axis(0), 0)
        .unwrap();
    for view in [squeezed.into_dyn(), reshaped.into_dyn(), single.into_dyn()] {
        let view = view.unwrap();
        assert_eq!(view.id(), xs.id());
        ask(&mut worker, format!("add 1 {}", view.handle()));
    }
    assert_eq!(
        xs.to_ndarray().unwrap(),
        array![[[2.0], [2.0], [2.0], [3.0], [2.0]]]
    );
    worker.finish();
}

#[test]
fn many_received_arrays_are_stacked_and_concatenated() {
    let root = Root::new();
    let manager = root.manager();
    let mut pool = pool();
    let store = manager.path().to_str().unwrap();
    let handles = [7, 5].map(|size| {
        ask_all(&mut pool, |worker| {
            format!("make remote {} {store}", if size == 7 { 7 } else { worker })
        })
    });
    pool.into_iter().for_each(Peer::finish);
    let [equal, growing] = handles.map(|texts| {
        texts
            .iter()
            .map(|text| text.parse::<Handle>().unwrap().open().unwrap())
            .collect::<Vec<SharedArray1<f64>>>()
    });
    let guards: Vec<_> = equal.iter().map(|xs| xs.read().unwrap()).collect();
    let views: Vec<_> = guards.iter().map(|guard| guard.view()).collect();
    assert_eq!(
        stack(Axis(0), &views).unwrap(),
        Array2::from_shape_fn((WORKERS, 7), |(_, j)| j as f64)
    );
    assert_eq!(
        stack(Axis(1), &views).unwrap(),
        Array2::from_shape_fn((7, WORKERS), |(i, _)| i as f64)
    );
    let guards: Vec<_> = growing.iter().map(|xs| xs.read().unwrap()).collect();
    let views: Vec<_> = guards.iter().map(|guard| guard.view()).collect();
    let all = concatenate(Axis(0), &views).unwrap();
    assert_eq!(
        all,
        (0..WORKERS)
            .flat_map(|n| (0..n).map(|i| i as f64))
            .collect::<Array1<f64>>()
    );
    assert!(matches!(
        growing[9].subview(&all),
        Err(Error::NotShared { .. })
    ));
    let shared = manager.from_ndarray(&all).unwrap();
    assert_eq!((shared.scope(), shared.len()), (Scope::Local, 45));
}

#[test]
fn a_handle_has_less_than_300_bytes_for_any_size_and_slice() {
    let root = Root::new();
    let manager = Manager::builder().root(root.path()).create().unwrap();
    let check = |array: &SharedArrayD<u8>| {
        let handle = array.handle();
        let lengths = [
            handle.to_string().len(),
            postcard::to_allocvec(&handle).unwrap().len(),
        ];
        assert!(
            lengths.iter().all(|&len| len < 300),
            "{lengths:?}: {handle}"
        );
    };
    for size in [0, 1, 1000, 1 << 20] {
        let xs = manager.zeros::<u8, _>(size).unwrap();
        check(&xs.into_dyn().unwrap());
        check(&xs.slice(s![..size / 2;-1]).unwrap().into_dyn().unwrap());
    }
    let xs = manager.zeros::<u8, _>((30, 20, 30, 20)).unwrap();
    check(&xs.into_dyn().unwrap());
    check(
        &xs.slice(s![1..;3, ..;-1, 2..29, ..;-7])
            .unwrap()
            .into_dyn()
            .unwrap(),
    );
    check(&xs.slice(s![3, .., 2, ..]).unwrap().into_dyn().unwrap());
    let single = manager
        .options()
        .name("a name of some length")
        .zeros::<u8, _>(())
        .unwrap();
    check(
        &single
            .broadcast((30_000, 20_000, 30_000, 20_000))
            .unwrap()
            .into_dyn()
            .unwrap(),
    );
}
