//! Sets of guards that recover what a dead writer left.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is compared"
)]

use crate::common::{self, Peer, Root, elsewhere, words};
use ndarray::{Ix2, s};
use ndshm::{Error, GuardKind, Handle, SharedArray, SharedArray2};
use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

/// Leaves what a process leaves that is killed while it writes a view. Returns its pid.
fn killed_writer_of(view: &SharedArray2<u64>) -> u32 {
    let mut peer = Peer::start(child_writes, &[view.handle().to_string()]);
    peer.hear("writing");
    let pid = peer.pid().as_raw_nonzero().get() as u32;
    peer.kill();
    pid
}

#[test]
#[ignore = "runs in a child"]
fn child_writes() {
    let handle: Handle = common::arguments()[0].parse().unwrap();
    let view: SharedArray<u64, Ix2> = handle.open().unwrap();
    let mut guard = view.write().unwrap();
    guard.fill(7);
    println!("writing");
    std::io::stdin().lines().for_each(drop);
    common::done();
}

#[test]
fn a_set_recovers_what_a_killed_writer_held() {
    let root = Root::new();
    let (here, there) = (root.manager(), root.manager());
    let xs = here.zeros::<u64, _>((4, 8)).unwrap();
    let ys = there.ones::<u64, _>((4, 8)).unwrap();
    let row = |i: usize| xs.slice(s![i..=i, ..]).unwrap();
    let pid = killed_writer_of(&row(1));
    for refused in [
        ndshm::lock((ys.writing(), xs.reading())).map(drop),
        ndshm::lock([row(1).writing()]).map(drop),
        ndshm::try_lock((row(0).recovering(), row(1).updating())).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(&error, Error::Poisoned { range, .. } if *range == (64..128)),
            "{error}"
        );
        let [holder] = error.holders() else {
            panic!("{error}")
        };
        assert_eq!(
            (holder.pid, holder.kind),
            (Some(pid), Some(GuardKind::Write))
        );
        assert_eq!(holder.slice.as_deref(), Some("[1]"));
        assert!(ys.try_write().is_ok() && row(0).try_write().is_ok());
    }
    let (counts, mut recovered, read) =
        ndshm::lock((row(2).updating(), row(1).recovering(), ys.reading())).unwrap();
    assert_eq!(recovered[[0, 3]], 7, "what the writer left can be seen");
    counts[[0, 0]].fetch_add(read.sum(), SeqCst);
    recovered.fill(1);
    let refused = elsewhere(|| row(1).try_read().map(drop));
    assert!(matches!(refused, Err(Error::WouldBlock { .. })));
    drop((counts, recovered, read));
    assert!(xs.poisoned().unwrap().is_empty());
    assert_eq!(xs.read().unwrap().sum(), 8 + 32);
    // Nothing is poisoned: it is a guard to write.
    ndshm::lock([row(1).recovering()]).unwrap()[0].fill(2);
    assert_eq!(xs.read().unwrap().sum(), 16 + 32);
}

/// Its guard on the first part had cleared the poison when the second part was refused.
#[test]
fn a_set_that_is_refused_leaves_poison_as_it_was() {
    let root = Root::new();
    let manager = root.manager();
    // The order of their ids is not known, so both are tried.
    let arrays = [(); 2].map(|()| manager.zeros::<u64, _>((4, 8)).unwrap());
    for (xs, ys) in [(&arrays[0], &arrays[1]), (&arrays[1], &arrays[0])] {
        let row = |i: usize| xs.slice(s![i..=i, ..]).unwrap();
        killed_writer_of(&row(1));
        let held = ys.read().unwrap();
        let limit = Duration::from_millis(20);
        elsewhere(|| {
            let set = || (xs.recovering(), ys.writing());
            let late = ndshm::lock_timeout(set(), limit).map(drop);
            assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
            let blocked = ndshm::try_lock(set()).map(drop);
            let is_blocked = matches!(blocked, Err(Error::WouldBlock { .. }));
            assert!(is_blocked, "{blocked:?}");
        });
        drop(held);
        ys.write().unwrap().poison();
        let refused = ndshm::lock((xs.recovering(), ys.reading())).map(drop);
        assert!(
            matches!(refused, Err(Error::Poisoned { .. })),
            "{refused:?}"
        );
        let twice = ndshm::lock((xs.recovering(), row(1).reading())).map(drop);
        assert!(
            matches!(twice, Err(Error::WouldDeadlock { .. })),
            "{twice:?}"
        );
        assert_eq!(xs.poisoned().unwrap(), [64..128]);
        assert!(row(0).try_write().is_ok() && row(2).try_write().is_ok());
        drop(ndshm::lock((xs.recovering(), ys.recovering())).unwrap());
        assert!(xs.try_read().is_ok() && ys.try_read().is_ok());
    }
}

#[test]
fn parts_of_one_poison_are_recovered_by_one_set() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((4, 8)).unwrap();
    let row = |i: usize| xs.slice(s![i..=i, ..]).unwrap();
    killed_writer_of(&xs);
    drop(ndshm::lock([row(2).recovering(), row(0).recovering()]).unwrap());
    assert_eq!(xs.poisoned().unwrap(), [64..128, 192..256]);
    let column = xs.slice(s![..3, 0..1]).unwrap();
    let refused = ndshm::lock([row(3).recovering(), column.recovering()]);
    assert!(matches!(refused, Err(Error::Layout { .. })), "{refused:?}");
    assert_eq!(xs.poisoned().unwrap(), [64..128, 192..256]);
    let refused = ndshm::lock([xs.read_only().unwrap().recovering()]);
    assert!(
        matches!(refused, Err(Error::ReadOnly { .. })),
        "{refused:?}"
    );
    drop(ndshm::lock([row(3).recovering(), row(1).recovering()]).unwrap());
    assert!(xs.poisoned().unwrap().is_empty());
}

#[test]
fn a_panic_with_the_guards_of_a_set_poisons_what_it_recovered() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((4, 8)).unwrap();
    killed_writer_of(&xs.slice(s![1..2, ..]).unwrap());
    let part = xs.slice(s![..2, ..]).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        let _guards = ndshm::lock([part.recovering()]).unwrap();
        panic!("half-way");
    });
    assert!(panicked.is_err());
    assert_eq!(xs.poisoned().unwrap(), [0..128]);
}

/// The set waits for a guard on its poisoned part, and for one on its other part.
#[test]
fn a_set_that_recovers_waits_for_both_its_parts() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>((4, 8)).unwrap();
    let row = |i: usize| xs.slice(s![i..=i, ..]).unwrap();
    killed_writer_of(&row(1));
    let (beside, behind) = (row(0).write().unwrap(), row(3).write().unwrap());
    std::thread::scope(|scope| {
        let set = scope.spawn(|| {
            let parts = [
                xs.slice(s![..2, ..]).unwrap().recovering(),
                row(3).recovering(),
            ];
            ndshm::lock(parts).map(drop)
        });
        for (held, waits) in [(beside, 1), (behind, 2)] {
            let began = Instant::now();
            while words::waits(xs.path()) < waits {
                assert!(began.elapsed() < Duration::from_secs(60), "no thread waits");
                std::thread::yield_now();
            }
            assert_eq!(xs.poisoned().unwrap(), [64..128]);
            drop(held);
        }
        set.join().unwrap().unwrap();
    });
    assert!(xs.try_write().is_ok());
}
