//! The bytes of the elements of an array in C order, piece by piece.

use crate::{
    elements::{
        chunks::{self, Piece},
        reading::Reading,
    },
    failure::Failure,
};
use ndshm::{AnyArray, Export, Order};

/// Bytes of a piece of contiguous elements: they fit a processor's cache.
const CONTIGUOUS: usize = 1 << 20;

/// Reads the pieces of an array. It keeps one piece, whatever the size of the array.
pub(crate) struct Stream<'a> {
    array: &'a AnyArray,
    reading: Reading,
    bytes: Vec<u8>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(array: &'a AnyArray, reading: Reading) -> Self {
        Self {
            array,
            reading,
            bytes: Vec::new(),
        }
    }

    /// All pieces in C order.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let most = match self.array.order() {
            Some(Order::C) => CONTIGUOUS,
            // A larger block uses more of each cache line that it reads.
            _ => chunks::PIECE,
        };
        chunks::in_order(self.array.shape(), self.array.dtype().itemsize(), most)
    }

    /// A copy of the bytes of a piece. The guard is given back before this returns, so that no
    /// writer waits for the consumer of the bytes.
    pub(crate) fn copied(&mut self, piece: &Piece) -> Result<&[u8], Failure> {
        let view = chunks::view(self.array, piece)?;
        self.bytes.clear();
        match self.reading {
            Reading::Locked => Export::new()
                .raw_to(&view, &mut self.bytes)
                .map_err(|error| Failure::from(error).or_look_unlocked())?,
            other => self.bytes = other.bytes(&view)?,
        }
        Ok(&self.bytes)
    }

    /// Passes the bytes of a piece on where they are mapped, under the guard. It is for consumers
    /// that never wait for another process, and for elements that need no guard.
    pub(crate) fn lent(
        &mut self,
        piece: &Piece,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // An export writes booleans as 0 and 1, whatever their bytes.
        let is_plain = self.reading == Reading::Locked
            && self.array.order() == Some(Order::C)
            && self.array.dtype().to_string() != "|b1";
        if is_plain {
            let guard = chunks::view(self.array, piece)?
                .read()
                .map_err(|error| Failure::from(error).or_look_unlocked())?;
            if let Some(bytes) = guard.as_slice() {
                return take(bytes);
            }
        }
        take(self.copied(piece)?)
    }
}
