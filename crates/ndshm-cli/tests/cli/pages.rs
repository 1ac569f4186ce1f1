//! Help, completions and manual pages: all are made from the commands, so they have all commands.

use crate::fixture::Fixture;

const COMMANDS: [&str; 21] = [
    "ls",
    "show",
    "plot",
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
    "export",
    "import",
    "verify",
    "run",
    "guard",
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
        text.contains("6  another process holds a guard on it")
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
