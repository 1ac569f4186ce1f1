//! `show --follow`: the frames of a ring as they are published.

use crate::{
    Outcome,
    context::Context,
    display::{preview, text},
    elements::{reading::Reading, scalar::real, tally::Tally},
    failure::Failure,
    target::Target,
};
use ndshm::{AnyFrame, AnyRing, AnySubscriber, Error};
use serde_json::json;
use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, SystemTime},
};

/// How long each wait for a frame takes; then the next one begins.
const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest time between two frames on a terminal.
const ON_SCREEN: Duration = Duration::from_millis(100);
/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows frames until the stream ends.
pub(crate) fn run(context: &Context, target: &Target) -> Outcome {
    let Some(ring) = target.ring()? else {
        return Err(Failure::usage(
            "only a ring has frames to follow: show without --follow shows an array",
        ));
    };
    let mut subscriber = ring.subscribe()?;
    let is_terminal = io::stdout().is_terminal() && !context.is_json;
    let mut out = context.out();
    loop {
        match subscriber.next_timeout(PATIENCE) {
            Ok(Some(frame)) if is_terminal => {
                write!(out, "{CLEAR}")?;
                show(context, &mut out, target, &frame, &subscriber)?;
                let array = target.frame(&frame)?;
                drop(frame);
                writeln!(out, "\n{}", preview::of(&array, Reading::Locked)?)?;
                out.flush()?;
                std::thread::sleep(ON_SCREEN);
            }
            Ok(Some(frame)) => show(context, &mut out, target, &frame, &subscriber)?,
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(Error::Timeout { .. }) => {}
            Err(Error::Abandoned { .. }) => {
                let words = "the producer ended without ending the stream: waiting for the next";
                eprintln!("{}", text::styled(text::FAINT, words));
            }
            Err(error) => return Err(error.into()),
        }
        out.flush()?;
    }
}

/// A line for a frame.
fn show(
    context: &Context,
    out: &mut impl Write,
    target: &Target,
    frame: &AnyFrame,
    subscriber: &AnySubscriber,
) -> Result<(), Failure> {
    let late = SystemTime::now().duration_since(frame.time());
    let late = late.unwrap_or_default().as_secs_f64() * 1e3;
    let tally = Tally::of(&target.frame(frame)?, Reading::Locked)?;
    let missed = subscriber.missed();
    if context.is_json {
        let line = json!({
            "frame": frame.number(), "milliseconds": late, "missed": missed,
            "shape": frame.shape(), "dtype": frame.dtype().to_string(),
            "mean": tally.and_then(|tally| tally.mean()),
        });
        return Ok(writeln!(out, "{line}")?);
    }
    write!(
        out,
        "frame {}  {}  {late:.1} ms old  {missed} missed",
        frame.number(),
        text::shape(&frame.shape())
    )?;
    if let Some(tally) = tally.filter(|tally| tally.finite > 0) {
        let (min, max) = match tally.exact {
            Some((least, greatest)) => (least.to_string(), greatest.to_string()),
            None => (real(tally.min), real(tally.max)),
        };
        let mean = real(tally.mean().unwrap_or_default());
        write!(out, "  min {min}  max {max}  mean {mean}")?;
    }
    Ok(writeln!(out)?)
}

/// The lines of the header about a ring.
pub(crate) fn describe(out: &mut impl Write, ring: &AnyRing) -> Result<(), Failure> {
    let newest = match ring.newest() {
        0 => "none published yet".to_owned(),
        number => format!("newest number {number}"),
    };
    let ended = if ring.has_ended() { ", ended" } else { "" };
    writeln!(
        out,
        "ring        {}, {newest}{ended}",
        text::count(ring.frames(), "frame")
    )?;
    if let Some(producer) = ring.producer() {
        writeln!(out, "producer    {}", producer.process())?;
    }
    for subscriber in ring.subscribers() {
        // That of this look itself is gone.
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
