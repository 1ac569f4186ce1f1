//! Arrays in serde: an array travels as its handle, and is opened where it arrives. Its scope
//! stays: only [`SharedArray::hand_over`] lets the receiver inherit an array that its owner drops.

use super::{
    SharedArray,
    any::AnyArray,
    frozen::FrozenArray,
    growing::{AnyGrowing, GrowingArray},
};
use crate::element::Element;
use ndarray::Dimension;

/// Serializes an array as its handle, and deserializes it by this method of `Handle`.
macro_rules! travels_as_handle {
    ([$($parameter:ident: $bound:ident),*] $array:ty, $open:ident) => {
        impl<$($parameter: $bound),*> ::serde::Serialize for $array {
            fn serialize<Ser: ::serde::Serializer>(
                &self,
                serializer: Ser,
            ) -> Result<Ser::Ok, Ser::Error> {
                self.handle().serialize(serializer)
            }
        }

        impl<'de, $($parameter: $bound),*> ::serde::Deserialize<'de> for $array {
            fn deserialize<De: ::serde::Deserializer<'de>>(
                deserializer: De,
            ) -> Result<Self, De::Error> {
                use $crate::handle::Handle;
                let handle = <Handle as ::serde::Deserialize>::deserialize(deserializer)?;
                handle.$open().map_err(::serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use travels_as_handle;

travels_as_handle!([T: Element, D: Dimension] SharedArray<T, D>, open);
travels_as_handle!([T: Element, D: Dimension] FrozenArray<T, D>, open_frozen);
travels_as_handle!([T: Element, D: Dimension] GrowingArray<T, D>, open_growing);
travels_as_handle!([] AnyArray, open_any);
travels_as_handle!([] AnyGrowing, open_any_growing);
