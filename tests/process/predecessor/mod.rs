//! The uses of the Python library that this one succeeds: arrays are sent to workers and come back
//! from them, and are used like ndarray's own.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod ndarrays;

use crate::common::{self, Peer, Root};
use ndarray::{
    Array1, Array2, ArrayRef, Axis, Ix1, Ix2, ShapeBuilder, Zip, array, azip, concatenate,
    linalg::general_mat_mul, s, stack,
};
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, SharedArray2, SharedArrayD};
use rustix::process::{Pid, getpid, getppid};
use std::path::PathBuf;

const WORKERS: usize = 10;
const NOTHING: Vec<PathBuf> = Vec::new();

/// A pool of processes, each of which works on the tasks that it is sent.
fn pool() -> Vec<Peer> {
    (0..WORKERS)
        .map(|_| Peer::start(child_works_on_what_it_is_sent, &[""]))
        .collect()
}

/// Gives each worker its task, and only then waits for their answers.
#[track_caller]
fn ask_all(pool: &mut [Peer], mut task: impl FnMut(usize) -> String) -> Vec<String> {
    pool.iter_mut()
        .enumerate()
        .for_each(|(worker, peer)| peer.tell(&task(worker)));
    pool.iter_mut().map(|peer| peer.hear("answer ")).collect()
}

#[track_caller]
fn ask(peer: &mut Peer, task: String) -> String {
    peer.tell(&task);
    peer.hear("answer ")
}

/// All that a receiver sees of an array.
fn look(xs: &SharedArrayD<f64>) -> String {
    let guard = xs.read().unwrap();
    let elements: Vec<_> = guard.iter().collect();
    format!(
        "{} {:?} {:?} writable {} elements {elements:?}",
        xs.id(),
        xs.shape(),
        guard.strides(),
        xs.is_writable()
    )
}

fn open(text: &str) -> SharedArrayD<f64> {
    text.parse::<Handle>().unwrap().open().unwrap()
}

#[test]
#[ignore = "runs in a child"]
fn child_works_on_what_it_is_sent() {
    common::arguments();
    let mut kept = Vec::new();
    for line in std::io::stdin().lines().map(Result::unwrap) {
        let (verb, rest) = line.split_once(' ').unwrap();
        let answer = match verb {
            "look" => look(&open(rest)),
            "add" => {
                let (number, handle) = rest.split_once(' ').unwrap();
                let number: f64 = number.parse().unwrap();
                match open(handle).write() {
                    Ok(mut guard) => {
                        *guard += number;
                        "added".to_owned()
                    }
                    Err(error) => error.to_string(),
                }
            }
            "keep" => {
                kept.push(open(rest));
                kept.last().unwrap().scope().to_string()
            }
            "add-to-kept" => {
                let number: f64 = rest.parse().unwrap();
                kept.iter().for_each(|xs| *xs.write().unwrap() += number);
                kept.len().to_string()
            }
            "sum-of-kept" => kept
                .iter()
                .map(|xs| xs.read().unwrap().sum())
                .sum::<f64>()
                .to_string(),
            "drop" => std::mem::take(&mut kept).len().to_string(),
            "make" => {
                let [scope, size, store] =
                    rest.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
                let scope = serde_json::from_value(scope.into()).unwrap();
                let made = Manager::open(store)
                    .unwrap()
                    .options()
                    .scope(scope)
                    .from_shape_fn::<f64, _>(size.parse::<usize>().unwrap(), |i| i as f64);
                made.unwrap().handle().to_string()
            }
            _ => panic!("{line}"),
        };
        println!("answer {answer}");
    }
    common::done();
}

