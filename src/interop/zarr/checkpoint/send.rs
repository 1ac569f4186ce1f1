//! Sending chunks, or referring to those that the place has.

use super::{
    run::{Run, Task},
    source::{self, Source},
};
use crate::{
    error::{Error, Result},
    interop::zarr::{
        attempts::{Candidate, Known},
        bucket::Part,
        encode,
        record::{self, Chunk, Sent},
        types::Column,
    },
};
use std::{
    io,
    sync::{PoisonError, atomic::Ordering::Relaxed},
};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// After so many bytes of chunks, or so many chunks, goes a record that they were sent.
const RECORDED_BYTES: u64 = 1 << 20;
const RECORDED_CHUNKS: usize = 256;

impl Run<'_> {
    /// Sends a chunk of an array, or refers to it.
    pub(super) fn send(&self, task: Task, known: &Known) -> Result<()> {
        let source = &self.sources[task.source];
        let itemsize = source.itemsize();
        let (_, len) = source.grid.range(task.number);
        let copied;
        let elements = match task.slab.bytes() {
            Some(bytes) => &bytes[task.at..][..len * itemsize],
            None => {
                copied = source::view_of(source, &[task.number])?.read_bytes_unlocked()?;
                &copied[..]
            }
        };
        let mut gathered = Vec::new();
        for (index, column) in source.columns.iter().enumerate() {
            let key = source.key(index, task.number);
            let chunk = self.known_as_frozen(source, &key, known)?;
            let chunk = match chunk {
                Some(chunk) => {
                    self.referred.fetch_add((len * column.size) as u64, Relaxed);
                    chunk
                }
                None => {
                    let items = match is_as_it_is(column, itemsize, elements) {
                        true => elements,
                        false => {
                            gathered.resize(len * column.size, 0);
                            column.gather(elements, itemsize, &mut gathered);
                            &gathered[..]
                        }
                    };
                    self.send_items(source, index, &key, items, known)?
                }
            };
            let mut done = source.done.lock().unwrap_or_else(PoisonError::into_inner);
            done[index][task.number] = Some(chunk);
        }
        drop(task);
        if let Some(progress) = self.settings.progress {
            let done = self.sent.load(Relaxed) + self.referred.load(Relaxed);
            progress(done.min(self.total), self.total);
        }
        Ok(())
    }

    /// The chunk of a frozen array that the place has, copied.
    fn known_as_frozen(&self, source: &Source, key: &str, known: &Known) -> Result<Option<Chunk>> {
        let candidates = known.get(key).into_iter().flatten();
        let same = candidates.filter(|one| {
            source.is_frozen
                && one.sent.is_frozen
                && one.sent.id == source.info.id.to_string()
                && one.sent.encoding == source.encoding
        });
        self.refer(key, same)
    }

    /// Copies the first of these chunks that is still there.
    fn refer<'k>(
        &self,
        key: &str,
        candidates: impl Iterator<Item = &'k Candidate>,
    ) -> Result<Option<Chunk>> {
        for candidate in candidates {
            let (from, to) = (format!("{}/{key}", candidate.folder), self.key(key));
            match self.bucket.copy(&from, &to) {
                Ok(()) => return Ok(Some(candidate.sent.chunk.clone())),
                // Another process deleted it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed("refer to a chunk", &from)(error)),
            }
        }
        Ok(None)
    }

    fn send_items(
        &self,
        source: &Source,
        column: usize,
        key: &str,
        items: &[u8],
        known: &Known,
    ) -> Result<Chunk> {
        let candidates = known.get(key).into_iter().flatten();
        let mut same = candidates
            .filter(|one| one.sent.encoding == source.encoding)
            .peekable();
        if same.peek().is_some() {
            let digest = hex(xxh3_128(items));
            if let Some(chunk) =
                self.refer(key, same.filter(|one| one.sent.chunk.digest == digest))?
            {
                self.referred.fetch_add(items.len() as u64, Relaxed);
                return Ok(chunk);
            }
        }
        let size = source.columns[column].size;
        let inner = source
            .inner
            .as_ref()
            .map(|inner| inner.iter().product::<usize>() * size);
        let whole = source.grid.chunk_len() * size;
        let encoded = encode::encode(self.settings.codecs, items, whole, inner)
            .map_err(|reason| Error::transfer(self.place.join(key), reason))?;
        let mut sums = Sums::default();
        if encoded.bytes.is_some() {
            // The object has other bytes than the elements.
            sums.digest.update(items);
        } else {
            sums.items_left = items.len();
        }
        self.bucket
            .put_with(&self.key(key), &encoded.parts(items), &mut |piece| {
                sums.add(piece)
            })
            .map_err(self.failed("write the object", &self.key(key)))?;
        let chunk = sums.finish();
        self.note_sent(Sent {
            key: key.into(),
            encoding: source.encoding.clone(),
            id: source.info.id.to_string(),
            is_frozen: source.is_frozen,
            chunk: chunk.clone(),
        })?;
        self.sent.fetch_add(items.len() as u64, Relaxed);
        Ok(chunk)
    }

    /// Notes that a chunk was sent, for the next attempt where this one does not end.
    fn note_sent(&self, sent: Sent) -> Result<()> {
        let full = {
            let mut unrecorded = self
                .unrecorded
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let (chunks, bytes) = &mut *unrecorded;
            *bytes += sent.chunk.len;
            chunks.push(sent);
            if *bytes < RECORDED_BYTES && chunks.len() < RECORDED_CHUNKS {
                return Ok(());
            }
            std::mem::take(&mut *unrecorded).0
        };
        let name = hex(xxh3_128(full[0].key.as_bytes()));
        let key = self.key(&format!("{}/{name}.json", record::SENT));
        self.put(&key, &[Part::Bytes(&record::to_json(&full))])
    }
}

/// What the record of a chunk says about its bytes, added up as the object is written.
#[derive(Default)]
struct Sums {
    len: u64,
    crc32: crc32fast::Hasher,
    digest: Xxh3,
    /// Bytes of elements at the start of what follows, which are in no digest yet.
    items_left: usize,
}

impl Sums {
    fn add(&mut self, piece: &[u8]) {
        self.len += piece.len() as u64;
        self.crc32.update(piece);
        let items = &piece[..piece.len().min(self.items_left)];
        self.digest.update(items);
        self.items_left -= items.len();
    }

    fn finish(self) -> Chunk {
        Chunk {
            len: self.len,
            crc32: self.crc32.finalize(),
            digest: hex(self.digest.digest128()),
        }
    }
}

fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

/// Whether the elements of a column are those of the array, byte by byte.
fn is_as_it_is(column: &Column, itemsize: usize, elements: &[u8]) -> bool {
    column.is_whole(itemsize) && (!column.has_bools() || elements.iter().all(|&byte| byte <= 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_pieces_are_those_of_the_object_and_of_its_elements() {
        let object: Vec<u8> = (0..5000_u32).map(|i| (i * i) as u8).collect();
        for items_left in [0, 1, 999, 4321, 5000] {
            let mut sums = Sums {
                items_left,
                ..Sums::default()
            };
            object.chunks(1000).for_each(|piece| sums.add(piece));
            let expected = Chunk {
                len: 5000,
                crc32: crc32fast::hash(&object),
                digest: hex(xxh3_128(&object[..items_left])),
            };
            assert_eq!(sums.finish(), expected);
        }
    }
}
