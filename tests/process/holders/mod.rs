//! The processes, threads and slices that errors name: the guards in the way of a call.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod circle;
mod death;
mod lanes;
mod readers;

use crate::common::{self, Peer, Root, words};
use ndarray::{ShapeBuilder, s};
use ndshm::{
    AnyArray, Element, Error, GuardKind, Handle, Holder, Manager, SharedArray, SharedArray1,
    SharedArray2,
};
use std::time::Duration;

/// A child that takes guards as it is told, one line for each, and keeps them.
fn peer() -> Peer {
    Peer::start(child_takes_guards, &["a child that takes guards"])
}

/// Lets a child take a guard on a view.
fn takes(peer: &mut Peer, kind: &str, handle: &Handle) {
    peer.tell(&format!("{kind} {handle}"));
    peer.hear("has it");
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_guards() {
    common::arguments();
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
    let arrays: Vec<AnyArray> = std::io::stdin()
        .lines()
        .map(Result::unwrap)
        .map(|line| {
            let (kind, handle) = line.split_once(' ').unwrap();
            let handle: Handle = handle.parse().unwrap();
            let array = handle.open_any().unwrap();
            match kind {
                "atomic" => {
                    let counts: SharedArray1<u64> = handle.open().unwrap();
                    held.push(Box::new(counts.atomic().unwrap()));
                }
                "read" => held.push(Box::new(array.read().unwrap())),
                "write" => held.push(Box::new(array.write().unwrap())),
                "waits" => {
                    println!("tries");
                    match array.write() {
                        Ok(guard) => held.push(Box::new(guard)),
                        Err(error @ Error::WouldDeadlock { .. }) => {
                            println!("told {}", told(&error));
                            held.clear();
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
                "panics" => {
                    let panicked = std::panic::catch_unwind(|| {
                        let _guard = array.write().unwrap();
                        panic!("half-way");
                    });
                    assert!(panicked.is_err());
                }
                _ => held.clear(),
            }
            println!("has it");
            array
        })
        .collect();
    drop((held, arrays));
    common::done();
}

/// The holders of an error, one after the other: pid, kind, whether it waits, the place.
fn told(error: &Error) -> String {
    let one = |holder: &Holder| {
        let Holder {
            pid,
            kind,
            is_waiting,
            ..
        } = holder;
        format!(
            "{}:{kind:?}:{is_waiting}:{}",
            pid.unwrap(),
            holder.place().replace(' ', "_")
        )
    };
    error
        .holders()
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The command of a process, as the kernel tells it.
fn command_of(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let text = String::from_utf8(bytes).unwrap().replace('\0', " ");
    text.trim().chars().take(200).collect()
}

fn pid_of(peer: &Peer) -> u32 {
    peer.pid().as_raw_nonzero().get() as u32
}

#[track_caller]
fn only(error: &Error) -> &Holder {
    match error.holders() {
        [holder] => holder,
        holders => panic!("{holders:?} of {error:?}"),
    }
}

/// Requires that an error names this living process, with a guard of this kind on this slice.
#[track_caller]
fn names(error: &Error, peer: &Peer, kind: GuardKind, slice: Option<&str>) {
    let (holder, pid) = (only(error), pid_of(peer));
    assert_eq!(
        (holder.kind, holder.is_waiting, holder.slice.as_deref()),
        (Some(kind), false, slice),
        "{error}"
    );
    let command = command_of(pid);
    assert_eq!(
        (holder.pid, holder.command.as_deref()),
        (Some(pid), Some(command.as_str())),
        "{error}"
    );
    assert!(
        holder.is_alive && !holder.is_this_process && !holder.is_this_thread,
        "{holder:?}"
    );
    let text = error.to_string();
    assert!(text.contains(&format!(": process {pid} (")), "{text}");
}

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Particle {
    at: Point,
    mass: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Element)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

#[test]
fn a_refused_call_names_the_process_the_kind_and_the_slice() {
    let root = Root::new();
    let manager = root.manager();
    let results = manager.options().name("results");
    let results: SharedArray2<f64> = results.zeros((5, 100)).unwrap();
    let columns = manager.options().name("columns").zeros((4, 6).f()).unwrap();
    let columns: SharedArray2<f64> = columns;
    let point = manager.options().name("point").zeros(()).unwrap();
    let point: SharedArray<f64, ndarray::Ix0> = point;
    let particles = manager.options().name("particles");
    let particles: SharedArray1<Particle> = particles
        .from_shape_fn(8, |_| Particle {
            at: Point { x: 0.0, y: 0.0 },
            mass: 1.0,
        })
        .unwrap();

    let mut peer = peer();
    let mut refused = |kind, handle: Handle, refused: &dyn Fn() -> Error| {
        takes(&mut peer, kind, &handle);
        let error = refused();
        let found = error.holders().to_vec();
        let kind = match kind {
            "read" => GuardKind::Read,
            _ => GuardKind::Write,
        };
        names(&error, &peer, kind, found[0].slice.as_deref());
        let text = error.to_string();
        assert!(matches!(error, Error::WouldBlock { .. }), "{text}");
        takes(&mut peer, "free", &handle);
        (found[0].place(), found[0].range.clone(), text)
    };
    let whole = || results.try_write().map(drop).unwrap_err();
    let row = results.slice(s![3, ..]).unwrap();
    let (place, range, text) = refused("write", row.handle(), &whole);
    assert_eq!((place.as_str(), range), ("results[3]", 2400..3200));
    assert!(text.contains(") holds results[3] to write; wait"), "{text}");
    let column = results.slice(s![.., 12..14]).unwrap();
    let (place, _, text) = refused("read", column.handle(), &whole);
    assert_eq!(place, "results[:, 12:14]");
    assert!(
        text.contains(" holds results[:, 12:14] to read; "),
        "{text}"
    );
    let stepped = results.slice(s![1..;2, ..]).unwrap();
    assert_eq!(
        refused("write", stepped.handle(), &whole).0,
        "results[1::2]"
    );
    let element = results.slice(s![4, -1]).unwrap();
    assert_eq!(
        refused("write", element.handle(), &whole).0,
        "results[4, 99]"
    );
    assert_eq!(refused("write", results.handle(), &whole).0, "results");
    // Over the end of a row: no slice says it.
    let over = results
        .into_shape_with_order(500)
        .unwrap()
        .slice(s![150..250])
        .unwrap();
    let (place, range, _) = refused("write", over.handle(), &whole);
    assert_eq!(
        (place.as_str(), range),
        ("bytes 1200..2000 of results", 1200..2000)
    );

    let whole = || columns.try_read().map(drop).unwrap_err();
    let part = columns.slice(s![.., 2..4]).unwrap();
    assert_eq!(refused("write", part.handle(), &whole).0, "columns[:, 2:4]");
    let row = columns.slice(s![1, ..]).unwrap();
    assert_eq!(refused("write", row.handle(), &whole).0, "columns[1]");

    let whole = || point.try_read().map(drop).unwrap_err();
    assert_eq!(refused("write", point.handle(), &whole).0, "point");

    let whole = || particles.try_read().map(drop).unwrap_err();
    let mass = particles.field::<f64>("mass").unwrap();
    assert_eq!(
        refused("write", mass.handle(), &whole).0,
        "particles[\"mass\"]"
    );
    let y = particles
        .field::<Point>("at")
        .unwrap()
        .field::<f32>("y")
        .unwrap();
    let y = y.slice(s![2..5]).unwrap();
    assert_eq!(
        refused("write", y.handle(), &whole).0,
        "particles[2:5][\"at\"][\"y\"]"
    );
    peer.finish();
}

/// A waiter sleeps on another one that waits for the same guard.
#[test]
fn a_call_that_waits_behind_another_one_names_the_holder() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.options().name("xs").zeros(10).unwrap();
    let (mut holder, mut before) = (peer(), peer());
    takes(&mut holder, "write", &xs.handle());
    before.tell(&format!("waits {}", xs.handle()));
    before.hear("tries");
    while words::waits(xs.path()) < 1 {
        std::thread::yield_now();
    }
    for refused in [
        xs.write_timeout(Duration::from_millis(60)).map(drop),
        xs.read_timeout(Duration::from_millis(60)).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(only(&error).since.is_some(), "{error}");
        names(&error, &holder, GuardKind::Write, Some("[:]"));
    }
    let error = xs.try_write().map(drop).unwrap_err();
    names(&error, &holder, GuardKind::Write, Some("[:]"));
    holder.finish();
    before.hear("has it");
    before.finish();
}

#[test]
fn every_call_that_is_refused_names_the_holder() {
    let root = Root::new();
    let limit = Duration::from_millis(40);
    let manager = Manager::builder().root(root.path()).lock_timeout(limit);
    let manager = manager.create().unwrap();
    let xs: SharedArray1<u64> = manager.options().name("xs").zeros(10).unwrap();
    let other = manager.zeros::<u64, _>(10).unwrap();
    let any = AnyArray::open_path(xs.path()).unwrap();
    let mut peer = peer();
    takes(&mut peer, "write", &xs.slice(s![2..4]).unwrap().handle());
    let is_write = |error: &Error| names(error, &peer, GuardKind::Write, Some("[2:4]"));

    for refused in [
        xs.try_read().map(drop),
        xs.try_write().map(drop),
        xs.try_atomic().map(drop),
        any.try_read().map(drop),
        any.try_write().map(drop),
        ndshm::try_lock((other.writing(), xs.reading())).map(drop),
        ndshm::try_lock((
            xs.slice(s![0..1]).unwrap().writing(),
            xs.slice(s![1..;2]).unwrap().reading(),
        ))
        .map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::WouldBlock { .. }), "{error}");
        is_write(&error);
        assert_eq!(only(&error).since, None, "it did not wait");
    }
    for refused in [
        xs.read().map(drop),
        xs.write().map(drop),
        xs.atomic().map(drop),
        xs.recover().map(drop),
        xs.freeze().map(drop),
        xs.to_ndarray().map(drop),
        any.read().map(drop),
        any.write().map(drop),
        ndshm::lock((other.writing(), xs.reading())).map(drop),
        xs.read_timeout(limit).map(drop),
        xs.write_timeout(limit).map(drop),
        xs.atomic_timeout(limit).map(drop),
        ndshm::lock_timeout((other.writing(), xs.reading()), limit).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(error, Error::Timeout { waited, .. } if waited == limit),
            "{error}"
        );
        is_write(&error);
        let since = only(&error).since.unwrap();
        assert!(since <= Duration::from_secs(60), "{error}");
        assert!(
            error
                .to_string()
                .contains(" holds xs[2:4] to write, for at least "),
            "{error}"
        );
    }
    // The parts of a knot: the second one is held.
    let (first, second) = (xs.slice(s![..;2]).unwrap(), xs.slice(s![1..;2]).unwrap());
    takes(&mut peer, "free", &xs.handle());
    takes(&mut peer, "write", &second.handle());
    let knot = || (first.writing(), second.writing());
    for refused in [
        ndshm::try_lock(knot()).map(drop),
        ndshm::lock_timeout(knot(), limit).map(drop),
    ] {
        names(
            &refused.unwrap_err(),
            &peer,
            GuardKind::Write,
            Some("[1::2]"),
        );
    }
    takes(&mut peer, "free", &xs.handle());
    takes(&mut peer, "atomic", &xs.handle());
    let error = xs.try_read().map(drop).unwrap_err();
    names(&error, &peer, GuardKind::Atomic, Some("[:]"));
    assert!(
        error.to_string().contains(" holds xs for atomic access; "),
        "{error}"
    );
    peer.finish();
    assert!(xs.try_read().is_ok());
}