#[test]
fn ten_workers_see_what_they_were_sent_and_write_where_they_may() {
    let root = Root::new();
    let manager = root.manager();
    let mut pool = pool();
    let xs = manager
        .from_shape_fn::<f64, _>((WORKERS, 4), |(i, j)| (10 * i + j) as f64)
        .unwrap();
    let row = |worker: usize| xs.index_axis(Axis(0), worker).unwrap();
    let answers = ask_all(&mut pool, |worker| {
        format!("look {}", row(worker).read_only().unwrap().handle())
    });
    for (worker, answer) in answers.iter().enumerate() {
        let n = 10 * worker;
        let elements = format!("elements [{}.0, {}.0, {}.0, {}.0]", n, n + 1, n + 2, n + 3);
        assert!(
            answer.starts_with(&xs.id().to_string())
                && answer.contains("writable false")
                && answer.ends_with(&elements),
            "{answer}"
        );
    }
    let answers = ask_all(&mut pool, |worker| {
        format!("add 1 {}", row(worker).read_only().unwrap().handle())
    });
    assert!(
        answers
            .iter()
            .all(|answer| answer.contains("cannot be written")),
        "{answers:?}"
    );
    let before = xs.to_ndarray().unwrap();
    // Each its own row, then all of them the whole.
    ask_all(&mut pool, |worker| {
        format!("add {} {}", 100 * worker, row(worker).handle())
    });
    ask_all(&mut pool, |_| format!("add 1 {}", xs.handle()));
    let expected = Array2::from_shape_fn(before.dim(), |(i, j)| {
        before[[i, j]] + (100 * i + WORKERS) as f64
    });
    assert_eq!(xs.to_ndarray().unwrap(), expected);
    pool.into_iter().for_each(Peer::finish);
    assert_eq!(manager.list().unwrap().len(), 1);
}

#[test]
fn whatever_view_is_sent_arrives_with_its_id_its_bytes_and_its_layout() {
    let root = Root::new();
    let manager = root.manager();
    let number = |(i, j): (usize, usize)| (10 * i + j) as f64;
    let c = manager.from_shape_fn::<f64, _>((4, 6), number).unwrap();
    let f = manager.from_shape_fn::<f64, _>((4, 6).f(), number).unwrap();
    let single = manager.from_elem((), 2.5).unwrap();
    let mut sent = vec![
        single.into_dyn().unwrap(),
        manager.zeros::<f64, _>(0).unwrap().into_dyn().unwrap(),
        single.copy().unwrap().into_dyn().unwrap(),
    ];
    for whole in [&c, &f] {
        for view in [
            whole.view(),
            whole.copy(),
            whole.t(),
            whole.slice(s![1..;2, ..]),
            whole.slice(s![..;-1, ..;-2]),
            whole.slice(s![3..;-2, 1..5;3]),
            whole.slice(s![2..2, ..]),
            whole.read_only(),
        ] {
            sent.push(view.unwrap().into_dyn().unwrap());
        }
        let single = whole.slice(s![2, 3]).unwrap();
        let view = whole.slice(s![.., ..;-1, ndarray::NewAxis]).unwrap();
        sent.extend([
            single.into_dyn().unwrap(),
            view.into_dyn().unwrap(),
            whole.diag().unwrap().into_dyn().unwrap(),
        ]);
    }
    let mut worker = Peer::start(child_works_on_what_it_is_sent, &[""]);
    for array in &sent {
        assert_eq!(
            ask(&mut worker, format!("look {}", array.handle())),
            look(array)
        );
    }
    worker.finish();
    drop((c, f, single, sent));
    assert_eq!(manager.list().unwrap(), []);
}

