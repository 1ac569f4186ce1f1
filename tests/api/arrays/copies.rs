//! Copies of arrays, and assignments between them.

use super::*;

#[test]
fn a_copy_is_shared_memory_of_its_own() {
    let root = Root::new();
    let (manager, other) = (root.manager(), root.manager());
    let xs = manager
        .options()
        .name("xs")
        .from_shape_fn::<i32, _>((3, 4), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let view = xs.slice(s![..;-1, 1..]).unwrap();
    for copy in [view.copy().unwrap(), view.copy_into(&other).unwrap()] {
        assert_eq!(
            (copy.scope(), copy.name(), copy.is_view(), copy.order()),
            (Scope::Local, None, false, Some(Order::C))
        );
        assert_eq!(copy.to_ndarray().unwrap(), view.to_ndarray().unwrap());
        let opened = copy.handle().open::<i32, Ix2>().unwrap();
        opened.write().unwrap().fill(0);
        assert_eq!(copy.read().unwrap().sum(), 0);
    }
    assert_eq!(
        (xs.read().unwrap()[[2, 3]], other.list().unwrap().len()),
        (23, 0)
    );
}

#[test]
fn one_shared_array_is_assigned_to_another_or_to_itself() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .from_shape_fn::<i32, _>((3, 4), |(i, j)| (10 * i + j) as i32)
        .unwrap();
    let ys = manager.zeros::<i32, _>((3, 4)).unwrap();
    ys.assign(&xs).unwrap();
    assert_eq!(ys.to_ndarray().unwrap(), xs.to_ndarray().unwrap());
    ys.assign(&xs.slice(s![1, ..]).unwrap()).unwrap();
    assert!(
        ys.read()
            .unwrap()
            .rows()
            .into_iter()
            .all(|row| row == ndarray::array![10, 11, 12, 13])
    );
    ys.assign(&ys.slice(s![.., ..;-1]).unwrap()).unwrap();
    assert_eq!(ys.read().unwrap().row(0), ndarray::array![13, 12, 11, 10]);
    // Of one array, but not of the same bytes: no copy, both guards at once.
    ys.slice(s![.., ..2])
        .unwrap()
        .assign(&ys.slice(s![.., 2..]).unwrap())
        .unwrap();
    assert_eq!(ys.read().unwrap().row(0), ndarray::array![11, 10, 11, 10]);
    assert!(matches!(
        ys.assign(&xs.slice(s![.., ..3]).unwrap()),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        ys.read_only().unwrap().assign(&xs),
        Err(Error::ReadOnly { .. })
    ));
    std::thread::scope(|scope| {
        for (to, from) in [(&xs, &ys), (&ys, &xs)] {
            scope.spawn(|| (0..1000).for_each(|_| to.assign(from).unwrap()));
        }
    });
}
