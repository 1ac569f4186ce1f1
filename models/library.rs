//! The library's own sources, those that run without files, compiled with a model checker's words.
//!
//! They find `crate::sync` and the number of slots here, in the place of their own.

/// Deaths come at every access of a model, so the named steps are not needed.
macro_rules! failpoint {
    ($point:ident) => {};
}

#[path = "../src"]
#[allow(
    dead_code,
    unfulfilled_lint_expectations,
    reason = "the rest of the library is not here to use it all"
)]
mod src {
    #[path = "format/constants.rs"]
    pub(crate) mod constants;
    pub(crate) mod layout;
    pub(crate) mod scope;
    /// All of the folder but `mapped`, which needs files.
    pub(crate) mod state {
        pub(crate) mod block;
        pub(crate) mod lock_table;
        pub(crate) mod ownership;
    }
}

#[allow(unused_imports, reason = "each root takes what its models need")]
pub(crate) use src::{layout, scope, state};

pub(crate) mod format {
    pub(crate) mod constants {
        pub(crate) use super::super::src::constants::*;
        // A table with fewer slots is full sooner. Named, it hides that of the line above.
        pub(crate) use crate::SLOTS;
    }
}
