//! Stores on file systems that are mounted read-only, and on unusual ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root};
use ndarray::{Ix1, s};
use ndshm::{AnyArray, Error, Handle, HugePages, Manager, Observer, Scope, SharedArray1};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// Nothing could be opened on a file system that is mounted read-only, and `ls` called a sound store
// damaged.
#[test]
fn frozen_arrays_are_read_where_the_file_system_is_mounted_read_only() {
    let root = Root::new();
    common::run_on_tmpfs(
        "frozen_arrays_are_read_where_the_file_system_is_mounted_read_only",
        child_reads_through_a_read_only_mount,
        "64m",
        root.path(),
    );
}

/// The same store at two mounts.
struct Mounts {
    writer: Manager,
    /// The store at the mount that is read-only.
    place: PathBuf,
}

impl Mounts {
    fn new(root: &Path) -> Self {
        let (writable, read_only) = (root.join("rw"), root.join("ro"));
        let writer = Manager::builder().root(root).name("rw").persistent();
        let writer = writer.huge_pages(HugePages::Never).create().unwrap();
        fs::create_dir(&read_only).unwrap();
        run("mount", &["--bind", text(&writable), text(&read_only)]);
        run("mount", &["-o", "remount,bind,ro", text(&read_only)]);
        Self {
            writer,
            place: read_only,
        }
    }
}

fn is_read_only<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    let is_so = matches!(&result, Err(error @ Error::ReadOnly { .. })
        if error.to_string().contains("mounted read-only"));
    assert!(is_so, "{result:?}");
    is_so
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_through_a_read_only_mount() {
    let root = PathBuf::from(common::arguments().remove(0));
    let Mounts { writer, place } = Mounts::new(&root);
    // One of a page, one that is mapped at a multiple of 2 MiB, one that waits for a claim.
    let small = writer.options().name("small").ones::<f64, _>(5).unwrap();
    let large = writer.options().name("large");
    let large = large.from_elem(3 << 20, 7u8).unwrap();
    let remote = writer.options().name("remote").scope(Scope::Remote);
    let remote = remote.ones::<f64, _>(5).unwrap();
    small.freeze().unwrap();
    large.freeze().unwrap();
    remote.freeze().unwrap();
    let changes = writer.options().name("changes").ones::<f64, _>(5).unwrap();
    let before: Vec<_> = ["small", "large", "remote", "changes"]
        .map(|name| fs::read(writer.path().join(format!("{name}.ndshm"))).unwrap())
        .into();
    let lock = fs::read(writer.path().join(".lock")).unwrap();

    let reader = Manager::open(&place).unwrap();
    let xs = reader.array::<f64, Ix1>("small").unwrap();
    assert_eq!((xs.read().unwrap().sum(), xs.is_frozen()), (5.0, true));
    assert_eq!(xs.freeze().unwrap().sum(), 5.0);
    assert_eq!(xs.try_read().unwrap().sum(), 5.0);
    assert!(matches!(xs.write(), Err(Error::Frozen { .. })));
    let bytes = reader.array::<u8, Ix1>("large").unwrap().freeze().unwrap();
    assert!(bytes.iter().all(|&byte| byte == 7));
    let handle: Handle = xs.slice(s![1..3]).unwrap().handle();
    assert_eq!(handle.open_frozen::<f64, Ix1>().unwrap().len(), 2);
    let any = AnyArray::open_path(place.join("small.ndshm")).unwrap();
    assert_eq!(any.shape(), [5]);
    // A claim would be this process's secret, and its end would delete the array.
    let claimed = SharedArray1::<f64>::open_path(place.join("remote.ndshm")).unwrap();
    assert_eq!(
        (claimed.read().unwrap().sum(), claimed.scope()),
        (5.0, Scope::Store)
    );
    drop(claimed);
    assert_eq!(reader.list().unwrap().len(), 4);

    is_read_only(reader.array::<f64, Ix1>("changes"));
    is_read_only(AnyArray::open_path(place.join("changes.ndshm")));
    is_read_only(reader.zeros::<f64, _>(5));
    is_read_only(reader.remove("small"));
    is_read_only(xs.release());
    is_read_only(xs.set_scope(Scope::Local));
    is_read_only(reader.close());
    is_read_only(reader.persist());
    assert!(reader.sweep().unwrap().skipped.is_empty());

    // Looks from outside, where the members of the other mount are seen.
    let observer = Observer::open(&place).unwrap();
    assert_eq!(observer.members().unwrap().len(), 1);
    assert!(observer.arrays().unwrap().iter().all(Result::is_ok));
    assert!(ndshm::verify(&place).unwrap().findings.is_empty());

    // The same store at the mount that can be written is another membership, before and after.
    changes.write().unwrap().fill(2.0);
    assert_eq!(
        writer
            .array::<f64, Ix1>("changes")
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        10.0
    );
    drop((xs, bytes, any, reader));
    changes.write().unwrap().fill(1.0);
    drop(Manager::open(&place).unwrap());
    writer.zeros::<f64, _>(5).unwrap();
    let after: Vec<_> = ["small", "large", "remote", "changes"]
        .map(|name| fs::read(writer.path().join(format!("{name}.ndshm"))).unwrap())
        .into();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before[4096..], after[4096..]);
    }
    assert_eq!(before[2], after[2], "no claim, no opener");
    // Behind these words are lanes, which the writer uses.
    let words = |lock: &[u8]| lock[..128].to_vec();
    let after = fs::read(writer.path().join(".lock")).unwrap();
    assert_eq!(words(&lock), words(&after));
    writer.close().unwrap();
    assert!(
        fs::read_dir(&root)
            .unwrap()
            .all(|entry| entry.unwrap().file_name() == "ro")
    );
    common::done();
}

