//! `--watch` and `--follow`: the newest state when it changes, or each frame.

use crate::{
    fixture::{Fixture, until},
    terminal::Terminal,
};
use ndarray::{Ix1, array};
use ndshm::{Observer, Ring};
use rustix::process::Signal;
use std::{
    fs,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);

fn ring(fixture: &Fixture) -> Ring<u8, Ix1> {
    fixture.run.options().name("camera").ring(3, 4).unwrap()
}

fn publish(producer: &mut ndshm::Producer<u8, Ix1>, value: u8) {
    let mut frame = producer.next_timeout(SOON).unwrap();
    frame.fill(value);
    frame.publish().unwrap();
}

#[test]
fn an_array_is_shown_again_when_it_changes_until_it_is_frozen() {
    let fixture = Fixture::new();
    let xs = fixture
        .run
        .options()
        .name("xs")
        .zeros::<f64, _>(800)
        .unwrap();
    let mut watching = fixture.start("--json show --watch xs");
    let mean = |value: &serde_json::Value| value["statistics"]["mean"].clone();
    assert_eq!(mean(&watching.json()), 0.0);
    for value in 1..=5 {
        xs.write().unwrap().fill(f64::from(value));
        assert_eq!(mean(&watching.json()), f64::from(value));
    }
    xs.freeze().unwrap();
    let last = watching.json();
    assert_eq!(
        (mean(&last), last["frozen"].clone()),
        (5.0.into(), true.into())
    );
    let (rest, errors, code) = watching.end();
    assert_eq!((rest.as_str(), code), ("", Some(0)));
    assert_eq!(errors, "xs: it is frozen: it does not change any more\n");
}

#[test]
fn only_changes_of_the_slice_are_shown() {
    let fixture = Fixture::new();
    let xs = fixture
        .run
        .options()
        .name("xs")
        .zeros::<f64, _>(800)
        .unwrap();
    let mut watching = fixture.start("--json show --watch xs[:100]");
    assert_eq!(watching.json()["statistics"]["max"], 0.0);
    let fill = |range: std::ops::Range<usize>| {
        let part = xs.slice(ndarray::s![range]).unwrap();
        part.write().unwrap().fill(3.0);
    };
    fill(700..800);
    fill(0..50);
    // The first change that is shown is that of the slice.
    assert_eq!(watching.json()["statistics"]["max"], 3.0);
    xs.release().unwrap();
    let (rest, errors, code) = watching.end();
    assert_eq!((rest.as_str(), code), ("", Some(0)));
    assert!(errors.starts_with("xs: it was released"), "{errors}");
}

#[test]
fn a_fast_writer_costs_few_pictures() {
    let fixture = Fixture::new();
    let xs = fixture.run.options().name("xs").zeros::<u64, _>(4).unwrap();
    let start = Instant::now();
    let mut watching = fixture.start("--json show --watch xs");
    watching.json();
    for value in 1..=10_000 {
        xs.write().unwrap().fill(value);
    }
    xs.freeze().unwrap();
    let (rest, _, code) = watching.end();
    let pictures: Vec<_> = rest.lines().collect();
    // Each is followed by a pause of 50 ms; the frozen array is shown once more.
    let most = start.elapsed().as_millis() as usize / 50 + 2;
    assert!(
        pictures.len() <= most,
        "{} pictures, {most} at most",
        pictures.len()
    );
    let last: serde_json::Value = serde_json::from_str(pictures.last().unwrap()).unwrap();
    assert_eq!(
        (last["statistics"]["max"].clone(), code),
        (10_000.into(), Some(0))
    );
}

#[test]
fn blocks_in_a_pipe_are_separated_by_a_blank_line() {
    let fixture = Fixture::new();
    let xs = fixture.run.options().name("xs").zeros::<u8, _>(2).unwrap();
    let mut watching = fixture.start("show --quick --watch xs");
    let mut lines = vec![watching.line().unwrap()];
    while lines.last().unwrap() != "[0 0]" {
        lines.push(watching.line().unwrap());
    }
    assert!(lines[0].starts_with("xs  |u1 (2,)"), "{lines:?}");
    xs.write().unwrap().fill(1);
    assert_eq!(watching.line().unwrap(), "");
    assert!(watching.line().unwrap().starts_with("xs  |u1 (2,)"));
}

#[test]
fn the_rows_of_an_array_that_grows_are_shown_as_they_come() {
    let fixture = Fixture::new();
    let options = fixture.run.options().name("log");
    let log = options.growing::<f64, _>(100, 2).unwrap();
    let mut watching = fixture.start("--json show --watch log");
    assert_eq!(watching.json()["shape"], serde_json::json!([0, 2]));
    for rows in 1..=3 {
        log.append_row(&array![0.5, 1.5]).unwrap();
        assert_eq!(watching.json()["shape"], serde_json::json!([rows, 2]));
    }
    log.freeze().unwrap();
    let (_, errors, code) = watching.end();
    assert!(errors.ends_with("log: its growth has ended\n"), "{errors}");
    assert_eq!(code, Some(0));
}

