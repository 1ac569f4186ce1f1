//! Rings in serde: a ring travels as its handle, and is opened where it arrives.

use super::{AnyRing, FrameInfo, Ring};
use crate::{element::Element, handle::Handle};
use ::serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ndarray::Dimension;

impl Serialize for AnyRing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AnyRing {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        let handle = Handle::deserialize(deserializer)?;
        handle.open_any_ring().map_err(de::Error::custom)
    }
}

impl<T: Element, D: Dimension, I: FrameInfo> Serialize for Ring<T, D, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle().serialize(serializer)
    }
}

impl<'de, T: Element, D: Dimension, I: FrameInfo> Deserialize<'de> for Ring<T, D, I> {
    fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
        let handle = Handle::deserialize(deserializer)?;
        handle.open_ring().map_err(de::Error::custom)
    }
}
