//! The setup of a crash: a store of its own, an array with rows for each process, and a look at the
//! files without the library.

use crate::{
    common::{
        self,
        words::{claimable, sealed, unsealed},
    },
    scenarios::{Crash, Mode, Outcome, Scenario},
};
use ndarray::{Ix1, s};
use ndshm::{Error, Handle, Manager, Scope, SharedArray1, SharedArray2};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    ops::Range,
    os::{
        fd::AsRawFd,
        unix::{fs::DirBuilderExt, fs::FileExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Output},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Rows of the array: those that the victim takes, those that others take too, one for each of the
/// others, one that they share, one that is never written, a free one, and those with poison from
/// earlier crashes.
pub(crate) const ROWS: usize = 16;
pub(crate) const COLUMNS: usize = 64;
pub(crate) const VIEW: Range<usize> = 0..2;
pub(crate) const OVERLAP: Range<usize> = 1..3;
pub(crate) const OWN: usize = 3;
pub(crate) const SHARED: usize = 5;
pub(crate) const REST: usize = 6;
pub(crate) const FREE: Range<usize> = 7..8;
pub(crate) const POISONED_ROWS: Range<usize> = 8..12;
pub(crate) const RECOVERED: Range<usize> = 9..11;
/// Parts of these that died one by one.
pub(crate) const PARTS: usize = 60;
/// The first of them.
pub(crate) const MANY: usize = 40;
/// An array that every process opens and none deletes, and one that the victim is given.
pub(crate) const STILL: &str = "still";
pub(crate) const GIVEN: &str = "given";

/// Nothing takes so long that is not stuck.
const HANG: Duration = Duration::from_secs(30);
const OWNER_AT: u64 = 88;
const NEXT_MEMBER_AT: u64 = 16;
const BOOT_AT: u64 = 56;
const MEMBER_LOCKS_AT: u64 = 1 << 32;

/// The errors that a store gives which is being deleted.
pub(crate) fn is_gone(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed { .. } | Error::NotFound { .. } | Error::Released { .. }
    )
}

pub(crate) fn rows(array: &SharedArray2<u64>, rows: Range<usize>) -> SharedArray2<u64> {
    array.slice(s![rows, ..]).unwrap()
}

/// The parts that died: two columns of two rows, whose spans have a pitch and reach into each
/// other, the later one first; then single elements, in pairs that lie closer together than any two
/// others.
pub(crate) fn part(array: &SharedArray2<u64>, number: usize) -> SharedArray2<u64> {
    let (row, column) = part_at(number);
    let height = if number < 2 { 2 } else { 1 };
    array
        .slice(s![row..row + height, column..column + 1])
        .unwrap()
}

fn part_at(number: usize) -> (usize, usize) {
    match number.checked_sub(2) {
        None => (POISONED_ROWS.start, 3 * (1 - number)),
        Some(single) => (
            POISONED_ROWS.start + 2 + single / 30,
            single % 30 / 2 * 4 + single % 2,
        ),
    }
}

/// Rows of the array that grows, of one number.
pub(crate) fn log_rows(rows: usize, number: u64) -> ndarray::Array2<u64> {
    ndarray::Array2::from_elem((rows, 1024), number)
}

/// Waits for something that happens soon.
#[track_caller]
pub(crate) fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < HANG, "{what}: it never came to that");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until a child has ended, by a kill or by itself, and returns its output. Its input stays
/// open until then, because the child ends with its input.
pub(crate) fn ended(victim: Child, is_killed: bool) -> String {
    let (was_killed, printed) = end_of(victim);
    assert_eq!(was_killed, is_killed, "{printed}");
    printed
}

/// Waits until a child has ended: whether it was killed, and its output.
pub(crate) fn end_of(mut victim: Child) -> (bool, String) {
    soon("the victim ends", || victim.try_wait().unwrap().is_some());
    let Output {
        status,
        stdout,
        stderr,
    } = victim.wait_with_output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    let was_killed = status.signal() == Some(9);
    assert!(
        was_killed || status.success() && stdout.contains(common::MARKER),
        "{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
    );
    (was_killed, stdout.into_owned())
}

