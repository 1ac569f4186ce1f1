//! The library's own sources, those that run without files, compiled with a model checker's words.
//!
//! They find `crate::sync` and the number of slots here, in the place of their own.

/// Deaths come at every access of a model, so the named steps are not needed.
macro_rules! failpoint {
    ($point:ident) => {};
}

#[path = "../src"]
#[allow(dead_code, unfulfilled_lint_expectations, reason = "the rest of the library is not here to use it all")]
mod src {
    pub(crate) mod format;
    pub(crate) mod hold;
    pub(crate) mod layout;
    pub(crate) mod scope;
    pub(crate) mod span;
    pub(crate) mod state;
    pub(crate) mod table;
}

#[allow(unused_imports, reason = "each root takes what its models need")]
pub(crate) use src::{hold, layout, scope, span, state, table};

pub(crate) mod format {
    pub(crate) use super::src::format::*;
    // A table with fewer slots is full sooner. Named, it hides that of the line above.
    pub(crate) use crate::SLOTS;
}
