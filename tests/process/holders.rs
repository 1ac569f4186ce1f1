//! The processes, threads and slices that errors name: the guards in the way of a call.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root, elsewhere, words};
use ndarray::{ShapeBuilder, s};
use ndshm::{
    AnyArray, Element, Error, GuardKind, Handle, Holder, Manager, Observer, SharedArray,
    SharedArray1, SharedArray2,
};
use rustix::process::{Signal, kill_process};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// Where words of a lane stand in a lock file and in the lane.
const LANES_AT: usize = 128;
const LANE_LEN: usize = 64;
const MEMBER_SHIFT: u32 = 8;
const PROCESS_AT: usize = 56;

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

/// A call sleeps on the guard of one process, and when that is given back on the guard of another
/// one: only its time counts.
#[test]
fn the_time_of_a_holder_is_the_time_for_which_the_call_saw_it() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.zeros(10).unwrap();
    let (left, right) = (xs.slice(s![..5]).unwrap(), xs.slice(s![5..]).unwrap());
    let (mut first, mut second) = (peer(), peer());
    takes(&mut first, "write", &left.handle());
    takes(&mut second, "read", &right.handle());
    let began = Instant::now();
    let limit = Duration::from_secs(2);
    let error = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| xs.write_timeout(limit).map(drop).unwrap_err());
        while words::waits(xs.path()) == 0 {
            std::thread::yield_now();
        }
        let given_back = Instant::now();
        takes(&mut first, "free", &left.handle());
        let error = waiter.join().unwrap();
        let since = only(&error).since.unwrap();
        assert!(
            since <= given_back.elapsed() && since > Duration::ZERO,
            "{error}"
        );
        error
    });
    names(&error, &second, GuardKind::Read, Some("[5:10]"));
    assert!(only(&error).since.unwrap() < began.elapsed());
    [first, second].into_iter().for_each(Peer::finish);
}

#[test]
fn all_readers_in_the_way_of_a_writer_are_named_and_a_waiting_writer_too() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.options().name("xs").zeros(30).unwrap();
    let mut peers: Vec<_> = (0..3).map(|_| peer()).collect();
    for (at, peer) in peers.iter_mut().enumerate() {
        let part = xs.slice(s![at * 10..at * 10 + 5]).unwrap();
        takes(peer, "read", &part.handle());
    }
    for error in [
        xs.try_write().map(drop).unwrap_err(),
        xs.write_timeout(Duration::from_millis(5))
            .map(drop)
            .unwrap_err(),
    ] {
        let mut pids: Vec<_> = error
            .holders()
            .iter()
            .map(|holder| holder.pid.unwrap())
            .collect();
        let mut expected: Vec<_> = peers.iter().map(pid_of).collect();
        pids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(pids, expected, "{error}");
    }
    // A writer that waits keeps new readers out.
    let mut writer = peer();
    writer.tell(&format!("waits {}", xs.handle()));
    writer.hear("tries");
    while words::waits(xs.path()) < 2 {
        std::thread::yield_now();
    }
    let error = xs
        .slice(s![25..])
        .unwrap()
        .try_read()
        .map(drop)
        .unwrap_err();
    let holder = only(&error);
    assert_eq!(
        (holder.pid, holder.is_waiting),
        (Some(pid_of(&writer)), true)
    );
    assert!(holder.since.is_some(), "{error}");
    assert!(
        error.to_string().contains(" waits to write xs, for "),
        "{error}"
    );
    peers.into_iter().for_each(Peer::finish);
    writer.hear("has it");
    writer.finish();
}

#[test]
fn the_own_thread_and_the_own_process_are_called_so() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray2<u64> = manager.options().name("xs").zeros((4, 4)).unwrap();
    let row = xs.slice(s![1, ..]).unwrap();
    let held = row.write().unwrap();
    for error in [
        xs.try_read().map(drop).unwrap_err(),
        xs.read().map(drop).unwrap_err(),
        xs.recover().map(drop).unwrap_err(),
        ndshm::lock((xs.reading(), manager.zeros::<u8, _>(1).unwrap().reading()))
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::WouldDeadlock { .. }), "{error}");
        let holder = only(&error);
        assert!(
            holder.is_this_thread && holder.is_this_process,
            "{holder:?}"
        );
        assert_eq!(
            (holder.pid, holder.slice.as_deref(), holder.kind),
            (
                Some(std::process::id()),
                Some("[1]"),
                Some(GuardKind::Write)
            )
        );
        let text = error.to_string();
        let words = ": this thread holds xs[1] to write and would wait for itself: drop its";
        assert!(text.contains(words), "{text}");
    }
    let error = elsewhere(|| xs.try_read().map(drop)).unwrap_err();
    let holder = only(&error);
    assert!(
        holder.is_this_process && !holder.is_this_thread && holder.is_alive,
        "{holder:?}"
    );
    assert_eq!(
        holder.command.as_deref(),
        Some(command_of(std::process::id()).as_str())
    );
    assert!(
        error
            .to_string()
            .contains(": this process holds xs[1] to write; "),
        "{error}"
    );
    drop(held);

    // Two views of one call that share bytes: no guard is held.
    let twice = ndshm::lock((xs.reading(), row.writing()))
        .map(drop)
        .unwrap_err();
    assert!(matches!(twice, Error::WouldDeadlock { .. }) && twice.holders().is_empty());

    // A reader that reads again what a writer waits for: the writer, and the own guard.
    let held = row.read().unwrap();
    let mut writer = peer();
    writer.tell(&format!("waits {}", xs.handle()));
    writer.hear("tries");
    while words::waits(xs.path()) == 0 {
        std::thread::yield_now();
    }
    let error = xs.read().map(drop).unwrap_err();
    assert!(matches!(error, Error::WouldDeadlock { .. }), "{error}");
    let [waiting, own] = error.holders() else {
        panic!("{error}")
    };
    assert_eq!(
        (waiting.pid, waiting.is_waiting),
        (Some(pid_of(&writer)), true)
    );
    assert!(own.is_this_thread && own.place() == "xs[1]", "{error}");
    drop(held);
    writer.hear("has it");
    writer.finish();
}

