//! Sets of parts: tuples, arrays and vectors, and these of each other.

use super::wanted::Wanted;
use crate::{array::lock::Lock, error::Result};

/// The locks of a set, and the guards that they become. Sealed: its module is private.
pub trait Locks {
    type Guards;
    /// Adds the locks, or tells why a view cannot be written.
    fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()>;
    fn guards(self, locks: &mut Taken) -> Self::Guards;
}

/// The locks that were taken, in the order in which they were wanted.
pub struct Taken(std::vec::IntoIter<Lock>);

impl Taken {
    pub(super) fn new(locks: Vec<Lock>) -> Self {
        Self(locks.into_iter())
    }

    pub(super) fn next(&mut self) -> Lock {
        match self.0.next() {
            Some(lock) => lock,
            None => unreachable!("as many locks were taken as were wanted"),
        }
    }
}

impl<S: Locks> Locks for Vec<S> {
    type Guards = Vec<S::Guards>;

    fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
        self.iter_mut().try_for_each(|one| one.wanted(wanted))
    }

    fn guards(self, locks: &mut Taken) -> Vec<S::Guards> {
        self.into_iter().map(|one| one.guards(locks)).collect()
    }
}

impl<S: Locks, const N: usize> Locks for [S; N] {
    type Guards = [S::Guards; N];

    fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
        self.iter_mut().try_for_each(|one| one.wanted(wanted))
    }

    fn guards(self, locks: &mut Taken) -> [S::Guards; N] {
        self.map(|one| one.guards(locks))
    }
}

macro_rules! tuples {
    ($(($($one:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a value is called like its type")]
        impl<$($one: Locks),+> Locks for ($($one,)+) {
            type Guards = ($($one::Guards,)+);

            fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
                let ($($one,)+) = self;
                $($one.wanted(wanted)?;)+
                Ok(())
            }

            fn guards(self, locks: &mut Taken) -> Self::Guards {
                let ($($one,)+) = self;
                ($($one.guards(locks),)+)
            }
        }
    )+};
}

tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
    (A B C D E F G H I) (A B C D E F G H I J) (A B C D E F G H I J K) (A B C D E F G H I J K L)
}
