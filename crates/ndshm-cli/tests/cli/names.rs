//! Fields, ids, suggestions for wrong names, and slices that were not in quotes.

use crate::fixture::Fixture;
use ndarray::IxDyn;
use ndshm::{DType, Element, SharedArray};
use snapbox::cmd::Command;

/// `run/points` with `id`: 0, 1, 2 and `position`: 10, 20, 30, ... and `deep.n`.
fn with_points() -> Fixture {
    let fixture = Fixture::new();
    let deep = DType::structure([("n", u32::DTYPE, 0)], 4).unwrap();
    let fields = [
        ("id", u32::DTYPE, 0),
        ("position", <[f32; 3]>::DTYPE, 4),
        ("deep", deep, 16),
    ];
    let dtype = DType::structure(fields, 20).unwrap();
    let points = fixture
        .run
        .options()
        .name("points")
        .zeros_any(&dtype, &[3])
        .unwrap();
    let ids = points.field("id").unwrap();
    ids.write_bytes(&[0_u32, 1, 2].map(u32::to_ne_bytes).concat())
        .unwrap();
    let position = points.field_array("position").unwrap();
    let numbers: Vec<u8> = (1..=9_u8)
        .flat_map(|i| (f32::from(i) * 10.0).to_ne_bytes())
        .collect();
    position.write_bytes(&numbers).unwrap();
    fixture
}

/// The command with one more argument, as it is.
fn with(fixture: &Fixture, command: &str, argument: &str) -> Command {
    fixture.command(command).arg(argument)
}

#[test]
fn a_field_is_named_as_in_numpy_before_and_behind_slices() {
    let fixture = with_points();
    for (text, shown) in [
        ("points[\"id\"]", "[0 1 2]"),
        ("points['id']", "[0 1 2]"),
        ("points[id]", "[0 1 2]"),
        ("points[1:3][\"id\"]", "[1 2]"),
        ("points[\"id\"][::-1]", "[2 1 0]"),
        ("points[\"position\"][:, 0]", "[10. 40. 70.]"),
        ("run/points[\"position\"][1]", "[40. 50. 60.]"),
        ("points[\"deep\"][\"n\"]", "[0 0 0]"),
        ("points[\"deep.n\"][1:]", "[0 0]"),
    ] {
        let assert = with(&fixture, "show -q", text).assert().success();
        let output = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        assert!(
            output.ends_with(&format!("\n\n{shown}\n")),
            "{text}: {output}"
        );
    }
}

#[test]
fn a_field_can_be_copied_exported_and_handed_over() {
    let fixture = with_points();
    with(&fixture, "cp", "points[\"position\"][:, 0]")
        .arg("x")
        .assert()
        .success();
    let x = fixture.run.array::<f32, ndarray::Ix1>("x").unwrap();
    assert_eq!(x.to_ndarray().unwrap().to_vec(), [10., 40., 70.]);
    let assert = with(&fixture, "handle", "points[\"id\"]")
        .assert()
        .success();
    let handle = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let ids: SharedArray<u32, IxDyn> = handle
        .trim()
        .parse::<ndshm::Handle>()
        .unwrap()
        .open()
        .unwrap();
    assert_eq!(ids.read().unwrap().sum(), 3);
    let file = fixture.root.path().join("id.npy");
    with(&fixture, "export", "points[\"id\"]")
        .arg("-o")
        .arg(&file)
        .assert()
        .success();
    assert!(
        std::fs::read(&file)
            .unwrap()
            .ends_with(&2_u32.to_ne_bytes())
    );
}

#[test]
fn an_unknown_field_names_the_fields() {
    let fixture = with_points();
    fixture.arange("xs", &[4]);
    for (text, reason) in [
        ("points[\"idd\"]", "the fields are id, position, deep"),
        ("points[\"deep\"][\"m\"]", "the fields are n"),
        ("points[idd]", "the fields are id, position, deep"),
        ("xs[\"id\"]", "elements of type <f8 have no fields"),
        ("xs[id]", "is no slice"),
        (
            "points[[\"id\"]]",
            "its brackets are neither slices nor fields",
        ),
    ] {
        let assert = with(&fixture, "show", text).assert().code(2);
        let line = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            line.contains(reason) && line.lines().count() == 1,
            "{text}: {line}"
        );
    }
}

#[test]
fn a_name_with_brackets_wins_over_a_slice_and_can_be_sliced() {
    let fixture = Fixture::new();
    fixture.arange("odd[0]", &[3]);
    fixture.arange("odd", &[2, 5]);
    assert!(fixture.output("show -q odd[0]").contains("(3,)"));
    assert!(fixture.output("show -q odd[0][1]").ends_with("\n\n1.\n"));
    assert!(fixture.output("show -q odd[1]").contains("(5,)"));
}

#[test]
fn ids_and_their_first_digits_name_arrays_with_names_too() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3]);
    fixture.arange("ys", &[4]);
    let id = xs.id().to_string();
    for text in [&id, &id.replace('-', ""), &format!("run/{id}"), &id[..30]] {
        assert!(fixture.output(&format!("show -q {text}")).contains("(3,)"));
    }
    assert!(
        fixture
            .output(&format!("show -q {id}[1:]"))
            .contains("(2,)")
    );
    // Both were made within seconds, and the first digits of an id are a time.
    let (line, code) = fixture.failure(&format!("show {}", &id[..4]));
    assert!(
        code == 2 && line.contains("2 arrays, run/xs (") && line.contains("run/ys ("),
        "{line}"
    );
}

