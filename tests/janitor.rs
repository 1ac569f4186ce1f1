//! The janitor: whatever ends the processes of an ephemeral store, it is gone with the last of
//! them, and so is its janitor.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Root;
use ndshm::{Error, Manager};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longest time from the end of the last process to that of the store, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A program that does what the tool does as a janitor: the tool itself where it is built, else
/// this test.
fn janitor_program(scratch: &TempDir) -> PathBuf {
    let program = scratch.path().join("ndshm");
    #[cfg(feature = "cli")]
    if cfg!(feature = "cli") {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ndshm"), &program).unwrap();
        return program;
    }
    let test = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nNDSHM_TEST_STAGE=\"$2\" NDSHM_TEST_STORE=\"$3\" exec {} janitor_process --exact --ignored --nocapture --test-threads=1 -q\n",
        test.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    program
}

/// What the program does where this test plays it.
#[test]
#[ignore = "started by others"]
fn janitor_process() {
    let stage = std::env::var("NDSHM_TEST_STAGE").unwrap();
    let store = std::env::var("NDSHM_TEST_STORE").unwrap();
    ndshm::__private::serve_as_janitor(
        stage.strip_prefix("--janitor=").unwrap(),
        Path::new(&store),
    )
    .unwrap();
    std::process::exit(0);
}

/// A process that makes or joins a store and does what it is told.
struct Process {
    child: Child,
    stdin: ChildStdin,
}

fn start(verb: &str, at: &Path, program: &Path) -> (Process, String) {
    let mut command = common::child_command(member_process, &[verb.as_ref(), at.as_os_str()]);
    command
        .env("NDSHM_JANITOR", program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let store = lines
        .find_map(|line| line.unwrap().strip_prefix("in ").map(str::to_owned))
        .unwrap();
    (Process { child, stdin }, store)
}

impl Process {
    /// Ends it in one of many ways.
    fn end(mut self, how: &str) {
        match how {
            "kill" => self.child.kill().unwrap(),
            how => writeln!(self.stdin, "{how}").unwrap(),
        }
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "started by others"]
fn member_process() {
    let arguments = common::arguments();
    let manager = match arguments[0].as_str() {
        "own" => Manager::builder()
            .root(&arguments[1])
            .janitor(true)
            .create()
            .unwrap(),
        _ => Manager::open(&arguments[1]).unwrap(),
    };
    manager
        .zeros::<u8, _>(10_000)
        .map(std::mem::forget)
        .unwrap();
    println!("in {}", manager.path().display());
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "persist" => drop(manager.persist().unwrap()),
            "drop" => return,
            other => panic!("{other}"),
        }
    }
}

/// The processes whose command line names a store.
fn processes_of(store: &str) -> Vec<u32> {
    let names = |process: &PathBuf| {
        let line = |file| fs::read(process.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&line("cmdline")).contains(store)
            || String::from_utf8_lossy(&line("environ"))
                .contains(&format!("NDSHM_TEST_STORE={store}"))
    };
    let all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    all.filter(names)
        .filter_map(|process| process.file_name()?.to_str()?.parse().ok())
        .filter(|&process| process != std::process::id())
        .collect()
}

#[track_caller]
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The store is gone without a sweep, the janitor too, and nothing else in the root.
#[track_caller]
fn all_gone(store: &str, root: &Root, others: usize) {
    soon("the store is gone", || !Path::new(store).exists());
    soon("the janitor has ended", || processes_of(store).is_empty());
    assert_eq!(
        fs::read_dir(root.path()).unwrap().count(),
        others,
        "{:?}",
        root.contents()
    );
}

#[test]
fn a_store_is_gone_with_its_owner_however_that_ends() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    for how in ["kill", "abort", "exit", "drop"] {
        let (owner, store) = start("own", root.path(), &program);
        assert!(Path::new(&store).exists());
        owner.end(how);
        all_gone(&store, &root, 0);
    }
}

#[test]
fn a_store_is_gone_with_the_last_of_several_processes_in_every_order() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 2]] {
        let (owner, store) = start("own", root.path(), &program);
        let mut processes = vec![Some(owner)];
        processes.extend((0..2).map(|_| Some(start("join", Path::new(&store), &program).0)));
        for (turn, (process, how)) in order.into_iter().zip(["kill", "abort", "exit"]).enumerate() {
            assert!(Path::new(&store).exists());
            assert_eq!(
                processes_of(&store)
                    .iter()
                    .filter(|&&found| is_janitor(found))
                    .count(),
                1
            );
            processes[process].take().unwrap().end(how);
            if turn < 2 {
                // One that comes while the janitor waits is let in, and counts.
                start("join", Path::new(&store), &program).0.end("kill");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        all_gone(&store, &root, 0);
    }
}

fn is_janitor(process: u32) -> bool {
    let read = |file: &str| {
        String::from_utf8_lossy(&fs::read(format!("/proc/{process}/{file}")).unwrap_or_default())
            .into_owned()
    };
    read("cmdline").contains("--janitor=")
        || read("environ").contains("NDSHM_TEST_STAGE=--janitor=wait")
}

#[test]
fn a_janitor_has_no_terminal_no_parent_and_no_descriptor_of_others() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    // A descriptor that is left to every child, as shells and other languages do.
    let inherited = fs::File::create(scratch.path().join("inherited")).unwrap();
    let _standing = rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty());
    let (owner, store) = start("own", root.path(), &program);
    let janitor = processes_of(&store)
        .into_iter()
        .find(|&process| is_janitor(process))
        .unwrap();
    let link = |name: &str| {
        fs::read_link(format!("/proc/{janitor}/{name}"))
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    let mut descriptors: Vec<_> = fs::read_dir(format!("/proc/{janitor}/fd"))
        .unwrap()
        .map(|entry| {
            link(&format!(
                "fd/{}",
                entry.unwrap().file_name().into_string().unwrap()
            ))
        })
        .collect();
    descriptors.sort();
    descriptors.retain(|path| path != "/dev/null");
    let lock = format!("{store}/.lock");
    // The library keeps a spare one for its children, which leads nowhere: the root directory.
    assert!(
        descriptors.iter().all(|path| *path == lock || path == "/"),
        "{descriptors:?}"
    );
    assert_eq!(link("cwd"), "/");
    let stat = fs::read_to_string(format!("/proc/{janitor}/stat")).unwrap();
    let fields: Vec<i64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(1)
        .take(4)
        .map(|field| field.parse().unwrap())
        .collect();
    let (parent, session, terminal) = (fields[0], fields[2], fields[3]);
    assert_ne!(parent, i64::from(owner.child.id()));
    assert_eq!((session, terminal), (i64::from(janitor), 0));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", owner.child.id()))
        .unwrap_or_default();
    assert_eq!(children, "", "no zombie is left to the owner");
    owner.end("kill");
    all_gone(&store, &root, 0);
}

