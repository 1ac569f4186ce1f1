//! The memory of what is sent.

use bytes::Bytes;
use ndshm::Part;
use object_store::PutPayload;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a buffer.
const BUFFER: usize = 1 << 20;
/// Bytes that are copied and shown, one after the other, in the cache of a core.
const PIECE: usize = 256 << 10;
/// Zeros for the end of an object.
static ZEROS: [u8; BUFFER] = [0; BUFFER];

/// Buffers that are used again: a fresh page costs more than filling it. There are as many as were
/// in flight at once.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// The bytes of these parts, which `seen` is shown, for a request.
    pub(crate) fn payload(&self, parts: &[Part<'_>], seen: &mut dyn FnMut(&[u8])) -> PutPayload {
        let mut all: Vec<Bytes> = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => {
                    for bytes in bytes.chunks(BUFFER) {
                        let mut buffer = self.take();
                        for piece in bytes.chunks(PIECE) {
                            buffer.extend_from_slice(piece);
                            seen(piece);
                        }
                        let home = self.clone();
                        all.push(Bytes::from_owner(Lent { buffer, home }));
                    }
                }
                Part::Zeros(len) => {
                    let mut left = *len;
                    while left > 0 {
                        let zeros = &ZEROS[..left.min(BUFFER as u64) as usize];
                        seen(zeros);
                        all.push(Bytes::from_static(zeros));
                        left -= zeros.len() as u64;
                    }
                }
            }
        }
        PutPayload::from_iter(all)
    }

    /// An empty buffer.
    fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }
}

/// A buffer that goes back when its request has ended.
struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_all_parts_and_its_buffers_are_used_again() {
        let buffers = Buffers::default();
        let bytes: Vec<u8> = (0..3 * BUFFER / 2).map(|i| i as u8).collect();
        let zeros = (BUFFER + 5) as u64;
        let parts = [Part::Bytes(&bytes), Part::Zeros(zeros), Part::Bytes(b"end")];
        let expected = [&bytes[..], &vec![0; zeros as usize], b"end"].concat();
        for _ in 0..3 {
            let mut seen = Vec::new();
            let payload = buffers.payload(&parts, &mut |piece| seen.extend_from_slice(piece));
            assert!(seen == expected);
            let sent: Vec<u8> = payload.iter().flat_map(|bytes| bytes.to_vec()).collect();
            assert!(sent == expected);
            drop(payload);
            assert_eq!(
                buffers
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .len(),
                3
            );
        }
    }
}
