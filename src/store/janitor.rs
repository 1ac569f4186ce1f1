//! The janitor: a small process that deletes an ephemeral store the moment its last member is gone.
//!
//! The library starts it by exec: `PROGRAM guard --janitor=detach STORE` starts
//! `PROGRAM guard --janitor=wait STORE` and ends, so that the janitor is no process's child. The
//! janitor has a session of its own, no descriptor but its streams, which lead to /dev/null, and
//! `/` as its directory. It waits in the kernel for the exclusive flock of the lock file.
//!
//! The program is the tool `ndshm` or any that calls `Manager::serve_as_janitor`. How it is found,
//! and the cases without one: `ARCHITECTURE.md`.

use crate::{
    error::{Error, Result},
    store,
    sys::{fork, wait::Wait},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::setsid,
};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The environment variable that names the program.
const VARIABLE: &str = "NDSHM_JANITOR";
/// The program's name.
const NAME: &str = "ndshm";
/// The line that a janitor prints when it waits.
const READY: &str = "the janitor waits\n";
/// Bytes that a program may print before that line.
const LONGEST_ANSWER: usize = 1000;
/// How long a program may take to print it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The program of a janitor: `named` by the caller, else by `NDSHM_JANITOR`, else `ndshm` beside
/// this process's program, else on the PATH.
pub(crate) fn program(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        return checked(
            named,
            "the builder names it as the janitor, and it is not a program",
        );
    }
    if let Some(named) = env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let what = "NDSHM_JANITOR names it as the janitor, and it is not a program";
        return checked(Path::new(&named), what);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    beside_this_program()
        .chain(env::split_paths(&path))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(NAME))
        .find(|path| is_program(path))
        .ok_or_else(|| Error::NotFound {
            path: NAME.into(),
            what: "the janitor is this program, of the package ndshm-cli: install it beside yours \
                   or on the PATH, or name it in NDSHM_JANITOR",
        })
}

/// A program that was named: its path is absolute, because a janitor changes its directory.
fn checked(named: &Path, what: &'static str) -> Result<PathBuf> {
    if named.is_absolute() && is_program(named) {
        Ok(named.into())
    } else {
        Err(Error::NotFound {
            path: named.into(),
            what,
        })
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The directory of this process's program; for `deps` and `examples`, where Cargo puts tests and
/// examples, the one above too.
fn beside_this_program() -> impl Iterator<Item = PathBuf> {
    let program = env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let above = beside
        .filter(|beside| beside.ends_with("deps") || beside.ends_with("examples"))
        .and_then(Path::parent);
    let directories = [beside, above].map(|directory| directory.map(Path::to_path_buf));
    directories.into_iter().flatten()
}

/// Starts a janitor for a store, and returns when it waits.
pub(crate) fn start(program: &Path, store: &Path) -> Result<()> {
    let failed = |source| Error::Io {
        path: program.into(),
        action: "start the janitor",
        source,
    };
    let mut child = command(program, "detach", store)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let answer = answer_of(&mut child);
    if answer.is_err() {
        let _ = child.kill();
    }
    // This fails in a process that ignores SIGCHLD: the kernel reaps its children then.
    let _ = child.wait();
    answer.map_err(failed)
}

fn command(program: &Path, stage: &str, store: &Path) -> Command {
    let mut command = Command::new(program);
    command.args([
        "guard".as_ref(),
        OsStr::new(&format!("--janitor={stage}")),
        store.as_os_str(),
    ]);
    command
        .env(VARIABLE, program)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn has_answered(said: &[u8]) -> bool {
    said.windows(READY.len())
        .any(|part| part == READY.as_bytes())
}

/// Waits until a process prints that the janitor waits.
fn answer_of(child: &mut Child) -> io::Result<()> {
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        unreachable!("both are pipes")
    };
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while !has_answered(&said) && said.len() < LONGEST_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "it did not say that it waits: is it the ndshm tool?",
                ));
            }
            ready => ready?,
        };
        let mut piece = [0; 64];
        match stdout.read(&mut piece)? {
            0 => break,
            len => said.extend_from_slice(&piece[..len]),
        }
    }
    if has_answered(&said) {
        return Ok(());
    }
    let mut complaint = Vec::new();
    if said.is_empty() {
        // The process has ended, or closed its streams.
        let _ = (&mut stderr).take(1000).read_to_end(&mut complaint);
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    Err(io::Error::other(if complaint.is_empty() {
        "it ended without a word: is it the ndshm tool?".into()
    } else {
        complaint
    }))
}

/// Runs one of the two stages of a janitor in this process.
pub(crate) fn serve(stage: &str, store: &Path) -> Result<()> {
    match stage {
        "detach" => detach(store),
        "wait" => wait(store),
        _ => Err(Error::NotFound {
            path: stage.into(),
            what: "the stages of a janitor are detach and wait",
        }),
    }
}

fn detach(store: &Path) -> Result<()> {
    let failed = |action| Error::io(store, action);
    // The janitor gets none of the descriptors that the starting program left open.
    fork::close_on_exec().map_err(failed("close inherited descriptors"))?;
    let program = program(None)?;
    let mut janitor = command(&program, "wait", store)
        .spawn()
        .map_err(failed("start the janitor"))?;
    let mut said = String::new();
    let stdout = janitor.stdout.take();
    stdout
        .map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut said))
        .map_err(failed("wait for the janitor"))?;
    io::stdout()
        .write_all(said.as_bytes())
        .map_err(failed("answer"))
}

fn wait(store: &Path) -> Result<()> {
    let failed = |action| Error::io(store, action);
    // A process without a terminal gets no signal from its keys.
    setsid().map_err(|errno| failed("begin a session")(errno.into()))?;
    store::sweep_when_deserted(store, Wait::Forever, || {
        let mut stdout = io::stdout();
        stdout
            .write_all(READY.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(failed("answer"))?;
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(failed("open /dev/null"))?;
        rustix::stdio::dup2_stdout(&null)
            .map_err(|errno| failed("close the streams")(errno.into()))?;
        rustix::stdio::dup2_stderr(&null).map_err(|errno| failed("close the streams")(errno.into()))
    })?;
    Ok(())
}
