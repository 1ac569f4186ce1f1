//! Arrays that get other names while processes have them open, own them or have handles to them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root};
use ndarray::Ix1;
use ndshm::{ArrayInfo, Error, Handle, Manager, Scope, SharedArray1, verify};
use std::{path::Path, time::Duration};

fn sum(manager: &Manager, name: &str) -> f64 {
    let array: SharedArray1<f64> = manager.array(name).unwrap();
    array.read().unwrap().sum()
}

fn names(manager: &Manager) -> Vec<String> {
    let list = manager.list().unwrap();
    list.into_iter().filter_map(|info| info.name).collect()
}

#[test]
fn a_renamed_array_is_found_by_its_new_name_alone() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").ones::<f64, _>(3).unwrap();
    manager.rename("xs", "a new name").unwrap();
    assert!(matches!(
        manager.array::<f64, Ix1>("xs"),
        Err(Error::NotFound { .. })
    ));
    assert_eq!(
        (sum(&manager, "a new name"), names(&manager)),
        (3.0, vec!["a new name".to_owned()])
    );
    // The array is one for this process, whichever name it opened.
    xs.write().unwrap().fill(2.0);
    assert_eq!(sum(&manager, "a new name"), 6.0);
    manager.rename("a new name", "xs").unwrap();
    assert_eq!(sum(&manager, "xs"), 6.0);
    assert!(verify(manager.path()).unwrap().findings.is_empty());
}

#[test]
fn no_rename_replaces_an_array_or_takes_a_wrong_name() {
    let root = Root::new();
    let manager = root.manager();
    manager.options().name("xs").ones::<f64, _>(3).unwrap();
    manager.options().name("ys").zeros::<f64, _>(3).unwrap();
    for to in ["ys", "xs"] {
        assert!(matches!(
            manager.rename("xs", to),
            Err(Error::AlreadyExists { .. })
        ));
    }
    for to in ["", ".xs", "a/b", &"0".repeat(32)] {
        assert!(matches!(manager.rename("xs", to), Err(Error::Name { .. })));
    }
    for from in ["zs", &"0".repeat(32)] {
        for to in ["ys", "new"] {
            assert!(matches!(
                manager.rename(from, to),
                Err(Error::NotFound { .. })
            ));
        }
    }
    std::fs::write(manager.path().join("bad.ndshm"), "no array").unwrap();
    assert!(matches!(
        manager.rename("bad", "new"),
        Err(Error::Header { .. })
    ));
    assert!(matches!(
        manager.rename("xs", "bad"),
        Err(Error::AlreadyExists { .. })
    ));
    std::fs::remove_file(manager.path().join("bad.ndshm")).unwrap();
    assert_eq!((sum(&manager, "xs"), sum(&manager, "ys")), (3.0, 0.0));
    let other = manager.clone();
    other.close().unwrap();
    assert!(matches!(
        manager.rename("xs", "new"),
        Err(Error::Closed { .. })
    ));
}

#[test]
fn an_array_without_a_name_gets_one() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 20)
        .create()
        .unwrap();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let stem = xs.path().file_stem().unwrap().to_str().unwrap().to_owned();
    manager.rename(&stem, "named").unwrap();
    assert_eq!((sum(&manager, "named"), xs.scope()), (3.0, Scope::Local));
    // Its owner deletes it where it is by now, and does not keep a file that has another name.
    drop(xs);
    assert!(!manager.contains("named").unwrap());
    assert_eq!(common::files_below(manager.path()).len(), 1);
}

#[test]
fn an_owner_that_opened_its_array_by_the_new_name_too_keeps_it() {
    let root = Root::new();
    let manager = root.manager();
    let options = manager.options().name("xs").scope(Scope::Local);
    let xs = options.ones::<f64, _>(3).unwrap();
    manager.rename("xs", "ys").unwrap();
    // The last use of the array is not this one.
    assert_eq!(sum(&manager, "ys"), 3.0);
    assert!(manager.contains("ys").unwrap());
    drop(xs);
    assert!(!manager.contains("ys").unwrap());
}

#[test]
fn a_handle_that_was_given_out_before_still_opens_the_array() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").ones::<f64, _>(3).unwrap();
    let part = xs.slice(ndarray::s![1..]).unwrap();
    let (whole, part) = (xs.handle().to_string(), part.handle().to_string());
    drop(xs);
    manager.rename("xs", "ys").unwrap();
    // Another array has the old name by now.
    manager.options().name("xs").zeros::<f64, _>(9).unwrap();
    let printed = common::run(child_sums_what_it_opens, &[whole.clone(), part]);
    assert!(printed.contains("sums [3.0, 2.0] in ys"), "{printed}");
    let handle: Handle = whole.parse().unwrap();
    assert_eq!(handle.info().unwrap().name.as_deref(), Some("ys"));
    manager.remove("ys").unwrap();
    assert!(matches!(
        handle.open::<f64, Ix1>(),
        Err(Error::PathReused { .. })
    ));
    assert!(matches!(handle.info(), Err(Error::PathReused { .. })));
}

