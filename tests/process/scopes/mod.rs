//! Scopes: which process deletes an array, when, and which events delete nothing.

mod failures;
mod races;

use crate::common::{self, Peer, Root, bad};
use ndarray::{Axis, Ix1, Ix2, s};
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, SharedArray2};
use std::{
    path::Path,
    time::{Duration, Instant},
};

#[test]
fn a_local_array_goes_with_the_last_array_view_or_guard_in_the_process_that_owns_it() {
    let root = Root::new();
    let manager = root.manager();
    let make = || {
        let xs = manager.ones::<f64, _>((4, 6)).unwrap();
        let view = xs.slice(s![1.., ..]).unwrap();
        let guard = view.read().unwrap();
        (xs.path().to_path_buf(), xs, view, guard)
    };
    let (path, xs, view, guard) = make();
    drop(xs);
    assert!(path.exists(), "a view was left");
    drop(view);
    assert!(path.exists() && guard.sum() == 18.0, "a guard was left");
    drop(guard);
    assert!(!crate::common::words::has_array(&path), "nothing was left");
    let (path, xs, view, guard) = make();
    drop(guard);
    drop(view);
    assert!(path.exists(), "the array was left");
    drop(xs);
    assert!(!crate::common::words::has_array(&path), "nothing was left");
}

#[test]
fn a_leaked_view_or_guard_keeps_a_local_array() {
    let root = Root::new();
    let manager = root.manager();
    let (xs, ys) = (
        manager.ones::<f64, _>(3).unwrap(),
        manager.ones::<f64, _>(3).unwrap(),
    );
    let (x, y) = (xs.handle(), ys.handle());
    std::mem::forget(xs.view().unwrap());
    std::mem::forget(ys.read().unwrap());
    drop((xs, ys));
    assert_eq!(x.open::<f64, Ix1>().unwrap().read().unwrap().sum(), 3.0);
    assert_eq!(y.open::<f64, Ix1>().unwrap().read().unwrap().sum(), 3.0);
    drop(manager);
    assert_eq!(
        root.contents(),
        Vec::<std::path::PathBuf>::new(),
        "but its store takes it along"
    );
}

#[test]
fn the_transfer_table_holds_between_processes() {
    let root = Root::new();
    let manager = root.manager();
    for (sent, received, survives) in [
        (Scope::Local, "store", true),
        (Scope::Remote, "local", false),
        (Scope::Store, "store", true),
    ] {
        for by in ["handle", "serde"] {
            let xs = manager.options().scope(sent).ones::<f64, _>(3).unwrap();
            let text = if by == "handle" {
                xs.handle().to_string()
            } else {
                serde_json::to_string(&xs).unwrap()
            };
            let printed = common::run(child_receives_reads_and_drops, &[by, &text]);
            assert!(
                printed.contains(&format!("received as {received}\n")),
                "{sent} by {by}: {printed}"
            );
            assert_eq!(
                (xs.path().exists(), xs.scope()),
                (survives, sent),
                "{sent} by {by}"
            );
        }
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_receives_reads_and_drops() {
    let arguments = common::arguments();
    let xs: SharedArray1<f64> = match arguments[0].as_str() {
        "handle" => arguments[1].parse::<Handle>().unwrap().open().unwrap(),
        _ => serde_json::from_str(&arguments[1]).unwrap(),
    };
    assert_eq!(xs.read().unwrap().sum(), 3.0);
    println!("received as {}", xs.scope());
    drop(xs);
    common::done();
}

#[test]
fn opening_again_in_the_process_that_owns_a_local_array_gives_local_and_one_deletion() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .options()
        .name("xs")
        .scope(Scope::Local)
        .ones::<f64, _>(3)
        .unwrap();
    let path = xs.path().to_path_buf();
    let again: SharedArray1<f64> = xs.handle().open().unwrap();
    let by_name = manager.array::<f64, Ix1>("xs").unwrap();
    let by_path = SharedArray1::<f64>::open_path(&path).unwrap();
    let by_serde: SharedArray1<f64> =
        serde_json::from_str(&serde_json::to_string(&xs).unwrap()).unwrap();
    assert!(
        [&xs, &again, &by_name, &by_path, &by_serde]
            .iter()
            .all(|array| array.scope() == Scope::Local)
    );
    drop((xs, by_name, by_path, by_serde));
    assert!(path.exists() && again.scope() == Scope::Local);
    drop(again);
    assert!(!crate::common::words::has_array(&path));
}

#[test]
fn an_unclaimed_remote_array_goes_with_its_store() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager
        .options()
        .scope(Scope::Remote)
        .ones::<f64, _>(3)
        .unwrap();
    let path = xs.path().to_path_buf();
    drop(xs);
    assert!(path.exists());
    assert_eq!(
        manager.sweep().unwrap().arrays,
        0,
        "it waits for its claimant"
    );
    drop(manager);
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_array_outlives_its_deletion_where_it_is_open() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(1000).unwrap();
    let path = xs.path().to_path_buf();
    let mut child = Peer::start(child_reads_what_was_deleted, &[xs.handle().to_string()]);
    child.hear("open");
    drop(xs);
    assert!(!crate::common::words::has_array(&path));
    child.tell("deleted");
    assert_eq!(child.hear("sum "), "2000");
    child.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_what_was_deleted() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let xs: SharedArray1<f64> = handle.open().unwrap();
    println!("open");
    assert_eq!(std::io::stdin().lines().next().unwrap().unwrap(), "deleted");
    xs.write().unwrap().mapv_inplace(|x| 2.0 * x);
    println!("sum {}", xs.slice(s![..]).unwrap().read().unwrap().sum());
    assert!(matches!(
        handle.open::<f64, Ix1>(),
        Err(Error::Released { .. })
    ));
    common::done();
}