#[test]
fn the_others_of_a_circle_are_all_named() {
    for count in [2, 3] {
        let root = Root::new();
        let manager = root.manager();
        let xs: Vec<SharedArray2<u64>> = (0..count)
            .map(|i| {
                manager
                    .options()
                    .name(format!("xs{i}"))
                    .zeros((4, 4))
                    .unwrap()
            })
            .collect();
        let mut peers: Vec<_> = (0..count).map(|_| peer()).collect();
        for (peer, x) in peers.iter_mut().zip(&xs) {
            takes(peer, "write", &x.slice(s![1, ..]).unwrap().handle());
        }
        // Each waits for the next one's, one after the other: the last wait is the youngest. The
        // last one waits for the array of the first, whose file it has not opened.
        for (i, peer) in peers.iter_mut().enumerate() {
            let next = (i + 1) % count;
            peer.tell(&format!(
                "waits {}",
                xs[next].slice(s![.., 2]).unwrap().handle()
            ));
            peer.hear("tries");
            if i + 1 < count {
                while words::waits(xs[next].path()) == 0 {
                    std::thread::yield_now();
                }
                // The waits' times are whole milliseconds.
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        let expected: Vec<_> = (0..count - 1)
            .flat_map(|i| {
                let (pid, next) = (pid_of(&peers[i]), i + 1);
                [
                    format!("{pid}:Some(Write):false:xs{i}[1]"),
                    format!("{pid}:Some(Write):true:xs{next}[:,_2]"),
                ]
            })
            .collect();
        assert_eq!(peers[count - 1].hear("told "), expected.join(" "));
        // Each one's end lets the one before it go on.
        for mut peer in peers.into_iter().rev() {
            peer.hear("has it");
            peer.finish();
        }
    }
}

#[test]
fn a_writer_that_died_is_named_as_ended_and_one_that_panicked_as_it_is() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray2<f64> = manager.options().name("xs").zeros((4, 8)).unwrap();
    let row = xs.slice(s![1, ..]).unwrap();
    let mut killed = peer();
    takes(&mut killed, "write", &row.handle());
    let pid = pid_of(&killed);
    killed.kill();
    // The first reader makes a record of it, the second one reads that.
    for _ in 0..2 {
        let error = xs.read().map(drop).unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        let writer = only(&error);
        assert_eq!(
            (writer.pid, writer.is_alive, writer.command.as_deref()),
            (Some(pid), false, None),
            "{error}"
        );
        assert_eq!(
            (writer.kind, writer.place().as_str()),
            (Some(GuardKind::Write), "xs[1]")
        );
        let words = format!(
            "bytes 64..128 of the array's data may be half-written: their writer, process {pid} \
             (ended), held xs[1] and died or panicked; "
        );
        assert!(error.to_string().contains(&words), "{error}");
    }
    row.recover().unwrap().fill(0.0);

    let mut panicked = peer();
    takes(&mut panicked, "panics", &row.handle());
    let error = xs.try_write().map(drop).unwrap_err();
    let writer = only(&error);
    assert_eq!(
        (writer.pid, writer.is_alive, writer.command.as_deref()),
        (
            Some(pid_of(&panicked)),
            true,
            Some(command_of(pid_of(&panicked)).as_str())
        ),
        "{error}"
    );
    panicked.finish();
    // It has ended since, and its pid is another one's by now for all that is known.
    let error = xs.try_write().map(drop).unwrap_err();
    assert_eq!(
        (only(&error).is_alive, only(&error).command.as_deref()),
        (false, None)
    );

    // By a panic of this process.
    row.recover().unwrap().fill(0.0);
    let view = row.view().unwrap();
    let thread = std::thread::spawn(move || {
        let _guard = view.write().unwrap();
        panic!("half-way");
    });
    assert!(thread.join().is_err());
    let error = xs.read().map(drop).unwrap_err();
    assert!(only(&error).is_this_process, "{error}");
    assert!(
        error
            .to_string()
            .contains("their writer, this process, held xs[1] and died"),
        "{error}"
    );
}

/// The lock word is held by a stopped process: `tests/process/waits.rs` has all calls that wait.
#[test]
fn the_member_that_holds_the_lock_word_is_named() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.options().name("xs").zeros(5).unwrap();
    let other = manager.zeros::<u64, _>(5).unwrap();
    let mut peer = peer();
    takes(&mut peer, "read", &other.handle());
    let locks = Observer::open(manager.path()).unwrap().locks().unwrap();
    let member = locks[0].holder.member;
    kill_process(peer.pid(), Signal::STOP).unwrap();
    words::set(xs.path(), words::LOCK_AT, member);
    let limit = Duration::from_millis(60);
    for (error, is_timeout) in [
        (xs.read_timeout(limit).map(drop).unwrap_err(), true),
        (xs.try_read().map(drop).unwrap_err(), false),
    ] {
        let holder = only(&error);
        assert_eq!(
            matches!(error, Error::Timeout { .. }),
            is_timeout,
            "{error}"
        );
        assert_eq!(
            (holder.kind, holder.pid, holder.member, holder.range.clone()),
            (None, Some(pid_of(&peer)), member, 0..0)
        );
        assert_eq!(
            holder.command.as_deref(),
            Some(command_of(pid_of(&peer)).as_str())
        );
        assert!(holder.since.is_some());
        assert!(
            error
                .to_string()
                .contains(" holds the lock word of xs, for at least "),
            "{error}"
        );
    }
    kill_process(peer.pid(), Signal::CONT).unwrap();
    words::set(xs.path(), words::LOCK_AT, 0);
    peer.finish();
}