#[test]
fn fifty_arrays_made_in_children_belong_to_the_parent_that_opens_them() {
    let root = Root::new();
    let manager = root.manager();
    let mut pool = pool();
    let store = manager.path().to_str().unwrap();
    let mut arrays = Vec::<SharedArray1<f64>>::new();
    for round in 0..50 / WORKERS {
        let handles = ask_all(&mut pool, |worker| {
            format!("make remote {} {store}", WORKERS * round + worker)
        });
        arrays.extend(
            handles
                .iter()
                .map(|handle| handle.parse::<Handle>().unwrap().open().unwrap()),
        );
    }
    // Their makers are gone before they are looked at.
    pool.into_iter().for_each(Peer::finish);
    for (size, xs) in arrays.iter().enumerate() {
        assert_eq!(
            (xs.scope(), xs.to_ndarray().unwrap()),
            (Scope::Local, Array1::from_shape_fn(size, |i| i as f64))
        );
    }
    assert_eq!(manager.list().unwrap().len(), 50);
    let again: Vec<_> = arrays.iter().map(|xs| xs.view().unwrap()).collect();
    drop(arrays);
    assert_eq!(manager.list().unwrap().len(), 50, "a view of each is left");
    drop(again);
    assert_eq!(manager.list().unwrap(), []);
}

#[test]
fn a_local_array_made_in_a_child_is_released_before_its_parent_opens_it() {
    let root = Root::new();
    let manager = root.manager();
    let mut worker = Peer::start(child_works_on_what_it_is_sent, &[""]);
    let handle: Handle = ask(
        &mut worker,
        format!("make local 5 {}", manager.path().display()),
    )
    .parse()
    .unwrap();
    assert!(
        matches!(handle.open::<f64, Ix1>(), Err(Error::Released { id, .. }) if id == handle.id())
    );
    worker.finish();
    assert_eq!(manager.list().unwrap(), []);
}

#[test]
fn a_slice_of_a_remote_array_deletes_the_whole_array_with_its_receiver() {
    let root = Root::new();
    let manager = root.manager();
    let mut worker = Peer::start(child_works_on_what_it_is_sent, &[""]);
    let xs = manager
        .options()
        .scope(Scope::Remote)
        .ones::<f64, _>((4, 6))
        .unwrap();
    let (path, slice) = (
        xs.path().to_path_buf(),
        xs.slice(s![1, ..;-2]).unwrap().handle(),
    );
    drop(xs);
    assert_eq!(ask(&mut worker, format!("keep {slice}")), "local");
    assert_eq!(ask(&mut worker, "sum-of-kept .".to_owned()), "3");
    assert!(path.exists());
    ask(&mut worker, "drop .".to_owned());
    assert!(!path.exists(), "the worker had it");
    let made: Handle = ask(
        &mut worker,
        format!("make remote 9 {}", manager.path().display()),
    )
    .parse()
    .unwrap();
    worker.finish();
    let slice: SharedArray1<f64> = made.with_layout(8, &[4], &[16]).unwrap().open().unwrap();
    assert_eq!(
        (slice.scope(), slice.to_ndarray().unwrap()),
        (Scope::Local, array![1.0, 3.0, 5.0, 7.0])
    );
    drop(slice);
    assert!(!made.path().exists(), "this process had it");
}

#[test]
fn a_worker_s_sums_are_seen_after_the_store_is_gone() {
    let root = Root::new();
    let manager = root.manager();
    let mut worker = Peer::start(child_works_on_what_it_is_sent, &[""]);
    let xs = manager.zeros::<f64, _>((3, 4)).unwrap();
    ask(
        &mut worker,
        format!("keep {}", xs.slice(s![1, ..;2]).unwrap().handle()),
    );
    drop(manager);
    assert_eq!(root.contents(), NOTHING);
    ask(&mut worker, "add-to-kept 2.5".to_owned());
    assert_eq!(
        xs.to_ndarray().unwrap(),
        array![[0.0; 4], [2.5, 0.0, 2.5, 0.0], [0.0; 4]]
    );
    xs.write().unwrap().fill(1.0);
    assert_eq!(
        ask(&mut worker, "sum-of-kept .".to_owned()),
        "2",
        "and the worker sees the parent's"
    );
    drop(xs);
    assert_eq!(
        ask(&mut worker, "sum-of-kept .".to_owned()),
        "2",
        "its memory is its own"
    );
    worker.finish();
}

