//! The information that a producer puts beside a frame.

use crate::element::{Element, dtype::DType};

/// A value that goes with each frame of a ring: nothing, or any [`Element`] of at most 4096 bytes.
///
/// # Examples
///
/// ```
/// use ndshm::{Element, Ring};
///
/// #[derive(Clone, Copy, Debug, PartialEq, Element)]
/// #[repr(C)]
/// struct Exposure {
///     seconds: f32,
///     gain: f32,
/// }
///
/// let manager = ndshm::Manager::new()?;
/// let options = manager.options().name("camera");
/// let ring = options.ring_with_info::<u8, _, Exposure>((480, 640), 4)?;
/// let mut subscriber = ring.subscribe()?;
/// let exposure = Exposure { seconds: 0.01, gain: 2.0 };
/// ring.produce()?.next()?.publish_with(exposure)?;
/// assert_eq!(subscriber.try_next()?.unwrap().info(), exposure);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub trait FrameInfo: Copy + Send + Sync + 'static {
    /// The type of the value; `None` for nothing.
    #[doc(hidden)]
    fn dtype() -> Option<DType>;

    /// The bytes of the value.
    #[doc(hidden)]
    fn bytes(&self) -> &[u8];

    /// The value of these bytes; there may be too many.
    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Self;
}

impl FrameInfo for () {
    fn dtype() -> Option<DType> {
        None
    }

    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn from_bytes(_: &[u8]) -> Self {}
}

impl<T: Element> FrameInfo for T {
    fn dtype() -> Option<DType> {
        Some(T::DTYPE)
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        bytemuck::pod_read_unaligned(&bytes[..size_of::<T>()])
    }
}
