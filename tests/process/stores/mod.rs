//! Stores: their places, their owners, their contents, and their deletion.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod directories;
mod others;
mod places;
mod sweeps;

use crate::common::{self, Root, words};
use ndarray::{Ix1, Ix2};
use ndshm::{Error, Manager, Scope};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const NOTHING: Vec<PathBuf> = Vec::new();

#[test]
fn an_ephemeral_store_goes_with_the_last_clone_of_its_owner() {
    let root = Root::new();
    let owner = root.manager();
    assert!(owner.is_owner() && owner.path().starts_with(root.path()));
    assert_eq!(
        std::fs::metadata(owner.path())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
    let clone = owner.clone();
    let member = Manager::open(owner.path()).unwrap();
    let xs = member.ones::<f64, _>(10).unwrap();
    drop(owner);
    assert!(clone.is_owner() && !member.is_owner() && clone.path().exists());
    drop(clone);
    assert_eq!(root.contents(), NOTHING);
    assert!(matches!(
        member.zeros::<f64, _>(1),
        Err(Error::Closed { .. })
    ));
    assert!(matches!(
        member.array::<f64, Ix1>("xs"),
        Err(Error::Closed { .. })
    ));
    assert!(matches!(member.list(), Err(Error::Closed { .. })));
    assert!(matches!(member.close(), Err(Error::Closed { .. })));
    assert!(matches!(xs.copy(), Err(Error::Closed { .. })));
    assert_eq!(xs.read().unwrap().sum(), 10.0, "an open array stays usable");
}

#[test]
fn only_the_owner_closes_or_keeps_an_ephemeral_store() {
    let root = Root::new();
    let owner = root.manager();
    let member = Manager::open(owner.path()).unwrap();
    assert!(matches!(member.close(), Err(Error::NotOwner { .. })));
    assert!(matches!(member.persist(), Err(Error::NotOwner { .. })));
    let path = owner.persist().unwrap();
    assert!(!owner.is_owner());
    drop((owner, member));
    Manager::open(&path).unwrap().close().unwrap();
    assert_eq!(root.contents(), NOTHING);
}

#[test]
fn a_persistent_store_stays_until_it_is_closed() {
    let root = Root::new();
    let path = root.path().join("run-7");
    let manager = Manager::create(&path).unwrap();
    assert!(!manager.is_owner());
    manager
        .options()
        .name("results")
        .from_elem::<i32, _>((2, 3), 7)
        .unwrap();
    drop(manager);
    assert!(matches!(
        Manager::create(&path),
        Err(Error::AlreadyExists { .. })
    ));
    let again = Manager::open_or_create(&path).unwrap();
    assert_eq!(
        again
            .array::<i32, Ix2>("results")
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        42
    );
    assert_eq!(root.manager().sweep().unwrap().stores, 0);
    again.close().unwrap();
    assert!(matches!(again.close(), Err(Error::Closed { .. })));
    assert_eq!(root.contents(), NOTHING);
    assert!(matches!(Manager::open(&path), Err(Error::NotFound { .. })));
}

#[test]
fn a_manager_travels_through_serde_as_a_member() {
    let root = Root::new();
    let owner = root.manager();
    owner.options().name("xs").ones::<f64, _>(5).unwrap();
    let json = serde_json::to_string(&owner).unwrap();
    let printed = common::run(child_deserializes_a_manager, &[&json]);
    assert!(printed.contains("sum 5") && owner.path().exists());
    let postcard: Manager = postcard::from_bytes(&postcard::to_allocvec(&owner).unwrap()).unwrap();
    assert!(!postcard.is_owner() && postcard.contains("xs").unwrap());
    let path = owner.path().to_path_buf();
    drop((owner, postcard));
    assert!(serde_json::from_str::<Manager>(&json).is_err());
    let _other = Manager::builder().path(&path).ephemeral().create().unwrap();
    let error = serde_json::from_str::<Manager>(&json).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("another array or store took this path"),
        "{error}"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_deserializes_a_manager() {
    let manager: Manager = serde_json::from_str(&common::arguments()[0]).unwrap();
    assert!(!manager.is_owner());
    println!(
        "sum {}",
        manager
            .array::<f64, Ix1>("xs")
            .unwrap()
            .read()
            .unwrap()
            .sum()
    );
    manager
        .options()
        .name("of the child")
        .zeros::<u8, _>(1)
        .unwrap();
    drop(manager);
    common::done();
}

#[test]
fn the_contents_are_listed_counted_and_removed() {
    let root = Root::new();
    let manager = root.manager();
    assert_eq!(
        (
            manager.list().unwrap().len(),
            manager.usage().unwrap().arrays
        ),
        (0, 0)
    );
    let xs = manager
        .options()
        .name("xs")
        .axis_names(["row", "column"])
        .zeros::<f32, _>((3, 4))
        .unwrap();
    let unnamed = manager.zeros::<u8, _>(10_000).unwrap();
    let list = manager.list().unwrap();
    assert_eq!(
        (list.len(), list[0].name.as_deref(), list[1].name.as_deref()),
        (2, Some("xs"), None)
    );
    assert_eq!(
        (list[0].id, list[0].dtype.to_string(), list[0].shape.clone()),
        (xs.id(), "<f4".to_owned(), vec![3, 4])
    );
    assert_eq!(
        (list[0].pid, list[1].path.as_path()),
        (std::process::id(), unnamed.path())
    );
    assert_eq!(
        list[0].axis_names,
        [Some("row".to_owned()), Some("column".to_owned())]
    );
    let age = list[0].created.elapsed().unwrap();
    assert!(age.as_secs() < 600, "{age:?}");
    let usage = manager.usage().unwrap();
    assert_eq!((usage.arrays, usage.byte_len), (2, 10_048));
    assert!(usage.allocated >= 2 * 4096 + 10_048 && usage.available > 0);
    assert!(manager.contains("xs").unwrap() && !manager.contains("ys").unwrap());
    assert!(matches!(manager.remove("ys"), Err(Error::NotFound { .. })));
    manager.remove("xs").unwrap();
    assert!(!manager.contains("xs").unwrap());
    assert!(matches!(
        manager.array::<f32, Ix2>("xs"),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(xs.release(), Err(Error::Released { .. })));
    drop(unnamed);
    assert_eq!(manager.list().unwrap(), []);
}

#[test]
fn publishing_never_replaces() {
    let root = Root::new();
    let manager = root.manager();
    let first = manager.options().name("xs").ones::<f64, _>(3).unwrap();
    assert!(matches!(
        manager.options().name("xs").zeros::<f64, _>(3),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(manager.array::<f64, Ix1>("xs").unwrap().id(), first.id());
    // Of many that race for one name, one wins, and the others leave nothing.
    let wins: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| manager.options().name("ys").zeros::<f64, _>(3).is_ok()))
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    assert_eq!(wins.iter().filter(|&&won| won).count(), 1);
    assert_eq!(root.contents().len(), 1 + 1 + 2, "{:?}", root.contents());
}

#[test]
fn foreign_files_in_a_store_are_not_deleted() {
    let root = Root::new();
    let manager = root.manager();
    let notes = manager.path().join("notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    let error = manager.close().unwrap_err();
    assert!(
        matches!(error, Error::Untrusted { .. }) && error.to_string().contains("notes.txt"),
        "{error}"
    );
    assert!(
        manager.zeros::<f64, _>(1).is_ok(),
        "a refused close changes nothing"
    );
    drop(manager);
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "mine");
    let swept = root.manager().sweep().unwrap();
    assert!(
        matches!(
            &swept.skipped[..],
            [Error::Untrusted { path, .. }] if path == notes.parent().unwrap()
        ),
        "{:?}",
        swept.skipped
    );
    std::fs::remove_file(notes).unwrap();
    assert_eq!(
        root.manager().sweep().unwrap().stores,
        0,
        "create has swept it"
    );
    assert_eq!(root.contents(), NOTHING);
}

#[test]
fn directories_that_others_could_enter_are_refused() {
    let root = Root::new();
    let manager = root.manager();
    chmod(manager.path(), 0o755);
    let error = Manager::open(manager.path()).unwrap_err();
    assert!(
        matches!(error, Error::Untrusted { .. }) && error.to_string().contains("chmod 700"),
        "{error}"
    );
    chmod(manager.path(), 0o700);
    chmod(root.path(), 0o777);
    let error = Manager::builder().root(root.path()).create().unwrap_err();
    assert!(
        matches!(error, Error::Untrusted { .. }) && error.to_string().contains("mkdir -m 700"),
        "{error}"
    );
    chmod(root.path(), 0o755);
    assert!(Manager::builder().root(root.path()).create().is_ok());
    assert!(matches!(
        Manager::builder().root("relative").create(),
        Err(Error::Untrusted { .. })
    ));
    assert!(matches!(
        Manager::builder().root("/proc/ndshm").create(),
        Err(Error::Io { .. })
    ));
    let error = Manager::open("/proc/self").unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn a_directory_that_is_no_store_is_neither_opened_nor_replaced() {
    let root = Root::new();
    let path = root.path().join("plain");
    std::fs::create_dir(&path).unwrap();
    chmod(&path, 0o700);
    assert!(matches!(Manager::open(&path), Err(Error::NotFound { .. })));
    assert!(matches!(
        Manager::create(&path),
        Err(Error::AlreadyExists { .. })
    ));
    for mode in [0o700, 0o755] {
        chmod(&path, mode);
        let error = Manager::open_or_create(&path).unwrap_err();
        assert!(
            matches!(error, Error::Untrusted { .. })
                && error.to_string().contains("does not exist yet"),
            "{error}"
        );
    }
    assert!(matches!(
        Manager::builder().root(root.path()).name("a/b").create(),
        Err(Error::Name { .. })
    ));
    assert!(matches!(
        Manager::builder().open(),
        Err(Error::NotFound { .. })
    ));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The leftovers of a process that is killed right after it marked its store as closing.
fn mark_as_closing(store: &Path) {
    use std::os::unix::fs::FileExt;
    let lock = std::fs::File::options()
        .read(true)
        .write(true)
        .open(store.join(".lock"))
        .unwrap();
    let mut flags = [0; 4];
    lock.read_exact_at(&mut flags, 32).unwrap();
    let closing = words::flags(flags[0] & words::PERSISTENT | words::CLOSING);
    lock.write_all_at(&closing.to_ne_bytes(), 32).unwrap();
}

#[test]
fn a_store_whose_closer_was_killed_is_closed_by_the_next() {
    let root = Root::new();
    let path = root.path().join("run-7");
    let half_closed = || {
        let manager = Manager::create(&path).unwrap();
        manager.options().name("xs").zeros::<f64, _>(5).unwrap();
        mark_as_closing(&path);
        assert!(matches!(
            manager.zeros::<f64, _>(1),
            Err(Error::Closed { .. })
        ));
        assert!(matches!(Manager::open(&path), Err(Error::Closed { .. })));
        manager
    };
    half_closed().close().unwrap();
    assert_eq!(root.contents(), NOTHING);
    drop(half_closed());
    let again = Manager::open_or_create(&path).unwrap();
    assert_eq!(again.list().unwrap(), []);
    again.close().unwrap();
    drop(half_closed());
    Manager::create(&path).unwrap().close().unwrap();
    drop(half_closed());
    let other = root.manager();
    assert!(!path.exists(), "it was swept");
    drop(other);
    assert_eq!(root.contents(), NOTHING);
}

#[test]
fn a_store_that_took_the_place_of_one_deleted_by_hand_is_not_touched_by_the_old_one() {
    let root = Root::new();
    let settings = Manager::builder().root(root.path()).name("frames");
    let old = settings.create().unwrap();
    let clone = old.clone();
    let kept = old.zeros::<f64, _>(3).unwrap();
    std::fs::remove_dir_all(old.path()).unwrap();
    let new = settings.create().unwrap();
    let xs = new.options().name("xs").ones::<f64, _>(3).unwrap();
    assert!(matches!(old.zeros::<f64, _>(3), Err(Error::Closed { .. })));
    assert!(matches!(kept.copy(), Err(Error::Closed { .. })));
    assert_eq!(
        new.list().unwrap().len(),
        1,
        "nothing of the old one came into it"
    );
    assert!(matches!(old.close(), Err(Error::Closed { .. })));
    drop((old, clone, kept));
    assert!(new.path().exists() && xs.handle().open::<f64, Ix1>().is_ok());
    assert!(new.sweep().unwrap().skipped.is_empty());
}

#[test]
fn a_store_is_not_called_like_one_that_is_being_made_or_deleted() {
    let root = Root::new();
    for name in [".ndshm-gone-mine", ".ndshm-new-mine"] {
        assert!(matches!(
            Manager::create(root.path().join(name)),
            Err(Error::Name { .. })
        ));
        assert!(matches!(
            Manager::open_or_create(root.path().join(name)),
            Err(Error::Name { .. })
        ));
    }
    assert_eq!(root.contents(), NOTHING);
}