#[test]
fn a_store_that_is_kept_stays_and_its_janitor_goes() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    let (mut owner, store) = start("own", root.path(), &program);
    writeln!(owner.stdin, "persist").unwrap();
    soon("it is kept", || {
        ndshm::Observer::open(&store).unwrap().is_persistent()
    });
    owner.end("kill");
    soon("the janitor has ended", || processes_of(&store).is_empty());
    let manager = Manager::open(&store).unwrap();
    assert_eq!(manager.list().unwrap().len(), 1);
    manager.close().unwrap();
}

#[test]
fn nothing_but_the_store_is_deleted() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    let (other, persistent) = (
        root.manager(),
        Manager::create(root.path().join("persistent"))
            .unwrap()
            .path()
            .to_path_buf(),
    );
    fs::write(root.path().join("mine"), "x").unwrap();
    let (owner, store) = start("own", root.path(), &program);
    owner.end("kill");
    all_gone(&store, &root, 3);
    assert!(other.path().exists() && persistent.exists());
    // A file that is not the store's keeps it.
    let (owner, store) = start("own", root.path(), &program);
    fs::write(Path::new(&store).join("mine"), "x").unwrap();
    owner.end("kill");
    soon("the janitor has ended", || processes_of(&store).is_empty());
    assert!(Path::new(&store).join("mine").exists() && fs::read_dir(&store).unwrap().count() == 3);
    Manager::open(persistent).unwrap().close().unwrap();
}

#[test]
fn a_store_that_was_replaced_is_left_to_others() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    let (owner, store) = start("own", root.path(), &program);
    fs::remove_dir_all(&store).unwrap();
    let next = Manager::builder()
        .path(&store)
        .ephemeral()
        .create()
        .unwrap();
    owner.end("kill");
    soon("the janitor has ended", || processes_of(&store).is_empty());
    assert!(next.path().exists());
}

#[test]
fn without_a_program_no_store_is_made() {
    let root = Root::new();
    let run = |program: &str| {
        let output = common::child_command(child_without_a_program, &[root.path()])
            .env("NDSHM_JANITOR", program)
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains(common::MARKER),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        text
    };
    assert!(run("/nowhere/ndshm").contains("NotFound"));
    assert!(run("/bin/true").contains("Io: /bin/true: start the janitor: it ended without a word"));
    assert!(run("/bin/ls").contains("Io: /bin/ls: start the janitor: "));
}

#[test]
#[ignore = "started by others"]
fn child_without_a_program() {
    let arguments = common::arguments();
    println!(
        "{:?}",
        Manager::builder()
            .root(&arguments[0])
            .janitor(true)
            .create()
            .unwrap_err()
    );
    // A persistent store needs none.
    Manager::builder()
        .root(&arguments[0])
        .persistent()
        .janitor(true)
        .create()
        .unwrap()
        .close()
        .unwrap();
    common::done();
}

#[test]
fn a_member_does_not_wait_for_its_own_end() {
    let root = Root::new();
    let manager = root.manager();
    assert!(matches!(
        Manager::sweep_when_deserted(manager.path()),
        Err(Error::Io { .. })
    ));
    assert!(matches!(
        Manager::sweep_when_deserted(root.path()),
        Err(Error::NotFound { .. })
    ));
    let path = manager.persist().unwrap();
    drop(manager);
    assert_eq!(Manager::sweep_when_deserted(&path).unwrap().stores, 0);
    Manager::open(&path).unwrap().close().unwrap();
}

#[test]
fn the_environment_names_a_store() {
    let root = Root::new();
    let manager = root.manager();
    let run = |value: Option<&Path>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "child_of_an_environment",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env_remove("NDSHM_STORE");
        value.map(|value| command.env("NDSHM_STORE", value));
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    assert!(run(Some(manager.path())).contains(&format!("joined {}", manager.path().display())));
    assert!(run(None).contains("NDSHM_STORE: not found: this environment variable is not set"));
    assert!(run(Some(Path::new(""))).contains("is not set"));
    assert!(run(Some(Path::new("a/b"))).contains("absolute"));
    assert!(
        run(Some(&root.path().join("none"))).contains("NDSHM_STORE names it, and no store is here")
    );
    assert!(run(Some(root.path())).contains("NDSHM_STORE names it, and no store is here"));
}

#[test]
#[ignore = "started by others"]
fn child_of_an_environment() {
    match Manager::from_env() {
        Ok(manager) => println!("joined {}", manager.path().display()),
        Err(error) => println!("{error}"),
    }
}
