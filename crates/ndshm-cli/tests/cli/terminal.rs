//! A real terminal: tmux sends the keys and captures the screen.

use crate::{common, fixture::Fixture};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// A terminal that ends with the test.
pub(crate) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs the tool in a shell that then prints its exit code and the terminal's echo setting.
    pub(crate) fn start(
        fixture: &Fixture,
        name: &str,
        (columns, rows): (u16, u16),
        arguments: &str,
    ) -> Option<Self> {
        if !Command::new("tmux")
            .arg("-V")
            .output()
            .is_ok_and(|output| output.status.success())
        {
            common::skip(name, "tmux is not installed here");
            return None;
        }
        let terminal = Self {
            socket: format!("ndshm-test-{name}-{}", std::process::id()),
        };
        let tool = snapbox::cmd::cargo_bin!("ndshm");
        let script = format!(
            "NDSHM_ROOT={} {} {arguments}; echo \"code=$?\"; stty -a | grep -o '[-]*echo ' ; \
             sleep 600",
            fixture.root.path().display(),
            tool.display()
        );
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns.to_string(),
            "-y",
            &rows.to_string(),
            &script,
        ]);
        Some(terminal)
    }

    pub(crate) fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .env("TERM", "xterm-256color")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen is as wanted, and returns it.
    #[track_caller]
    pub(crate) fn see(&self, what: &str, mut is_wanted: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if is_wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "never seen: {what}\n{screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.socket, "kill-server"])
            .output();
    }
}
