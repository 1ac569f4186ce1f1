//! `top` in a real terminal, and its looks as JSON.

use crate::{
    fixture::{Fixture, start_a_writer, until},
    terminal::Terminal,
};
use ndshm::Ring;
use rustix::process::{Pid, Signal, kill_process};

const WIDE: (u16, u16) = (140, 24);
const TOP: &str = "top -d 0.2";

#[test]
fn lists_are_watched_sorted_filtered_and_deleted_from() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    fixture.arange("large", &[100_000]);
    let Some(terminal) = Terminal::start(&fixture, "lists_are_watched", WIDE, TOP) else {
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
    terminal.see("no streams", |screen| {
        screen.contains("[rings and growing arrays] 0 of them")
    });
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

    terminal.press(&["Tab"]);
    terminal.see("no guards", |screen| screen.contains("[guards] 0 of them"));

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
            "ndshm: top needs a terminal; ndshm top --json and ndshm ls --json are for scripts\n"
                .into(),
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
        let Some(terminal) = Terminal::start(&fixture, &format!("{name}-{code}"), WIDE, TOP) else {
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

#[test]
fn rings_and_growing_arrays_are_shown_with_their_rates() {
    let fixture = Fixture::new();
    let options = fixture.run.options();
    let ring: Ring<u8, ndarray::Ix1> = options.clone().name("camera").ring(8, 4).unwrap();
    let log = options.name("log").growing::<f64, _>(1 << 20, ()).unwrap();
    let Some(terminal) = Terminal::start(&fixture, "rings_and_growing", WIDE, TOP) else {
        return;
    };
    terminal.see("the arrays", |screen| screen.contains("[arrays] 2 of them"));
    terminal.press(&["Tab"]);
    let mut producer = ring.produce().unwrap();
    let lagging = ring.subscribe().unwrap();
    let pid = std::process::id();
    let line = |screen: &str, name: &str| -> String {
        let found = screen.lines().find(|line| line.starts_with(name));
        found.unwrap_or_default().to_owned()
    };
    // Each look publishes and appends, so that the next one sees a rate.
    let screen = terminal.see("rates", |screen| {
        producer.next().unwrap().publish().unwrap();
        log.push(0.5).unwrap();
        let is_rate = |line: &str| {
            let rate = line
                .split_whitespace()
                .find_map(|word| word.strip_suffix("/s"));
            rate.is_some_and(|rate| rate != "0.00")
        };
        is_rate(&line(screen, "camera")) && is_rate(&line(screen, "log"))
    });
    let camera = line(&screen, "camera");
    assert!(
        camera.contains(&format!(" {pid} ")) && camera.contains(&format!("by {pid}")),
        "producer and lag: {screen}"
    );
    let place = |name| screen.lines().position(|line| line.starts_with(name));
    assert!(place("camera") < place("log"), "rings come first: {screen}");
    // The look took no seat.
    assert_eq!(ring.subscribers().len(), 1);
    drop(lagging);
    drop(producer);
    terminal.see("no producer", |screen| {
        !line(screen, "camera").contains(&pid.to_string())
    });

    // The sizes of the store as bars: it has grown meanwhile.
    fixture.arange("large", &[1_000_000]);
    terminal.press(&["Tab"]);
    terminal.see("the history of sizes", |screen| {
        line(screen, "run").contains("\u{2581}\u{2588}")
    });
}

#[test]
fn holders_and_waiters_of_guards_are_shown() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[10]);
    let Some(terminal) = Terminal::start(&fixture, "holders_and_waiters", WIDE, TOP) else {
        return;
    };
    let guard = xs.write().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| drop(xs.read().unwrap()));
        terminal.see("a writer and a waiter", |screen| {
            let line = screen.lines().find(|line| line.starts_with("xs "));
            line.is_some_and(|line| line.contains("1 write  ") && line.contains("   1  "))
        });
        // From the last list backwards to the first.
        terminal.press(&["Tab", "Tab", "Tab", "Tab"]);
        terminal.see("both", |screen| {
            screen.contains("[guards] 2 of them")
                && screen.contains(" write  held ")
                && screen.contains(" read   waits for ")
        });
        drop(guard);
    });
    terminal.see("none", |screen| screen.contains("[guards] 0 of them"));
}

