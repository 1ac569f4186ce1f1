//! Help, completions and manual pages: all are made from the commands, so they have all commands.

use crate::fixture::Fixture;

const COMMANDS: [&str; 31] = [
    "ls",
    "locks",
    "show",
    "plot",
    "tail",
    "cat",
    "diff",
    "sum",
    "new",
    "cp",
    "mv",
    "fill",
    "attrs",
    "handle",
    "freeze",
    "recover",
    "rm",
    "sweep",
    "top",
    "metrics",
    "export",
    "import",
    "checkpoint",
    "restore",
    "append",
    "verify",
    "run",
    "guard",
    "wait",
    "completions",
    "man",
];

#[test]
fn help_names_commands_exit_codes_and_slices() {
    let text = Fixture::new().output("--help");
    assert!(
        COMMANDS
            .iter()
            .all(|command| text.contains(&format!("\n  {command} "))),
        "{text}"
    );
    assert!(
        text.contains("  6  another process holds a guard on it")
            && text.contains("xs[0:10, ::2]")
            && text.contains("NDSHM_STORE"),
        "{text}"
    );
}

#[test]
fn completions_and_manual_pages_have_all_commands() {
    let fixture = Fixture::new();
    let candidates = fixture.output("__complete bash -- 'ndshm '");
    assert!(
        COMMANDS
            .iter()
            .all(|command| candidates.lines().any(|candidate| candidate == *command)),
        "{candidates}"
    );
    assert!(fixture.output("man").contains("NDSHM_ROOT"));
    let directory = fixture.root.path().join("man");
    fixture
        .ndshm(&format!("man --dir {}", directory.display()))
        .success()
        .stdout_eq("");
    assert!(!directory.join("ndshm-__complete.1").exists());
    for command in COMMANDS {
        let page = std::fs::read_to_string(directory.join(format!("ndshm-{command}.1"))).unwrap();
        assert!(page.contains(&format!(".TH ndshm-{command} 1")), "{page}");
    }
}

/// The help of each command that is shown, by its name.
fn helps() -> Vec<(&'static str, String)> {
    let fixture = Fixture::new();
    let help = |command| (command, fixture.output(&format!("{command} --help")));
    COMMANDS.into_iter().map(help).collect()
}

#[test]
fn every_command_has_two_examples_of_itself() {
    for (command, help) in helps() {
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
        let lines = examples.lines().take_while(|line| line.starts_with("  "));
        let meant = lines.filter(|line| line.contains(&format!("ndshm {command}")));
        assert_eq!(meant.count(), 2, "{help}");
    }
}
