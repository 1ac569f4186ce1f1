//! The library's own sources that run without files, compiled with a model checker's atomics.
//!
//! They find the models' `crate::sync` and sizes of tables in place of their own.

/// A model's victim dies at any access, so models need no named steps.
macro_rules! failpoint {
    ($point:ident) => {};
}

#[path = "../src"]
#[allow(
    dead_code,
    unfulfilled_lint_expectations,
    reason = "the code that uses the rest is not compiled here"
)]
mod src {
    #[path = "format/constants.rs"]
    pub(crate) mod constants;
    pub(crate) mod layout;
    pub(crate) mod scope;
    #[path = "format/words.rs"]
    pub(crate) mod words;
    pub(crate) mod store {
        pub(crate) mod closing;
    }
    pub(crate) mod sys {
        pub(crate) mod holds;
    }
    /// The whole folder but `mapped`, which needs files.
    pub(crate) mod state {
        pub(crate) mod block;
        pub(crate) mod changes;
        pub(crate) mod growth;
        pub(crate) mod lanes;
        pub(crate) mod lock_table;
        pub(crate) mod ownership;
        pub(crate) mod rests;
        pub(crate) mod ring;
        pub(crate) mod signals;
    }
}

#[allow(
    unused_imports,
    reason = "each binary imports the part that its models need"
)]
pub(crate) use src::{layout, scope, state, store, sys};

pub(crate) mod format {
    pub(crate) use super::src::words;
    pub(crate) mod constants {
        pub(crate) use super::super::src::constants::*;
        // Smaller tables fill up sooner. These named items hide the constants of the glob import.
        pub(crate) use crate::{LIST_LEN, RECORDS};

        pub(crate) const GROUP: usize = 2;
        pub(crate) const GROUP_WORDS: usize = 1;
        pub(crate) const STRIPES: usize = 2;
    }
}
