//! Panics, obstacles and failed calls: an array is deleted once or not at all.

use super::*;

#[test]
fn a_panic_deletes_the_local_arrays_and_the_ephemeral_store_of_its_process() {
    let root = Root::new();
    let manager = root.manager();
    let mine = manager.ones::<f64, _>(3).unwrap();
    let child = common::start(
        child_panics,
        &[
            root.path(),
            manager.path(),
            Path::new(&mine.handle().to_string()),
        ],
    );
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(101) && printed.contains("about to panic"),
        "{}\n{printed}",
        output.status
    );
    let left: Vec<_> = manager
        .list()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(left, [None, Some("of the store".to_owned())]);
    assert_eq!(
        root.contents().len(),
        1 + 1 + 2,
        "the store, its lock file, two arrays: {:?}",
        root.contents()
    );
    assert!(mine.path().exists());
}

#[test]
#[ignore = "runs in a child"]
fn child_panics() {
    let arguments = common::arguments();
    let own = Manager::builder().root(&arguments[0]).create().unwrap();
    let _xs = own.ones::<f64, _>(3).unwrap();
    let shared = Manager::open(&arguments[1]).unwrap();
    let _stays = shared
        .options()
        .name("of the store")
        .ones::<f64, _>(3)
        .unwrap();
    let _goes = shared
        .options()
        .name("local")
        .scope(Scope::Local)
        .ones::<f64, _>(3)
        .unwrap();
    let _foreign: SharedArray1<f64> = arguments[2].parse::<Handle>().unwrap().open().unwrap();
    let in_thread = shared.ones::<f64, _>(3).unwrap();
    let path = in_thread.path().to_path_buf();
    let panicked = std::thread::spawn(move || {
        let _in_thread = in_thread;
        panic!("in a thread");
    });
    assert!(panicked.join().is_err() && !crate::common::words::has_array(&path));
    println!("about to panic");
    panic!("in the test");
}

#[test]
fn release_and_close_report_what_drop_is_silent_about() {
    let root = Root::new();
    let output = common::start(child_meets_obstacles, &[root.path()])
        .wait_with_output()
        .unwrap();
    let (printed, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success() && printed.contains(common::MARKER),
        "{}\n{printed}\n{errors}",
        output.status
    );
    assert_eq!(errors, "");
}

#[test]
#[ignore = "runs in a child"]
fn child_meets_obstacles() {
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(&root).recycle(0).create().unwrap();
    // A directory in the place of its file cannot be unlinked.
    let obstructed = || {
        let xs = manager.ones::<f64, _>(3).unwrap();
        std::fs::remove_file(xs.path()).unwrap();
        std::fs::create_dir(xs.path()).unwrap();
        xs
    };
    let (reporting, silent) = (obstructed(), obstructed());
    let error = reporting.release().unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path == reporting.path()),
        "{error}"
    );
    assert!(
        matches!(reporting.release(), Err(Error::Io { .. })),
        "the next one tries again"
    );
    assert_eq!(
        reporting.read().unwrap().sum(),
        3.0,
        "a failed release takes no data away"
    );
    let blocked = silent.path().to_path_buf();
    let released = manager.ones::<f64, _>(3).unwrap();
    released.release().unwrap();
    drop((reporting, silent, released));
    assert!(blocked.is_dir(), "what is not the array stays");
    let error = manager.close().unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    let (store, open) = (
        manager.path().to_path_buf(),
        manager.ones::<f64, _>(3).unwrap(),
    );
    let clone = manager.clone();
    drop((manager, clone));
    assert!(store.exists() && open.read().unwrap().sum() == 3.0);
    let closed = Manager::builder().root(&root).create().unwrap();
    let (open, view) = (
        closed.ones::<f64, _>(3).unwrap(),
        closed.ones::<f64, _>(3).unwrap().view().unwrap(),
    );
    closed.close().unwrap();
    assert!(matches!(closed.close(), Err(Error::Closed { .. })));
    view.release().unwrap();
    assert!(matches!(view.release(), Err(Error::Released { .. })));
    drop((open, view, closed));
    common::done();
}

#[test]
fn a_failed_call_takes_no_array_away() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>((2, 3)).unwrap();
    assert!(xs.into_dimensionality::<Ix1>().is_err());
    assert!(xs.into_shape_with_order(7).is_err());
    assert!(xs.t().unwrap().into_shape_with_order(6).is_err());
    assert!(
        xs.slice(s![5, ..]).is_err()
            && xs.slice_axis(Axis(2), (..).into()).is_err()
            && xs.index_axis(Axis(0), 2).is_err()
    );
    assert!(
        xs.insert_axis(Axis(3)).is_err()
            && xs.split_at(Axis(0), 3).is_err()
            && xs.axis_chunks(Axis(0), 0).is_err()
    );
    assert!(
        xs.permuted_axes([0, 0]).is_err()
            && xs.broadcast(4).is_err()
            && xs.subview(&*ndarray::arr1(&[1.0])).is_err()
    );
    assert!(xs.assign(&manager.ones::<f64, _>(5).unwrap()).is_err());
    assert!(xs.read_only().unwrap().write().is_err());
    assert_eq!((xs.read().unwrap().sum(), xs.scope()), (6.0, Scope::Local));
    manager.close().unwrap();
    assert!(xs.copy().is_err() && xs.handle().open::<f64, Ix2>().is_err());
    assert_eq!(xs.read().unwrap().sum(), 6.0);
}