/// The number by which lanes name an array.
pub(crate) fn lane_key<D: ndarray::Dimension>(array: &ndshm::SharedArray<u64, D>) -> u64 {
    let id = array.id().to_string().replace('-', "");
    u64::from_str_radix(&id[16..], 16).unwrap()
}

/// A word of an array file or a lock file.
pub(crate) fn word(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).unwrap();
    u64::from_ne_bytes(word)
}

pub(crate) struct Setup {
    /// The directory of the stores, and that of the files by which victims say that they stand.
    pub(crate) root: PathBuf,
    pub(crate) markers: PathBuf,
    pub(crate) manager: Manager,
    pub(crate) work: SharedArray2<u64>,
    given: Option<Handle>,
    /// An array of the test itself, whose file may be used again.
    pub(crate) owned: Mutex<Option<SharedArray1<u64>>>,
    /// Whether the store is closed in this scenario.
    pub(crate) is_closed: bool,
    /// The array's file and the store's lock file.
    block: File,
    lock: File,
}

impl Setup {
    pub(crate) fn new(directory: &Path, scenario: &Scenario) -> Self {
        let (root, markers) = (directory.join("stores"), directory.join("markers"));
        for directory in [&root, &markers] {
            let _ = fs::remove_dir_all(directory);
            fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
        }
        // Any member may close a persistent store.
        let is_closed = scenario.name.contains("clos");
        let owns = scenario.name.starts_with("open what is ");
        let manager = match is_closed {
            true => Manager::builder()
                .path(root.join("setup"))
                .recycle(0)
                .create()
                .unwrap(),
            false => Manager::builder()
                .root(&root)
                .name("setup")
                .recycle(if owns { 1 << 20 } else { 0 })
                .create()
                .unwrap(),
        };
        let fill = |(row, _)| if row == REST { REST as u64 } else { 0 };
        let work = manager
            .options()
            .name("work")
            .from_shape_fn((ROWS, COLUMNS), fill)
            .unwrap();
        manager
            .options()
            .name(STILL)
            .from_elem((2, 2), 4u64)
            .unwrap();
        let owned =
            (owns || scenario.name == "be an heir").then(|| manager.from_elem(10, 2u64).unwrap());
        let given = match scenario.name {
            "be an heir" => owned.as_ref().map(SharedArray1::hand_over),
            _ if owns => owned.as_ref().map(SharedArray1::handle),
            "open" | "release" | "await" | "replace" => Some(
                manager
                    .options()
                    .name(GIVEN)
                    .from_elem(10, 2u64)
                    .unwrap()
                    .handle(),
            ),
            "claim" => Some(
                manager
                    .options()
                    .name(GIVEN)
                    .scope(Scope::Remote)
                    .from_elem(10, 2u64)
                    .unwrap()
                    .handle(),
            ),
            _ => None,
        };
        let (block, lock) = (
            File::open(work.path()).unwrap(),
            File::open(manager.path().join(".lock")).unwrap(),
        );
        let setup = Self {
            root,
            markers,
            manager,
            work,
            given,
            owned: Mutex::new(owned),
            is_closed,
            block,
            lock,
        };
        match scenario.name {
            "take over" => setup.leave_dead("write", "WordTaken"),
            "clear the dead" => setup.leave_dead("write", "GuardTaken"),
            "merge" => {
                setup.leave_dead("die with many guards", "");
                // This moves their poison into the block, as far as there is room, and the lock
                // file stays small.
                for number in 0..MANY {
                    assert!(part(&setup.work, number).read().is_err());
                }
                setup.leave_dead("die with more guards", "");
            }
            "recover" => setup.leave_dead("write the poisoned rows", "GuardTaken"),
            "recover after a wait" => {
                setup.leave_dead("write a part of the poisoned rows", "GuardTaken")
            }
            "sweep" => setup.leave_dead("leave all kinds of things", ""),
            "sweep after a dead sweeper" => {
                setup.leave_dead("leave all kinds of things", "");
                setup.leave_dead("sweep", "StoreFileRemoved");
            }
            _ => {}
        }
        setup
    }

    /// Has a process die before.
    fn leave_dead(&self, scenario: &str, point: &'static str) {
        ended(
            self.start(scenario, &Crash(point, 1, Outcome::Free), Mode::Dies, ""),
            true,
        );
    }

