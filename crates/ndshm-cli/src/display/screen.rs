//! A picture that is shown again and again: on a terminal in place of the one before, elsewhere as
//! blocks separated by a blank line.
//!
//! It changes no mode of the terminal, so a killed process leaves none behind.

use crate::display::text;
use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

/// The shortest time between two pictures.
const BETWEEN: Duration = Duration::from_millis(50);
/// The longest pause, so that a signal ends the command soon.
const LONGEST: Duration = Duration::from_secs(1);
/// Begins a picture: the terminal shows nothing before its end, cuts long lines, and writes from
/// the upper left corner.
const BEGIN: &str = "\x1b[?2026h\x1b[?7l\x1b[H";
/// Ends a picture: clears the lines below it, and lines are wrapped again.
const END: &str = "\x1b[J\x1b[?7h\x1b[?2026l";
/// Clears the terminal.
const CLEAR: &str = "\x1b[2J";
/// Clears the rest of a line.
const END_OF_LINE: &str = "\x1b[K";

/// The place of a picture.
pub(crate) struct Screen {
    is_terminal: bool,
    has_shown: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal: io::stdout().is_terminal() && !is_dumb,
            has_shown: false,
        }
    }

    /// Whether pictures are shown in place of each other.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows a picture, whose colours are written as they are.
    pub(crate) fn show(&mut self, picture: &str) -> io::Result<()> {
        let is_first = !std::mem::replace(&mut self.has_shown, true);
        let mut out = io::stdout().lock();
        if self.is_terminal {
            let rows = text::terminal_size().map(|(_, rows)| rows);
            let clear = if is_first { CLEAR } else { "" };
            write!(out, "{clear}{}", on_terminal(picture, rows))?;
        } else {
            let blank = if is_first { "" } else { "\n" };
            write!(out, "{blank}{picture}")?;
        }
        out.flush()
    }
}

/// A picture for a terminal of so many rows, of which one is left for the cursor.
fn on_terminal(picture: &str, rows: Option<usize>) -> String {
    let lines: Vec<_> = picture.lines().collect();
    let room = rows.map_or(usize::MAX, |rows| rows.saturating_sub(1).max(1));
    let shown = match lines.len() <= room {
        true => lines.len(),
        false => room - 1,
    };
    let mut text = BEGIN.to_owned();
    for line in &lines[..shown] {
        text += &format!("{line}{END_OF_LINE}\n");
    }
    if shown < lines.len() {
        let more = format!("... {} more lines", lines.len() - shown);
        text += &format!("{}{END_OF_LINE}\n", text::styled(text::FAINT, more));
    }
    text + END
}

/// Waits after a picture, from the moment when work on it began: long enough that there are at most
/// 20 pictures in a second, and that they take half of a processor.
pub(crate) fn pause(began: Instant) {
    let took = began.elapsed();
    let rest = BETWEEN.saturating_sub(took).max(took.min(LONGEST));
    thread::sleep(rest);
}
