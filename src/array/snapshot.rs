//! Copies without a lock, of elements that other processes may write meanwhile.
//!
//! The copy is read from the array's file, so that no reference to memory that changes exists: the
//! kernel copies the bytes. Nothing is locked, nothing waits, and nothing is refused because of a
//! guard or of poison.

use super::{
    SharedArray,
    any::AnyArray,
    core::{Core, ElementType},
};
use crate::{element::Element, error::Result, segment::PayloadFile};
use ndarray::{Array, Dimension};

/// Elements that lie apart are read with the bytes between them, if all of them have at most this
/// many bytes.
const SMALL: usize = 1 << 20;

impl<K: ElementType, D: Dimension> Core<K, D> {
    /// The bytes of the elements, in C order.
    fn snapshot(&self) -> Result<Vec<u8>> {
        self.opened.mark_used();
        let itemsize = self.element_type.itemsize();
        let mut bytes = Vec::with_capacity(self.len() * itemsize);
        if self.is_empty() {
            return Ok(bytes);
        }
        let file = self.opened.open_payload()?;
        let part = Part {
            start: self.layout.offset,
            shape: self.shape(),
            strides: &self.byte_strides(),
            itemsize,
        };
        part.read(&file, &mut bytes)?;
        Ok(bytes)
    }
}

/// Elements in a payload, or in a copy of a part of it.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// The offset of the first element, in bytes.
    start: usize,
    shape: &'a [usize],
    /// In bytes.
    strides: &'a [isize],
    itemsize: usize,
}

impl<'a> Part<'a> {
    /// Appends the elements in C order, from the file.
    fn read(self, file: &PayloadFile, bytes: &mut Vec<u8>) -> Result<()> {
        let (before, after) = self.reach();
        let (hull, len) = (before + after, self.len());
        if hull <= SMALL.max(2 * len) {
            let lowest = self.start - before;
            if self.is_contiguous() {
                let at = bytes.len();
                bytes.resize(at + len, 0);
                return file.read(lowest, &mut bytes[at..]);
            }
            let mut copy = vec![0; hull];
            file.read(lowest, &mut copy)?;
            let part = Part {
                start: before,
                ..self
            };
            part.gather(&copy, bytes);
            return Ok(());
        }
        self.parts().try_for_each(|part| part.read(file, bytes))
    }

    /// Appends the elements in C order, from a copy.
    fn gather(self, copy: &[u8], bytes: &mut Vec<u8>) {
        if self.shape.is_empty() {
            bytes.extend_from_slice(&copy[self.start..][..self.itemsize]);
        } else {
            self.parts().for_each(|part| part.gather(copy, bytes));
        }
    }

    /// The parts along the first axis.
    fn parts(self) -> impl Iterator<Item = Part<'a>> {
        let (length, stride) = match (self.shape.first(), self.strides.first()) {
            (Some(&length), Some(&stride)) => (length, stride),
            _ => (0, 0),
        };
        (0..length).map(move |index| Part {
            start: self.start.wrapping_add_signed(index as isize * stride),
            shape: &self.shape[1..],
            strides: &self.strides[1..],
            ..self
        })
    }

    /// The number of bytes of the elements.
    fn len(self) -> usize {
        self.shape.iter().product::<usize>() * self.itemsize
    }

    /// The bytes from the lowest element to the first, and from there to the end of the highest.
    fn reach(self) -> (usize, usize) {
        let (mut before, mut after) = (0, self.itemsize);
        for (&length, &stride) in self.shape.iter().zip(self.strides) {
            let reach = (length - 1) * stride.unsigned_abs();
            match stride < 0 {
                true => before += reach,
                false => after += reach,
            }
        }
        (before, after)
    }

    fn is_contiguous(self) -> bool {
        let mut expected = self.itemsize;
        for (&length, &stride) in self.shape.iter().zip(self.strides).rev() {
            if length > 1 && stride != expected as isize {
                return false;
            }
            expected *= length;
        }
        true
    }
}

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// A private copy of the elements without a lock, in C order. The elements may change
    /// meanwhile. It waits for no guard, and poison does not matter.
    ///
    /// Where another thread or process writes meanwhile, the copy may have some elements from
    /// before and others from after, and an element may be half-written. It is for looking at an
    /// array that a worker holds. For atomics use [`atomic`](Self::atomic).
    ///
    /// # Errors
    ///
    /// `Released` if the array's file is gone; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(3)?;
    /// let mut guard = xs.write()?;
    /// guard[0] = 5.0;
    /// assert_eq!(xs.to_ndarray_unlocked()?[0], 5.0); // `to_ndarray` would wait for the guard
    /// # drop(guard);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn to_ndarray_unlocked(&self) -> Result<Array<T, D>> {
        let bytes = self.core.snapshot()?;
        let mut elements = vec![T::zeroed(); self.len()];
        bytemuck::cast_slice_mut(&mut elements).copy_from_slice(&bytes);
        let dim = self.core.layout.dim.clone();
        Ok(Array::from_shape_vec(dim, elements)
            .unwrap_or_else(|_| unreachable!("the snapshot has the array's elements")))
    }
}

impl AnyArray {
    /// A copy of the elements' bytes without a lock, in C order, native-endian. The elements may
    /// change meanwhile; see
    /// [`SharedArray::to_ndarray_unlocked`](crate::SharedArray::to_ndarray_unlocked).
    ///
    /// # Errors
    ///
    /// `Released` if the array's file is gone; `Io`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let any = manager.ones::<u16, _>(2)?.into_any()?;
    /// assert_eq!(any.read_bytes_unlocked()?, [1_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_bytes_unlocked(&self) -> Result<Vec<u8>> {
        self.core.snapshot()
    }
}