    /// Starts a victim, which makes a file of this name if it is to stand.
    pub(crate) fn start(
        &self,
        scenario: &str,
        Crash(point, nth, _): &Crash,
        mode: Mode,
        marker: &str,
    ) -> Child {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let marker = if mode != Mode::Dies {
            path(&self.marker(marker))
        } else {
            String::new()
        };
        let given = self
            .given
            .as_ref()
            .map(Handle::to_string)
            .unwrap_or_default();
        let arguments = [
            scenario.into(),
            (*point).into(),
            nth.to_string(),
            marker,
            path(self.manager.path()),
            self.work.handle().to_string(),
            given,
        ];
        common::start(
            crate::child_dies,
            &[&arguments[..], &[path(&self.markers)]].concat(),
        )
    }

    /// The file that exists while a process stands.
    pub(crate) fn marker(&self, name: &str) -> PathBuf {
        self.markers.join(name)
    }

    /// The id of the next process that joins the store.
    pub(crate) fn next_member(&self) -> u64 {
        unsealed(word(&self.lock, NEXT_MEMBER_AT))
    }

    /// Changes the lock file as if no process had joined since the boot.
    pub(crate) fn forget_the_boot(&self) {
        let lock = File::options()
            .write(true)
            .open(self.manager.path().join(".lock"))
            .unwrap();
        lock.write_all_at(&[7; 16], BOOT_AT).unwrap();
    }

