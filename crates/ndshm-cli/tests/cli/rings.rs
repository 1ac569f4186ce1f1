//! Rings in all commands.

use crate::fixture::Fixture;
use ndarray::Ix2;
use ndshm::Ring;
use snapbox::str;

/// A ring of three frames of this value, with a live producer's turn given back.
fn ring(fixture: &Fixture, values: &[u8]) -> Ring<u8, Ix2> {
    let ring = fixture
        .run
        .options()
        .name("camera")
        .ring((2, 3), 3)
        .unwrap();
    let mut producer = ring.produce().unwrap();
    for &value in values {
        let mut frame = producer.next().unwrap();
        frame.fill(value);
        frame.publish().unwrap();
    }
    ring
}

#[test]
fn a_ring_is_listed_and_its_newest_frame_is_shown() {
    let fixture = Fixture::new();
    let ring = ring(&fixture, &[1, 2, 7]);
    let list = fixture.output("ls");
    assert!(
        list.contains("camera") && list.contains("(3, 2, 3)") && list.contains("ring"),
        "{list}"
    );
    let _subscriber = ring.subscribe_lossless().unwrap();
    fixture.ndshm("show camera").success().stdout_eq(str![[r#"
camera  |u1 (3, 2, 3), 18 B
path        [..]/run/camera.ndshm
id          [..]
made        [..] s ago by process [..], ndshm [..]
scope       store, 1 mapping
ring        3 frames, newest number 3
subscriber  process [..], lossless, 0 behind, holds 0 frames

[[7 7 7]
 [7 7 7]]

min 7  max 7  mean 7.  NaN 0

"#]]);
    assert_eq!(fixture.json("show camera")["kind"], "ring");
    assert!(fixture.output("show --quick camera[1]").contains("[7 7 7]"));
    let unlocked = fixture.output("cat camera --format csv --unlocked");
    assert_eq!(unlocked, "7,7,7\n7,7,7\n");
    // Nothing of the look is left.
    assert_eq!(fixture.run.list().unwrap().len(), 1);
    fixture.ndshm("rm camera").success();
    assert_eq!(fixture.run.list().unwrap(), []);
}

#[test]
fn a_ring_is_followed_until_its_stream_ends() {
    let fixture = Fixture::new();
    let ring = ring(&fixture, &[]);
    let following = std::thread::scope(|scope| {
        let following = scope.spawn(|| fixture.output("show --follow camera"));
        let mut producer = ring.produce().unwrap();
        producer
            .wait_subscribers(1, std::time::Duration::from_secs(60))
            .unwrap();
        for value in 1..=2 {
            let mut frame = producer.next().unwrap();
            frame.fill(value);
            frame.publish().unwrap();
        }
        producer.finish().unwrap();
        following.join().unwrap()
    });
    let lines: Vec<_> = following.lines().collect();
    assert_eq!(lines.len(), 2, "{following}");
    assert!(lines[0].starts_with("frame 1  (2, 3)  "), "{following}");
    assert!(
        lines[1].ends_with("0 missed  min 2  max 2  mean 2."),
        "{following}"
    );
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

#[test]
fn commands_that_cannot_be_say_what_can() {
    let fixture = Fixture::new();
    ring(&fixture, &[]);
    let (line, code) = fixture.failure("show camera");
    assert!(
        line.contains("no frame was published yet") && code == 3,
        "{code}: {line}"
    );
    let (line, _) = fixture.failure("freeze camera");
    assert!(
        line.contains("it is a ring, which only its producer writes"),
        "{line}"
    );
    fixture.arange("xs", &[3]);
    let (line, _) = fixture.failure("show --follow xs");
    assert!(line.contains("only a ring has frames to follow"), "{line}");
}

#[test]
fn the_newest_frame_is_exported() {
    let fixture = Fixture::new();
    ring(&fixture, &[5, 6]);
    let file = fixture.root.path().join("frame.npy");
    fixture
        .ndshm(&format!("export camera -o {}", file.display()))
        .success();
    let bytes = std::fs::read(file).unwrap();
    assert!(bytes.ends_with(&[6; 6]) && !bytes.ends_with(&[6; 7]));
}
