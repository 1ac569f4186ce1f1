//! Copying and clearing many bytes: by one thread, or with the feature `rayon` by several threads
//! from 16 MiB on.

#[cfg(feature = "rayon")]
use crate::sys::fork;

/// From this many bytes on, several threads are faster than one. With fewer, starting the threads
/// costs more than they save.
#[cfg(feature = "rayon")]
const PARALLEL_FROM: usize = 16 << 20;
/// Bytes that one thread copies or clears at once.
#[cfg(feature = "rayon")]
const PIECE: usize = 2 << 20;

/// Whether several threads share the work. Never in a forked child: it lacks the threads that rayon
/// may have started in its parent, and would wait for them for ever.
#[cfg(feature = "rayon")]
fn is_parallel(len: usize) -> bool {
    len >= PARALLEL_FROM && fork::generation() == 0
}

/// Copies all bytes; both slices have the same length.
pub(crate) fn copy(target: &mut [u8], source: &[u8]) {
    #[cfg(feature = "rayon")]
    if is_parallel(target.len()) {
        use rayon::prelude::*;
        let pieces = target.par_chunks_mut(PIECE).zip(source.par_chunks(PIECE));
        return pieces.for_each(|(target, source)| target.copy_from_slice(source));
    }
    target.copy_from_slice(source);
}

/// Sets all bytes to zero.
pub(crate) fn clear(target: &mut [u8]) {
    #[cfg(feature = "rayon")]
    if is_parallel(target.len()) {
        use rayon::prelude::*;
        return target.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0));
    }
    target.fill(0);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_is_copied_and_cleared_however_many_there_are() {
        for len in [0, 1, 4097, (2 << 20) + 3, (16 << 20) + 5] {
            let source: Vec<u8> = (0..len).map(|i| (i % 251) as u8 + 1).collect();
            let mut target = vec![0; len];
            super::copy(&mut target, &source);
            assert!(target == source, "{len}");
            super::clear(&mut target);
            assert!(target.iter().all(|&byte| byte == 0), "{len}");
        }
    }
}
