//! The verbs that make and open rings.

use super::ArrayOptions;
use crate::{
    element::{Element, dtype::DType},
    error::{Error, Result},
    format::{kind::MAX_SEATS, name::ArrayName},
    manager::Manager,
    ring::{AnyRing, FrameInfo, Ring, RingPlan},
};
use ndarray::{Dimension, IntoDimension};
use std::path::Path;

/// The subscribers of a ring, unless [`ArrayOptions::max_subscribers`] says otherwise.
pub(super) const SEATS: u32 = 64;

impl ArrayOptions<'_> {
    /// The most subscribers of a ring: 1 to 4096, by default 64. Each takes 64 bytes of its file.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().max_subscribers(300).ring::<u8, _>((480, 640), 4)?;
    /// assert_eq!(ring.max_subscribers(), 300);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn max_subscribers(mut self, most: usize) -> Self {
        // A number that no ring can have stays one.
        self.seats = u32::try_from(most).unwrap_or(MAX_SEATS + 1);
        self
    }

    /// Makes a [`Ring`] of `frames` frames of this shape.
    ///
    /// # Errors
    ///
    /// `Layout` where there are less than 2 or more than 256 frames, or a frame has no element;
    /// those of [`zeros`](Self::zeros).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().name("camera").ring::<u8, _>((1080, 1920, 3), 8)?;
    /// assert_eq!((ring.frames(), ring.frame_shape()), (8, &[1080, 1920, 3][..]));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ring<T: Element, Sh: IntoDimension>(
        &self,
        frame_shape: Sh,
        frames: usize,
    ) -> Result<Ring<T, Sh::Dim>> {
        self.ring_with_info(frame_shape, frames)
    }

    /// Makes a [`Ring`] whose frames have [information](FrameInfo) beside them.
    ///
    /// # Errors
    ///
    /// Those of [`ring`](Self::ring); `Layout` too if the information has more than 4096 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().ring_with_info::<u8, _, f64>((480, 640), 4)?;
    /// ring.produce()?.next()?.publish_with(0.25)?;
    /// assert_eq!(ring.frame(1)?.unwrap().info(), 0.25);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ring_with_info<T: Element, Sh: IntoDimension, I: FrameInfo>(
        &self,
        frame_shape: Sh,
        frames: usize,
    ) -> Result<Ring<T, Sh::Dim, I>> {
        let dim = frame_shape.into_dimension();
        self.ring_any(&T::DTYPE, dim.slice(), frames, I::dtype())?
            .downcast()
    }

    /// Makes a ring of elements whose type is known at run time only.
    ///
    /// # Errors
    ///
    /// Those of [`ring_with_info`](Self::ring_with_info).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let ring = manager.options().ring_any(&"<f4".parse()?, &[3, 4], 8, None)?;
    /// assert_eq!(ring.dtype().to_string(), "<f4");
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ring_any(
        &self,
        dtype: &DType,
        frame_shape: &[usize],
        frames: usize,
        info: Option<DType>,
    ) -> Result<AnyRing> {
        let plan = RingPlan {
            dtype: dtype.clone(),
            shape: frame_shape,
            frames,
            seats: self.seats,
            info,
        };
        AnyRing::create(self.member, self.labels()?, plan)
    }

    /// Opens the ring of this name, or makes it: for workflows that resume.
    ///
    /// # Errors
    ///
    /// Those of [`ring_with_info`](Self::ring_with_info); `Layout` if there is a ring of this name
    /// with frames of another shape, or another number of them; `Dtype` if these have another type;
    /// `Name` without a name.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let options = manager.options().name("camera");
    /// let ring = options.open_or_ring::<u8, _, ()>((480, 640), 4)?;
    /// assert_eq!(options.open_or_ring::<u8, _, ()>((480, 640), 4)?.id(), ring.id());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn open_or_ring<T: Element, Sh: IntoDimension, I: FrameInfo>(
        &self,
        frame_shape: Sh,
        frames: usize,
    ) -> Result<Ring<T, Sh::Dim, I>> {
        let dim = frame_shape.into_dimension();
        let found = self.open_or_ring_any(&T::DTYPE, dim.slice(), frames, I::dtype())?;
        found.downcast()
    }

    /// Opens the ring of this name, or makes it, with elements whose type is known at run time
    /// only.
    ///
    /// # Errors
    ///
    /// Those of [`open_or_ring`](Self::open_or_ring).
    pub fn open_or_ring_any(
        &self,
        dtype: &DType,
        frame_shape: &[usize],
        frames: usize,
        info: Option<DType>,
    ) -> Result<AnyRing> {
        self.open_or_make(
            |path| {
                let found = AnyRing::open_named(self.member, path)?;
                check_types(path, &found, dtype, info.as_ref())?;
                check_frames(path, &found, frame_shape, frames)?;
                Ok(found)
            },
            || self.ring_any(dtype, frame_shape, frames, info.clone()),
        )
    }
}

/// An error where a ring that exists has elements or information of another type than the caller
/// wants.
fn check_types(path: &Path, found: &AnyRing, dtype: &DType, info: Option<&DType>) -> Result<()> {
    let wrong = |expected: &DType, found: &DType| Error::Dtype {
        path: path.into(),
        expected: expected.clone(),
        found: found.clone(),
    };
    if found.dtype() != dtype {
        return Err(wrong(dtype, found.dtype()));
    }
    match (info, found.info_dtype()) {
        (Some(wanted), Some(found)) if wanted != found => Err(wrong(wanted, found)),
        (Some(_), None) => Err(Error::layout(
            "open or create a ring",
            format!("{} has no information beside its frames", path.display()),
        )),
        _ => Ok(()),
    }
}

/// An error where a ring that exists has other frames than the caller wants.
fn check_frames(path: &Path, found: &AnyRing, shape: &[usize], frames: usize) -> Result<()> {
    if (found.frame_shape(), found.frames()) == (shape, frames) {
        return Ok(());
    }
    let reason = format!(
        "{} has {} frames of shape {:?}, not {frames} of {shape:?}: open it as it is, or choose \
         another name",
        path.display(),
        found.frames(),
        found.frame_shape()
    );
    Err(Error::layout("open or create a ring", reason))
}

impl Manager {
    /// Opens the ring of this name.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Kind` if the name is that of no ring; `Dtype`, `Rank`; those of
    /// [`array`](Self::array).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::Ix2;
    /// use ndshm::Ring;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// manager.options().name("camera").ring::<u8, _>((480, 640), 4)?;
    /// let ring: Ring<u8, Ix2> = manager.ring("camera")?;
    /// assert_eq!(ring.newest(), 0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn ring<T: Element, D: Dimension, I: FrameInfo>(
        &self,
        name: &str,
    ) -> Result<Ring<T, D, I>> {
        self.ring_any(name)?.downcast()
    }

    /// Opens the ring of this name, with elements of any type.
    ///
    /// # Errors
    ///
    /// As [`ring`](Self::ring), without `Dtype` and `Rank`.
    pub fn ring_any(&self, name: &str) -> Result<AnyRing> {
        let path = ArrayName::parse(name)?.file_in(self.path());
        AnyRing::open_named(self.member(), &path)
    }
}