#[test]
fn the_newest_frame_of_a_ring_is_shown_until_its_stream_ends() {
    let fixture = Fixture::new();
    let ring = ring(&fixture);
    let mut watching = fixture.start("--json show --watch camera");
    let mut producer = ring.produce().unwrap();
    producer.wait_subscribers(1, SOON).unwrap();
    publish(&mut producer, 7);
    assert_eq!(watching.json()["statistics"]["max"], 7);
    for value in 8..=200 {
        publish(&mut producer, value);
    }
    producer.finish().unwrap();
    let (rest, errors, code) = watching.end();
    let last: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(
        last["statistics"]["max"], 200,
        "the last frame is never missed"
    );
    assert_eq!(
        (errors.as_str(), code),
        ("camera: its stream has ended\n", Some(0))
    );
}

#[test]
fn a_picture_is_drawn_again_when_the_array_changes() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[50]).downcast::<f64, Ix1>().unwrap();
    let path = fixture.root.path().join("xs.svg");
    let once = |name: &str| {
        let path = fixture.root.path().join("once.svg");
        fixture.output(&format!("plot {name} -o {}", path.display()));
        fs::read(path).unwrap()
    };
    let first = once("xs");
    let watching = fixture.start(&format!("plot --watch xs -o {}", path.display()));
    until("the first picture", || {
        fs::read(&path).is_ok_and(|found| found == first)
    });
    xs.write().unwrap()[3] = 500.0;
    let second = once("xs");
    until("the second picture", || {
        fs::read(&path).is_ok_and(|found| found == second)
    });
    // A state without a number to draw leaves the picture.
    xs.write().unwrap().fill(f64::NAN);
    xs.freeze().unwrap();
    let (_, errors, code) = watching.end();
    assert!(errors.contains("frozen") && code == Some(0), "{errors}");
    assert_eq!(fs::read(&path).unwrap(), second);
    let left = fs::read_dir(fixture.root.path()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with(".ndshm-plot")),
        "{left:?}"
    );
}

#[test]
fn frames_are_drawn_as_they_come() {
    let fixture = Fixture::new();
    let ring = ring(&fixture);
    let path = fixture.root.path().join("camera.png");
    let following = fixture.start(&format!("plot --follow camera -o {}", path.display()));
    let mut producer = ring.produce().unwrap();
    producer.wait_subscribers(1, SOON).unwrap();
    let mut frame = producer.next().unwrap();
    frame.assign(&array![1, 5, 2]);
    frame.publish().unwrap();
    producer.finish().unwrap();
    assert_eq!(following.end().2, Some(0));
    let drawn = fs::read(&path).unwrap();
    fixture.output(&format!("plot camera -o {}", path.display()));
    assert_eq!(drawn, fs::read(&path).unwrap());
    fixture.arange("xs", &[3]);
    let (line, code) = fixture.failure("plot --follow xs -o xs.png");
    assert!(line.contains("plot --watch draws") && code == 2, "{line}");
}

/// The number of subscribers of `run/camera`, without a seat.
fn seats(fixture: &Fixture) -> usize {
    let observer = Observer::open(fixture.run.path()).unwrap();
    let camera = observer.arrays().unwrap().remove(0).unwrap();
    observer.ring(&camera).unwrap().subscribers.len()
}

#[test]
fn a_signal_ends_a_watcher_which_gives_its_seat_back() {
    for command in ["show --watch", "show --follow", "tail --follow"] {
        let fixture = Fixture::new();
        let _ring = ring(&fixture);
        let watching = fixture.start(&format!("{command} camera"));
        until("the seat", || seats(&fixture) == 1);
        watching.signal(Signal::INT);
        let (rest, errors, code) = watching.end();
        assert_eq!(
            (rest, errors, code),
            (String::new(), String::new(), Some(130)),
            "{command}"
        );
        assert_eq!(seats(&fixture), 0);
        assert_eq!(fixture.run.list().unwrap().len(), 1);
    }
}

#[test]
fn a_killed_watcher_of_a_ring_blocks_no_producer_and_leaves_nothing() {
    for command in [
        "show --watch",
        "show --follow",
        "tail --follow",
        "--json tail --follow",
    ] {
        let fixture = Fixture::new();
        let ring = ring(&fixture);
        let mut watching = fixture.start(&format!("{command} camera"));
        let mut producer = ring.produce().unwrap();
        producer.wait_subscribers(1, SOON).unwrap();
        publish(&mut producer, 1);
        watching.line().unwrap();
        publish(&mut producer, 2);
        watching.signal(Signal::KILL);
        watching.end();
        // Every slot is written several times, its own too.
        (3..=20).for_each(|value| publish(&mut producer, value));
        let all: Vec<_> = fixture.run.list().unwrap();
        assert_eq!(all.len(), 1, "{command}: {all:?}");
        fixture.ndshm("verify run").success();
    }
}

