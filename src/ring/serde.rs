//! Rings in serde: a ring travels as its handle, and is opened where it arrives.

use super::{AnyRing, FrameInfo, Ring};
use crate::{array::serde::travels_as_handle, element::Element};
use ndarray::Dimension;

travels_as_handle!([T: Element, D: Dimension, I: FrameInfo] Ring<T, D, I>, open_ring);
travels_as_handle!([] AnyRing, open_any_ring);
