//! The newest state of an array each time it changes, for `--watch`.
//!
//! It sleeps on the array's own words: the number of its changes, its length, or the next frame.
//! After each picture it pauses first, so a fast writer costs it at most half of a processor.

use crate::{
    Outcome,
    commands::follow::{self, Next, PATIENCE, note},
    display::screen::pause,
    elements::reading::Reading,
    failure::{Code, Failure},
    signals,
    target::{For, Target},
};
use ndshm::{AnyArray, ArrayKind, Error};
use std::{process::ExitCode, time::Instant};

/// Shows the array that a target names, or its slice, each time it changes, until no more change
/// can come. The last picture stays, and a line on the standard error output says why it ended.
pub(crate) fn run(
    target: &Target,
    unlocked: bool,
    show: impl FnMut(&AnyArray, Reading) -> Result<(), Failure>,
) -> Outcome {
    signals::catch()?;
    let mut watch = Watch {
        target,
        unlocked,
        show,
    };
    let end = match target.info()?.kind {
        ArrayKind::Ring => watch.ring()?,
        ArrayKind::Growing => watch.growing()?,
        _ => watch.array()?,
    };
    let words = match end {
        End::Signal(code) => return Ok(code),
        End::Frozen => "it is frozen: it does not change any more",
        End::Grown => "its growth has ended",
        End::Stream => "its stream has ended",
        End::Released => "it was released: this was its last state",
    };
    note(&format!("{}: {words}", target.name()));
    Ok(ExitCode::SUCCESS)
}

/// The reason why no more change can come.
enum End {
    Frozen,
    Grown,
    Stream,
    Released,
    Signal(ExitCode),
}

struct Watch<'a, S> {
    target: &'a Target,
    unlocked: bool,
    show: S,
}

impl<S: FnMut(&AnyArray, Reading) -> Result<(), Failure>> Watch<'_, S> {
    /// Shows the array as it is now. Returns whether it could: another process may keep its guard
    /// for longer than the wait, and its end is a change.
    fn show_now(&mut self) -> Result<bool, Failure> {
        let shown = self.target.look(self.unlocked);
        match shown.and_then(|(array, reading)| (self.show)(&array, reading)) {
            Err(failure) if failure.code() == Code::Busy => Ok(false),
            shown => shown.map(|()| true),
        }
    }

    fn array(&mut self) -> Result<End, Failure> {
        // The number is that of the view: writes to other parts of the array need no picture.
        let watched = self.target.open(For::Waiting)?;
        let mut is_first = true;
        loop {
            let began = Instant::now();
            // Before the elements are read: a write after that is a change.
            let seen = watched.changed()?;
            match self.show_now() {
                Err(_) if !is_first && self.target.is_gone() => return Ok(End::Released),
                shown => drop(shown?),
            }
            is_first = false;
            pause(began);
            loop {
                if let Some(code) = signals::ended() {
                    return Ok(End::Signal(code));
                }
                match self.target.or_gone(watched.wait_changed(seen, PATIENCE)) {
                    Ok(_) => break,
                    // Other processes than the one that made it may write it.
                    Err(Error::Timeout { .. } | Error::Interrupted { .. })
                    | Err(Error::Abandoned { .. }) => {}
                    Err(Error::Frozen { .. }) => {
                        // The header says so too.
                        self.show_now()?;
                        return Ok(End::Frozen);
                    }
                    Err(Error::Released { .. } | Error::Closed { .. }) => return Ok(End::Released),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    fn growing(&mut self) -> Result<End, Failure> {
        let log = self.target.growing()?;
        let mut is_first = true;
        loop {
            let began = Instant::now();
            // In this order: the last rows come before the end.
            let is_over = log.is_frozen();
            let seen = log.len();
            match self.show_now() {
                Err(_) if !is_first && self.target.is_gone() => return Ok(End::Released),
                shown => drop(shown?),
            }
            is_first = false;
            if is_over {
                return Ok(End::Grown);
            }
            pause(began);
            loop {
                if let Some(code) = signals::ended() {
                    return Ok(End::Signal(code));
                }
                match log.wait_grown(seen, PATIENCE) {
                    Ok(_) => break,
                    Err(Error::Timeout { .. } | Error::Interrupted { .. }) => {}
                    Err(Error::Released { .. } | Error::Closed { .. }) => return Ok(End::Released),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    fn ring(&mut self) -> Result<End, Failure> {
        let ring = self.target.ring()?;
        let ring =
            ring.ok_or_else(|| Failure::usage(format!("{}: no ring", self.target.name())))?;
        let mut subscriber = ring.subscribe()?;
        let mut newest = subscriber.latest()?;
        loop {
            let began = Instant::now();
            if let Some(frame) = newest {
                let array = self.target.frame(&frame)?;
                drop(frame);
                (self.show)(&array, Reading::Locked)?;
                pause(began);
            }
            // Of the frames that came meanwhile only the newest is shown.
            newest = match follow::next(&mut subscriber) {
                Ok(Next::Frame(frame)) => {
                    drop(frame);
                    subscriber.latest()?
                }
                Ok(Next::End) => return Ok(End::Stream),
                Ok(Next::Signal(code)) => return Ok(End::Signal(code)),
                Err(_) if self.target.is_gone() => return Ok(End::Released),
                Err(failure) => return Err(failure),
            };
        }
    }
}
