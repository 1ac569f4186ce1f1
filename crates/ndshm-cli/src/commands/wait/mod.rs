//! `wait`: sleeps until an array exists, is frozen, has changed, or has so many rows or frames.

mod limit;

use crate::{
    Outcome,
    commands::{
        follow::{self, Next, note},
        new,
    },
    context::Context,
    failure::{Code, Failure},
    signals,
    target::{For, Target},
};
use limit::Limit;
use ndshm::{ArrayKind, Error};
use serde_json::{Value, json};
use std::{io::Write, process::ExitCode, thread, time::Duration};

const EXAMPLES: &str = "\
Examples:
  ndshm wait run/result --exists --frozen --wait 60 && ndshm export run/result -o result.npy
  ndshm wait run/log --len 1000

Exit codes:
  0  it came
  3  the array is not there, or goes away
  4  it can never come: the array was frozen, or the stream ended
  6  the time of --wait is over";
/// How often it looks for what the library has no wait for: that a store was made, or that an
/// array which is written was frozen.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Wait until an array exists, or for an event of one that exists; for scripts
///
/// Without an event it waits until the array exists. An event needs an array that is there; with
/// --exists too it waits for both. The wait has no limit without --wait.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The array; its name, or STORE/NAME, if it does not exist yet
    array: String,
    /// Until the array exists
    #[arg(long)]
    exists: bool,
    #[command(flatten)]
    event: Event,
    /// The number that an earlier wait for a change printed: an event after it counts, also one
    /// that came before this call
    #[arg(long, value_name = "N", requires = "changed")]
    since: Option<u64>,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct Event {
    /// Until it is frozen; of an array that grows, until its growth ends
    #[arg(long)]
    frozen: bool,
    /// Until a guard wrote to it, a row was appended or a frame published; prints the number of
    /// changes, rows or frames, for --since
    #[arg(long)]
    changed: bool,
    /// Until an array that grows has this number of rows; prints how many it has
    #[arg(long, value_name = "ROWS")]
    len: Option<usize>,
    /// Until a frame of this number was published in a ring; prints the number of the newest
    #[arg(long, value_name = "NUMBER")]
    frames: Option<u64>,
}

/// The end of a wait that is not a failure.
enum Came {
    /// The event, with its number.
    Event(Option<u64>),
    Signal(ExitCode),
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    signals::catch()?;
    let limit = Limit::begin(context);
    let found = match Target::find(context, &args.array) {
        Err(failure) if failure.code() == Code::NotFound && args.waits_for_existence() => {
            match wait_for_array(context, args, &limit)? {
                Some(target) => target,
                None => return Ok(signals::caught().unwrap_or(ExitCode::SUCCESS)),
            }
        }
        found => found?,
    };
    if found.is_sliced() && !args.event.changed {
        return Err(only_changed(&args.array));
    }
    let number = match wait_for_event(args, &found, &limit)? {
        Came::Event(number) => number,
        Came::Signal(code) => return Ok(code),
    };
    report(context, args, &found, number)?;
    Ok(ExitCode::SUCCESS)
}

fn only_changed(text: &str) -> Failure {
    Failure::usage(format!(
        "{text}: a slice of an array that is there can be waited for with --changed only"
    ))
}

impl Args {
    fn waits_for_existence(&self) -> bool {
        self.exists || !self.event.is_any()
    }
}

impl Event {
    fn is_any(&self) -> bool {
        self.frozen || self.changed || self.len.is_some() || self.frames.is_some()
    }
}

/// Waits for the store and then for the array in it. `None` where a signal came.
fn wait_for_array(
    context: &Context,
    args: &Args,
    limit: &Limit,
) -> Result<Option<Target>, Failure> {
    let name = &args.array;
    let words = format!("{name}: it did not exist");
    if name.starts_with("ndshm1:") {
        // An id is never given twice.
        return Target::find(context, name).map(Some);
    }
    if name.ends_with(']') {
        return Err(only_changed(name));
    }
    if !name.contains('/') && !context.names_a_store() && context.stores()?.is_empty() {
        return Err(Failure::usage(format!(
            "{name}: there are no stores: write STORE/NAME, or choose the store with --store or \
             NDSHM_STORE"
        )));
    }
    let (manager, plain) = loop {
        match new::place(context, name, false) {
            Err(failure) if failure.code() == Code::NotFound => {
                if signals::caught().is_some() {
                    return Ok(None);
                }
                limit.check(&words)?;
                thread::sleep(BETWEEN_LOOKS.min(limit.next()));
            }
            found => break found?,
        }
    };
    let found = limit.repeat(&words, |time| match manager.wait_for(&plain, time) {
        // The store ends with its owner.
        Err(Error::Abandoned { path, .. }) => Err(Error::Closed { path }),
        found => found,
    })?;
    found
        .map(|info| Target::find(context, &info.path.to_string_lossy()))
        .transpose()
}

fn wait_for_event(args: &Args, target: &Target, limit: &Limit) -> Result<Came, Failure> {
    let event = &args.event;
    let kind = target.info()?.kind;
    let name = target.name();
    match (kind, event) {
        (ArrayKind::Ring, Event { frozen: true, .. }) => Err(Failure::usage(format!(
            "{name}: a ring is never frozen; ndshm wait --frames waits for its frames"
        ))),
        (
            _,
            Event {
                len: Some(rows), ..
            },
        ) => wait_len(target, *rows, limit),
        (
            _,
            Event {
                frames: Some(number),
                ..
            },
        ) => wait_frames(target, *number, limit),
        (ArrayKind::Growing, Event { frozen: true, .. }) => {
            let log = target.growing()?;
            let wait = |time| log.wait_grown(usize::MAX, time);
            came(
                limit.repeat(&format!("{name}: it was not frozen"), wait)?,
                |_| None,
            )
        }
        (_, Event { frozen: true, .. }) => wait_frozen(target, limit),
        (_, Event { changed: true, .. }) => wait_changed(args, target, kind, limit),
        _ => Ok(Came::Event(None)),
    }
}

