//! One opening of an array, which arrays, their views and their guards keep alive together.
//!
//! # A claim that goes back
//!
//! Opening a `Remote` handle claims the array: this process becomes its owner. A deserializer that
//! opens a handle, and then fails for another reason, must lose nothing. So an opening records
//! whether its array was used: read, written, viewed, rescoped or released. Dropping an opening
//! that was never used gives the claim back, and the next opener of the handle can take it. The
//! first use makes the claim final.

use crate::{
    array::hold::{Hold, Kept},
    segment::Segment,
};
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// A segment, with the claim that this opening took.
pub(crate) struct OpenArray {
    segment: Arc<Segment>,
    claim: Option<u64>,
    is_used: AtomicBool,
    pub(super) kept: Kept,
}

impl OpenArray {
    pub(crate) fn new(segment: Arc<Segment>, claim: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            segment,
            claim,
            is_used: AtomicBool::new(claim.is_none()),
            kept: Kept::none(),
        })
    }

    /// Records that the array was read, written or viewed, so that its claim stays.
    pub(crate) fn mark_used(&self) {
        // Loaded before it is swapped: every guard calls this, and only the first one has anything
        // to write.
        if !self.is_used.load(Relaxed) && !self.is_used.swap(true, SeqCst) {
            self.segment.used();
        }
    }

    /// Keeps the segment mapped for a guard with this lane, which may outlive this opening.
    #[inline]
    pub(super) fn hold(&self, lane: Option<u32>) -> Hold {
        self.kept.hold(&self.segment, lane)
    }
}

impl Deref for OpenArray {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.segment
    }
}

impl Drop for OpenArray {
    fn drop(&mut self) {
        if let (Some(token), false) = (self.claim, *self.is_used.get_mut()) {
            self.segment.give_back(token);
        }
        self.kept.close(&self.segment);
    }
}
