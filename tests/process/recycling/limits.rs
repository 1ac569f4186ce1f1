//! Limits on the kept files: their bytes, a full file system, a panic, the end of the process.

use super::*;

#[test]
fn a_panic_while_a_kept_file_is_filled_deletes_it_and_a_limit_or_another_length_is_kept_to() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    drop(manager.from_elem(LEN, 1.0).unwrap());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        manager
            .from_shape_fn(LEN, |i| if i == 7 { panic!("on purpose") } else { 2.0f64 })
            .unwrap();
    }));
    assert!(panicked.is_err());
    assert_eq!(
        (kept_files(&manager), manager.list().unwrap().len()),
        (0, 0)
    );
    assert_eq!(
        manager.zeros::<f64, _>(LEN).unwrap().read().unwrap().sum(),
        0.0
    );
    assert_eq!(kept_files(&manager), 1);
    common::run(child_has_a_limit, &[manager.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_has_a_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let manager = Manager::builder()
        .path(&common::arguments()[0])
        .recycle(1 << 30)
        .open()
        .unwrap();
    drop(manager.zeros::<u8, _>(8 * LEN).unwrap());
    let limit = (common::page() + 8 * LEN + 1) as u64;
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: Some(limit),
            maximum: None,
        },
    )
    .unwrap();
    let longer = manager.from_elem(8 * LEN + 1, 7u8).unwrap();
    assert_eq!(
        (
            kept_files(&manager),
            longer
                .read()
                .unwrap()
                .iter()
                .filter(|&&byte| byte == 7)
                .count()
        ),
        (1, 8 * LEN + 1)
    );
    drop(longer);
    assert!(matches!(
        manager.zeros::<u8, _>(8 * LEN + 2),
        Err(Error::NoSpace { available, .. }) if available == limit
    ));
    common::done();
}

#[test]
fn no_more_is_kept_than_was_asked_for_and_it_goes_where_space_runs_out_and_with_the_process() {
    let root = Root::new();
    let manager = recycling(&root, 3 * (8 * LEN + common::page()));
    let arrays: Vec<_> = (0..5)
        .map(|_| manager.zeros::<f64, _>(LEN).unwrap())
        .collect();
    drop(arrays);
    assert_eq!(kept_files(&manager), 3);
    drop(manager.zeros::<f64, _>(LEN * 10).unwrap());
    assert_eq!(kept_files(&manager), 3, "larger than all that may be kept");
    Manager::builder()
        .path(manager.path())
        .recycle(8 * LEN + common::page())
        .open()
        .unwrap();
    assert_eq!(kept_files(&manager), 1, "less than before");
    drop(manager);
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());

    // A member that is killed: a sweep deletes the files that it kept.
    let manager = root.manager();
    let mut peer = Peer::start(child_keeps_files, &[manager.path()]);
    peer.hear("kept");
    assert_eq!(kept_files(&manager), 2);
    peer.kill();
    assert_eq!(manager.sweep().unwrap().skipped.len(), 0);
    assert_eq!(kept_files(&manager), 0);
    // One that ends.
    let mut peer = Peer::start(child_keeps_files, &[manager.path()]);
    peer.hear("kept");
    assert_eq!(kept_files(&manager), 2);
    peer.finish();
    assert_eq!(kept_files(&manager), 0);
    let test =
        "no_more_is_kept_than_was_asked_for_and_it_goes_where_space_runs_out_and_with_the_process";
    let small = Root::new();
    common::run_on_tmpfs(test, child_keeps_files_on_a_small_tmpfs, "1m", small.path());
}

#[test]
#[ignore = "runs in a child"]
fn child_keeps_files() {
    let manager = Manager::builder()
        .path(&common::arguments()[0])
        .recycle(1 << 30)
        .open()
        .unwrap();
    let arrays = [
        manager.zeros::<f64, _>(LEN).unwrap(),
        manager.zeros::<f64, _>(LEN).unwrap(),
    ];
    drop(arrays);
    println!("kept");
    let _ = std::io::stdin().lines().count();
    drop(manager);
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_keeps_files_on_a_small_tmpfs() {
    let manager = Manager::builder()
        .root(&common::arguments()[0])
        .recycle(1 << 30)
        .create()
        .unwrap();
    drop(manager.zeros::<u8, _>(600 << 10).unwrap());
    assert_eq!(kept_files(&manager), 1);
    let xs = manager.ones::<u8, _>(700 << 10).unwrap();
    assert_eq!((kept_files(&manager), xs.read().unwrap()[0]), (0, 1));
    assert!(matches!(
        manager.zeros::<u8, _>(700 << 10),
        Err(Error::NoSpace { .. })
    ));
    common::done();
}
