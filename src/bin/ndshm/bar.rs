//! Progress bars: rate and time left of what takes longer than a second, on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Nothing is drawn before.
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
        Self { name: name.into(), started: Instant::now(), bar: OnceLock::new(), is_wanted: is_wanted && stderr().is_terminal() }
    }

    /// Tells how far it has come.
    pub(crate) fn show(&self, done: u64, total: u64) {
        if !self.is_wanted || self.started.elapsed() < AFTER {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let template = "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style)
                .with_message(self.name.clone())
                .with_elapsed(AFTER)
        });
        bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