#[test]
fn a_release_from_a_view_in_another_process_deletes_the_whole_array() {
    let root = Root::new();
    let manager = root.manager();
    for scope in [Scope::Local, Scope::Remote, Scope::Store] {
        let xs = manager
            .options()
            .scope(scope)
            .ones::<f64, _>((3, 4))
            .unwrap();
        let path = xs.path().to_path_buf();
        common::run(
            child_releases_a_view,
            &[xs.slice(s![1, ..;-2])
                .unwrap()
                .read_only()
                .unwrap()
                .handle()
                .to_string()],
        );
        assert!(!crate::common::words::has_array(&path), "{scope}");
        assert!(matches!(xs.release(), Err(Error::Released { .. })));
        assert!(matches!(
            xs.set_scope(Scope::Store),
            Err(Error::Released { .. })
        ));
        assert!(matches!(
            xs.handle().open::<f64, Ix2>(),
            Err(Error::Released { .. })
        ));
        assert_eq!(
            xs.read().unwrap().sum(),
            12.0,
            "{scope}: open arrays stay usable"
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_releases_a_view() {
    let view: SharedArray1<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    view.release().unwrap();
    assert!(matches!(view.release(), Err(Error::Released { .. })));
    assert_eq!(view.read().unwrap().sum(), 2.0);
    common::done();
}

#[test]
fn a_foreign_open_deletes_nothing() {
    let root = Root::new();
    let manager = root.manager();
    for scope in [Scope::Local, Scope::Store] {
        let xs = manager
            .options()
            .name("xs")
            .scope(scope)
            .ones::<f64, _>(3)
            .unwrap();
        let handle = xs.handle().to_string();
        let printed = common::run(
            child_opens_in_every_way,
            &[Path::new(&handle), manager.path(), xs.path()],
        );
        assert!(printed.contains("5 store"), "{printed}");
        assert!(xs.path().exists() && xs.scope() == scope);
        xs.release().unwrap();
    }
    // Opened by name or path, without a handle that says so, a remote array is not claimed.
    let xs = manager
        .options()
        .name("xs")
        .scope(Scope::Remote)
        .ones::<f64, _>(3)
        .unwrap();
    let handle = xs.handle().to_string().replace(":s=remote:", ":s=store:");
    let printed = common::run(
        child_opens_in_every_way,
        &[Path::new(&handle), manager.path(), xs.path()],
    );
    assert!(
        printed.contains("5 store") && xs.path().exists(),
        "{printed}"
    );
    let printed = common::run(
        child_receives_reads_and_drops,
        &["handle", &xs.handle().to_string()],
    );
    assert!(
        printed.contains("received as local") && !xs.path().exists(),
        "{printed}"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_in_every_way() {
    let arguments = common::arguments();
    let handle: Handle = arguments[0].parse().unwrap();
    let manager = Manager::open(&arguments[1]).unwrap();
    let opened = [
        handle.open::<f64, Ix1>().unwrap(),
        serde_json::from_str(&serde_json::to_string(&handle).unwrap()).unwrap(),
        manager.array("xs").unwrap(),
        manager.options().name("xs").open_or_zeros(3).unwrap(),
        SharedArray1::open_path(&arguments[2]).unwrap(),
    ];
    let all_store = opened
        .iter()
        .all(|array| array.read().unwrap().sum() == 3.0 && array.scope() == Scope::Store);
    println!(
        "{} {}",
        opened.len(),
        if all_store { "store" } else { "other" }
    );
    drop((opened, manager));
    common::done();
}

#[test]
fn a_failed_open_deletes_and_claims_nothing() {
    let root = Root::new();
    let manager = root.manager();
    for scope in [Scope::Remote, Scope::Local, Scope::Store] {
        let xs = manager.options().scope(scope).ones::<f64, _>(3).unwrap();
        common::run(child_fails_to_open, &[xs.handle().to_string()]);
        assert!(xs.path().exists(), "{scope}");
        let printed = common::run(
            child_receives_reads_and_drops,
            &["handle", &xs.handle().to_string()],
        );
        let expected = if scope == Scope::Remote {
            "local"
        } else {
            "store"
        };
        assert!(
            printed.contains(&format!("received as {expected}\n")),
            "{scope}: {printed}"
        );
        let other = root.manager();
        let copied = other.path().join("copied.ndshm");
        let source = manager.options().scope(scope).ones::<f64, _>(3).unwrap();
        std::fs::copy(source.path(), &copied).unwrap();
        assert!(matches!(
            SharedArray1::<f64>::open_path(&copied),
            Err(Error::Header { .. })
        ));
        assert!(copied.exists() && source.path().exists(), "{scope}");
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_fails_to_open() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    assert!(matches!(
        handle.open::<i64, Ix1>(),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(handle.open::<f64, Ix2>(), Err(Error::Rank { .. })));
    assert!(matches!(
        handle
            .with_layout(8, &[3], &[8])
            .unwrap()
            .open::<f64, Ix1>(),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        handle
            .with_layout(0, &[3], &[0])
            .unwrap()
            .open::<f64, Ix1>(),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        bad::with_wrong_fingerprint(&handle).open::<f64, Ix1>(),
        Err(Error::Handle { .. })
    ));
    assert!(
        serde_json::from_str::<SharedArray2<f64>>(&serde_json::to_string(&handle).unwrap())
            .is_err()
    );
    common::done();
}

#[test]
fn a_name_that_was_given_anew_is_not_deleted_by_its_old_owner() {
    let root = Root::new();
    let manager = root.manager();
    let make = || {
        manager
            .options()
            .name("xs")
            .scope(Scope::Local)
            .ones::<f64, _>(3)
    };
    let old = make().unwrap();
    manager.remove("xs").unwrap();
    let new = make().unwrap();
    drop(old);
    assert_eq!(
        manager.array::<f64, Ix1>("xs").unwrap().id(),
        new.id(),
        "released, then made anew"
    );
    // Removed behind the library's back, the old one still counts as owned.
    std::fs::remove_file(new.path()).unwrap();
    let newer = make().unwrap();
    drop(new);
    assert_eq!(
        manager.array::<f64, Ix1>("xs").unwrap().id(),
        newer.id(),
        "unlinked, then made anew"
    );
    let mut old = newer;
    for round in 0..500 {
        let start = std::sync::Barrier::new(2);
        let new = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                drop(old);
            });
            start.wait();
            if round % 2 == 0 {
                // The first of the two deletes it.
                let _ = manager.remove("xs");
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                match make() {
                    Ok(new) => break new,
                    Err(error) => assert!(
                        matches!(error, Error::AlreadyExists { .. }) && Instant::now() < deadline,
                        "{error}"
                    ),
                }
            }
        });
        assert_eq!(
            manager.array::<f64, Ix1>("xs").unwrap().id(),
            new.id(),
            "round {round}"
        );
        old = new;
    }
}