/// An event, or the signal that ended its wait.
fn came<T>(found: Option<T>, number: impl FnOnce(T) -> Option<u64>) -> Result<Came, Failure> {
    match (found, signals::caught()) {
        (Some(found), _) => Ok(Came::Event(number(found))),
        (None, code) => Ok(Came::Signal(code.unwrap_or(ExitCode::SUCCESS))),
    }
}

fn wait_len(target: &Target, rows: usize, limit: &Limit) -> Result<Came, Failure> {
    let (log, name) = (target.growing()?, target.name());
    let words = format!("{name}: it did not have {rows} rows");
    // More than one row less.
    let wait = |time| match rows.checked_sub(1) {
        Some(fewer) => log.wait_grown(fewer, time),
        None => Ok(log.len()),
    };
    match limit.repeat(&words, wait)? {
        Some(len) if len < rows => Err(Failure::new(
            Code::Refused,
            format!("{name}: its growth ended with {len} rows"),
        )),
        found => came(found, |len| Some(len as u64)),
    }
}

fn wait_frames(target: &Target, number: u64, limit: &Limit) -> Result<Came, Failure> {
    let name = target.name();
    let Some(ring) = target.ring()? else {
        return Err(Failure::usage(format!(
            "{name}: it is no ring, and only rings have frames; --changed waits for a change"
        )));
    };
    let mut subscriber = ring.subscribe()?;
    while ring.newest() < number {
        match follow::next_within(&mut subscriber, limit.next())? {
            None => limit.check(&format!("{name}: there was no frame {number}"))?,
            Some(Next::Frame(frame)) => drop(frame),
            Some(Next::Signal(code)) => return Ok(Came::Signal(code)),
            Some(Next::End) if ring.newest() >= number => break,
            Some(Next::End) => {
                return Err(Failure::new(
                    Code::Refused,
                    format!("{name}: its stream ended with frame {}", ring.newest()),
                ));
            }
        }
    }
    Ok(Came::Event(Some(ring.newest())))
}

fn wait_frozen(target: &Target, limit: &Limit) -> Result<Came, Failure> {
    let words = format!("{}: it was not frozen", target.name());
    let mut is_abandoned = false;
    let found = limit.repeat(&words, |time| match target.wait_frozen(time) {
        Err(Error::Abandoned { .. }) => {
            is_abandoned = true;
            Ok(())
        }
        frozen => frozen,
    })?;
    if !is_abandoned {
        return came(found, |()| None);
    }
    // The process that made it has ended, and any other one may freeze it.
    note(&format!(
        "{}: the process that made it has ended: waiting for another one to freeze it",
        target.name()
    ));
    let array = target.open(For::Waiting)?;
    let found = limit.repeat(&words, |time| {
        let seen = array.changed()?;
        match target.or_gone(array.wait_changed(seen, time)) {
            Err(Error::Frozen { .. }) => Ok(()),
            Err(Error::Abandoned { path, .. }) => Err(Error::Interrupted { path }),
            // A fast writer must not cost this process a processor.
            Ok(_) => {
                thread::sleep(BETWEEN_LOOKS);
                Err(Error::Interrupted {
                    path: array.path().into(),
                })
            }
            Err(error) => Err(error),
        }
    })?;
    came(found, |()| None)
}

fn wait_changed(
    args: &Args,
    target: &Target,
    kind: ArrayKind,
    limit: &Limit,
) -> Result<Came, Failure> {
    let name = target.name();
    let words = format!("{name}: it did not change");
    match kind {
        ArrayKind::Ring => {
            let ring = target.ring()?;
            let newest = ring.map_or(0, |ring| ring.newest());
            let seen = args.since.unwrap_or(newest);
            wait_frames(target, seen.saturating_add(1), limit)
        }
        ArrayKind::Growing => {
            let len = target.growing()?.len();
            let seen = args
                .since
                .map_or(len, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
            wait_len(target, seen.saturating_add(1), limit)
        }
        _ => {
            let array = target.open(For::Waiting)?;
            let seen = match args.since {
                Some(seen) => seen,
                None => array.changed()?,
            };
            let found = limit.repeat(&words, |time| {
                match target.or_gone(array.wait_changed(seen, time)) {
                    // Other processes than the one that made it may write it.
                    Err(Error::Abandoned { path, .. }) => Err(Error::Interrupted { path }),
                    Err(Error::Frozen { .. }) => Ok(None),
                    changed => changed.map(Some),
                }
            })?;
            match found {
                Some(None) => Err(Failure::new(
                    Code::Refused,
                    format!("{name}: it is frozen, and does not change any more"),
                )),
                found => came(found, |number| number),
            }
        }
    }
}

fn report(
    context: &Context,
    args: &Args,
    target: &Target,
    number: Option<u64>,
) -> Result<(), Failure> {
    if context.is_json {
        // The array may be gone by now, and the event came nevertheless.
        let info = target.info().ok();
        let mut value = json!({
            "name": target.name(),
            "path": info.as_ref().map(|info| &info.path),
            "kind": info.as_ref().map(|info| info.kind.to_string()),
        });
        let key = match &args.event {
            Event { frozen: true, .. } => "frozen",
            Event { changed: true, .. } => "changed",
            Event { len: Some(_), .. } => "len",
            Event {
                frames: Some(_), ..
            } => "frames",
            _ => "exists",
        };
        value[key] = number.map_or(Value::Bool(true), Value::from);
        return context.print_json(&value);
    }
    if let Some(number) = number {
        let mut out = context.out();
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}
