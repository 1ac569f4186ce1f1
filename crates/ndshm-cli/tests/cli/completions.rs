//! `completions` and `__complete`: names of arrays and stores, as the shells complete them.

use crate::{common, fixture::Fixture};
use std::{path::Path, process::Command};

/// The characters at which bash breaks words by default.
const BREAKS: &str = " \t\n\"'@><=;|&(:";

/// Arrays whose names need quotes, in three stores.
fn with_names() -> Fixture {
    let fixture = Fixture::new();
    for name in [
        "frames",
        "two words",
        "odd[0]",
        "it's",
        "a:b",
        "a:c",
        "q\"q",
    ] {
        fixture.arange(name, &[1]);
    }
    fixture
        .ndshm("new other/labels u8 1 --create-store")
        .success();
    fixture.ndshm("new other/both u8 1").success();
    fixture
        .ndshm("new 'my store/deep' u8 1 --create-store")
        .success();
    fixture.arange("both", &[1]);
    fixture
}

/// The candidates for bash behind this line.
fn in_bash(fixture: &Fixture, line: &str) -> Vec<String> {
    let output = fixture
        .command("__complete bash --breaks")
        .args([BREAKS, "--", line])
        .assert()
        .success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn arrays_and_stores_are_completed_where_they_can_be_named() {
    let fixture = with_names();
    for (line, candidates) in [
        ("ndshm show fr", &["frames"][..]),
        ("ndshm export --format npz run/fr", &["run/frames"]),
        ("ndshm export key=fr", &["frames"]),
        ("ndshm rm frames othe", &["other/"]),
        ("ndshm rm frames other/", &["other/both", "other/labels"]),
        ("ndshm --store other show l", &["labels"]),
        ("ndshm show --store=other b", &["both"]),
        // Two stores have it: it needs one.
        ("ndshm show bo", &[]),
        ("ndshm cp frames oth", &["other/"]),
        ("ndshm mv frames oth", &["other/"]),
        ("ndshm ls ru", &["run"]),
        ("ndshm ls fr", &["frames"]),
        ("ndshm ls run/fr", &["run/frames"]),
        ("ndshm metrics ", &["my\\ store", "other", "run"]),
        ("ndshm diff frames fr", &["frames"]),
        ("ndshm guard oth", &["other"]),
        ("ndshm show --store o", &["other"]),
        ("ndshm verify ru", &["run/"]),
        ("ndshm rm --whole-store ru", &["run"]),
        ("ls; A=1 ndshm show fr", &["frames"]),
        ("ndshm fre", &["freeze"]),
        ("ndshm show --unl", &["--unlocked"]),
        ("ndshm show --color ne", &["never"]),
    ] {
        assert_eq!(in_bash(&fixture, line), candidates, "{line}");
    }
    let path = fixture.run.path().display().to_string();
    assert_eq!(
        in_bash(&fixture, &format!("ndshm show {path}/fr")),
        [format!("{path}/frames")]
    );
    let chosen = fixture
        .command("__complete bash --store other")
        .args(["--", "ndshm show l"])
        .assert()
        .success();
    assert_eq!(chosen.get_output().stdout, b"labels\n");
    assert!(in_bash(&fixture, "ndshm ").contains(&"recover".to_owned()));
    assert!(!in_bash(&fixture, "ndshm ").contains(&"__complete".to_owned()));
}

#[test]
fn names_are_quoted_as_bash_inserts_them() {
    let fixture = with_names();
    for (line, candidates) in [
        ("ndshm show tw", &[r"two\ words"][..]),
        (r"ndshm show two\ w", &[r"two\ words"]),
        ("ndshm show 'two w", &["two words"]),
        ("ndshm show \"two w", &["two words"]),
        ("ndshm show od", &[r"odd\[0\]"]),
        ("ndshm show it", &[r"it\'s"]),
        ("ndshm show 'it", &[r"it'\''s"]),
        ("ndshm show \"q", &[r#"q\"q"#]),
        ("ndshm show a", &["a:b", "a:c"]),
        // Readline completes the word behind the colon.
        ("ndshm show a:", &["b", "c"]),
        ("ndshm show 'a:", &["a:b", "a:c"]),
        (r"ndshm show my\ store/", &[r"my\ store/deep"]),
    ] {
        assert_eq!(in_bash(&fixture, line), candidates, "{line}");
    }
}

#[test]
fn completion_leaves_out_names_with_control_characters_and_takes_no_lock() {
    let fixture = with_names();
    fixture.arange("new\nline", &[1]);
    let lock = std::fs::File::open(fixture.run.path().join(".lock")).unwrap();
    // Alone with the store, nothing could join it.
    lock.try_lock_shared().unwrap();
    assert_eq!(in_bash(&fixture, "ndshm show ne"), [""; 0]);
    let before = fixture.run.path().metadata().unwrap().modified().unwrap();
    assert_eq!(in_bash(&fixture, "ndshm show fr"), ["frames"]);
    assert_eq!(
        fixture.run.path().metadata().unwrap().modified().unwrap(),
        before
    );
}

#[test]
fn other_shells_get_the_commands_and_options() {
    let fixture = Fixture::new();
    for shell in ["elvish", "powershell"] {
        let text = fixture.output(&format!("completions {shell}"));
        assert!(
            text.contains("recover") && text.contains("--unlocked"),
            "{shell}"
        );
    }
}

/// A file with the script of a shell.
fn script(fixture: &Fixture, shell: &str) -> String {
    let path = fixture.root.path().join(format!("_ndshm.{shell}"));
    std::fs::write(&path, fixture.output(&format!("completions {shell}"))).unwrap();
    path.display().to_string()
}

/// What a shell prints for a script, with the tool on its path; `None` if it is not installed.
fn printed_by(fixture: &Fixture, shell: &str, arguments: &[&str], text: &str) -> Option<String> {
    let tool = snapbox::cmd::cargo_bin!("ndshm");
    let path = std::env::var("PATH").unwrap_or_default();
    let directory = tool.parent().unwrap_or(Path::new("/")).display();
    let output = Command::new(shell)
        .args(arguments)
        .arg(text)
        .env("PATH", format!("{directory}:{path}"))
        .env("HOME", fixture.root.path())
        .env("XDG_CONFIG_HOME", fixture.root.path())
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .output();
    match output {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            common::skip(
                &format!("completion in {shell}"),
                "it is not installed here",
            );
            None
        }
    }
}

#[test]
fn bash_inserts_names_in_quotes() {
    let fixture = with_names();
    let script = script(&fixture, "bash");
    for (line, reply) in [
        ("ndshm show tw", "[two\\ words]"),
        ("ndshm show a:", "[b][c]"),
        ("ndshm rm oth", "[other/]"),
    ] {
        let text = format!(
            "source {script}; COMP_LINE='{line}' COMP_POINT={}; _ndshm ndshm; \
             printf '[%s]' \"${{COMPREPLY[@]}}\"",
            line.len()
        );
        let arguments = ["--noprofile", "--norc", "-c"];
        let Some(printed) = printed_by(&fixture, "bash", &arguments, &text) else {
            return;
        };
        assert_eq!(printed, reply, "{line}");
    }
}

#[test]
fn fish_gets_names_as_they_are() {
    let fixture = with_names();
    let script = script(&fixture, "fish");
    for (line, reply) in [
        ("ndshm show tw", "two words\n"),
        ("ndshm show run/tw", "run/two words\n"),
        ("ndshm show od", "odd[0]\n"),
        ("ndshm rm oth", "other/\n"),
        ("ndshm --store other show l", "labels\n"),
    ] {
        let text = format!("source {script}; complete -C '{line}'");
        let Some(printed) = printed_by(&fixture, "fish", &["--no-config", "-c"], &text) else {
            return;
        };
        assert_eq!(printed, reply, "{line}");
    }
}

#[test]
fn zsh_gets_names_as_they_are_and_quotes_them_itself() {
    let fixture = with_names();
    let script = script(&fixture, "zsh");
    for (word, added) in [
        ("tw", "-- two words\n"),
        ("run/tw", "-- run/two words\n"),
        (r"two\ w", "-- two words\n"),
        ("od", "-- odd[0]\n"),
        ("oth", "-S  -- other/\n"),
        (r"my\ store/", "-- my store/deep\n"),
        ("nosuch", "files\n"),
    ] {
        // The functions of the completion system, which needs a line editor and a terminal.
        let text = format!(
            "compdef() {{}}; compadd() {{ print -r -- \"$@\" }}; _files() {{ print files }}
             source {script}
             words=(ndshm show '{word}') CURRENT=3 PREFIX='{word}'
             _ndshm"
        );
        let Some(printed) = printed_by(&fixture, "zsh", &["-f", "-c"], &text) else {
            return;
        };
        assert_eq!(printed, added, "{word}");
    }
}
