//! Progress bars: rate and time left of a transfer that takes longer than a second, on a terminal.

use crate::display::text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::{
    fmt::Write,
    io::{IsTerminal, stderr},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The bar appears after this time.
const AFTER: Duration = Duration::from_secs(1);

/// A bar on the standard error output.
pub(crate) struct Bar {
    name: String,
    started: Instant,
    bar: OnceLock<ProgressBar>,
    is_wanted: bool,
}

impl Bar {
    pub(crate) fn new(name: impl Into<String>, is_wanted: bool) -> Self {
        Self {
            name: name.into(),
            started: Instant::now(),
            bar: OnceLock::new(),
            is_wanted: is_wanted && stderr().is_terminal(),
        }
    }

    /// Shows the progress: bytes done, of `total`.
    pub(crate) fn show(&self, done: u64, total: u64) {
        if !self.is_wanted || self.started.elapsed() < AFTER {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes} {rate}/s {left} left",
            );
            let style = style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .with_key("rate", rate)
                .with_key("left", left);
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style)
                .with_message(self.name.clone())
                .with_elapsed(AFTER)
        });
        bar.set_position(done);
    }
}

/// Bytes per second since the start of the transfer, which is before that of the bar.
fn rate(state: &ProgressState, out: &mut dyn Write) {
    let _ = out.write_str(&text::bytes(
        (state.pos() as f64 / state.elapsed().as_secs_f64()) as u64,
    ));
}

/// The time that the rest takes at the average rate.
fn left(state: &ProgressState, out: &mut dyn Write) {
    let rest = state.len().unwrap_or(0).saturating_sub(state.pos()) as f64;
    let left =
        Duration::try_from_secs_f64(state.elapsed().as_secs_f64() * rest / state.pos() as f64);
    let _ = out.write_str(&left.map_or("?".into(), text::duration));
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
