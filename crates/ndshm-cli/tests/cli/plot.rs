//! `plot`.

use crate::fixture::Fixture;
use ndarray::Ix1;

#[test]
fn lines_and_heat_maps_become_png_and_svg_files() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[30, 50]);
    let file = |name: &str| fixture.root.path().join(name).to_str().unwrap().to_owned();
    for (array, name, start) in [
        ("xs", "map.png", &b"\x89PNG"[..]),
        ("xs", "map.svg", b"<svg"),
        ("xs[2]", "line.png", b"\x89PNG"),
        ("xs[2]", "line.svg", b"<svg"),
    ] {
        fixture
            .command("plot -o")
            .args([&file(name), array])
            .assert()
            .success()
            .stdout_eq("");
        let picture = std::fs::read(file(name)).unwrap();
        assert!(picture.starts_with(start), "{name}");
        // A second plot replaces the file.
        std::fs::write(file(name), "old").unwrap();
        fixture
            .command("plot -o")
            .args([&file(name), array])
            .assert()
            .success();
        assert!(std::fs::read(file(name)).unwrap() == picture, "{name}");
    }
    let svg = std::fs::read_to_string(file("map.svg")).unwrap();
    // The cells, the steps of the colour scale, the background and the frame.
    assert_eq!(svg.matches("<rect").count(), 30 * 50 + 64 + 2);
    let line = std::fs::read_to_string(file("line.svg")).unwrap();
    let (points, _) = line
        .split_once("<polyline")
        .unwrap()
        .1
        .split_once("points=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap();
    assert_eq!(points.split_whitespace().count(), 50, "{line}");
    assert!(line.contains("149") && line.contains("100"), "{line}");
    assert!(
        std::fs::read_dir(fixture.root.path())
            .unwrap()
            .flatten()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with(".ndshm-"))
    );
}

#[test]
fn an_array_that_cannot_be_drawn_is_refused_and_leaves_no_file() {
    let fixture = Fixture::new();
    fixture.arange("cube", &[3, 3, 3]);
    let xs = fixture.arange("nan", &[4]).downcast::<f64, Ix1>().unwrap();
    xs.write().unwrap().fill(f64::NAN);
    let png = fixture.root.path().join("a.png");
    for (arguments, reason) in [
        (
            format!("plot cube -o {}", png.display()),
            "take a slice of one or two",
        ),
        (format!("plot nan -o {}", png.display()), "no finite number"),
        ("plot nan -o a.gif".into(), "must end in .png or .svg"),
        ("plot nan[:0] -o /nowhere/a.png".into(), "no finite number"),
    ] {
        assert!(
            fixture.failure(&arguments).0.contains(reason),
            "{arguments}"
        );
    }
    assert!(!png.exists());
}

/// A picture took the place of a link to it, which other programs showed.
#[test]
fn a_picture_is_drawn_through_links_and_into_pipes() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[40]);
    let file = |name: &str| fixture.root.path().join(name);
    std::os::unix::fs::symlink("target.svg", file("link.svg")).unwrap();
    for _ in 0..2 {
        fixture
            .ndshm(&format!("plot xs -o {}", file("link.svg").display()))
            .success();
        assert!(file("link.svg").symlink_metadata().unwrap().is_symlink());
        assert!(
            std::fs::read_to_string(file("target.svg"))
                .unwrap()
                .contains("<polyline")
        );
    }
    std::os::unix::fs::symlink("/dev/null", file("null.svg")).unwrap();
    fixture
        .ndshm(&format!("plot xs -o {}", file("null.svg").display()))
        .success();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    std::fs::create_dir(file("directory.svg")).unwrap();
    assert_eq!(
        fixture
            .failure(&format!("plot xs -o {}", file("directory.svg").display()))
            .1,
        1
    );
}