#[test]
fn a_wrong_name_suggests_close_ones_with_their_store() {
    let fixture = Fixture::new();
    fixture.arange("frames", &[3]);
    fixture.arange("two words", &[3]);
    fixture
        .ndshm("new other/labels u8 3 --create-store")
        .success();
    for (command, suggestion) in [
        ("show framse", "did you mean run/frames?"),
        ("show 'framse[0:2]'", "did you mean run/frames?"),
        ("show run/fraems", "did you mean run/frames?"),
        ("show other/label", "did you mean other/labels?"),
        ("show rum/frames", "did you mean run/frames?"),
        ("show frames --store rum", "did you mean run?"),
        ("ls othr", "did you mean other?"),
        ("show 'tow words'", "did you mean 'run/two words'?"),
        ("rm label", "did you mean other/labels?"),
        (
            "verify framse",
            "no such store or array (did you mean frames?)",
        ),
        (
            "verify othr",
            "no such store or array (did you mean other?)",
        ),
    ] {
        let (line, code) = fixture.failure(command);
        assert!(code == 3 && line.contains(suggestion), "{command}: {line}");
    }
    let (line, _) = fixture.failure("show quite-another");
    assert!(!line.contains("did you mean"), "{line}");
}

#[test]
fn a_slice_that_the_shell_took_apart_is_shown_in_quotes() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[20, 4]);
    for (command, quoted) in [
        ("show xs[0:10, ::2]", "ndshm show 'xs[0:10, ::2]'"),
        (
            "cp xs[0:10, ::2] 'a part'",
            "ndshm cp 'xs[0:10, ::2]' 'a part'",
        ),
        ("rm xs[0:10, ::2]", "ndshm rm 'xs[0:10, ::2]'"),
        (
            "export xs[0, :, None] -o a.npy",
            "ndshm export 'xs[0, :, None]' -o a.npy",
        ),
    ] {
        let (line, code) = fixture.failure(command);
        assert!(
            code == 2 && line.ends_with(&format!("{quoted}\n")),
            "{line}"
        );
    }
    let (line, code) = fixture.failure("show xs[0:3");
    assert!(
        code == 2 && line.contains("quote it for the shell, 'xs[0:3]'"),
        "{line}"
    );
    let (line, code) = fixture.failure("show xs0:3]");
    assert!(
        code == 2 && line.contains("has no [ at its beginning"),
        "{line}"
    );
}

#[test]
fn a_slice_that_the_shell_replaced_by_files_is_shown_in_quotes() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[20]);
    let here = fixture.root.path().join("here");
    std::fs::create_dir(&here).unwrap();
    for file in ["xs0", "xs3"] {
        std::fs::write(here.join(file), "").unwrap();
    }
    for (command, quoted) in [
        ("cp xs0 b", "ndshm cp 'xs[0]' b"),
        ("show xs0 xs3", "ndshm show 'xs[...]'"),
    ] {
        let assert = fixture.command(command).current_dir(&here).assert().code(2);
        let line = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(line.ends_with(&format!("{quoted}\n")), "{command}: {line}");
    }
    // An array of that name is meant where there is one.
    fixture.arange("xs0", &[2]);
    fixture
        .command("show -q xs0")
        .current_dir(&here)
        .assert()
        .success();
}

// The structs that NumPy makes by default are packed, so the elements of a field lie apart by a
// number that is no multiple of their size.
#[test]
fn fields_of_packed_structs_are_copied_to_be_read() {
    let fixture = Fixture::new();
    let dtype = ndshm::DType::structure(
        [
            ("id", "<i8".parse().unwrap(), 0),
            ("position", "(3,)<f4".parse().unwrap(), 8),
        ],
        20,
    )
    .unwrap();
    let options = fixture.run.options().name("points");
    let fill = |bytes: &mut [u8]| {
        for (at, element) in bytes.chunks_exact_mut(20).enumerate() {
            element[..8].copy_from_slice(&(at as i64 * 10).to_ne_bytes());
            for item in 0..3 {
                let value = at as f32 + item as f32 / 4.0;
                element[8 + 4 * item..][..4].copy_from_slice(&value.to_ne_bytes());
            }
        }
    };
    let points = options.from_bytes_fn(&dtype, &[4], ndshm::Order::C, fill);
    let points = points.unwrap();
    let files = || std::fs::read_dir(fixture.run.path()).unwrap().count();
    let before = files();
    let text = |arguments: &str| fixture.output(&format!("cat {arguments} --format csv"));
    for unlocked in ["", " --unlocked"] {
        assert_eq!(
            text(&format!("'points[\"id\"]'{unlocked}")),
            "0\n10\n20\n30\n"
        );
        assert_eq!(
            text(&format!("'points[1:3][\"position\"][::-1, :2]'{unlocked}")),
            "2.0,2.25\n1.0,1.25\n"
        );
    }
    assert_eq!(text("'points[2][\"id\"]'"), "20\n");
    fixture.ndshm("cp 'points[\"id\"]' ids").success();
    assert_eq!(text("ids"), "0\n10\n20\n30\n");
    fixture.ndshm("diff ids 'points[\"id\"]'").success();
    assert_eq!(
        files(),
        before + 1,
        "only the copy that was asked for is left"
    );
    // A copy would not be written, and would never change.
    for command in ["fill 'points[\"id\"]' 3", "wait --changed 'points[\"id\"]'"] {
        let (error, code) = fixture.failure(command);
        assert!(error.contains("packed") && code == 2, "{error}");
    }
    // The lock of a writer is waited for.
    let guard = points.write().unwrap();
    let (error, code) = fixture.failure("cat 'points[\"id\"]' --format csv --wait 0");
    assert!(error.contains("--unlocked") && code == 6, "{error}");
    drop(guard);
}
