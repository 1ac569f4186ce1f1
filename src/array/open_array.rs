//! One opening of an array: what arrays, their views and their guards keep alive together.

use crate::segment::Segment;
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

/// A segment with the claim that this opening took, which goes back if it is never used.
pub(crate) struct OpenArray {
    segment: Arc<Segment>,
    claim: Option<u64>,
    is_used: AtomicBool,
}

impl OpenArray {
    pub(crate) fn new(segment: Arc<Segment>, claim: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            segment,
            claim,
            is_used: AtomicBool::new(claim.is_none()),
        })
    }

    /// The array was read, written or viewed.
    pub(crate) fn mark_used(&self) {
        // Read first: every guard comes by here, and only the first one has something to write.
        if !self.is_used.load(Relaxed) && !self.is_used.swap(true, SeqCst) {
            self.segment.used();
        }
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
    }
}
