//! Mappings that a process keeps of arrays that it does not use any more.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, words};
use ndarray::Ix1;
use ndshm::{Error, Handle, HugePages, Manager, Scope, SharedArray1};
use std::path::Path;

const LEN: usize = 50_000;

/// How often this process has the file mapped, be it deleted.
fn mappings(path: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.contains(path.to_str().unwrap()))
        .count()
}

/// An array that stays, and which this process does not have open.
fn array(manager: &Manager, name: &str) -> Handle {
    manager
        .options()
        .name(name)
        .from_elem(LEN, 1.0)
        .unwrap()
        .handle()
}

fn open(handle: &Handle) -> SharedArray1<f64> {
    handle.open().unwrap()
}

/// Uses an array twice. The mapping of an array that is used once or twice, as most are, is not
/// kept.
fn use_twice(handle: &Handle) {
    drop(open(handle));
    drop(open(handle));
}

#[test]
fn an_array_that_is_opened_again_is_where_it_was() {
    let root = Root::new();
    let manager = root.manager();
    let handle = array(&manager, "xs");
    assert_eq!(mappings(handle.path()), 0, "it was used once");
    use_twice(&handle);
    let address = |array: SharedArray1<f64>| array.read().unwrap().as_ptr().addr();
    let first = address(open(&handle));
    open(&handle).write().unwrap().fill(2.0);
    assert_eq!(
        (address(open(&handle)), mappings(handle.path())),
        (first, 1)
    );
    assert_eq!(open(&handle).read().unwrap().sum(), 2.0 * LEN as f64);
    let reading = open(&handle).read_only().unwrap().handle();
    let protected = open(&reading);
    assert!(!protected.is_writable() && protected.write().is_err());
    assert_ne!(
        address(protected),
        first,
        "a reader has a mapping that cannot be written"
    );
}

#[test]
fn what_was_deleted_meanwhile_is_not_opened_and_its_memory_goes_at_the_next_occasion() {
    let root = Root::new();
    let manager = root.manager();
    let (kept, other) = (array(&manager, "kept"), array(&manager, "other"));
    for by_name in [true, false] {
        let handle = array(&manager, "xs");
        use_twice(&handle);
        assert_eq!(mappings(handle.path()), 1);
        let mut peer = Peer::start(child_deletes, &[handle.to_string(), by_name.to_string()]);
        peer.hear("deleted");
        peer.finish();
        assert!(matches!(
            handle.open::<f64, Ix1>(),
            Err(Error::Released { .. })
        ));
        assert_eq!(mappings(handle.path()), 0);
    }
    let handle = array(&manager, "xs");
    use_twice(&handle);
    let mut peer = Peer::start(child_deletes, &[handle.to_string(), "true".into()]);
    peer.hear("deleted");
    peer.finish();
    assert_eq!(mappings(handle.path()), 1);
    use_twice(&kept);
    assert_eq!(mappings(handle.path()), 0, "another array was dropped");
    drop(open(&other));
    manager.close().unwrap();
    assert!(matches!(
        kept.open::<f64, Ix1>(),
        Err(Error::Released { .. })
    ));
}

#[test]
#[ignore = "runs in a child"]
fn child_deletes() {
    let arguments = common::arguments();
    let handle: Handle = arguments[0].parse().unwrap();
    match arguments[1] == "true" {
        true => Manager::open(handle.path().parent().unwrap())
            .unwrap()
            .remove("xs")
            .unwrap(),
        false => handle.open::<f64, Ix1>().unwrap().release().unwrap(),
    }
    println!("deleted");
    common::done();
}

