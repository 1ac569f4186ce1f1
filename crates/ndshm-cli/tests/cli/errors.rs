//! Errors are one line that says what to do, exit codes tell them apart, colours are for terminals.

use crate::stage::{Stage, a_writer};
use snapbox::str;

#[test]
fn every_exit_code_that_the_help_lists_is_given() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    std::fs::write(stage.run.path().join("bad.ndshm"), "no array").unwrap();
    assert_eq!(stage.failure("plot xs -o /nowhere/a.png").1, 1);
    stage.ndshm("show").code(2);
    assert_eq!(stage.failure("show ys").1, 3);
    assert_eq!(stage.failure("show ys --store nowhere").1, 3);
    assert_eq!(stage.failure("new xs u8 3").1, 4);
    assert_eq!(stage.failure("show bad").1, 5);
    let _writer = a_writer(&stage);
    assert_eq!(stage.failure("cp xs ys --wait 0").1, 6);
}

#[test]
fn an_error_says_what_to_do_and_has_no_colours_in_a_pipe() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    stage.ndshm("show ys").failure().stderr_eq(str![[r#"
ndshm: ys: no such array in [..]/run; ndshm ls shows what is there, and --store names another store

"#]]);
    let colours = stage
        .command("--color always show ys")
        .assert()
        .failure()
        .get_output()
        .stderr
        .clone();
    assert!(colours.starts_with(b"\x1b[1m\x1b[31mndshm:"));
    let none = stage
        .command("ls")
        .env("NO_COLOR", "1")
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    assert!(!none.contains(&0x1b) && !stage.output("ls").contains('\u{1b}'));
}

#[test]
fn names_that_hold_control_characters_do_nothing_to_a_terminal() {
    let stage = Stage::new();
    stage
        .run
        .options()
        .name("a\u{1b}[2Jb")
        .zeros::<f64, _>(3)
        .unwrap();
    assert!(
        !stage.output("ls").contains('\u{1b}')
            && !stage.output("show a\u{1b}[2Jb").contains('\u{1b}')
    );
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let stage = Stage::new();
    (0..300).for_each(|i| drop(stage.counting(&format!("an-array-with-a-long-name-{i:06}"), &[1])));
    let tool = snapbox::cmd::cargo_bin!("ndshm");
    let script = format!("{} ls | head -1; echo ${{PIPESTATUS[0]}}", tool.display());
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .env("NDSHM_ROOT", stage.root.path())
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
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    let file = stage.root.path().join("xs.npy");
    std::fs::write(&file, "mine").unwrap();
    let (line, code) = stage.failure(&format!("export xs -o {}", file.display()));
    assert!(
        code == 4 && line.contains("--force replaces it"),
        "{code} {line}"
    );
    stage.output(&format!("export xs --force -o {}", file.display()));
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x93NUMPY"));
}

#[test]
fn a_recovery_that_does_not_say_how_is_told_both_ways() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    let output = stage
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
fn one_array_is_one_and_a_sweep_of_nothing_says_so() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    assert_eq!(stage.output("sweep --dry-run"), "nothing to delete\n");
    assert!(stage.output("verify run").starts_with("1 array, "));
}