    /// Waits until the kernel has released a member's byte lock; when that was.
    pub(crate) fn released(&self, member: u64) -> Instant {
        let began = Instant::now();
        loop {
            let start = (MEMBER_LOCKS_AT + member) as i64;
            let mut lock = libc::flock {
                l_type: libc::F_WRLCK as i16,
                l_whence: libc::SEEK_SET as i16,
                l_start: start,
                l_len: 1,
                l_pid: 0,
            };
            // SAFETY: F_OFD_GETLK reads and writes the flock it is given, which is a valid one with
            // a pid of zero; the descriptor is open.
            let answer =
                unsafe { libc::fcntl(self.lock.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
            assert_eq!(answer, 0);
            if i32::from(lock.l_type) == libc::F_UNLCK {
                return Instant::now();
            }
            assert!(
                began.elapsed() < HANG,
                "the kernel keeps the lock of the dead"
            );
            std::hint::spin_loop();
        }
    }

    /// The guards, waits and records of poison of the array: mode and member.
    pub(crate) fn slots(&self) -> Vec<(u64, u64)> {
        let tags = self.lanes().chain(self.records()).map(|(tag, _)| tag);
        tags.map(|tag| (tag & 0xf, tag >> 8)).collect()
    }

    /// The lanes of the array that have a guard, a wait or poison: tag, and start, end and pitch
    /// with width.
    fn lanes(&self) -> impl Iterator<Item = (u64, [u64; 3])> {
        let key = lane_key(&self.work);
        // The store may be gone from its path.
        let mut lanes = vec![0; self.lock.metadata().unwrap().len() as usize];
        self.lock.read_exact_at(&mut lanes, 0).unwrap();
        let lanes: Vec<_> = lanes[128..]
            .chunks_exact(64)
            .map(|lane| {
                let word = |at: usize| u64::from_ne_bytes(lane[at..at + 8].try_into().unwrap());
                ([0, 8].map(word), [16, 24, 32].map(word))
            })
            .filter(|([tag, found], _)| *found == key && !matches!(tag & 0xf, 0 | 8))
            .map(|([tag, _], span)| (tag, span))
            .collect();
        lanes.into_iter()
    }

    fn records(&self) -> impl Iterator<Item = (u64, [u64; 3])> {
        let used = word(&self.block, 144);
        let records: Vec<_> = (0..49)
            .filter(|record| used >> record & 1 != 0)
            .map(|record| {
                let words = [0, 8, 16, 24].map(|at| word(&self.block, 544 + 32 * record + at));
                (words[0], [words[1], words[2], words[3]])
            })
            .filter(|(tag, _)| tag & 0xf == 4)
            .collect();
        records.into_iter()
    }

    /// Whether a writer or a record of poison has a byte, by the words of the table alone: taking a
    /// guard would change them.
    fn is_covered(&self, byte: u64) -> bool {
        // Lanes first: a record that moves is published before its lane is freed.
        self.lanes()
            .chain(self.records())
            .any(|(tag, [start, end, pitch])| {
                let (pitch, width) = (pitch & 0xffff_ffff, pitch >> 32);
                matches!(tag & 0xf, 2 | 4)
                    && (start..end).contains(&byte)
                    && (pitch == 0 || (byte - start) % pitch < width)
            })
    }

    /// Requires that no poison is lost, before another process reaches the table.
    pub(crate) fn require_poison(&self, scenario: &str) {
        let require = |row: usize, column: usize| {
            assert!(
                self.is_covered(((row * COLUMNS + column) * 8) as u64),
                "the poison at {row} {column} is lost"
            )
        };
        match scenario {
            "merge" => (0..PARTS).map(part_at).for_each(|(row, column)| {
                require(row, column);
                if row == POISONED_ROWS.start {
                    require(row + 1, column);
                }
            }),
            "recover" => [POISONED_ROWS.start, POISONED_ROWS.end - 1]
                .into_iter()
                .for_each(|row| (0..COLUMNS).for_each(|column| require(row, column))),
            "recover after a wait" => {
                (0..COLUMNS).for_each(|column| require(POISONED_ROWS.start, column))
            }
            _ => {}
        }
    }

    pub(crate) fn array_path(&self, name: &str) -> PathBuf {
        self.manager.path().join(format!("{name}.ndshm"))
    }

    fn owner(&self, path: &Path) -> Option<u64> {
        File::open(path).ok().map(|file| word(&file, OWNER_AT))
    }

    pub(crate) fn is_claimable(&self, name: &str) -> bool {
        self.owner(&self.array_path(name)) == Some(claimable())
    }

    /// The arrays that a member owns.
    pub(crate) fn owned_by(&self, member: u64) -> Vec<PathBuf> {
        self.unnamed()
            .into_iter()
            .filter(|path| self.owner(path) == Some(sealed(member)))
            .collect()
    }

    /// The arrays without a name.
    pub(crate) fn unnamed(&self) -> BTreeSet<PathBuf> {
        self.unnamed_files()
            .into_iter()
            .map(|name| self.manager.path().join(name))
            .filter(|path| crate::common::words::has_array(path))
            .collect()
    }

    /// The files with names that members make, with and without an array.
    pub(crate) fn unnamed_files(&self) -> Vec<String> {
        let has_digits =
            |name: &String| name.len() == 32 + ".ndshm".len() && !name.starts_with('.');
        self.files().into_iter().filter(has_digits).collect()
    }

    /// The files in the store's directory.
    pub(crate) fn files(&self) -> Vec<String> {
        names_in(self.manager.path())
    }

    /// The other directories in the root.
    pub(crate) fn stores(&self) -> Vec<String> {
        names_in(&self.root)
            .into_iter()
            .filter(|name| name != "setup")
            .collect()
    }

    /// Lists the arrays: no half-made one is among them.
    pub(crate) fn list(&self) {
        for info in self.manager.list().unwrap() {
            assert!(info.byte_len > 0);
        }
    }

    /// Requires that an array is complete: all of its elements are this.
    pub(crate) fn require_complete(&self, path: &Path, element: u64) {
        let array = SharedArray1::<u64>::open_path(path).unwrap();
        assert!(
            array.len() == 10 && array.read().unwrap().iter().all(|&x| x == element),
            "another array, or a half-made one: {array:?}"
        );
    }

    /// Opens the first array of a victim whose files are used again. None where it was released.
    pub(crate) fn open_old(&self) -> Option<SharedArray1<u64>> {
        let handle: Handle = fs::read_to_string(self.marker("old"))
            .unwrap()
            .parse()
            .unwrap();
        match handle.open::<u64, Ix1>() {
            Ok(array) => Some(array),
            Err(Error::Released { .. }) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) fn view(&self) -> SharedArray2<u64> {
        rows(&self.work, VIEW)
    }

    pub(crate) fn given(&self) -> SharedArray1<u64> {
        self.given.as_ref().unwrap().open().unwrap()
    }
}

/// The names in a directory, in order.
fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
