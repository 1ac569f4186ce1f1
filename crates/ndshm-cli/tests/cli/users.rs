//! `--all-users`, with the rights of real users.

use crate::{common, fixture};
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Users that no machine has. Their roots are in /dev/shm, where the tool looks for them.
const DEAD: u32 = 3_000_000_017;
const LIVING: u32 = 3_000_000_018;
const SQUATTED: u32 = 3_000_000_019;

fn root_of(user: u32) -> PathBuf {
    format!("/dev/shm/ndshm-{user}").into()
}

struct Roots;

impl Roots {
    fn make() -> Self {
        Self::remove();
        for (user, owner) in [(DEAD, DEAD), (LIVING, LIVING), (SQUATTED, DEAD)] {
            fs::create_dir(root_of(user)).unwrap();
            fs::set_permissions(root_of(user), Permissions::from_mode(0o700)).unwrap();
            chown(root_of(user), Some(owner), Some(owner)).unwrap();
        }
        Self
    }

    fn remove() {
        for user in [DEAD, LIVING, SQUATTED] {
            let _ = fs::remove_dir_all(root_of(user));
        }
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// A copy of a program where every user can run it.
fn copied(program: &Path, scratch: &Path) -> PathBuf {
    let copy = scratch.join(program.file_name().unwrap());
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    copy
}

fn run(command: &mut Command) -> Output {
    command
        .env_remove("NDSHM_STORE")
        .env_remove("NDSHM_ROOT")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

// Root could neither see nor delete what dead processes of other users left: their roots were
// refused, and following them with root's rights would be dangerous.
#[test]
fn root_sweeps_what_dead_processes_of_all_users_left() {
    let test = "root_sweeps_what_dead_processes_of_all_users_left";
    if !rustix::process::geteuid().is_root() {
        return common::skip(test, "only root has the rights of other users");
    }
    // To start a process as another user takes a fork.
    common::run(child_sweeps_for_all_users, &[""]);
}

#[test]
#[ignore = "started by another test"]
fn child_sweeps_for_all_users() {
    common::arguments();
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let tool = copied(Path::new(snapbox::cmd::cargo_bin!("ndshm")), scratch.path());
    let _roots = Roots::make();

    let tests = copied(&std::env::current_exe().unwrap(), scratch.path());
    // A dead store of one user, a living one of another.
    let mut peers = [DEAD, LIVING].map(|user| {
        let root = root_of(user);
        let child = common::child_command(fixture::child_with_a_store, &[&root]);
        let mut command = Command::new(&tests);
        command
            .args(child.get_args())
            .envs(
                child
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .current_dir("/")
            .uid(user)
            .gid(user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut peer = common::Peer::of(command.spawn().unwrap());
        peer.hear("ready");
        peer
    });
    peers[0].kill();
    // A trap: names of leftovers that lead to directories of root's.
    let victim = scratch.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("mine"), "root's").unwrap();
    for name in [".ndshm-gone-trap", ".ndshm-new-trap", "trap"] {
        symlink(&victim, root_of(DEAD).join(name)).unwrap();
    }
    let (dead, living) = (root_of(DEAD).join("dead"), root_of(LIVING).join("dead"));

    let listed = run(Command::new(&tool).args(["ls", "--all-users"]));
    let (out, err) = text(&listed);
    assert!(
        out.contains(&format!("user {DEAD}: {}", root_of(DEAD).display()))
            && out.contains(&format!("user {LIVING}: {}", root_of(LIVING).display())),
        "{out}"
    );
    assert!(
        err.contains(&root_of(SQUATTED).display().to_string())
            && err.contains(&format!("user {DEAD} made it"))
            && err.contains("remove it"),
        "{err}"
    );
    let planned = run(Command::new(&tool).args(["--json", "sweep", "--all-users", "--dry-run"]));
    let planned: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
    let of_user = |answers: &serde_json::Value, user: u32| {
        let users = answers["users"].as_array().unwrap();
        users.iter().find(|answer| answer["user"] == user).unwrap()["answer"].clone()
    };
    let found = of_user(&planned, DEAD);
    assert_eq!(
        found["found"][0]["path"],
        dead.to_str().unwrap(),
        "{planned}"
    );
    assert_eq!(
        of_user(&planned, LIVING)["found"],
        serde_json::json!([]),
        "{planned}"
    );
    assert!(dead.exists() && living.exists());

    let swept = run(Command::new(&tool).args(["--json", "sweep", "--all-users"]));
    let swept: serde_json::Value = serde_json::from_slice(&swept.stdout).unwrap();
    let of_dead = &of_user(&swept, DEAD)["swept"];
    assert_eq!(
        (&of_dead["stores"], &of_dead["arrays"]),
        (&1.into(), &1.into()),
        "{swept}"
    );
    assert!(!dead.exists() && living.exists());
    assert!(victim.join("mine").exists());

    // Another user gets an error that names root.
    let refused = run(Command::new(&tool)
        .args(["sweep", "--all-users"])
        .current_dir("/")
        .uid(DEAD)
        .gid(DEAD));
    let (_, err) = text(&refused);
    assert!(
        refused.status.code() == Some(4) && err.contains("run this as root"),
        "{err}"
    );
    // And a user whose root another one made is told the remedies.
    let squatted = run(Command::new(&tool)
        .args(["run", "--", "true"])
        .current_dir("/")
        .uid(SQUATTED)
        .gid(SQUATTED));
    let (_, err) = text(&squatted);
    assert!(
        squatted.status.code() == Some(4)
            && err.contains(&format!("user {DEAD} made it"))
            && err.contains("NDSHM_ROOT"),
        "{err}"
    );
    peers[1].kill();
    common::done();
}