#[test]
fn what_was_frozen_meanwhile_cannot_be_written() {
    let root = Root::new();
    let manager = root.manager();
    let handle = array(&manager, "xs");
    use_twice(&handle);
    common::run(child_freezes, &[handle.to_string()]);
    let xs = open(&handle);
    assert!(!xs.is_writable() && matches!(xs.write(), Err(Error::Frozen { .. })));
    assert_eq!(handle.open_frozen::<f64, Ix1>().unwrap().sum(), LEN as f64);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_file: Vec<_> = maps
        .lines()
        .filter(|line| line.contains(handle.path().to_str().unwrap()))
        .collect();
    assert!(
        of_file.len() == 2 && of_file[1].contains(" r--s "),
        "{of_file:?}"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_freezes() {
    open(&common::arguments()[0].parse().unwrap())
        .freeze()
        .unwrap();
    common::done();
}

#[test]
fn a_process_whose_mapped_file_was_used_again_learns_that_the_array_is_gone() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 30)
        .create()
        .unwrap();
    let first = manager.from_elem(LEN, 1.0).unwrap();
    let mut peer = Peer::start(child_opens_again_and_again, &[first.handle().to_string()]);
    assert_eq!(peer.hear("told "), "50000");
    let address = peer.hear("at ");
    drop(first);
    let second = manager.from_elem(LEN, 2.0).unwrap();
    peer.tell("again");
    assert_eq!(peer.hear("told "), "Released");
    peer.tell(&second.handle().to_string());
    assert_eq!(peer.hear("told "), "100000");
    // The file is mapped where it was.
    assert_eq!(peer.hear("at "), address);
    peer.finish();
    let file = std::fs::metadata(second.path()).unwrap();
    drop(second);
    let third = manager.from_elem(LEN, 3.0).unwrap();
    let ino = std::os::unix::fs::MetadataExt::ino;
    assert_eq!(
        ino(&std::fs::metadata(third.path()).unwrap()),
        ino(&file),
        "kept mappings do not count as openers"
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_again_and_again() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let say = |handle: &Handle| match handle.open::<f64, Ix1>() {
        Ok(xs) => println!(
            "told {}\nat {:?}",
            xs.read().unwrap().sum(),
            xs.read().unwrap().as_ptr()
        ),
        Err(Error::Released { .. }) => println!("told Released"),
        Err(error) => println!("told {error:?}"),
    };
    use_twice(&handle);
    say(&handle);
    for line in std::io::stdin().lines().map(Result::unwrap) {
        say(&if line == "again" {
            handle.clone()
        } else {
            line.parse().unwrap()
        });
    }
    common::done();
}

/// The mapping that was kept went to a second segment of the file, which is not the process's: the
/// array could not be written, and a write faulted.
#[test]
fn what_is_open_for_reading_and_was_open_for_writing_can_be_written() {
    let root = Root::new();
    let manager = root.manager();
    let handle = array(&manager, "xs");
    let protected = open(&handle).read_only().unwrap();
    let reading = protected.handle();
    drop(protected);
    assert_eq!(
        common::run(
            child_writes_what_it_reads,
            &[handle.to_string(), reading.to_string()]
        )
        .matches("written")
        .count(),
        1
    );
    assert_eq!(open(&handle).read().unwrap().sum(), 3.0 * LEN as f64);
}

#[test]
#[ignore = "runs in a child"]
fn child_writes_what_it_reads() {
    let [handle, reading] = [0, 1].map(|at| common::arguments()[at].parse::<Handle>().unwrap());
    use_twice(&handle);
    let protected = open(&reading);
    let writable = open(&handle);
    writable.write().unwrap().fill(3.0);
    assert_eq!(protected.read().unwrap().sum(), 3.0 * LEN as f64);
    println!("written");
    common::done();
}

/// A second segment that the process does not keep must not decide about the array's deletion: it
/// took itself for the owner when it was dropped.
#[test]
fn an_opening_that_comes_to_nothing_deletes_nothing() {
    let root = Root::new();
    let manager = root.manager();
    let handle = array(&manager, "xs");
    use_twice(&handle);
    let reading = open(&handle).read_only().unwrap().handle();
    let protected = open(&reading);
    protected.set_scope(Scope::Local).unwrap();
    let writable = open(&handle);
    assert_eq!(
        (protected.scope(), manager.list().unwrap().len()),
        (Scope::Local, 1)
    );
    drop((protected, writable));
    assert_eq!(manager.list().unwrap(), []);
}

#[test]
fn one_mapping_is_kept_of_an_array_however_it_was_opened() {
    let root = Root::new();
    let manager = root.manager();
    let handle = array(&manager, "xs");
    for _ in 0..5 {
        drop(manager.array::<f64, Ix1>("xs").unwrap());
        drop(open(&handle));
    }
    assert_eq!(mappings(handle.path()), 1);
}

#[test]
fn nothing_is_kept_of_an_array_that_never_got_its_name_nor_of_a_closed_store() {
    let root = Root::new();
    let manager = Manager::create(root.path().join("store")).unwrap();
    let made = manager.options().name("xs").from_shape_fn(LEN, |i| {
        if i == 0 {
            // Another one is faster.
            array(&manager, "xs");
        }
        2.0
    });
    assert!(matches!(made, Err(Error::AlreadyExists { .. })));
    let handle = manager.array::<f64, Ix1>("xs").unwrap().handle();
    drop(open(&handle));
    assert_eq!(
        mappings(manager.path()),
        3,
        "the lock file twice, one array"
    );
    let maps_before_closing = mappings(handle.path());
    let still_open = open(&handle);
    manager.close().unwrap();
    assert_eq!((maps_before_closing, mappings(handle.path())), (1, 0));
    drop(still_open);
    assert_eq!(mappings(&root.path().join("store/xs")), 0);
    assert_eq!(
        mappings(root.path()),
        2,
        "the lock file, until the manager is dropped"
    );
    drop(manager);
    assert_eq!(mappings(root.path()), 0);
}

#[test]
fn no_more_is_kept_than_was_asked_for() {
    let root = Root::new();
    let bytes = 2 * (8 * LEN + common::page());
    let manager = Manager::builder()
        .root(root.path())
        .cache(bytes)
        .huge_pages(HugePages::Never)
        .create()
        .unwrap();
    let handles = ["a", "b", "c"].map(|name| array(&manager, name));
    handles.iter().for_each(use_twice);
    assert_eq!(
        handles.each_ref().map(|handle| mappings(handle.path())),
        [0, 1, 1]
    );
    drop(open(&handles[0]));
    assert_eq!(
        handles.each_ref().map(|handle| mappings(handle.path())),
        [1, 0, 1],
        "the one that was not used longest goes"
    );
    let large = manager
        .options()
        .name("large")
        .ones::<u8, _>(bytes)
        .unwrap()
        .handle();
    (0..3).for_each(|_| drop(large.open::<u8, Ix1>().unwrap()));
    assert_eq!(mappings(large.path()), 0);
    let none = Manager::builder()
        .path(manager.path())
        .cache(0)
        .open()
        .unwrap();
    drop(open(&handles[1]));
    assert_eq!(mappings(handles[1].path()), 0);
    assert_eq!(
        handles.each_ref().map(|handle| mappings(handle.path())),
        [0; 3],
        "less than before"
    );
    drop(none);
}

/// A process that only ever opens handles stays a member of the store between them; it does not
/// keep a store that no other process has from its own sweep.
#[test]
fn a_process_that_opens_one_handle_after_the_other_joins_once() {
    let root = Root::new();
    let manager = root.manager();
    let handle = array(&manager, "xs");
    common::run(child_opens_a_hundred_times, &[handle.to_string()]);
    let next_member = || {
        let lock = std::fs::read(manager.path().join(".lock")).unwrap();
        words::unsealed(u64::from_ne_bytes(lock[16..24].try_into().unwrap()))
    };
    let before = next_member();
    common::run(child_opens_a_hundred_times, &[handle.to_string()]);
    assert_eq!(next_member(), before + 1);
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_a_hundred_times() {
    let handle = common::arguments()[0].parse().unwrap();
    (0..100).for_each(|_| assert_eq!(open(&handle).read().unwrap().sum(), LEN as f64));
    common::done();
}

/// A process that only keeps a membership for its next opening would keep others from sweeping the
/// store, also one that is being closed.
#[test]
fn a_process_that_drops_its_last_manager_leaves_the_store() {
    let root = Root::new();
    let mut owner = Peer::start(child_owns_a_store, &[root.path()]);
    let path = owner.hear("store ");
    let mut visitor = Peer::start(child_visits, &[&path]);
    visitor.hear("left");
    owner.kill();
    let sweeper = root.manager();
    assert!(!Path::new(&path).exists());
    assert!(sweeper.sweep().unwrap().skipped.is_empty());
    visitor.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_owns_a_store() {
    let manager = Manager::builder()
        .root(&common::arguments()[0])
        .create()
        .unwrap();
    array(&manager, "xs");
    println!("store {}", manager.path().display());
    let _ = std::io::stdin().lines().count();
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_visits() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    drop(manager);
    assert_eq!(open(&xs.handle()).read().unwrap().sum(), LEN as f64);
    drop(xs);
    println!("left");
    let _ = std::io::stdin().lines().count();
    common::done();
}

/// More stores than memberships linger, so that they end all the time, in whatever thread has the
/// last reference: none may do so with the list of them locked.
#[test]
fn memberships_begin_and_end_in_several_threads_at_once() {
    let root = Root::new();
    let managers: Vec<_> = (0..8).map(|_| root.manager()).collect();
    let handles: Vec<_> = managers
        .iter()
        .map(|manager| array(manager, "xs").to_string())
        .collect();
    let mut peer = Peer::start(child_opens_in_many_stores, &handles);
    let (told, done) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            peer.hear("opened all");
            peer.finish();
            told.send(()).unwrap();
        });
        if done
            .recv_timeout(std::time::Duration::from_secs(60))
            .is_err()
        {
            eprintln!("the child is stuck");
            std::process::exit(72);
        }
    });
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_in_many_stores() {
    let handles: Vec<Handle> = common::arguments()
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let handles = &handles;
            scope.spawn(move || {
                (0..1500).for_each(|round| {
                    drop(open(
                        &handles[(round * (2 * thread + 1) + round / 7 + thread) % handles.len()],
                    ))
                })
            });
        }
    });
    println!("opened all");
    let _ = std::io::stdin().lines().count();
    common::done();
}