// Only the process that had made a store on an unusual file system could use it: its workers and
// the tool were refused.
#[test]
fn the_choice_of_an_unusual_file_system_holds_for_all_that_open_the_store() {
    let root = Root::new();
    common::run_on_tmpfs(
        "the_choice_of_an_unusual_file_system_holds_for_all_that_open_the_store",
        child_opens_on_a_ramfs,
        "64m",
        root.path(),
    );
}

/// On a ramfs no space can be reserved, so stores are copied there.
#[test]
#[ignore = "runs in a child"]
fn child_opens_on_a_ramfs() {
    let root = PathBuf::from(common::arguments().remove(0));
    let unusual = root.join("unusual");
    fs::create_dir(&unusual).unwrap();
    run(
        "mount",
        &["-t", "ramfs", "-o", "mode=700", "ramfs", text(&unusual)],
    );
    for accepts in [false, true] {
        let settings = Manager::builder().root(&root).name("run").persistent();
        let settings = if accepts {
            settings.any_file_system()
        } else {
            settings
        };
        let store = settings.create().unwrap();
        store.options().name("xs").ones::<f64, _>(5).unwrap();
        run("cp", &["-a", text(store.path()), text(&unusual)]);
        store.close().unwrap();
        let place = unusual.join("run");
        let by_name = Manager::builder().root(&unusual).name("run").open();
        let by_path = SharedArray1::<f64>::open_path(place.join("xs.ndshm"));
        let opened = Manager::open(&place);
        if accepts {
            assert!(by_name.is_ok(), "{by_name:?}");
            assert_eq!(by_path.unwrap().read().unwrap().sum(), 5.0);
            assert!(ndshm::verify(&place).unwrap().findings.is_empty());
        } else {
            for error in [by_name.err(), by_path.err(), opened.err()] {
                let error = error.unwrap();
                assert!(error.to_string().contains("any_file_system"), "{error}");
            }
            assert!(
                Manager::builder()
                    .path(&place)
                    .any_file_system()
                    .open()
                    .is_ok()
            );
        }
        fs::remove_dir_all(place).unwrap();
    }
    common::done();
}
