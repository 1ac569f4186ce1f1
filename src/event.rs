//! Events for `tracing` subscribers, with the feature `tracing`.
//!
//! `event!(DEBUG, path = %path.display(), "created");` emits an event with the target `ndshm`.
//! Without the feature it expands to nothing. Never emit one under a lock of the library: a
//! subscriber runs foreign code.

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
