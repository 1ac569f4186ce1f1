//! The process in the words of a lock file: the lock word of an array, and lanes with any bytes.

use super::*;
use crate::common::words;
use ndshm::Observer;
use rustix::process::{Signal, kill_process};
use std::{fs::File, os::unix::fs::FileExt, path::Path};

/// Where words of a lane stand in a lock file and in the lane.
const LANES_AT: usize = 128;
const LANE_LEN: usize = 64;
const MEMBER_SHIFT: u32 = 8;
const PROCESS_AT: usize = 56;

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
