//! NumPy's slice syntax, and the names of arrays.

use crate::fixture::Fixture;

#[test]
fn slices_are_those_of_numpy() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4, 5]);
    for (slice, shown) in [
        ("[1]", "[5. 6. 7. 8. 9.]"),
        ("[-1, -1]", "19."),
        ("[0:2, ::2]", "[[0. 2. 4.]\n [5. 7. 9.]]"),
        ("[::-1, 0]", "[15. 10.  5.  0.]"),
        ("[0, 3:0:-1]", "[3. 2. 1.]"),
        ("[0, 4::-2]", "[4. 2. 0.]"),
        ("[0, 99:1:-3]", "[4.]"),
        ("[2:100, -2:]", "[[13. 14.]\n [18. 19.]]"),
        ("[3:1]", "[]"),
        ("[..., 1]", "[ 1.  6. 11. 16.]"),
        ("[None, 0, :2]", "[[0. 1.]]"),
        ("[0, ...]", "[0. 1. 2. 3. 4.]"),
        ("[1, 2, ...]", "7."),
        (
            "[]",
            "[[ 0.  1.  2.  3.  4.]\n [ 5.  6.  7.  8.  9.]\n [10. 11. 12. 13. 14.]\n \
             [15. 16. 17. 18. 19.]]",
        ),
    ] {
        let text = String::from_utf8(
            fixture
                .command("show -q")
                .arg(format!("xs{slice}"))
                .assert()
                .success()
                .get_output()
                .stdout
                .clone(),
        )
        .unwrap();
        assert!(text.ends_with(&format!("\n\n{shown}\n")), "{slice}: {text}");
    }
}

#[test]
fn an_invalid_slice_is_refused_in_one_line() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4, 5]);
    for (slice, reason) in [
        ("[4]", "index 4 is out of range for axis 0 of length 4"),
        ("[0, -6]", "index -6 is out of range for axis 1"),
        ("[0,0,0]", "3 indices, and the array has 2 axes"),
        ("[a]", "is no slice"),
        ("[::0]", "has a step of zero"),
        ("[...,...]", "a slice has at most one ellipsis"),
        ("[1:2:3:4]", "is no slice"),
        ("[1", "has no ] at its end"),
    ] {
        let assert = fixture
            .command("show -q")
            .arg(format!("xs{slice}"))
            .assert()
            .code(2);
        let line = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(
            line.contains(reason) && line.lines().count() == 1,
            "{slice}: {line}"
        );
    }
}

#[test]
fn arrays_are_named_by_name_store_path_id_and_handle() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3]);
    fixture.arange("odd[0]", &[2]);
    let unnamed = fixture
        .run
        .options()
        .scope(ndshm::Scope::Store)
        .zeros::<f64, _>(7)
        .unwrap();
    let id = unnamed.id().to_string();
    let stem = unnamed
        .path()
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let handle = xs.handle().to_string();
    let path = xs.path().to_str().unwrap().to_owned();
    for (name, shape) in [
        ("xs", "(3,)"),
        ("run/xs", "(3,)"),
        (&path, "(3,)"),
        (path.trim_end_matches(".ndshm"), "(3,)"),
        (&handle, "(3,)"),
        (&stem, "(7,)"),
        (&stem[..24], "(7,)"),
        (&id, "(7,)"),
        (&id[..24], "(7,)"),
        ("odd[0]", "(2,)"),
    ] {
        let text = String::from_utf8(
            fixture
                .command("show -q")
                .arg(name)
                .assert()
                .success()
                .get_output()
                .stdout
                .clone(),
        )
        .unwrap();
        assert!(
            text.lines().next().unwrap().contains(shape),
            "{name}: {text}"
        );
    }
    // The same name in two stores needs --store.
    let other = ndshm::Manager::builder()
        .root(fixture.root.path())
        .name("other")
        .persistent()
        .create()
        .unwrap();
    other.options().name("xs").zeros::<f64, _>(1).unwrap();
    assert!(
        fixture
            .failure("show xs")
            .0
            .contains("choose the store with --store or NDSHM_STORE")
    );
    assert!(fixture.output("show xs --store other").contains("(1,)"));
    let by_variable = fixture
        .command("show xs")
        .env("NDSHM_STORE", fixture.run.path())
        .assert()
        .success();
    assert!(String::from_utf8_lossy(&by_variable.get_output().stdout).contains("(3,)"));
}
