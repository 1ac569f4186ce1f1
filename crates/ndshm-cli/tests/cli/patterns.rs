//! Patterns of names, in every command that takes several arrays.

use crate::fixture::Fixture;

fn with_frames() -> Fixture {
    let fixture = Fixture::new();
    for name in ["frame-1", "frame-2", "frame-10", "other"] {
        fixture.arange(name, &[3]);
    }
    fixture
}

#[test]
fn a_pattern_stands_for_all_arrays_that_match() {
    let fixture = with_frames();
    assert_eq!(fixture.output("handle 'frame-*'").lines().count(), 3);
    assert_eq!(
        fixture.output("handle 'run/frame-?[1:]'").lines().count(),
        2
    );
    let items = fixture.json("handle 'frame-?'");
    assert_eq!(items.as_array().unwrap().len(), 2);
    assert!(fixture.output("verify 'frame-*'").starts_with("3 arrays, "));
    fixture.ndshm("freeze 'frame-?' other").success();
    let frozen = |name: &str| fixture.run.array_any(name).unwrap().is_frozen();
    assert!(frozen("frame-1") && frozen("frame-2") && frozen("other") && !frozen("frame-10"));
    fixture.ndshm("rm 'run/frame-*' frame-1").success();
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

#[test]
fn arrays_that_match_are_exported_into_one_file_or_a_directory() {
    let fixture = with_frames();
    let root = fixture.root.path().display();
    fixture
        .ndshm(&format!("export 'frame-*' first=other -o {root}/all.npz"))
        .success();
    fixture
        .ndshm(&format!("import {root}/all.npz --name again-"))
        .success();
    assert_eq!(fixture.output("handle 'again-*'").lines().count(), 4);
    assert!(fixture.run.contains("again-first").unwrap());
    fixture
        .ndshm(&format!("export 'frame-*' -o {root}/all/"))
        .success();
    let all = fixture.root.path().join("all");
    for name in ["frame-1.npy", "frame-2.npy", "frame-10.npy"] {
        assert!(
            std::fs::read(all.join(name))
                .unwrap()
                .starts_with(b"\x93NUMPY")
        );
    }
    // A file that is in the way is seen before the first is written.
    std::fs::remove_file(all.join("frame-1.npy")).unwrap();
    let (line, code) = fixture.failure(&format!("export 'frame-*' -o {root}/all"));
    assert!(code == 4 && line.contains("--force replaces it"), "{line}");
    assert!(!all.join("frame-1.npy").exists());
    fixture
        .ndshm(&format!("export --force 'frame-*' -o {root}/all"))
        .success();
    assert!(all.join("frame-1.npy").exists());
    let (line, code) = fixture.failure(&format!("export other run/other -o {root}/both/"));
    assert!(code == 2 && line.contains("KEY=ARRAY"), "{line}");
    assert!(!fixture.root.path().join("both").exists());
}

#[test]
fn a_pattern_without_an_array_deletes_nothing_and_names_the_nearest() {
    let fixture = with_frames();
    for command in [
        "rm other 'farme-*'",
        "freeze other 'farme-*'",
        "handle 'farme-*'",
    ] {
        let (line, code) = fixture.failure(command);
        assert!(
            code == 3 && line.contains("no array matches; the nearest is run/frame-1"),
            "{command}: {line}"
        );
    }
    let other = fixture.run.array_any("other").unwrap();
    assert!(!other.is_frozen());
}

#[test]
fn a_name_with_the_characters_of_a_pattern_wins() {
    let fixture = with_frames();
    fixture.arange("frame-*", &[3]);
    fixture.ndshm("rm 'frame-*'").success();
    assert!(fixture.run.contains("frame-1").unwrap());
    assert!(!fixture.run.contains("frame-*").unwrap());
}

#[test]
fn a_pattern_that_matches_in_several_stores_needs_one() {
    let fixture = with_frames();
    fixture
        .ndshm("new more/frame-1 u8 3 --create-store")
        .success();
    let (line, code) = fixture.failure("rm 'frame-*'");
    assert!(
        code == 2 && line.contains("in 2 stores, more, run") && line.contains("'*/frame-*'"),
        "{line}"
    );
    assert_eq!(fixture.output("handle '*/frame-*'").lines().count(), 4);
    fixture.ndshm("rm 'frame-*' --store more").success();
    assert_eq!(fixture.output("handle 'frame-*'").lines().count(), 3);
}
