//! `wait`: for scripts, until an array exists or an event comes.

use crate::fixture::{Fixture, until};
use ndarray::Ix1;
use ndshm::{Manager, Observer, Ring};
use rustix::process::Signal;

#[test]
fn it_waits_until_an_array_exists() {
    let fixture = Fixture::new();
    let (line, code) = fixture.failure("wait run/xs --wait 0.05");
    assert!(
        code == 6 && line.contains("run/xs: it did not exist for all of 50ms; --wait waits longer"),
        "{code}: {line}"
    );
    let waiting = [
        fixture.start("--wait 60 wait run/xs"),
        fixture.start("--wait 60 wait xs --exists"),
    ];
    fixture.arange("xs", &[3]);
    for waiting in waiting {
        assert_eq!(waiting.end(), (String::new(), String::new(), Some(0)));
    }
    assert_eq!(fixture.output("wait run/xs"), "");
    let found = fixture.json("wait xs");
    assert_eq!(
        (found["name"].clone(), found["exists"].clone()),
        ("xs".into(), true.into())
    );
}

#[test]
fn it_waits_for_a_store_that_is_made_later() {
    let fixture = Fixture::new();
    let waiting = fixture.start("--wait 60 wait later/xs --exists --len 2");
    let later = Manager::builder()
        .root(fixture.root.path())
        .name("later")
        .create()
        .unwrap();
    let log = later.options().name("xs").growing::<u8, _>(10, ()).unwrap();
    log.push(1).unwrap();
    log.push(2).unwrap();
    assert_eq!(waiting.end(), ("2".into(), String::new(), Some(0)));
}

#[test]
fn an_event_of_an_array_that_is_not_there_is_a_failure() {
    let fixture = Fixture::new();
    for event in ["--frozen", "--changed", "--len 3", "--frames 3"] {
        let (line, code) = fixture.failure(&format!("wait run/xs {event}"));
        assert!(
            code == 3 && line.contains("run/xs"),
            "{event}: {code}: {line}"
        );
    }
}

#[test]
fn it_waits_until_an_array_is_frozen() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3]);
    assert_eq!(fixture.failure("wait xs --frozen --wait 0.05").1, 6);
    let waiting = fixture.start("--wait 60 wait xs --frozen");
    xs.write().unwrap().fill(0);
    xs.freeze().unwrap();
    assert_eq!(waiting.end(), (String::new(), String::new(), Some(0)));
    fixture.ndshm("wait xs --frozen").success();
    let (line, code) = fixture.failure("wait xs --changed");
    assert!(
        code == 4 && line.contains("it is frozen, and does not change any more"),
        "{line}"
    );
}

#[test]
fn any_process_may_freeze_an_array_whose_maker_has_ended() {
    let fixture = Fixture::new();
    fixture.output("new run/xs f8 3");
    let mut waiting = fixture.start("--wait 60 --json wait xs --frozen");
    fixture.output("freeze xs");
    assert_eq!(waiting.line().as_deref(), Some("{"));
    let (_, errors, code) = waiting.end();
    assert_eq!(code, Some(0), "{errors}");
    // Writes are no end of the wait.
    fixture.output("new run/ys f8 3");
    let waiting = fixture.start("--wait 60 wait ys --frozen");
    let ys = fixture.run.array_any("ys").unwrap();
    for _ in 0..100 {
        ys.write().unwrap().fill(1);
    }
    ys.freeze().unwrap();
    assert_eq!(waiting.end().2, Some(0));
}

#[test]
fn it_waits_for_a_change_and_prints_its_number() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3]);
    let seen = xs.changed().unwrap();
    let waiting = fixture.start(&format!("--wait 60 wait xs --changed --since {seen}"));
    xs.write().unwrap().fill(0);
    let (number, _, code) = waiting.end();
    assert_eq!(
        (number.parse(), code),
        (xs.changed().map_err(|_| unreachable!()), Some(0))
    );
    // One that came before counts too.
    assert_eq!(
        fixture
            .output(&format!("wait xs --changed --since {seen}"))
            .trim(),
        number
    );
    assert_eq!(fixture.failure("wait xs --changed --wait 0.05").1, 6);
    assert_eq!(fixture.failure("wait 'xs[1:]' --changed --wait 0.05").1, 6);
    assert_eq!(fixture.failure("wait 'xs[1:]' --frozen").1, 2);
}

