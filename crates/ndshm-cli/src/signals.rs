//! The signals that end a command which waits or watches: it stops at its next step, gives back
//! what it has, and leaves the terminal as it was.
//!
//! Waits of the library end too, within 50 ms. A second signal ends the process at once, unless the
//! command keeps the terminal in another mode.

use crate::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag,
};
use std::{
    io,
    process::{self, ExitCode},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

const SIGNALS: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];

/// How long a command may take to end after a signal.
const GRACE: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The number of the signal that came last; 0 before.
static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Begins to catch the signals.
pub(crate) fn catch() -> Result<(), Failure> {
    catch_all(true)
}

/// The same, for a command that has the terminal in a mode which must be restored: no signal ends
/// it at once.
pub(crate) fn catch_always() -> Result<(), Failure> {
    catch_all(false)
}

fn catch_all(is_ended_by_the_second: bool) -> Result<(), Failure> {
    let caught = CAUGHT.get_or_init(Arc::default);
    for signal in SIGNALS {
        if is_ended_by_the_second {
            let came = Arc::new(AtomicBool::new(false));
            // In this order: the first signal finds `came` unset.
            flag::register_conditional_shutdown(signal, 128 + signal, came.clone())?;
            flag::register(signal, came)?;
        }
        flag::register_usize(signal, caught.clone(), signal as usize)?;
    }
    ndshm::set_interrupt_check(|| number() != 0);
    Ok(())
}

fn number() -> usize {
    CAUGHT.get().map_or(0, |caught| caught.load(SeqCst))
}

/// Ends the process, by `restore` first, where a signal came and `is_done` stays false: reading a
/// terminal that was closed may never return.
pub(crate) fn enforce(is_done: &AtomicBool, restore: impl Fn()) {
    while !is_done.load(SeqCst) {
        thread::sleep(BETWEEN_LOOKS);
        if number() == 0 {
            continue;
        }
        let end = Instant::now() + GRACE;
        while !is_done.load(SeqCst) && Instant::now() < end {
            thread::sleep(BETWEEN_LOOKS);
        }
        if !is_done.load(SeqCst) {
            restore();
            process::exit(128 + number() as i32);
        }
    }
}

/// Waits until the standard input has bytes, for a time at most. Returns false where its terminal
/// was closed.
pub(crate) fn wait_for_input(time: Duration) -> bool {
    let stdin = io::stdin();
    let mut input = [PollFd::new(&stdin, PollFlags::IN)];
    let time = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    // A signal ends the wait too.
    let number = poll(&mut input, Some(&time)).unwrap_or(0);
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    number == 0 || !input[0].revents().intersects(gone)
}

/// The exit code of a command that writes until it is ended: that of the signal, or success where
/// the reader of the output has closed it. Without this look, a watcher of an array that does not
/// change would never notice.
pub(crate) fn ended() -> Option<ExitCode> {
    let stdout = io::stdout();
    let mut output = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let is_closed = poll(&mut output, Some(&now)).is_ok_and(|number| number > 0)
        && output[0].revents().contains(PollFlags::ERR);
    caught().or(is_closed.then_some(ExitCode::SUCCESS))
}

/// The exit code for the signal that came, as a shell gives it: 128 plus its number.
pub(crate) fn caught() -> Option<ExitCode> {
    let signal = number() as u8;
    (signal != 0).then(|| ExitCode::from(128 + signal))
}
