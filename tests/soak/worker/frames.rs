//! The operations of a worker on frames: arrays that one worker makes, fills and freezes, and all
//! read without a lock.

use super::{LEN, Worker, lifecycle::announce};
use crate::shared::{Op, State};
use ndarray::{Ix1, s};
use ndshm::{Error, FrozenArray, Handle, Scope, SharedArray1};
use std::{fs, time::Duration};

/// Frozen arrays that a thread keeps.
const KEPT: usize = 4;
/// A worker that has read a frame beyond this number releases it: sweeps and lists should not have
/// to look at thousands.
const CROWDED: usize = 12;

/// The name of a frame.
pub(crate) fn name(number: u64) -> String {
    format!("frame-{number:x}")
}

/// The number of a frame of this name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("frame-")?, 16).ok()
}

impl Worker<'_> {
    /// Makes a frame, which others wait for from the start, and freezes it.
    pub(super) fn produce(&mut self) {
        self.words.set(State::Creating);
        let number = self.number();
        self.words.set_frame(number);
        // One of the store's is left unfrozen where its producer dies; one of the producer's own is
        // swept.
        let scope = if self.chance(2) {
            Scope::Store
        } else {
            Scope::Local
        };
        let frame = self
            .manager
            .options()
            .name(name(number))
            .scope(scope)
            .zeros::<u64, _>(LEN)
            .unwrap();
        announce(&self.places.frames, number, &frame.handle());
        self.words.set(State::Filling);
        let mut guard = frame.write().unwrap();
        guard.slice_mut(s![..LEN / 2]).fill(number);
        self.pause();
        guard.fill(number);
        drop(guard);
        if self.chance(2) {
            // Another worker has time to read it, and freezing has to wait.
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.chance(8) {
            self.words.set(State::Releasing);
            frame.release().unwrap();
            self.words.set_frame(0);
            return self.words.count(Op::GiveUp);
        }
        // Other workers release only frozen frames and those of dead producers.
        frame.set_scope(scope).unwrap();
        self.words.set(State::Freezing);
        let frozen = frame.freeze().unwrap();
        self.words.set(State::HoldingFrozen);
        self.words.count(Op::Freeze);
        check(number, &frozen);
        if self.chance(4) {
            // It outlives its producer; a worker that has read it may have released it already.
            match frame.set_scope(Scope::Store) {
                Ok(()) | Err(Error::Released { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.pause();
        self.words.set_frame(0);
        self.keep_frozen(number, frozen);
    }

    /// Waits for a frame that is announced.
    pub(super) fn consume(&mut self) {
        let Some((entry, text)) = self.pick_entry(&self.places.frames) else {
            return;
        };
        let number = u64::from_str_radix(entry.file_name().unwrap().to_str().unwrap(), 16).unwrap();
        let handle: Handle = text.parse().unwrap();
        if self.chance(3) {
            self.hold_a_reader(number, &handle);
        }
        self.words.set(State::Awaiting);
        let timeout = if self.chance(3) {
            Duration::from_secs(2)
        } else {
            Duration::from_micros(self.random.below(5000) as u64)
        };
        match handle.open_frozen_timeout::<u64, Ix1>(timeout) {
            Ok(frozen) => {
                self.words.set(State::HoldingFrozen);
                check(number, &frozen);
                assert!(matches!(
                    frozen.shared().try_write(),
                    Err(Error::Frozen { .. })
                ));
                self.pause();
                check(number, &frozen);
                let is_crowded = fs::read_dir(&self.places.frames).unwrap().count() > CROWDED;
                if is_crowded || self.chance(4) {
                    self.words.set(State::Releasing);
                    let released = frozen.shared().release();
                    assert!(
                        matches!(released, Ok(()) | Err(Error::Released { .. })),
                        "{released:?}"
                    );
                    let _ = fs::remove_file(&entry);
                }
                self.words.count(Op::Consume);
                self.keep_frozen(number, frozen);
            }
            Err(Error::Timeout { .. }) => self.words.count(Op::TooLate),
            Err(Error::Abandoned { member, .. }) => {
                assert!(
                    self.shared.kills() > 0 && member != self.words.member(),
                    "no process died"
                );
                self.words.count(Op::Abandoned);
                self.clear_away(&handle);
                let _ = fs::remove_file(&entry);
            }
            Err(Error::Released { .. }) => {
                self.words.count(Op::FrameLost);
                let _ = fs::remove_file(&entry);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads a frame that may not be frozen yet, so that freezing has to wait.
    fn hold_a_reader(&mut self, number: u64, handle: &Handle) {
        self.words.set(State::Opening);
        let array: SharedArray1<u64> = match handle.open() {
            Ok(array) => array,
            Err(Error::Released { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        match array.try_read() {
            Ok(guard) => {
                self.words.set(State::Reading);
                let first = guard[0];
                assert!(
                    guard.iter().all(|element| *element == first)
                        && (first == 0 || first == number),
                    "{:x?}",
                    guard.to_vec()
                );
                self.pause();
                assert_eq!(guard[LEN - 1], first);
                self.words.set(State::Leaving);
            }
            Err(Error::WouldBlock { .. } | Error::Poisoned { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Deletes a frame that its producer left unfrozen.
    fn clear_away(&mut self, handle: &Handle) {
        self.words.set(State::Releasing);
        match handle.open::<u64, Ix1>().and_then(|array| {
            assert!(!array.is_frozen(), "frozen by the dead");
            array.release()
        }) {
            Ok(()) | Err(Error::Released { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Checks that frozen frames never change.
    pub(super) fn look_at_frozen(&mut self) {
        self.words.set(State::HoldingFrozen);
        self.frozen
            .iter()
            .for_each(|(number, frozen)| check(*number, frozen));
        self.words.count(Op::Recheck);
    }

    fn keep_frozen(&mut self, number: u64, frozen: FrozenArray<u64, Ix1>) {
        self.frozen.push((number, frozen));
        if self.frozen.len() > KEPT {
            let (number, frozen) = self.frozen.remove(0);
            check(number, &frozen);
        }
    }
}

fn check(number: u64, frozen: &FrozenArray<u64, Ix1>) {
    assert!(
        frozen.len() == LEN && frozen.iter().all(|element| *element == number),
        "frozen as {number:x}: {frozen:x?}"
    );
}