#[test]
#[ignore = "runs in a child"]
fn child_sums_what_it_opens() {
    let handles = common::arguments();
    let open = |text: &String| text.parse::<Handle>().unwrap().open::<f64, Ix1>().unwrap();
    let sums: Vec<f64> = handles
        .iter()
        .map(|handle| open(handle).read().unwrap().sum())
        .collect();
    println!("sums {sums:?} in {}", open(&handles[0]).name().unwrap());
    common::done();
}

#[test]
fn an_owner_deletes_an_array_that_another_process_renamed() {
    let root = Root::new();
    let manager = root.manager();
    let directory = manager.path().to_str().unwrap().to_owned();
    let mut owner = Peer::start(child_owns_an_array, &[directory]);
    owner.hear("owns");
    manager.rename("owned", "renamed").unwrap();
    assert_eq!(sum(&manager, "renamed"), 3.0);
    owner.finish();
    assert!(names(&manager).is_empty());
    assert_eq!(common::files_below(manager.path()).len(), 1);
}

#[test]
#[ignore = "runs in a child"]
fn child_owns_an_array() {
    let manager = Manager::open(Path::new(&common::arguments()[0])).unwrap();
    let options = manager.options().name("owned").scope(Scope::Local);
    let owned = options.ones::<f64, _>(3).unwrap();
    println!("owns");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(owned);
    common::done();
}

#[test]
fn a_thread_that_waits_for_a_name_finds_the_renamed_array() {
    let root = Root::new();
    let manager = root.manager();
    manager.options().name("xs").ones::<f64, _>(3).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| manager.wait_for("ready", Duration::from_secs(60)));
        manager.rename("xs", "ready").unwrap();
        let found: ArrayInfo = waits.join().unwrap().unwrap();
        assert_eq!(found.name.as_deref(), Some("ready"));
    });
}

#[test]
fn an_array_takes_the_place_of_another_which_its_users_keep() {
    let root = Root::new();
    let manager = root.manager();
    let old = manager.options().name("xs").zeros::<f64, _>(3).unwrap();
    manager.options().name("next").ones::<f64, _>(3).unwrap();
    manager.replace("next", "xs").unwrap();
    assert_eq!((sum(&manager, "xs"), names(&manager).len()), (3.0, 1));
    old.write().unwrap().fill(7.0);
    assert_eq!(
        (sum(&manager, "xs"), old.read().unwrap().sum()),
        (3.0, 21.0)
    );
    assert!(matches!(
        old.handle().read_only().info(),
        Err(Error::PathReused { .. })
    ));
    // Without an array of that name it is a rename, and no array replaces itself.
    manager.replace("xs", "ys").unwrap();
    assert_eq!(names(&manager), ["ys"]);
    assert!(matches!(
        manager.replace("ys", "ys"),
        Err(Error::AlreadyExists { .. })
    ));
    assert!(matches!(
        manager.replace("xs", "ys"),
        Err(Error::NotFound { .. })
    ));
    assert_eq!(sum(&manager, "ys"), 3.0);
    assert_eq!(common::files_below(manager.path()).len(), 2);
}

#[test]
fn a_renamed_array_grows_on_and_is_copied_without_a_lock() {
    let root = Root::new();
    let manager = root.manager();
    let log = manager.options().name("log");
    let log = log.growing::<u8, _>(64, 1 << 20).unwrap();
    log.append_row(&ndarray::Array1::from_elem(1 << 20, 1))
        .unwrap();
    let xs = manager.options().name("xs").ones::<f64, _>(3).unwrap();
    manager.rename("log", "journal").unwrap();
    manager.rename("xs", "ys").unwrap();
    // Another array has the old name.
    manager.options().name("log").zeros::<u8, _>(3).unwrap();
    // Beyond the space that was reserved when it had its first name.
    for _ in 0..8 {
        log.append_row(&ndarray::Array1::from_elem(1 << 20, 2))
            .unwrap();
    }
    let again = manager.growing::<u8, ndarray::Ix2>("journal").unwrap();
    assert_eq!((again.len(), again.rows(8..9).unwrap()[[0, 5]]), (9, 2));
    assert_eq!(xs.to_ndarray_unlocked().unwrap().sum(), 3.0);
    log.release().unwrap();
    assert!(matches!(
        log.append_row(&ndarray::Array1::zeros(1 << 20)),
        Err(Error::Released { .. })
    ));
    assert!(manager.contains("log").unwrap());
}