/// The lanes of members in a lock file, with the place of each.
fn lanes_of(lock: &Path, member: u64) -> Vec<usize> {
    let bytes = std::fs::read(lock).unwrap();
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let lanes = (LANES_AT..bytes.len()).step_by(LANE_LEN);
    lanes
        .filter(|&at| word(at) >> MEMBER_SHIFT == member)
        .collect()
}

/// Numbers of processes that mean nothing here: of another pid namespace, and whatever a process
/// wrote into the lanes.
#[test]
fn a_process_of_another_namespace_has_no_pid_and_any_bytes_give_words_only() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u64> = manager.options().name("xs").zeros(8).unwrap();
    let mut peer = peer();
    takes(&mut peer, "write", &xs.handle());
    let locks = Observer::open(manager.path()).unwrap().locks().unwrap();
    let member = locks[0].holder.member;
    let path = manager.path().join(".lock");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut number = [0; 4];
    let lane = *lanes_of(&path, member).first().unwrap();
    file.read_exact_at(&mut number, (lane + PROCESS_AT) as u64)
        .unwrap();
    let number = u32::from_ne_bytes(number);
    let write = |process: u32| {
        for lane in lanes_of(&path, member) {
            file.write_all_at(&process.to_ne_bytes(), (lane + PROCESS_AT) as u64)
                .unwrap();
        }
    };
    // The same pid, in another namespace.
    write(number ^ 1 << 22);
    let error = xs.try_read().map(drop).unwrap_err();
    assert_eq!(
        (only(&error).pid, only(&error).command.as_deref()),
        (None, None)
    );
    let words = format!(": member {member} of the store holds xs to write; ");
    assert!(error.to_string().contains(&words), "{error}");
    for process in [0, u32::MAX, number | 0x3f_ffff, number & !0x3f_ffff] {
        write(process);
        let error = xs.try_read().map(drop).unwrap_err();
        assert_eq!(only(&error).command, None, "{process:#x}: {error}");
    }
    write(number);
    // Spans of any bytes.
    for span in [
        [0, u64::MAX, u64::MAX],
        [0, 64, 8],
        [0, u64::MAX, 8],
        [1, 63, u64::MAX << 32 | 8],
        [0, 64, 1 << 32],
    ] {
        for (at, word) in span.iter().enumerate() {
            file.write_all_at(&word.to_ne_bytes(), (lane + 16 + at * 8) as u64)
                .unwrap();
        }
        let error = xs.try_read().map(drop).unwrap_err();
        let range = only(&error).range.clone();
        assert!(range.start <= range.end && range.end <= 64, "{error}");
    }
    peer.finish();
}

#[test]
fn an_error_names_a_few_holders_and_counts_the_others() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray1<u8> = manager.options().name("xs").zeros(100).unwrap();
    let parts: Vec<_> = (0..40)
        .map(|at| xs.slice(s![at..at + 1]).unwrap())
        .collect();
    let held: Vec<_> = parts.iter().map(|part| part.read().unwrap()).collect();
    let error = elsewhere(|| xs.try_write().map(drop)).unwrap_err();
    assert_eq!(error.holders().len(), 16);
    assert!(error.to_string().contains(", and 12 more; wait"), "{error}");
    drop(held);
}
