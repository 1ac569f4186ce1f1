//! What the library tells who traces it: the feature `tracing`.
//!
//! `event!(DEBUG, path = %path.display(), "created");` is an event of `tracing` with the target
//! `ndshm`. Without the feature it is nothing. Never under a lock of the library: a subscriber is
//! anybody's code.

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($fields:tt)*) => {
        tracing::event!(target: "ndshm", tracing::Level::$level, $($fields)*)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $($fields:tt)*) => {{}};
}
