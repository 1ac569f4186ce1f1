//! `top`: a live view of stores, arrays, rings and processes.
//!
//! A thread of its own looks at the stores, so that keys respond meanwhile. It joins no store,
//! takes no lock, and no seat of a ring.

mod columns;
mod guards;
mod history;
mod rows;
mod screen;
mod streams;

use crate::{Outcome, context::Context, failure::Failure, signals, survey::Survey};
use history::History;
use ndshm::{LockState, Observer};
use screen::Screen;
use serde_json::Value;
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

const EXAMPLES: &str = "\
Examples:
  ndshm top
  ndshm top --json -d 5 | jq '.stores[].arrays[] | {name, rate}'

Lists: arrays, rings and growing arrays with their rates, stores, processes, guards with their \
holders and waiters; Tab goes on.";

/// Watch stores, arrays, rings and processes: sizes, growth, rates of frames and rows, guards that
/// processes hold or wait for
///
/// With --json it prints the looks as objects, each in a line, until a signal comes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The time between two looks
    #[arg(
        short = 'd',
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = crate::seconds
    )]
    interval: Duration,
    /// With --json: the number of looks
    #[arg(short = 'n', long, value_name = "N")]
    looks: Option<u64>,
}

/// Longest wait for a key or a signal.
const TICK: Duration = Duration::from_millis(100);

/// A look at the stores.
struct Look {
    survey: Survey,
    /// The guards of all stores with the names of these, if they are on the screen.
    locks: Vec<(String, LockState)>,
    at: Instant,
}

/// What is looked at.
struct Places<'a> {
    context: &'a Context,
    /// The only store, if the command line names one.
    chosen: Option<PathBuf>,
}

impl Places<'_> {
    fn look(&self, wants_locks: bool) -> Result<Look, Failure> {
        let at = Instant::now();
        let stores = match &self.chosen {
            Some(store) => vec![store.clone()],
            None => self.context.stores()?,
        };
        let root = self.context.root();
        let root = root.unwrap_or_else(|_| PathBuf::from("/dev/shm"));
        let survey = Survey::look(&root, &stores)?;
        let locks = match wants_locks {
            true => survey.stores.iter().flat_map(locks_of).collect(),
            false => Vec::new(),
        };
        Ok(Look { survey, locks, at })
    }
}

/// The guards of a store; none where it cannot be read, which the survey says.
fn locks_of(store: &crate::survey::StoreView) -> Vec<(String, LockState)> {
    let read = |path: &Path| Observer::open(path)?.locks();
    let locks = read(&store.path).unwrap_or_default().into_iter();
    locks.map(|lock| (store.name(), lock)).collect()
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let places = Places {
        context,
        chosen: context.store()?,
    };
    let interval = args.interval.max(TICK);
    if context.is_json {
        return print(&places, interval, args.looks);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "top needs a terminal; ndshm top --json and ndshm ls --json are for scripts",
        ));
    }
    // An error of the first look comes before the terminal changes.
    let first = places.look(false)?;
    signals::catch_always()?;
    let (wants_locks, is_done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let (sender, looks) = mpsc::sync_channel(1);
        let (ask, asked) = mpsc::channel::<()>();
        scope.spawn(|| {
            // Owned by this thread, so that the screen notices its end.
            let (sender, asked) = (sender, asked);
            loop {
                match asked.recv_timeout(interval) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if sender.send(places.look(wants_locks.load(SeqCst))).is_err() {
                    return;
                }
            }
        });
        scope.spawn(|| signals::enforce(&is_done, ratatui::restore));
        // Set by a panic too.
        let _done = Done(&is_done);
        let mut terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let mut screen = Screen::new(first, &wants_locks, ask);
        let result = screen.live(&mut terminal, context, &looks);
        ratatui::restore();
        drop(looks);
        result
    })
}

/// Says that the view has ended, when it is dropped.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Prints looks as JSON until a signal comes.
fn print(places: &Places<'_>, interval: Duration, looks: Option<u64>) -> Outcome {
    signals::catch()?;
    let mut before: Option<Look> = None;
    let mut history = History::default();
    for number in 0..looks.unwrap_or(u64::MAX) {
        if number > 0 && !sleep(interval) {
            break;
        }
        let look = places.look(false)?;
        if let Some(before) = before {
            let took = look.at.duration_since(before.at);
            history.advance(&before.survey, took, &look.survey);
        }
        places
            .context
            .print_json_line(&with_rates(&look.survey, &history))?;
        before = Some(look);
    }
    Ok(signals::caught().unwrap_or(ExitCode::SUCCESS))
}

/// The survey as `ls --json` has it, and the rate of each array.
fn with_rates(survey: &Survey, history: &History) -> Value {
    let mut value = survey.to_json();
    for (at, store) in survey.stores.iter().enumerate() {
        for (index, array) in store.arrays.iter().enumerate() {
            value["stores"][at]["arrays"][index]["rate"] = history.rate(array).into();
        }
    }
    value
}

/// Sleeps; returns false where a signal came.
fn sleep(time: Duration) -> bool {
    let end = Instant::now().checked_add(time);
    loop {
        if signals::caught().is_some() {
            return false;
        }
        let left = end.map_or(TICK, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(TICK));
    }
}
