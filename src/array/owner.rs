//! The thread of a guard, for bindings to other languages.
//!
//! # Whose guard is it?
//!
//! A guard of Rust stays in its thread. So a thread that waits keeps its guards until the wait is
//! over, and the search for deadlocks may follow a guard to the wait of its thread. A binding to
//! another language may give a guard back in any thread. It *unbinds* its guards: then they are no
//! thread's, and make no circle. Where it knows that a thread cannot give a guard back before the
//! thread's next wait is over, it *binds* the guard to the thread for that wait.

use crate::{
    array::{
        atomic::{AtomicArray, AtomicElement},
        guard::{ReadGuard, WriteGuard},
    },
    element::Element,
};
use ndarray::Dimension;

macro_rules! owned {
    ($($guard:ident, $element:ident;)*) => {$(
        impl<T: $element, D: Dimension> $guard<T, D> {
            /// Says that any thread may give the guard back, for bindings to other languages: the
            /// search for deadlocks takes it for no thread's. Call it in the thread that took the
            /// guard.
            ///
            /// # Examples
            ///
            /// ```
            /// let manager = ndshm::Manager::new()?;
            /// let xs = manager.zeros::<u32, _>(5)?;
            #[doc = owned!(@example $guard)]
            /// guard.unbind();
            /// let refused = xs.try_write().map(drop);
            /// assert!(matches!(refused, Err(ndshm::Error::WouldBlock { .. })));
            /// guard.bind();
            /// let refused = xs.try_write().map(drop);
            /// assert!(matches!(refused, Err(ndshm::Error::WouldDeadlock { .. })));
            /// # Ok::<(), ndshm::Error>(())
            /// ```
            pub fn unbind(&self) {
                self.lock.unbind();
            }

            /// Says that the guard is not given back before the next wait of the calling thread is
            /// over, until [`unbind`](Self::unbind). A guard that was never unbound is its thread's
            /// own.
            ///
            /// If another thread gives the guard back nevertheless, a call may get `WouldDeadlock`
            /// without a deadlock.
            pub fn bind(&self) {
                self.lock.bind();
            }
        }
    )*};
    (@example ReadGuard) => { "let guard = xs.read()?;" };
    (@example WriteGuard) => { "let guard = xs.write()?;" };
    (@example AtomicArray) => { "let guard = xs.atomic()?;" };
}

owned! {
    ReadGuard, Element;
    WriteGuard, Element;
    AtomicArray, AtomicElement;
}
