//! A value of a constant, or a counted one: the parts of a type that may be made at compile time or
//! at run time.

use std::{ops::Deref, sync::Arc};

/// A value that a constant refers to, or one made at run time.
pub(super) enum Shared<T: ?Sized + 'static> {
    Constant(&'static T),
    Counted(Arc<T>),
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        match self {
            Shared::Constant(value) => Shared::Constant(value),
            Shared::Counted(value) => Shared::Counted(value.clone()),
        }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Shared::Constant(value) => value,
            Shared::Counted(value) => value,
        }
    }
}

impl<T: ?Sized + PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for Shared<T> {}