#[test]
fn a_thousand_arrays_are_sent_at_once() {
    let root = Root::new();
    let manager = root.manager();
    let mut worker = Peer::start(child_works_on_what_it_is_sent, &[""]);
    let arrays: Vec<_> = (0..1000)
        .map(|i| manager.from_elem(i % 7, i as f64).unwrap())
        .collect();
    arrays
        .iter()
        .for_each(|xs| drop(ask(&mut worker, format!("keep {}", xs.handle()))));
    assert_eq!(ask(&mut worker, "add-to-kept 1".to_owned()), "1000");
    assert!(
        arrays.iter().enumerate().all(|(i, xs)| xs
            .read()
            .unwrap()
            .iter()
            .all(|&x| x == (i + 1) as f64))
    );
    drop(arrays);
    assert_eq!(manager.list().unwrap(), []);
    worker.finish();
}

#[test]
fn a_drop_a_rebinding_and_a_release_are_seen_in_the_directory_at_once() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let files = || {
        std::fs::read_dir(manager.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.ends_with(".lock"))
            .collect()
    };
    let mut xs = manager.zeros::<f64, _>(10).unwrap();
    for size in 0..20 {
        let old = std::mem::replace(&mut xs, manager.zeros(size).unwrap());
        let found: Vec<PathBuf> = files();
        assert!(
            found.len() == 2
                && found
                    .iter()
                    .all(|path| [old.path(), xs.path()].contains(&path.as_path()))
        );
        drop(old);
        assert_eq!(files(), [xs.path()]);
        xs = manager.ones(size).unwrap();
        assert_eq!(files(), [xs.path()], "size {size}");
    }
    assert_eq!(xs.read().unwrap().sum(), 19.0);
    xs.release().unwrap();
    assert_eq!(files(), NOTHING);
    xs = manager.zeros(3).unwrap();
    assert_eq!(files(), [xs.path()]);
    drop(xs);
    assert_eq!(files(), NOTHING);
}

#[test]
fn a_process_opens_what_its_sibling_made() {
    let root = Root::new();
    let manager = root.manager();
    let [mut maker, mut opener] =
        [0, 1].map(|_| Peer::start(child_works_on_what_it_is_sent, &[""]));
    let made = ask(
        &mut maker,
        format!("make store 4 {}", manager.path().display()),
    );
    assert_eq!(ask(&mut opener, format!("add 10 {made}")), "added");
    assert!(ask(&mut maker, format!("look {made}")).ends_with("elements [10.0, 11.0, 12.0, 13.0]"));
    // And after its maker is gone.
    maker.finish();
    assert!(
        ask(&mut opener, format!("look {made}")).ends_with("elements [10.0, 11.0, 12.0, 13.0]")
    );
    opener.finish();
}

#[test]
fn a_grandchild_whose_parent_died_opens_what_a_stranger_made() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let mut parent = Peer::start(child_starts_a_grandchild, &[""]);
    parent.hear("orphan to be");
    parent.kill();
    parent.tell(&xs.handle().to_string());
    assert_eq!(parent.hear("orphan sees "), "3");
    assert!(
        parent
            .wait_for_descendants()
            .contains(&common::MARKER.to_owned())
    );
    assert_eq!(xs.read().unwrap().sum(), 6.0);
}

#[test]
#[ignore = "runs in a child"]
fn child_starts_a_grandchild() {
    common::arguments();
    // From here on only the grandchild prints: its lines and those of this process would mix.
    let mut grandchild = common::child_command(child_opens_as_an_orphan, &[getpid().to_string()])
        .spawn()
        .unwrap();
    grandchild.wait().unwrap();
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_as_an_orphan() {
    let parent: i32 = common::arguments()[0].parse().unwrap();
    println!("orphan to be");
    let handle = std::io::stdin().lines().next().unwrap().unwrap();
    assert_ne!(getppid(), Pid::from_raw(parent), "its parent is gone");
    let xs = open(&handle);
    println!("orphan sees {}", xs.read().unwrap().sum());
    *xs.write().unwrap() += 1.0;
    drop(xs);
    common::done();
}
