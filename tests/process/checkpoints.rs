//! Checkpoints and restores that are killed at every step.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../common/checkpointed.rs"]
mod checkpointed;

use crate::common::{self, Root, files_below};
use checkpointed::number_of;
use ndshm::{Bucket, Checkpoint, DirectoryBucket, Manager, Object, Part, Restore, Version};
use rustix::process::{Signal, getpid, kill_process};
use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

/// Elements of each array: 2 MiB, in chunks of 1 MiB, so that they are recorded when they are sent.
const LEN: usize = 1 << 18;

/// A directory whose process is killed before an operation, or amid it.
struct Deadly {
    inner: DirectoryBucket,
    left: AtomicUsize,
    is_amid: bool,
}

impl Deadly {
    fn die() -> ! {
        kill_process(getpid(), Signal::KILL).unwrap();
        unreachable!("the process was killed");
    }

    /// Whether the operation is the one amid which the process dies.
    fn step(&self) -> bool {
        match self.left.fetch_sub(1, SeqCst) {
            0 if self.is_amid => true,
            0 => Self::die(),
            _ => false,
        }
    }

    /// Dies after the operation, if it is the one.
    fn after<T>(&self, operation: impl FnOnce() -> T) -> T {
        let dies = self.step();
        let done = operation();
        match dies {
            true => Self::die(),
            false => done,
        }
    }
}

impl Bucket for Deadly {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()> {
        if self.step() {
            // As a process that is killed while it writes the file leaves it.
            let path = self.inner.path().join(format!("{key}.ndshm-new"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "half").unwrap();
            Self::die();
        }
        self.inner.put(key, parts)
    }
    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        self.after(|| self.inner.put_if(key, bytes, seen))
    }
    fn get(&self, key: &str) -> io::Result<Option<Object>> {
        self.after(|| self.inner.get(key))
    }
    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.after(|| self.inner.get_range(key, start, into))
    }
    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        self.after(|| self.inner.list(prefix))
    }
    fn children(&self, prefix: &str) -> io::Result<Vec<String>> {
        self.after(|| self.inner.children(prefix))
    }
    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        self.after(|| self.inner.copy(from, to))
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.after(|| self.inner.delete(key))
    }
    fn delete_all(&self, prefix: &str) -> io::Result<()> {
        if self.step() {
            // Some of the objects are gone.
            for (key, _) in self.inner.list(prefix)?.iter().step_by(2) {
                self.inner.delete(key)?;
            }
            Self::die();
        }
        self.inner.delete_all(prefix)
    }
    fn sync(&self, prefix: &str) -> io::Result<()> {
        self.after(|| self.inner.sync(prefix))
    }
}

fn settings() -> Checkpoint<'static> {
    Checkpoint::new().chunk_len(1 << 20).in_flight(1).keep(2)
}

#[test]
#[ignore = "runs in a child"]
fn child_is_killed() {
    let arguments = common::arguments();
    let [verb, store, place, step, how] = &arguments[..] else {
        panic!("{arguments:?}");
    };
    let manager = Manager::open(store).unwrap();
    let bucket = Deadly {
        inner: DirectoryBucket::new(place),
        left: AtomicUsize::new(step.parse().unwrap()),
        is_amid: how == "amid",
    };
    match verb.as_str() {
        "checkpoint" => drop(settings().write(&manager, &bucket).unwrap()),
        _ => drop(Restore::new().in_flight(1).read(&manager, &bucket).unwrap()),
    }
    println!("survived");
    common::done();
}

/// Whether the child came to its end.
fn survives(verb: &str, store: &Path, place: &Path, step: usize, how: &str) -> bool {
    let (store, place) = (store.display().to_string(), place.display().to_string());
    let arguments = [verb, &store, &place, &step.to_string(), how];
    checkpointed::survives(common::start(child_is_killed, &arguments))
}

