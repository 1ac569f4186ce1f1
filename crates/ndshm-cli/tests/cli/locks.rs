//! `locks`: holders, waiters, and which wait for which.

use crate::fixture::Fixture;
use std::time::{Duration, Instant};

#[test]
fn holders_and_waiters_are_shown_with_their_processes_and_views() {
    let fixture = Fixture::new();
    let results = fixture
        .run
        .options()
        .name("results")
        .zeros::<f64, _>((6, 10))
        .unwrap();
    assert!(
        fixture
            .output("locks")
            .contains("0 guards held, 0 waited for")
    );
    let (row, column) = (
        results.slice(ndarray::s![3, ..]).unwrap(),
        results.slice(ndarray::s![.., 2..4]).unwrap(),
    );
    let pid = std::process::id();
    let guard = row.write().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| drop(column.read().unwrap()));
        let begun = Instant::now();
        let locks = loop {
            let json = fixture.json("locks run");
            let locks = json["stores"][0]["locks"].as_array().unwrap().clone();
            if locks.len() == 2 {
                break locks;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{locks:?}");
        };
        let (held, waiting) = (&locks[0], &locks[1]);
        assert_eq!(
            (&held["view"], &held["kind"]),
            (&"[3]".into(), &"write".into())
        );
        assert_eq!(
            (&held["pid"], &held["waiting"]),
            (&pid.into(), &false.into())
        );
        assert!(!held["command"].as_str().unwrap().is_empty());
        assert_eq!(waiting["view"], "[:, 2:4]");
        assert_eq!(
            (&waiting["kind"], &waiting["waiting"]),
            (&"read".into(), &true.into())
        );
        assert_eq!(waiting["waits_for"], serde_json::json!([0]));
        let table = fixture.output("locks --waits");
        for part in [
            "results[3]",
            "results[:, 2:4]",
            "held",
            ", for 0",
            &pid.to_string(),
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
        drop(guard);
    });
    assert!(fixture.output("locks").contains("0 guards held"));
    let (error, code) = fixture.failure("locks missing");
    assert!(error.contains("missing") && code != 0, "{error}");
}