#[test]
fn a_killed_watcher_of_an_array_holds_no_lock() {
    let fixture = Fixture::new();
    let xs = fixture
        .run
        .options()
        .name("xs")
        .zeros::<f64, _>(800)
        .unwrap();
    let mut watching = fixture.start("--json show --watch xs");
    watching.json();
    for _ in 0..20 {
        xs.write().unwrap().fill(1.0);
    }
    watching.signal(Signal::KILL);
    watching.end();
    xs.write_timeout(SOON).unwrap().fill(2.0);
    assert!(!xs.is_poisoned().unwrap());
    assert!(
        fixture.json("locks")["stores"][0]["locks"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_terminal_shows_the_newest_picture_in_place_and_is_left_as_it_was() {
    for (columns, rows) in [(80, 24), (20, 12)] {
        let fixture = Fixture::new();
        let xs = fixture.run.options().name("xs").zeros::<u8, _>(3).unwrap();
        let name = format!("the_newest_picture-{columns}");
        let Some(terminal) =
            Terminal::start(&fixture, &name, (columns, rows), "show --quick --watch xs")
        else {
            return;
        };
        terminal.see("the first picture", |screen| screen.contains("[0 0 0]"));
        xs.write().unwrap().fill(17);
        terminal.see("the second picture in its place", |screen| {
            screen.contains("[17 17 17]") && !screen.contains("[0 0 0]")
        });
        terminal.press(&["C-c"]);
        let is_back = |screen: &str| {
            screen.contains("code=130")
                && screen.lines().any(|line| line.trim() == "echo")
                && screen.contains("[17 17 17]")
        };
        terminal.see("the terminal as before, with the last picture", is_back);
    }
}

#[test]
fn a_picture_of_more_lines_than_the_terminal_is_cut() {
    let fixture = Fixture::new();
    let xs = fixture
        .run
        .options()
        .name("xs")
        .zeros::<u8, _>((12, 3))
        .unwrap();
    let Some(terminal) = Terminal::start(&fixture, "more_lines", (60, 10), "show --watch xs")
    else {
        return;
    };
    terminal.see("the start of the picture", |screen| {
        screen.starts_with("xs  |u1 (12, 3)") && screen.contains(" more lines")
    });
    xs.freeze().unwrap();
    terminal.see("the end", |screen| {
        screen.contains("frozen: it does not change any more") && screen.contains("code=0")
    });
}

// A watcher of an array that did not change stayed for ever behind a closed pipe.
#[test]
fn a_closed_pipe_ends_a_watcher_without_a_change() {
    let fixture = Fixture::new();
    let _ring = ring(&fixture);
    let _xs = fixture.arange("xs", &[3]);
    let log = fixture.run.options().name("log").growing::<u8, _>(10, ());
    let _log = log.unwrap();
    for command in [
        "show --watch xs",
        "show --watch log",
        "show --watch camera",
        "show --follow camera",
        "tail --follow camera",
        "tail --follow log",
    ] {
        let mut watching = fixture.start(command);
        watching.close();
        let (_, errors, code) = watching.end();
        assert_eq!((errors.as_str(), code), ("", Some(0)), "{command}");
    }
}

// A watcher stayed beside a store that was deleted as a whole: its arrays are not released one by
// one.
#[test]
fn the_end_of_the_store_ends_watchers_and_waits() {
    let fixture = Fixture::new();
    let builder = ndshm::Manager::builder().root(fixture.root.path());
    let store = builder.name("brief").create().unwrap();
    let options = store.options();
    let _xs = options.clone().name("xs").zeros::<f64, _>(3).unwrap();
    let _log = options
        .clone()
        .name("log")
        .growing::<u8, _>(10, ())
        .unwrap();
    let _ring: Ring<u8, Ix1> = options.name("camera").ring(3, 4).unwrap();
    let observer = Observer::open(store.path()).unwrap();
    let watching = ["xs", "log", "camera"]
        .map(|name| fixture.start(&format!("--json show --watch brief/{name}")));
    let waiting = [
        "xs --frozen",
        "xs --changed",
        "log --len 1",
        "camera --frames 1",
    ];
    let waiting = waiting.map(|event| fixture.start(&format!("wait brief/{event}")));
    until("all of them", || {
        let arrays = observer.arrays().unwrap().into_iter().flatten();
        let openers = arrays.map(|info| observer.state(&info).unwrap().openers);
        openers.collect::<Vec<_>>() == [4, 3, 3]
    });
    store.close().unwrap();
    for watching in watching {
        let (_, errors, code) = watching.end();
        assert!(
            errors.contains("it was released") && code == Some(0),
            "{code:?} {errors}"
        );
    }
    for waiting in waiting {
        let (_, errors, code) = waiting.end();
        assert!(code == Some(3), "{code:?} {errors}");
    }
}
