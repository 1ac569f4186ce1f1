//! Each frame of a ring as it is published, for `show`, `plot` and `tail`, and the words for
//! frames.

use crate::{
    Outcome,
    context::Context,
    display::{
        preview,
        screen::{self, Screen},
        text,
    },
    elements::{reading::Reading, scalar::real, tally::Tally},
    failure::Failure,
    signals,
    target::Target,
};
use ndshm::{AnyFrame, AnySubscriber, Error, RingState};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

/// How long each wait takes; then the next one begins.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Calls `show` with each frame from now on until the stream ends, or a signal comes. Where `show`
/// is slower than the producer, frames are left out.
pub(crate) fn each_frame(
    subscriber: &mut AnySubscriber,
    mut show: impl FnMut(AnyFrame, &AnySubscriber) -> Result<(), Failure>,
) -> Outcome {
    loop {
        match next(subscriber)? {
            Next::Frame(frame) => show(frame, subscriber)?,
            Next::End => return Ok(ExitCode::SUCCESS),
            Next::Signal(code) => return Ok(code),
        }
    }
}

/// The end of a wait for a frame.
pub(crate) enum Next {
    Frame(AnyFrame),
    /// The stream ended.
    End,
    Signal(ExitCode),
}

/// Waits for the next frame. The end of a producer that did not end the stream is noted on the
/// standard error output.
pub(crate) fn next(subscriber: &mut AnySubscriber) -> Result<Next, Failure> {
    loop {
        if let Some(code) = signals::ended() {
            return Ok(Next::Signal(code));
        }
        if let Some(next) = next_within(subscriber, PATIENCE)? {
            return Ok(next);
        }
    }
}

/// The same, for a time; `None` where it ended, or was interrupted by the end of a producer.
pub(crate) fn next_within(
    subscriber: &mut AnySubscriber,
    time: Duration,
) -> Result<Option<Next>, Failure> {
    if let Some(code) = signals::caught() {
        return Ok(Some(Next::Signal(code)));
    }
    match subscriber.next_timeout(time) {
        Ok(Some(frame)) => return Ok(Some(Next::Frame(frame))),
        Ok(None) => return Ok(Some(Next::End)),
        Err(Error::Timeout { .. } | Error::Interrupted { .. }) => {}
        Err(Error::Abandoned { .. }) => {
            note("the producer ended without ending the stream: waiting for the next");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(None)
}

/// Writes a line beside the output.
pub(crate) fn note(words: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text::styled(text::FAINT, words));
}

/// `show --follow`: shows each frame until the stream ends.
pub(crate) fn run(context: &Context, target: &Target) -> Outcome {
    let Some(ring) = target.ring()? else {
        return Err(Failure::usage(
            "only a ring has frames to follow: show --watch shows an array again when it changes, \
             tail --follow the rows of one that grows",
        ));
    };
    signals::catch()?;
    let mut screen = Screen::new();
    each_frame(&mut ring.subscribe()?, |frame, subscriber| {
        let began = Instant::now();
        let array = target.frame(&frame)?;
        let line = Line::of(&frame, subscriber);
        drop(frame);
        let tally = Tally::of(&array, Reading::Locked)?;
        if context.is_json {
            let mut value = line.to_json();
            value["mean"] = tally.and_then(|tally| tally.mean()).into();
            let mut out = context.out();
            writeln!(out, "{value}")?;
            return Ok(out.flush()?);
        }
        let statistics = statistics(tally);
        if !screen.is_terminal() {
            let mut out = context.out();
            writeln!(out, "{line}{statistics}")?;
            return Ok(out.flush()?);
        }
        let preview = preview::of(&array, Reading::Locked)?;
        screen.show(&format!("{line}{statistics}\n\n{preview}\n"))?;
        screen::pause(began);
        Ok(())
    })
}

/// The words for a frame, without its elements.
pub(crate) struct Line {
    number: u64,
    time: SystemTime,
    milliseconds: f64,
    missed: u64,
    shape: Vec<usize>,
    dtype: String,
}

impl Line {
    pub(crate) fn of(frame: &AnyFrame, subscriber: &AnySubscriber) -> Self {
        let late = SystemTime::now().duration_since(frame.time());
        Self {
            number: frame.number(),
            time: frame.time(),
            milliseconds: late.unwrap_or_default().as_secs_f64() * 1e3,
            missed: subscriber.missed(),
            shape: frame.shape(),
            dtype: frame.dtype().to_string(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let time = self.time.duration_since(SystemTime::UNIX_EPOCH);
        json!({
            "frame": self.number,
            "time": time.unwrap_or_default().as_secs_f64(),
            "milliseconds": self.milliseconds,
            "missed": self.missed,
            "shape": self.shape,
            "dtype": self.dtype,
        })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "frame {}  {}  {:.1} ms old  {} missed",
            self.number,
            text::shape(&self.shape),
            self.milliseconds,
            self.missed
        )
    }
}

/// The end of the line of a frame; empty without a finite number.
fn statistics(tally: Option<Tally>) -> String {
    let Some(tally) = tally.filter(|tally| tally.finite > 0) else {
        return String::new();
    };
    let (min, max) = match tally.exact {
        Some((least, greatest)) => (least.to_string(), greatest.to_string()),
        None => (real(tally.min), real(tally.max)),
    };
    let mean = real(tally.mean().unwrap_or_default());
    format!("  min {min}  max {max}  mean {mean}")
}

/// The lines of the header about a ring.
pub(crate) fn describe(out: &mut impl Write, ring: &RingState) -> Result<(), Failure> {
    let newest = match ring.newest {
        0 => "none published yet".to_owned(),
        number => format!("newest number {number}"),
    };
    let ended = if ring.has_ended { ", ended" } else { "" };
    writeln!(
        out,
        "ring        {}, {newest}{ended}",
        text::count(ring.frames, "frame")
    )?;
    if let Some(producer) = &ring.producer {
        writeln!(out, "producer    {}", producer.process())?;
    }
    for subscriber in &ring.subscribers {
        // That of this look itself.
        if subscriber.process.is_this_process {
            continue;
        }
        let kind = if subscriber.is_lossless {
            ", lossless"
        } else {
            ""
        };
        writeln!(
            out,
            "subscriber  {}{kind}, {} behind, holds {}",
            subscriber.process.process(),
            subscriber.lag,
            text::count(subscriber.held, "frame")
        )?;
    }
    Ok(())
}
