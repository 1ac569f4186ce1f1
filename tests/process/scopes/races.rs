//! Names and arrays that threads and processes open, drop and make again at the same time.

use super::*;

#[test]
fn a_thread_that_opens_an_array_the_moment_it_is_published_shares_its_hold() {
    let root = Root::new();
    let manager = root.manager();
    for round in 0..2000 {
        let name = format!("array-{round}");
        let made = manager.options().name(&name).scope(Scope::Local);
        std::thread::scope(|scope| {
            let opener = scope.spawn(|| {
                loop {
                    match manager.array::<f64, Ix1>(&name) {
                        Ok(array) => return array,
                        Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
                    }
                }
            });
            let mine = made.zeros::<f64, _>(3).unwrap();
            let opened = opener.join().unwrap();
            let guard = mine.write().unwrap();
            assert!(
                matches!(opened.try_write(), Err(Error::WouldDeadlock { .. })),
                "round {round}: two lock holders of one process"
            );
            drop(guard);
            drop(opened);
            assert!(
                mine.path().exists(),
                "round {round}: the opener's end deleted the array that its maker holds"
            );
        });
    }
}

#[test]
fn the_name_of_an_array_whose_deleter_did_not_finish_is_free() {
    let root = Root::new();
    common::run(
        child_drops_a_named_array_without_a_descriptor_to_spare,
        &[root.path()],
    );
    assert!(root.contents().is_empty(), "{:?}", root.contents());
}

#[test]
#[ignore = "runs in a child"]
fn child_drops_a_named_array_without_a_descriptor_to_spare() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let manager = ndshm::Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // An unlink of a chosen name needs a descriptor: without one it is marked as released and keeps
    // its file.
    let leave_half_deleted = || {
        let array = manager
            .options()
            .name("xs")
            .scope(Scope::Local)
            .ones::<f64, _>(3)
            .unwrap();
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(64),
                maximum,
            },
        )
        .unwrap();
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        drop(array);
        drop(files);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        assert!(!manager.contains("xs").unwrap() && manager.list().unwrap().is_empty());
        assert!(matches!(
            manager.array::<f64, Ix1>("xs"),
            Err(Error::Released { .. })
        ));
    };
    leave_half_deleted();
    assert!(matches!(manager.remove("xs"), Err(Error::Released { .. })));
    assert!(!manager.contains("xs").unwrap());
    leave_half_deleted();
    assert_eq!(manager.sweep().unwrap().arrays, 1);
    assert!(!manager.contains("xs").unwrap());
    leave_half_deleted();
    assert_eq!(
        manager
            .options()
            .name("xs")
            .zeros::<f64, _>(4)
            .unwrap()
            .len(),
        4
    );
    manager.remove("xs").unwrap();
    leave_half_deleted();
    assert_eq!(
        manager
            .options()
            .name("xs")
            .open_or_zeros::<f64, _>(5)
            .unwrap()
            .len(),
        5
    );
    manager.remove("xs").unwrap();
    leave_half_deleted();
    let options = manager.options().name("xs");
    let any = options.open_or_zeros_any(&"<f8".parse().unwrap(), &[6], ndshm::Order::C);
    assert_eq!(any.unwrap().len(), 6);
    drop(manager);
    common::done();
}

#[test]
fn a_name_that_is_dropped_and_made_again_at_once_never_fails() {
    let root = Root::new();
    let manager = root.manager();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let options = manager.options().name("xs").scope(Scope::Local);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                drop(options.open_or_zeros::<f64, _>(3).unwrap());
            }
        });
        for _ in 0..2000 {
            drop(options.open_or_zeros::<f64, _>(3).unwrap());
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        other.join().unwrap();
    });
}

#[test]
#[ignore = "started by another test"]
fn child_removes_a_name_again_and_again() {
    let manager = ndshm::Manager::open(common::arguments().remove(0)).unwrap();
    println!("ready");
    loop {
        match manager.remove("x") {
            Ok(()) | Err(Error::NotFound { .. } | Error::Released { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Python's `open_or_zeros` took the file of an array that was being released for a taken name, or
/// for an error: beside a remover one call in twenty failed, and every call where a remover had
/// been killed between the mark and the unlink.
#[test]
fn opening_or_making_a_name_beside_removers_that_are_killed_never_fails() {
    let root = Root::new();
    let manager = root.manager();
    let options = manager.options().name("x");
    let (dtype, order) = ("<u8".parse().unwrap(), ndshm::Order::C);
    for round in 0..10 {
        let mut remover =
            common::Peer::start(child_removes_a_name_again_and_again, &[manager.path()]);
        remover.hear("ready");
        for _ in 0..300 {
            let any = options.open_or_zeros_any(&dtype, &[100], order);
            assert_eq!(any.unwrap().shape(), [100], "round {round}");
            assert_eq!(options.open_or_zeros::<u64, _>(100).unwrap().len(), 100);
        }
        remover.kill();
        assert!(options.open_or_zeros_any(&dtype, &[100], order).is_ok());
        assert!(manager.contains("x").unwrap());
    }
}