#[test]
fn a_narrow_terminal_keeps_the_first_columns() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    for (size, titles) in [
        ((20, 10), "NAME      SIZE"),
        ((40, 10), "NAME                     SIZE"),
    ] {
        let name = format!("a_narrow_terminal-{}", size.0);
        let Some(terminal) = Terminal::start(&fixture, &name, size, TOP) else {
            return;
        };
        terminal.see("the array", |screen| {
            screen
                .lines()
                .any(|line| line.trim_end().starts_with(titles))
                && screen.lines().any(|line| line.starts_with("xs"))
        });
        terminal.press(&["d"]);
        // The whole question, in several lines.
        terminal.see("the question", |screen| {
            let words: Vec<_> = screen
                .split(|letter: char| !letter.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .collect();
            words
                .windows(3)
                .any(|words| words == ["the", "array", "xs"])
                || words.windows(2).any(|words| words == ["array", "xs"])
        });
        terminal.press(&["n", "q"]);
        terminal.see("the end", |screen| screen.contains("code=0"));
    }
}

#[test]
fn a_thousand_arrays_are_listed_and_scrolled() {
    let fixture = Fixture::new();
    for number in 0..1000 {
        let name = format!("a{number:03}");
        fixture.run.options().name(name).zeros::<u8, _>(1).unwrap();
    }
    let Some(terminal) = Terminal::start(&fixture, "a_thousand_arrays", WIDE, TOP) else {
        return;
    };
    terminal.see("all of them", |screen| {
        screen.contains("[arrays] 1000 of them")
    });
    terminal.press(&["s", "End"]);
    terminal.see("the last", |screen| {
        screen.lines().any(|line| line.starts_with("a999 "))
    });
}

#[test]
fn looks_are_printed_as_json_with_rates() {
    let fixture = Fixture::new();
    let options = fixture.run.options().name("log");
    let log = options.growing::<f64, _>(100, ()).unwrap();
    log.push(1.0).unwrap();
    let ring: Ring<u8, ndarray::Ix1> = fixture.run.options().name("camera").ring(8, 4).unwrap();
    let _lossless = ring.subscribe_lossless().unwrap();
    let lines = fixture.output("top --json -d 0.1 -n 2");
    let looks: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(looks.len(), 2, "{lines}");
    let array = |look: &serde_json::Value, at: usize| look["stores"][0]["arrays"][at].clone();
    assert_eq!(array(&looks[0], 0)["rate"], serde_json::Value::Null);
    assert_eq!(array(&looks[1], 0)["rate"], 0.0);
    assert_eq!(array(&looks[1], 0)["max_len"], 100);
    let camera = array(&looks[1], 1);
    assert_eq!(camera["kind"], "ring");
    assert_eq!(camera["ring"]["subscribers"][0]["lossless"], true);
    assert_eq!(camera["ring"]["subscribers"][0]["pid"], std::process::id());
    assert_eq!(camera["ring"]["newest"], 0);
    assert_eq!(camera["ring"]["producer"], serde_json::Value::Null);
}

// A terminal whose window was closed left a process behind that took a whole processor.
#[test]
fn a_closed_terminal_ends_it() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    let name = "a_closed_terminal_ends_it";
    let Some(terminal) = Terminal::start(&fixture, name, WIDE, TOP) else {
        return;
    };
    terminal.see("the array", |screen| screen.contains("xs"));
    let shell = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]);
    let children =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim())).unwrap();
    let top = std::path::PathBuf::from(format!("/proc/{}", children.trim()));
    assert!(top.exists());
    drop(terminal);
    until("the end of the process", || !top.exists());
}
