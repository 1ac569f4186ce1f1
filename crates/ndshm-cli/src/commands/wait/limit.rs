//! The limit of all waits of the command: that of `--wait`, or none.

use crate::{
    commands::follow::PATIENCE,
    context::Context,
    failure::{Code, Failure},
    signals,
};
use ndshm::Error;
use std::time::{Duration, Instant};

/// The end of all waits of the command.
pub(super) struct Limit {
    given: Option<Duration>,
    end: Option<Instant>,
}

impl Limit {
    pub(super) fn begin(context: &Context) -> Self {
        let given = context.given_patience;
        Self {
            given,
            end: given.and_then(|time| Instant::now().checked_add(time)),
        }
    }

    /// The time until the end, but no longer than a look for signals allows.
    pub(super) fn next(&self) -> Duration {
        let left = self
            .end
            .map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(PATIENCE, |left| left.min(PATIENCE))
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Repeats a wait of at most the time that it is given, until it ends otherwise than by that
    /// time. `None` where a signal came.
    pub(super) fn repeat<T>(
        &self,
        what: &str,
        mut wait: impl FnMut(Duration) -> ndshm::Result<T>,
    ) -> Result<Option<T>, Failure> {
        loop {
            match wait(self.next()) {
                Err(Error::Timeout { .. } | Error::Interrupted { .. }) => {
                    if signals::caught().is_some() {
                        return Ok(None);
                    }
                    self.check(what)?;
                }
                came => return Ok(Some(came?)),
            }
        }
    }

    /// The failure at the end of the time.
    pub(super) fn check(&self, what: &str) -> Result<(), Failure> {
        if !self.is_over() {
            return Ok(());
        }
        let waited = self.given.unwrap_or_default();
        Err(Failure::new(
            Code::Busy,
            format!("{what} for all of {waited:?}; --wait waits longer"),
        ))
    }
}
