//! A file on tmpfs, mapped with memmap2: the code of a user without a library.
#![allow(
    unsafe_code,
    reason = "memmap2 requires the caller to rule out truncation of the file"
)]

use crate::{
    bytes::{bytes_of, elements_of},
    peer::{Peer, Place, Result, Role},
};
use memmap2::{Mmap, MmapMut};
use std::{
    fs::{File, OpenOptions},
    path::PathBuf,
};

/// Files in one directory.
pub struct Memmap2 {
    directory: PathBuf,
    next: usize,
}

impl Memmap2 {
    fn map_new(&mut self, len: usize) -> Result<(PathBuf, MmapMut)> {
        self.next += 1;
        let path = self.directory.join(format!("memmap2-{}", self.next));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.set_len(len as u64)?;
        // SAFETY: no process of this benchmark truncates the file while it is mapped.
        let map = unsafe { MmapMut::map_mut(&file) }?;
        Ok((path, map))
    }
}

impl Peer for Memmap2 {
    type Made = (PathBuf, MmapMut);
    type Opened = Mmap;

    fn new(_role: Role, place: &Place, _greeting: &str) -> Result<Self> {
        Ok(Self {
            directory: place.directory.clone(),
            next: 0,
        })
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made> {
        let (path, mut map) = self.map_new(bytes_of(source).len())?;
        map.copy_from_slice(bytes_of(source));
        Ok((path, map))
    }

    fn create_empty(&mut self, len: usize) -> Result<Option<Self::Made>> {
        Ok(Some(self.map_new(len * 8)?))
    }

    fn publish(&mut self, made: &mut Self::Made) -> Result<String> {
        Ok(made.0.display().to_string())
    }

    fn release(&mut self, (path, map): Self::Made) -> Result<()> {
        drop(map);
        Ok(std::fs::remove_file(path)?)
    }

    fn open(&mut self, token: &str, _len: usize) -> Result<Mmap> {
        let file = File::open(token)?;
        // SAFETY: no process of this benchmark truncates or writes the file while it is mapped
        // here.
        Ok(unsafe { Mmap::map(&file) }?)
    }

    fn read<R>(&mut self, opened: &mut Mmap, reader: impl FnOnce(&[f64]) -> R) -> Result<R> {
        Ok(reader(elements_of(opened)))
    }
}
