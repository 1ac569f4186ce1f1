//! The janitor: a small process that deletes an ephemeral store the moment its last member is gone.
//!
//! The library starts it by exec: `PROGRAM guard --janitor=detach STORE` starts
//! `PROGRAM guard --janitor=wait STORE` and ends, so that the janitor is no process's child. The
//! janitor has a session of its own, no descriptor but its streams, which lead to /dev/null, and
//! `/` as its directory. It waits in the kernel for the exclusive flock of the lock file.
//!
//! The program is the tool `ndshm` or any that calls `Manager::serve_as_janitor`. How it is found,
//! and the cases without one: `ARCHITECTURE.md`.
//!
//! # Raised rights
//!
//! A process that runs with more rights than its caller has (setuid) would run the janitor with
//! them too. So it takes no program that its caller chose: not that of `NDSHM_JANITOR`, none on the
//! PATH, and the one beside it or of the builder only where no other user can replace it
//! ([`check_safe`]). A caller may have linked the setuid program into a directory of its own. The
//! first stage starts the second one as `/proc/self/exe`, and both get an empty environment.

use crate::{
    error::{Error, Result},
    store,
    sys::{
        fork,
        process::{has_raised_rights, trusted_variable},
        wait::{BETWEEN_CHECKS, Wait, is_interrupted},
    },
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
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
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
    if let Some(named) = trusted_variable(VARIABLE) {
        let what = "NDSHM_JANITOR names it as the janitor, and it is not a program";
        return checked(Path::new(&named), what);
    }
    let path = trusted_variable("PATH").unwrap_or_default();
    let found = beside_this_program()
        .chain(env::split_paths(&path))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(NAME))
        .find(|path| is_program(path));
    let what = "the janitor is this program, of the package ndshm-cli: install it beside yours or \
                on the PATH, or name it in NDSHM_JANITOR; a program with raised rights (setuid) \
                believes neither: install it beside such a program, or name it by \
                Builder::janitor_program";
    let found = found.ok_or_else(|| Error::NotFound {
        path: NAME.into(),
        what,
    })?;
    safe_for_raised_rights(found)
}

/// A program that was named: its path is absolute, because a janitor changes its directory.
fn checked(named: &Path, what: &'static str) -> Result<PathBuf> {
    if named.is_absolute() && is_program(named) {
        safe_for_raised_rights(named.into())
    } else {
        Err(Error::NotFound {
            path: named.into(),
            what,
        })
    }
}

/// The program itself, without links, if this process has no raised rights or no other user can
/// replace the program.
fn safe_for_raised_rights(program: PathBuf) -> Result<PathBuf> {
    if !has_raised_rights() {
        return Ok(program);
    }
    let program = fs::canonicalize(&program).map_err(Error::io(&program, "look at the janitor"))?;
    check_safe(&program, raised_user())?;
    Ok(program)
}

/// The user whose rights this program has beside those of its caller: root where that is not the
/// difference (file capabilities, setgid).
fn raised_user() -> u32 {
    let user = rustix::process::geteuid();
    if user == rustix::process::getuid() {
        0
    } else {
        user.as_raw()
    }
}

/// An error if a user other than root and `user` could replace the program: it, and each directory
/// on its path, belongs to one of these two and is not writable by others. A directory with the
/// sticky bit may be, because no other user can rename its files. `program` has no links on
/// its path.
fn check_safe(program: &Path, user: u32) -> Result<()> {
    for path in program.ancestors() {
        let found = fs::symlink_metadata(path)
            .map_err(Error::io(path, "look at the path of the janitor"))?;
        let is_owned = [0, user].contains(&found.uid());
        let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if !is_owned || found.mode() & 0o022 != 0 && !is_sticky {
            return Err(Error::Untrusted {
                path: path.into(),
                reason: format!(
                    "other users could replace the janitor {}, which this program would run with \
                     its raised rights: install it in a directory of root",
                    program.display()
                ),
            });
        }
    }
    Ok(())
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
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::Interrupted => Error::Interrupted {
            path: program.into(),
        },
        _ => Error::Io {
            path: program.into(),
            action: "start the janitor",
            source,
        },
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
    if has_raised_rights() {
        command.env_clear();
    } else {
        command.env(VARIABLE, program);
    }
    command.args([
        "guard".as_ref(),
        OsStr::new(&format!("--janitor={stage}")),
        store.as_os_str(),
    ]);
    command
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
    read_until(&mut stdout, &mut said, deadline, has_answered)?;
    if has_answered(&said) {
        return Ok(());
    }
    let mut complaint = Vec::new();
    if said.is_empty() {
        // The process has ended, or closed its streams.
        read_until(&mut stderr, &mut complaint, deadline, |_| false)?;
    }
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    Err(io::Error::other(if complaint.is_empty() {
        "it ended without a word: is it the ndshm tool?".into()
    } else {
        complaint
    }))
}

/// Reads from a pipe until `is_enough`, its end, or [`LONGEST_ANSWER`]. An error at the deadline.
fn read_until(
    pipe: &mut (impl Read + AsFd),
    said: &mut Vec<u8>,
    deadline: Instant,
    is_enough: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    while !is_enough(said) && said.len() < LONGEST_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it did not say that it waits: is it the ndshm tool?",
            ));
        }
        let slice = left.min(BETWEEN_CHECKS);
        let slice = slice.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&slice)) {
            Err(rustix::io::Errno::INTR) | Ok(0) => {
                if is_interrupted() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                continue;
            }
            ready => ready?,
        };
        let mut piece = [0; 64];
        match pipe.read(&mut piece)? {
            0 => break,
            len => said.extend_from_slice(&piece[..len]),
        }
    }
    Ok(())
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
    // A script that starts a janitor is not the program that runs here.
    let program =
        trusted_variable(VARIABLE).map_or_else(|| PathBuf::from("/proc/self/exe"), PathBuf::from);
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
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(failed("open /dev/null"))?;
    store::sweep_when_deserted(store, Wait::Forever, || {
        let mut stdout = io::stdout();
        stdout
            .write_all(READY.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(failed("answer"))?;
        // The first stage waits for the end of this stream: it is the last to be closed.
        rustix::stdio::dup2_stderr(&null)
            .and_then(|()| rustix::stdio::dup2_stdout(&null))
            .map_err(|errno| failed("close the streams")(errno.into()))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_another_user_could_replace_is_not_run_with_raised_rights() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = fs::canonicalize(scratch.path()).unwrap().join("bin");
        let program = directory.join("ndshm");
        let user = rustix::process::geteuid().as_raw();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir(&directory).unwrap();
        fs::write(&program, "").unwrap();
        for (of_directory, of_program, is_safe) in [
            (0o755, 0o755, true),
            (0o775, 0o755, false),
            (0o757, 0o755, false),
            (0o1777, 0o755, true),
            (0o755, 0o775, false),
            (0o755, 0o757, false),
        ] {
            set(&directory, of_directory);
            set(&program, of_program);
            let found = check_safe(&program, user);
            assert_eq!(
                found.is_ok(),
                is_safe,
                "{of_directory:o} {of_program:o} {found:?}"
            );
        }
        if user != 0 {
            assert!(check_safe(&program, user + 1).is_err());
        }
    }
}
