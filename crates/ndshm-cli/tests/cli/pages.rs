//! Help, completions and manual pages: they are made from the commands, so all commands are in
//! them.

use crate::stage::Stage;

const COMMANDS: [&str; 12] = [
    "ls", "show", "plot", "new", "cp", "handle", "freeze", "recover", "rm", "sweep", "top", "man",
];

#[test]
fn help_names_commands_exit_codes_and_slices() {
    let text = Stage::new().output("--help");
    assert!(
        COMMANDS
            .iter()
            .all(|command| text.contains(&format!("\n  {command} "))),
        "{text}"
    );
    assert!(
        text.contains("6  somebody holds it")
            && text.contains("xs[0:10, ::2]")
            && text.contains("NDSHM_STORE"),
        "{text}"
    );
}

#[test]
fn completions_and_manual_pages_know_all_commands() {
    let stage = Stage::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = stage.output(&format!("completions {shell}"));
        assert!(
            COMMANDS.iter().all(|command| text.contains(command)),
            "{shell}"
        );
    }
    assert!(stage.output("man").contains("NDSHM_ROOT"));
    let directory = stage.root.path().join("man");
    stage
        .ndshm(&format!("man --dir {}", directory.display()))
        .success()
        .stdout_eq("");
    for command in COMMANDS {
        let page = std::fs::read_to_string(directory.join(format!("ndshm-{command}.1"))).unwrap();
        assert!(page.contains(&format!(".TH ndshm-{command} 1")), "{page}");
    }
}
