//! The operations of a worker on whole arrays: it makes, hands on, claims, names, releases and
//! sweeps them.

use super::{LEN, NAMES, Worker, check_uniform};
use crate::{
    cells::GRIDS,
    shared::{Op, State},
};
use ndarray::Ix1;
use ndshm::{Error, Handle, Scope, SharedArray1};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

impl Worker<'_> {
    pub(super) fn create_or_drop(&mut self) {
        if self.locals.len() > 2 {
            let local = self.locals.swap_remove(0);
            return self.drop_local(local);
        }
        self.words.set(State::Creating);
        let number = self.number();
        let local = self
            .manager
            .options()
            .from_elem::<u64, _>(LEN, number)
            .unwrap();
        assert!(local.path().exists());
        self.locals.push(local);
        self.words.count(Op::Create);
    }

    pub(super) fn drop_local(&mut self, local: SharedArray1<u64>) {
        self.words.set(State::Reading);
        check_uniform(&local.read().unwrap().to_vec());
        let (path, handle) = (local.path().to_path_buf(), local.handle());
        assert!(
            handle.info().is_ok(),
            "{} was deleted by another process",
            path.display()
        );
        self.words.set(State::Dropping);
        drop(local);
        // A sweep in another thread holds each array that it looks at for a moment, and deletes it
        // then.
        let deadline = Instant::now() + Duration::from_secs(10);
        // Its file may have another array by then.
        while self.shares_process && handle.info().is_ok() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(handle.info().is_err(), "{} was not deleted", path.display());
        self.words.count(Op::Drop);
    }

    /// Makes an array for the next claimant.
    pub(super) fn hand_on(&mut self) {
        self.words.set(State::Creating);
        let number = self.number();
        let is_local_first = self.chance(2);
        let options = self.manager.options();
        let array = if !is_local_first {
            options
                .scope(Scope::Remote)
                .from_elem::<u64, _>(LEN, number)
                .unwrap()
        } else {
            let array = options.from_elem::<u64, _>(LEN, number).unwrap();
            array.set_scope(Scope::Remote).unwrap();
            array
        };
        announce(&self.places.offers, number, &array.handle());
        self.words.count(Op::HandOn);
    }

    /// Any entry of a directory of handles, often the newest, with its text.
    pub(super) fn pick_entry(&mut self, directory: &Path) -> Option<(PathBuf, String)> {
        let is_entry = |name: &str| !name.starts_with("draft");
        let entries = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let entries: Vec<_> = entries.filter(|name| is_entry(name)).collect();
        if entries.is_empty() {
            return None;
        }
        // A tmpfs lists the newest files first.
        let limit = if self.chance(2) { entries.len() } else { 1 };
        let entry = directory.join(&entries[self.random.below(limit)]);
        let text = std::fs::read_to_string(&entry).ok()?;
        Some((entry, text))
    }

    pub(super) fn claim(&mut self) {
        let Some((entry, text)) = self.pick_entry(&self.places.offers) else {
            return;
        };
        self.words.set(State::Claiming);
        let array: SharedArray1<u64> = match text.parse::<Handle>().unwrap().open() {
            Ok(array) => array,
            Err(Error::Released { .. }) => {
                let _ = std::fs::remove_file(&entry);
                return self.words.count(Op::ClaimLost);
            }
            Err(error) => panic!("{error}"),
        };
        if self.chance(5) {
            // Not used: the claim goes back.
            return;
        }
        check_uniform(&array.read().unwrap().to_vec());
        if array.scope() != Scope::Local {
            return self.words.count(Op::ClaimLost);
        }
        let (path, handle) = (array.path().to_path_buf(), array.handle());
        self.pause();
        assert!(
            self.shares_process || handle.info().is_ok(),
            "{} is claimed and was deleted by another process",
            path.display()
        );
        self.words.set(State::Dropping);
        drop(array);
        assert!(
            self.shares_process || handle.info().is_err(),
            "{} was claimed and not deleted",
            path.display()
        );
        let _ = std::fs::remove_file(&entry);
        self.words.count(Op::Claim);
    }

    pub(super) fn use_a_name(&mut self) {
        let name = NAMES[self.random.below(NAMES.len())];
        self.words.set(State::Opening);
        let array = match self.random.below(4) {
            0 => match self.manager.array::<u64, Ix1>(name) {
                Ok(array) => array,
                Err(Error::NotFound { .. } | Error::Released { .. }) => return,
                Err(error) => panic!("{error}"),
            },
            1 => {
                self.words.set(State::Creating);
                match self
                    .manager
                    .options()
                    .name(name)
                    .from_elem::<u64, _>(LEN, 0)
                {
                    Ok(array) => array,
                    Err(Error::AlreadyExists { .. }) => return,
                    Err(error) => panic!("{error}"),
                }
            }
            _ => self
                .manager
                .options()
                .name(name)
                .open_or_zeros::<u64, _>(LEN)
                .unwrap(),
        };
        let guard = match self.chance(2) {
            true => array.write(),
            false => {
                self.words.set(State::WaitingToRead);
                let read = array.read().map(|guard| check_uniform(&guard.to_vec()));
                match read {
                    Ok(()) => array.try_write(),
                    Err(error) => Err(error),
                }
            }
        };
        let guard = match guard {
            Err(Error::Poisoned { .. }) => array.recover(),
            other => other,
        };
        match guard {
            Ok(mut guard) => {
                self.words.set(State::Writing);
                let number = self.number();
                guard
                    .iter_mut()
                    .take(LEN / 2)
                    .for_each(|element| *element = number);
                self.pause();
                guard.fill(number);
            }
            Err(Error::WouldBlock { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.words.set(State::Opening);
        self.check_names();
        self.named.push((name, array));
        self.words.count(Op::Named);
    }

    /// An array that was not released has its name, and its file.
    pub(super) fn check_names(&mut self) {
        let manager = &self.manager;
        self.named.retain(|(name, array)| {
            let there = match manager.array::<u64, Ix1>(name) {
                Ok(found) => found.id() == array.id(),
                Err(Error::NotFound { .. } | Error::Released { .. }) => false,
                Err(error) => panic!("{error}"),
            };
            let state = array.set_scope(Scope::Store);
            assert!(
                there || matches!(state, Err(Error::Released { .. })),
                "{name} lost its name and was not released: {state:?}"
            );
            state.is_ok()
        });
        if self.named.len() > 5 {
            self.named.remove(0);
        }
    }

    pub(super) fn release(&mut self) {
        self.words.set(State::Releasing);
        let result = match self.named.pop() {
            Some((_, array)) if self.random.below(4) > 0 => array.release(),
            _ => self.manager.remove(NAMES[self.random.below(NAMES.len())]),
        };
        match result {
            Ok(()) => self.words.count(Op::Release),
            Err(Error::Released { .. } | Error::NotFound { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        self.check_names();
    }

    pub(super) fn sweep(&mut self) {
        self.words.set(State::Sweeping);
        let swept = self.manager.sweep().unwrap();
        assert!(swept.skipped.is_empty(), "{:?}", swept.skipped);
        self.locals.iter().for_each(|local| {
            assert!(
                local.path().exists(),
                "{} was swept",
                local.path().display()
            )
        });
        self.words.count(Op::Sweep);
    }

    pub(super) fn list(&mut self) {
        self.words.set(State::Opening);
        let list = self.manager.list().unwrap();
        for local in &self.locals {
            assert!(
                list.iter().any(|info| info.id == local.id()),
                "{} is not listed",
                local.path().display()
            );
        }
        for grid in &GRIDS {
            assert!(
                list.iter()
                    .any(|info| info.name.as_deref() == Some(grid.name)),
                "{} is not listed",
                grid.name
            );
        }
        self.words.count(Op::List);
    }
}

/// Puts a handle where others find it, in one step.
pub(super) fn announce(directory: &Path, number: u64, handle: &Handle) {
    let (draft, entry) = (
        directory.join(format!("draft-{number:x}")),
        directory.join(format!("{number:x}")),
    );
    std::fs::write(&draft, handle.to_string()).unwrap();
    std::fs::rename(&draft, &entry).unwrap();
}
