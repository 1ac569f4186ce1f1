//! `mmap-sync`: a value that one writer replaces, in two files that are written in turns.
#![allow(
    unsafe_code,
    reason = "the crate leaves it to the reader to be done in time"
)]

use crate::peer::{Peer, Place, Result, Role};
use mmap_sync::synchronizer::Synchronizer;
use std::{path::PathBuf, time::Duration};

/// How long a writer waits for readers; every reader here is done before the next write.
pub const GRACE: Duration = Duration::from_secs(60);

/// A synchronizer for each array, or one for `ALL` of them.
pub struct MmapSync<const ALL: bool> {
    directory: PathBuf,
    next: usize,
    shared: Option<Box<Synchronizer>>,
    is_consumer: bool,
}

impl<const ALL: bool> MmapSync<ALL> {
    fn path(&self) -> String {
        self.directory
            .join(format!("mmap-sync-{}-{}", u8::from(ALL), self.next))
            .display()
            .to_string()
    }

    fn synchronizer(path: &str) -> Box<Synchronizer> {
        Box::new(Synchronizer::new(path.as_ref()))
    }
}

impl<const ALL: bool> Peer for MmapSync<ALL> {
    type Made = (String, Option<Box<Synchronizer>>);
    type Opened = (String, Option<Box<Synchronizer>>);

    fn new(role: Role, place: &Place, _greeting: &str) -> Result<Self> {
        Ok(Self {
            directory: place.directory.clone(),
            next: 0,
            shared: None,
            is_consumer: role == Role::Consumer,
        })
    }

    fn prepare(&mut self, _len: usize, arrays: usize) -> Result<()> {
        if ALL && arrays > 64 {
            return Err("one synchronizer holds one array".into());
        }
        if ALL && !self.is_consumer {
            self.next += 1;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.shared = None;
        if ALL && !self.is_consumer {
            remove(&self.path());
        }
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made> {
        if !ALL {
            self.next += 1;
        }
        let path = self.path();
        let mut synchronizer = self
            .shared
            .take()
            .unwrap_or_else(|| Self::synchronizer(&path));
        synchronizer.write(source, GRACE)?;
        if ALL {
            self.shared = Some(synchronizer);
            return Ok((path, None));
        }
        Ok((path, Some(synchronizer)))
    }

    fn publish(&mut self, made: &mut Self::Made) -> Result<String> {
        Ok(made.0.clone())
    }

    fn release(&mut self, (path, synchronizer): Self::Made) -> Result<()> {
        drop(synchronizer);
        if !ALL {
            remove(&path);
        }
        Ok(())
    }

    fn open(&mut self, token: &str, _len: usize) -> Result<Self::Opened> {
        if ALL && self.shared.is_none() {
            self.shared = Some(Self::synchronizer(token));
        }
        Ok((token.into(), (!ALL).then(|| Self::synchronizer(token))))
    }

    fn read<R>(
        &mut self,
        opened: &mut Self::Opened,
        reader: impl FnOnce(&[f64]) -> R,
    ) -> Result<R> {
        let synchronizer = opened
            .1
            .as_mut()
            .or(self.shared.as_mut())
            .ok_or("only a consumer reads")?;
        // SAFETY: the result is dropped before this returns, and the producer writes the next array
        // only after that; the bytes were written by `write` as a `Vec<f64>`.
        let values = unsafe { synchronizer.read::<Vec<f64>>(false) }?;
        Ok(reader(values.as_slice()))
    }
}

fn remove(path: &str) {
    for part in ["_state", "_data_0", "_data_1"] {
        let _ = std::fs::remove_file(format!("{path}{part}"));
    }
}
