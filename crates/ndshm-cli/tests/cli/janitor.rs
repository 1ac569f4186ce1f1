//! The janitor: whatever ends the processes of an ephemeral store, the store is gone with the last
//! of them, and so is its janitor.

use crate::common::{self, Root};
use ndshm::Manager;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longest time from the end of the last process to the end of the store, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The tool under another path.
fn janitor_program(scratch: &TempDir) -> PathBuf {
    let program = scratch.path().join("ndshm");
    std::os::unix::fs::symlink(snapbox::cmd::cargo_bin!("ndshm"), &program).unwrap();
    program
}

/// A process that makes or joins a store, and takes commands as lines.
struct Process {
    child: Child,
    stdin: ChildStdin,
}

fn start(verb: &str, at: &Path, program: &Path) -> (Process, String) {
    let mut command = common::child_command(
        crate::janitor::child_member,
        &[verb.as_ref(), at.as_os_str()],
    );
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
    /// Kills the process, or ends it by a command.
    fn end(mut self, how: &str) {
        match how {
            "kill" => self.child.kill().unwrap(),
            how => writeln!(self.stdin, "{how}").unwrap(),
        }
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "started by another test"]
pub(crate) fn child_member() {
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
fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_true() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The store is gone without a sweep, the janitor too, and nothing else in the root.
#[track_caller]
fn all_gone(store: &str, root: &Root, others: usize) {
    wait_until("the store is gone", || !Path::new(store).exists());
    wait_until("the janitor has ended", || processes_of(store).is_empty());
    assert_eq!(
        fs::read_dir(root.path()).unwrap().count(),
        others,
        "{:?}",
        root.contents()
    );
}

#[test]
fn a_store_is_gone_with_its_owner_however_the_owner_ends() {
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
                // A process can join while the janitor waits, and is a member.
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
}

#[test]
fn a_janitor_has_no_terminal_no_parent_and_no_descriptor_of_others() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    // A descriptor that every child inherits, as shells and other languages leave them.
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
    // The library keeps a spare one for its children: the root directory.
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
    assert_eq!(children, "", "the owner has no zombie");
    owner.end("kill");
    all_gone(&store, &root, 0);
}

#[test]
fn a_store_that_is_made_persistent_stays_and_its_janitor_ends() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let program = janitor_program(&scratch);
    let (mut owner, store) = start("own", root.path(), &program);
    writeln!(owner.stdin, "persist").unwrap();
    wait_until("the store is persistent", || {
        ndshm::Observer::open(&store).unwrap().is_persistent()
    });
    owner.end("kill");
    wait_until("the janitor has ended", || processes_of(&store).is_empty());
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
    // A file of another origin keeps the store.
    let (owner, store) = start("own", root.path(), &program);
    fs::write(Path::new(&store).join("mine"), "x").unwrap();
    owner.end("kill");
    wait_until("the janitor has ended", || processes_of(&store).is_empty());
    assert!(Path::new(&store).join("mine").exists() && fs::read_dir(&store).unwrap().count() == 3);
    Manager::open(persistent).unwrap().close().unwrap();
}

#[test]
fn a_store_that_replaced_another_is_not_deleted() {
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
    wait_until("the janitor has ended", || processes_of(&store).is_empty());
    assert!(next.path().exists());
}

#[test]
fn the_tool_is_found_beside_the_program() {
    let root = Root::new();
    // This test binary is in `deps`, and Cargo puts the tool one directory above.
    let mut command =
        common::child_command(crate::janitor::child_member, &["own".as_ref(), root.path()]);
    command
        .env_remove("NDSHM_JANITOR")
        .env("PATH", "/nowhere")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let store = text.lines().find_map(|line| line.strip_prefix("in "));
    all_gone(store.unwrap(), &root, 0);
}
