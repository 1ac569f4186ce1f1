//! An error is one line with the remedy, exit codes tell errors apart, colours are for terminals.

use crate::fixture::{Fixture, start_a_writer};
use snapbox::str;

#[test]
fn every_exit_code_that_the_help_lists_is_given() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    std::fs::write(fixture.run.path().join("bad.ndshm"), "no array").unwrap();
    assert_eq!(fixture.failure("plot xs -o /nowhere/a.png").1, 1);
    fixture.ndshm("show").code(2);
    assert_eq!(fixture.failure("show ys").1, 3);
    assert_eq!(fixture.failure("show ys --store nowhere").1, 3);
    assert_eq!(fixture.failure("new xs u8 3").1, 4);
    assert_eq!(fixture.failure("show bad").1, 5);
    let _writer = start_a_writer(&fixture);
    assert_eq!(fixture.failure("cp xs ys --wait 0").1, 6);
}

#[test]
fn an_error_names_the_process_in_the_way_and_its_slice() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    let mut writer = start_a_writer(&fixture);
    let pid = writer.pid();
    for (wait, words) in [
        ("0", " holds xs[2:4] to write"),
        ("0.05", " holds xs[2:4] to write, for at least "),
    ] {
        for command in ["cp xs ys", "export xs -o xs.npy"] {
            let (line, code) = fixture.failure(&format!("--wait={wait} {command}"));
            assert!(
                code == 6 && line.contains(words) && line.contains(&format!(": process {pid} (")),
                "{line}"
            );
        }
    }
    writer.kill();
    let (line, code) = fixture.failure("cp xs ys");
    let words = format!("their writer, process {pid} (ended), held xs[2:4] and died or panicked");
    assert!(code == 4 && line.contains(&words), "{line}");
}

#[test]
fn an_error_names_the_remedy_and_has_no_colours_in_a_pipe() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    fixture.ndshm("show ys").failure().stderr_eq(str![[r#"
ndshm: ys: no such array in [..]/run; ndshm ls lists the arrays, and --store chooses another store

"#]]);
    let colours = fixture
        .command("--color always show ys")
        .assert()
        .failure()
        .get_output()
        .stderr
        .clone();
    assert!(colours.starts_with(b"\x1b[1m\x1b[31mndshm:"));
    let none = fixture
        .command("ls")
        .env("NO_COLOR", "1")
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    assert!(!none.contains(&0x1b) && !fixture.output("ls").contains('\u{1b}'));
}

#[test]
fn control_characters_of_names_never_reach_the_terminal() {
    let fixture = Fixture::new();
    fixture
        .run
        .options()
        .name("a\u{1b}[2Jb")
        .zeros::<f64, _>(3)
        .unwrap();
    assert!(
        !fixture.output("ls").contains('\u{1b}')
            && !fixture.output("show a\u{1b}[2Jb").contains('\u{1b}')
    );
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let fixture = Fixture::new();
    (0..300).for_each(|i| drop(fixture.arange(&format!("an-array-with-a-long-name-{i:06}"), &[1])));
    let tool = snapbox::cmd::cargo_bin!("ndshm");
    let script = format!("{} ls | head -1; echo ${{PIPESTATUS[0]}}", tool.display());
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .env("NDSHM_ROOT", fixture.root.path())
        .output()
        .unwrap();
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        out.starts_with("run  persistent") && out.ends_with("\n0\n") && errors.is_empty(),
        "{out}{errors}"
    );
}

#[test]
fn an_export_over_a_file_names_the_option_that_replaces_it() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    let file = fixture.root.path().join("xs.npy");
    std::fs::write(&file, "mine").unwrap();
    let (line, code) = fixture.failure(&format!("export xs -o {}", file.display()));
    assert!(
        code == 4 && line.contains("--force replaces it"),
        "{code} {line}"
    );
    fixture.output(&format!("export xs --force -o {}", file.display()));
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x93NUMPY"));
}

#[test]
fn a_recovery_without_an_option_is_told_both_options() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    let output = fixture
        .ndshm("recover xs")
        .code(2)
        .get_output()
        .stderr
        .clone();
    let output = String::from_utf8(output).unwrap();
    assert!(
        output.contains("--fill <VALUE>") && output.contains("--keep"),
        "{output}"
    );
}

#[test]
fn one_array_is_singular_and_a_sweep_without_leftovers_says_so() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    assert_eq!(fixture.output("sweep --dry-run"), "nothing to delete\n");
    assert!(fixture.output("verify run").starts_with("1 array, "));
}
