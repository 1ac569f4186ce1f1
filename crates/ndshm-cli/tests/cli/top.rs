//! `top` in a real terminal: tmux sends the keys and captures the screen.

use crate::{
    common,
    fixture::{Fixture, start_a_writer},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// A terminal that ends with the test.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Runs `ndshm top` in a shell that then prints its exit code and the terminal's echo setting.
    fn start(fixture: &Fixture, name: &str) -> Option<Self> {
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
            "NDSHM_ROOT={} {} top -d 0.2; echo \"code=$?\"; stty -a | grep -o '[-]*echo ' ; \
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
            "140",
            "-y",
            "24",
            &script,
        ]);
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
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

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the screen is as wanted, and returns it.
    #[track_caller]
    fn see(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
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

#[test]
fn lists_are_watched_sorted_filtered_and_deleted_from() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    fixture.arange("large", &[100_000]);
    let Some(terminal) = Terminal::start(&fixture, "lists_are_watched") else {
        return;
    };
    let at = |screen: &str, line: usize| screen.lines().nth(line).unwrap_or_default().to_owned();

    // By size, the largest first; then by name, then reversed.
    let screen = terminal.see("the arrays", |screen| {
        screen.contains("[arrays] 2 of them, by size") && screen.contains("q quit")
    });
    assert!(
        at(&screen, 3).starts_with("NAME")
            && at(&screen, 4).starts_with("large")
            && at(&screen, 5).starts_with("xs "),
        "{screen}"
    );
    terminal.press(&["s", "r"]);
    terminal.see("names reversed", |screen| {
        screen.contains("by name reversed") && at(screen, 4).starts_with("xs ")
    });

    // A guard, poison and a new array appear without a key.
    let mut writer = start_a_writer(&fixture);
    terminal.see("a guard", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("xs ") && line.contains("1 write"))
    });
    writer.kill();
    terminal.see("poison", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("xs ") && line.contains("poisoned"))
    });
    fixture.arange("another", &[1_000_000]);
    terminal.see("a new array", |screen| {
        screen.contains("[arrays] 3 of them")
    });

    // Stores and processes.
    terminal.press(&["Tab"]);
    terminal.see("the stores", |screen| {
        screen.contains("[stores] 1 of them") && screen.contains("persistent")
    });
    terminal.press(&["Tab"]);
    let pid = std::process::id().to_string();
    let held = fixture.run.array_any("another").unwrap();
    terminal.see("this process", |screen| {
        screen.contains("[processes]") && screen.lines().any(|line| line.starts_with(&pid))
    });

    drop(held);

    // A filter, and a deletion that the user first refuses and then confirms.
    terminal.press(&["Tab", "/", "l", "a", "r", "g", "Enter"]);
    terminal.see("the filter", |screen| {
        screen.contains("[arrays] 1 of them") && screen.contains("filter \"larg\"")
    });
    terminal.press(&["d"]);
    terminal.see("the question", |screen| {
        screen.contains("Delete the array large? y deletes")
    });
    terminal.press(&["n"]);
    terminal.see("the refusal", |screen| screen.contains("not deleted"));
    assert!(fixture.run.contains("large").unwrap());
    terminal.press(&["d"]);
    terminal.see("the question", |screen| {
        screen.contains("Delete the array large?")
    });
    terminal.press(&["y"]);
    terminal.see("the deletion", |screen| {
        screen.contains("deleted large") && screen.contains("[arrays] 0 of them")
    });
    assert!(!fixture.run.contains("large").unwrap());

    // The terminal is as before: the old screen is back, and keys are echoed.
    terminal.press(&["q"]);
    let screen = terminal.see("the end", |screen| {
        screen.contains("code=0") && screen.contains("echo")
    });
    assert!(
        !screen.contains("q quit") && screen.lines().any(|line| line.trim() == "echo"),
        "{screen}"
    );
}

#[test]
fn without_a_terminal_it_is_refused() {
    assert_eq!(
        Fixture::new().failure("top"),
        (
            "ndshm: top needs a terminal; ndshm ls --json is for scripts\n".into(),
            2
        )
    );
}

#[test]
fn a_signal_ends_it_and_restores_the_terminal() {
    let name = "a_signal_ends_it_and_restores_the_terminal";
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let fixture = Fixture::new();
        fixture.arange("xs", &[10]);
        let Some(terminal) = Terminal::start(&fixture, &format!("{name}-{code}")) else {
            return;
        };
        terminal.see("the array", |screen| screen.contains("xs"));
        let shell = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]);
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
        kill_process(
            Pid::from_raw(children.trim().parse().unwrap()).unwrap(),
            signal,
        )
        .unwrap();
        let screen = terminal.see("the end", |screen| screen.contains("code="));
        // Echo is on, and the old screen is back.
        let is_back = |screen: &str| {
            screen.contains(&format!("code={code}"))
                && screen.contains("echo")
                && !screen.contains("-echo")
        };
        assert!(
            is_back(&terminal.see("the terminal as before", is_back)),
            "{signal:?}: {screen}"
        );
    }
}