#[test]
fn a_checkpoint_that_is_killed_at_any_step_leaves_whole_ones_and_is_continued() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let (store, place) = (root.path().join("store"), scratch.path().join("place"));
    let bucket = DirectoryBucket::new(&place);
    let manager = Manager::create(&store).unwrap();
    let arrays = ["xs", "ys"].map(|name| {
        let options = manager.options().name(name);
        options.zeros::<f64, _>(LEN).unwrap()
    });
    let (mut last, mut kills, mut referred) = (0.0, 0, 0);
    manager.checkpoint(&place).unwrap();
    for how in ["before", "amid"] {
        for step in 0.. {
            let number = last + 1.0;
            for array in &arrays {
                array.write().unwrap().fill(number);
            }
            let survived = survives("checkpoint", &store, &place, step, how);
            kills += usize::from(!survived);
            let found = number_of(&root.manager(), Restore::new(), &bucket);
            assert!(
                found == number || !survived && found == last,
                "{how} {step}: {found}"
            );
            // Each folder that is a group is whole.
            for entry in fs::read_dir(&place).unwrap() {
                let entry = entry.unwrap();
                if entry.path().join("zarr.json").exists() {
                    let id = entry.file_name().into_string().unwrap();
                    number_of(&root.manager(), Restore::new().checkpoint(id), &bucket);
                }
            }
            // The next one sends the rest, and deletes what is left.
            let next = settings().keep(1).to_directory(&manager, &place).unwrap();
            referred += usize::from(next.referred > 0);
            assert_eq!(number_of(&root.manager(), Restore::new(), &bucket), number);
            // A process that is killed before its record has a name leaves a folder for a day.
            for entry in fs::read_dir(&place).unwrap() {
                let path = entry.unwrap().path();
                if path.join("_ndshm/attempt.json.ndshm-new").exists() {
                    fs::remove_dir_all(path).unwrap();
                }
            }
            assert_eq!(fs::read_dir(&place).unwrap().count(), 3, "{how} {step}");
            last = number;
            if survived {
                break;
            }
        }
    }
    eprintln!("{kills} kills, {referred} times the next one sent less");
    assert!(
        kills > 40 && referred > 20,
        "{kills} kills, {referred} continued"
    );
    manager.close().unwrap();
}

#[test]
fn a_restore_that_is_killed_at_any_step_leaves_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path().join("place");
    let source = root.manager();
    for name in ["xs", "ys"] {
        source.options().name(name).ones::<f64, _>(LEN).unwrap();
    }
    let log = source
        .options()
        .name("log")
        .growing::<u64, _>(1000, ())
        .unwrap();
    log.push(7).unwrap();
    settings().to_directory(&source, &place).unwrap();
    let store = root.path().join("store");
    let manager = Manager::create(&store).unwrap();
    let empty = files_below(&store).len();
    for how in ["before", "amid"] {
        for step in 0.. {
            let survived = survives("restore", &store, &place, step, how);
            if survived {
                assert_eq!(manager.list().unwrap().len(), 3);
                for name in ["xs", "ys", "log"] {
                    manager.remove(name).unwrap();
                }
                break;
            }
            manager.sweep().unwrap();
            assert!(manager.list().unwrap().is_empty(), "{how} {step}");
            assert_eq!(files_below(&store).len(), empty, "{how} {step}");
        }
    }
    manager.close().unwrap();
}

#[test]
fn a_store_without_space_takes_none_and_a_full_place_keeps_the_last_checkpoint() {
    let root = Root::new();
    common::run_on_tmpfs(
        "a_store_without_space_takes_none_and_a_full_place_keeps_the_last_checkpoint",
        child_has_little_space,
        "5m",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_has_little_space() {
    let mount = common::arguments().remove(0);
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let source = root.manager();
    for name in ["xs", "ys"] {
        let options = source.options().name(name);
        // No two chunks are alike.
        let fill = |i| (i * name.len()) as f64 + f64::from(name.as_bytes()[0]);
        options.from_shape_fn::<f64, _>(LEN, fill).unwrap();
    }
    settings().to_directory(&source, scratch.path()).unwrap();
    let zs = source.options().name("zs").zeros::<f64, _>(LEN).unwrap();

    // Six MiB of arrays do not fit into the place; one array does.
    let place = Path::new(&mount).join("place");
    let one = settings()
        .only(["xs"])
        .to_directory(&source, &place)
        .unwrap();
    let refused = settings().to_directory(&source, &place);
    let Err(ndshm::Error::Io { source: error, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    let other = root.manager();
    let restored = other.restore(&place).unwrap();
    assert_eq!(restored.checkpoint, Some(one.id));
    fs::remove_dir_all(&place).unwrap();

    // Nor into the store: no chunk is fetched before that is known.
    zs.write().unwrap().fill(1.0);
    settings().to_directory(&source, scratch.path()).unwrap();
    let small = Manager::builder().root(&mount).create().unwrap();
    let before = files_below(small.path()).len();
    let seen = AtomicUsize::new(0);
    let count = |_, _| {
        seen.fetch_add(1, SeqCst);
    };
    let refused = Restore::new()
        .progress(&count)
        .from_directory(&small, scratch.path());
    assert!(
        matches!(refused, Err(ndshm::Error::NoSpace { .. })),
        "{refused:?}"
    );
    assert_eq!((seen.load(SeqCst), small.list().unwrap().len()), (0, 0));
    assert_eq!(files_below(small.path()).len(), before);
    let restored = Restore::new()
        .only(["xs"])
        .from_directory(&small, scratch.path());
    assert_eq!(restored.unwrap().names, ["xs"]);
    small.close().unwrap();
    common::done();
}