#[test]
fn it_waits_for_rows() {
    let fixture = Fixture::new();
    let log = fixture
        .run
        .options()
        .name("log")
        .growing::<u8, _>(10, ())
        .unwrap();
    assert_eq!(fixture.output("wait log --len 0"), "0\n");
    assert_eq!(fixture.failure("wait log --len 1 --wait 0.05").1, 6);
    let waiting = fixture.start("--wait 60 wait log --len 3");
    let changing = fixture.start("--wait 60 wait log --changed --since 0");
    for row in 0..3 {
        log.push(row).unwrap();
    }
    assert_eq!(waiting.end(), ("3".into(), String::new(), Some(0)));
    assert_eq!(changing.end().2, Some(0));
    assert_eq!(fixture.json("wait log --len 2")["len"], 3);
    let waiting = fixture.start("--wait 60 wait log --len 4");
    let frozen = fixture.start("--wait 60 wait log --frozen");
    log.freeze().unwrap();
    let (_, errors, code) = waiting.end();
    assert_eq!(
        (errors.as_str(), code),
        ("ndshm: log: its growth ended with 3 rows\n", Some(4))
    );
    assert_eq!(frozen.end().2, Some(0));
}

#[test]
fn it_waits_for_frames() {
    let fixture = Fixture::new();
    let ring: Ring<u8, Ix1> = fixture.run.options().name("camera").ring(3, 4).unwrap();
    assert_eq!(fixture.failure("wait camera --frames 1 --wait 0.05").1, 6);
    let waiting = fixture.start("--wait 60 wait camera --frames 2");
    let changing = fixture.start("--wait 60 wait camera --changed --since 0");
    let mut producer = ring.produce().unwrap();
    for _ in 0..2 {
        producer.next().unwrap().publish().unwrap();
    }
    assert_eq!(waiting.end(), ("2".into(), String::new(), Some(0)));
    assert_eq!(changing.end().2, Some(0));
    producer.finish().unwrap();
    let (line, code) = fixture.failure("wait camera --frames 3");
    assert!(
        code == 4 && line.contains("its stream ended with frame 2"),
        "{line}"
    );
    assert_eq!(fixture.output("wait camera --frames 2"), "2\n");
}

#[test]
fn an_array_that_goes_away_ends_the_wait() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3]);
    let log = fixture
        .run
        .options()
        .name("log")
        .growing::<u8, _>(10, ())
        .unwrap();
    let ring: Ring<u8, Ix1> = fixture.run.options().name("camera").ring(3, 4).unwrap();
    let openers = |name: &str| {
        let observer = Observer::open(fixture.run.path()).unwrap();
        let arrays = observer.arrays().unwrap().into_iter().flatten();
        let mut found = arrays.filter(|info| info.name.as_deref() == Some(name));
        observer.state(&found.next().unwrap()).unwrap().openers
    };
    let waiting = [
        fixture.start("--wait 60 wait xs --frozen"),
        fixture.start("--wait 60 wait log --len 1"),
        fixture.start("--wait 60 wait camera --frames 1"),
    ];
    for name in ["xs", "log", "camera"] {
        until("the wait", || openers(name) == 2);
    }
    xs.release().unwrap();
    log.release().unwrap();
    ring.release().unwrap();
    for waiting in waiting {
        let (_, errors, code) = waiting.end();
        assert!(
            code == Some(3) && errors.contains("was released"),
            "{code:?}: {errors}"
        );
    }
}

#[test]
fn a_signal_ends_the_wait() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3]);
    let observer = Observer::open(fixture.run.path()).unwrap();
    let openers = || {
        observer
            .state(&xs.handle().info().unwrap())
            .unwrap()
            .openers
    };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let waiting = fixture.start("--wait 60 wait xs --frozen");
        until("the wait", || openers() == 2);
        waiting.signal(signal);
        assert_eq!(waiting.end(), (String::new(), String::new(), Some(code)));
        until("the end of its mapping", || openers() == 1);
    }
}

#[test]
fn events_that_an_array_cannot_have_are_refused() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    let _ring: Ring<u8, Ix1> = fixture.run.options().name("camera").ring(3, 4).unwrap();
    for (arguments, words) in [
        (
            "camera --frozen",
            "a ring is never frozen; ndshm wait --frames",
        ),
        (
            "camera --len 3",
            "it is a ring, and only an array that grows",
        ),
        ("xs --len 3", "it is an array of fixed shape"),
        ("xs --frames 3", "it is no ring"),
        ("'nothing[0]'", "with --changed only"),
    ] {
        let (line, code) = fixture.failure(&format!("wait {arguments}"));
        assert!(
            code == 2 && line.contains(words),
            "{arguments}: {code}: {line}"
        );
    }
    for arguments in [
        "xs --frozen --changed",
        "xs --since 3",
        "camera --len 3 --frames 2",
    ] {
        fixture.ndshm(&format!("wait {arguments}")).code(2);
    }
    let empty = crate::common::Root::new();
    let assert = crate::fixture::tool(empty.path())
        .args(["wait", "xs"])
        .assert()
        .code(2);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        error.contains("there are no stores: write STORE/NAME"),
        "{error}"
    );
}
