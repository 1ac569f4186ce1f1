//! Operations on an array with a hostile state block, and a private copy of the expected elements.

use super::block::{self, LEN, Members, rescued};
use ndarray::{Array2, Ix2, s};
use ndshm::{
    AtomicArray, Error, FrozenArray, Handle, Manager, ReadGuard, Scope, SharedArray2, WriteGuard,
};
use std::{
    fs::{self, File, Permissions},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, PermissionsExt},
    },
    path::PathBuf,
    sync::{OnceLock, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

const ROWS: usize = 16;
const COLUMNS: usize = 32;
/// Longer than any step may take, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most guards that are held at once.
const HELD: usize = 6;

/// The bytes of an input, then zeros.
#[derive(Clone)]
pub struct Input<'a>(&'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    pub fn rest(&mut self, most: usize) -> Vec<u8> {
        let (bytes, rest) = self.0.split_at(self.0.len().min(most));
        self.0 = rest;
        bytes.to_vec()
    }
}

/// Lives as long as the process: a store in TMPDIR, with an array that no step touches.
struct Fixture {
    manager: Manager,
    beside: SharedArray2<u64>,
    members: Members,
    /// Another description of the lock file, whose byte lock marks a member as living.
    _lock: File,
}

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fn fixture() -> Fixture {
    let directory = tempfile::Builder::new()
        .prefix("ndshm-fuzz-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap()
        .keep();
    let manager = Manager::create(directory.join("store")).unwrap();
    let beside = manager
        .options()
        .name("beside")
        .from_elem((ROWS, COLUMNS), 0x5555u64)
        .unwrap();
    let mut own = [0; 8];
    File::open(beside.path())
        .unwrap()
        .read_exact_at(&mut own, 96)
        .unwrap();
    let members = Members {
        own: u64::from_ne_bytes(own),
        living: 1000,
        dead: 999,
    };
    let lock = File::options()
        .read(true)
        .write(true)
        .open(manager.path().join(".lock"))
        .unwrap();
    let byte = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: 0,
        l_start: (1 << 32) + 1000,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: F_OFD_SETLK reads the flock it is given; the descriptor is open.
    assert_eq!(
        unsafe { libc::fcntl(lock.as_raw_fd(), libc::F_OFD_SETLK, &raw const byte) },
        0
    );
    Fixture {
        manager,
        beside,
        members,
        _lock: lock,
    }
}

/// A rectangle of the array, or every second or third row or column of one.
#[derive(Clone, Copy)]
struct Part {
    rows: (usize, usize, isize),
    columns: (usize, usize, isize),
}

macro_rules! cut {
    ($array:expr, $method:ident, $part:expr) => {{
        let Part { rows: (top, bottom, down), columns: (left, right, across) } = $part;
        $array.$method(s![top..bottom; down, left..right; across])
    }};
}

impl Part {
    fn read(input: &mut Input) -> Self {
        let mut axis = |len: usize| {
            let (start, count, step) = (
                usize::from(input.byte()) % len,
                usize::from(input.byte()),
                input.byte(),
            );
            (
                start,
                start + count % (len - start + 1),
                [1, 1, 1, 2, 3, -1, -2][usize::from(step) % 7],
            )
        };
        let whole = Self {
            rows: (0, ROWS, 1),
            columns: (0, COLUMNS, 1),
        };
        let part = Self {
            rows: axis(ROWS),
            columns: axis(COLUMNS),
        };
        match input.byte() % 4 {
            0 => whole,
            1 => Self {
                rows: whole.rows,
                ..part
            },
            2 => Self {
                columns: whole.columns,
                ..part
            },
            _ => part,
        }
    }
}

/// A value that is held over steps.
enum Held {
    Read(ReadGuard<u64, Ix2>, Part),
    Write(WriteGuard<u64, Ix2>, Part),
    Atomic(AtomicArray<u64, Ix2>, Part),
    Frozen(FrozenArray<u64, Ix2>),
    Array(SharedArray2<u64>),
}

pub struct Session<'a> {
    input: Input<'a>,
    fixture: &'static Fixture,
    array: Option<SharedArray2<u64>>,
    held: Vec<Held>,
    /// The elements that the array must hold.
    shadow: Array2<u64>,
    handle: Handle,
    path: PathBuf,
    file: File,
    head: Vec<u8>,
    data_offset: usize,
    next: u64,
}

impl<'a> Session<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let fixture = FIXTURE.get_or_init(fixture);
        let mut input = Input(data);
        let scope = [Scope::Store, Scope::Local, Scope::Remote][usize::from(input.byte()) % 3];
        let shadow = Array2::from_shape_fn((ROWS, COLUMNS), |(i, j)| (i * COLUMNS + j) as u64);
        let array = fixture
            .manager
            .options()
            .name("x")
            .scope(scope)
            .from_ndarray(&shadow)
            .unwrap();
        let (handle, path) = (array.handle(), array.path().to_path_buf());
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let data_offset = file.metadata().unwrap().len() as usize - ROWS * COLUMNS * 8;
        let mut head = vec![0; data_offset];
        file.read_exact_at(&mut head, 0).unwrap();
        Self {
            input,
            fixture,
            array: Some(array),
            held: Vec::new(),
            shadow,
            handle,
            path,
            file,
            head,
            data_offset,
            next: 1 << 32,
        }
    }

    /// Runs one step. Returns false at the end of the input.
    pub fn step(&mut self) -> bool {
        let began = Instant::now();
        if self.input.0.is_empty() {
            return false;
        }
        match self.input.byte() % 32 {
            0..12 => {
                let is_written = self.is_written();
                block::change(
                    &self.file,
                    self.fixture.members,
                    &mut self.input,
                    is_written,
                );
            }
            12..15 => self.read(),
            15..18 => self.write(),
            18 => self.ask(),
            19 => self.recover(),
            20 => self.freeze(),
            21 => self.atomic(),
            22..24 => self.open(),
            24 => self.open_frozen(),
            25 => self.own(),
            26 => self.array = None,
            27 => self.look_around(),
            28 => self.assign(),
            _ => self.let_go(),
        }
        assert!(
            began.elapsed() < PATIENCE,
            "a step took {:?}",
            began.elapsed()
        );
        if began.elapsed() > Duration::from_millis(20) {
            // The step waited for the lock word. Once is enough: free the word for the next steps.
            block::free_the_word(&self.file);
        }
        true
    }

    fn view(&mut self) -> Option<(SharedArray2<u64>, Part)> {
        let part = Part::read(&mut self.input);
        let view = cut!(self.array.as_ref()?, slice, part);
        Some((view.unwrap(), part))
    }

    fn keep(&mut self, held: Held) {
        if self.input.byte() % 2 == 0 && self.held.len() < HELD {
            self.held.push(held);
        }
    }

    fn timeout(&mut self) -> Duration {
        Duration::from_micros(u64::from(self.input.byte()) * 8)
    }

    fn read(&mut self) {
        let Some((view, part)) = self.view() else {
            return;
        };
        let guard = match self.input.byte() % 2 {
            0 => view.try_read(),
            _ => view.read_timeout(self.timeout()),
        };
        if let Ok(guard) = guard {
            assert_eq!(*guard, cut!(self.shadow, slice, part));
            self.keep(Held::Read(guard, part));
        }
    }

    fn write(&mut self) {
        let Some((view, part)) = self.view() else {
            return;
        };
        let guard = match self.input.byte() % 2 {
            0 => view.try_write(),
            _ => view.write_timeout(self.timeout()),
        };
        self.written(guard, part);
    }

    fn recover(&mut self) {
        let Some((view, part)) = self.view() else {
            return;
        };
        let guard = rescued(&self.file, || view.recover());
        self.written(guard, part);
    }

    fn written(&mut self, guard: Result<WriteGuard<u64, Ix2>, Error>, part: Part) {
        let Ok(mut guard) = guard else { return };
        assert_eq!(*guard, cut!(self.shadow, slice, part));
        self.next += 1;
        guard.fill(self.next);
        cut!(self.shadow, slice_mut, part).fill(self.next);
        self.keep(Held::Write(guard, part));
    }

    fn ask(&mut self) {
        let Some((view, _)) = self.view() else { return };
        let _ = rescued(&self.file, || view.poisoned()).map(|ranges| format!("{ranges:?}"));
        let _ = rescued(&self.file, || view.is_poisoned());
    }

    fn is_written(&self) -> bool {
        self.held
            .iter()
            .any(|held| matches!(held, Held::Write(..) | Held::Atomic(..)))
    }

    fn freeze(&mut self) {
        // The hostile writer may have removed this process's write guard from the table. Freezing
        // would then succeed instead of waiting or being refused.
        if self.is_written() {
            return;
        }
        let Some((view, part)) = self.view() else {
            return;
        };
        if let Ok(frozen) = rescued(&self.file, || view.freeze()) {
            assert_eq!(*frozen, cut!(self.shadow, slice, part));
            self.keep(Held::Frozen(frozen));
        }
    }

    fn atomic(&mut self) {
        let Some((view, part)) = self.view() else {
            return;
        };
        if let Ok(atomics) = rescued(&self.file, || view.atomic()) {
            atomics
                .iter()
                .for_each(|element| _ = element.fetch_add(3, Relaxed));
            cut!(self.shadow, slice_mut, part)
                .iter_mut()
                .for_each(|element| *element += 3);
            self.keep(Held::Atomic(atomics, part));
        }
    }

    fn open(&mut self) {
        let opened: Result<SharedArray2<u64>, Error> =
            match self.input.byte() % 5 {
                0 => self.fixture.manager.array("x"),
                1 => SharedArray2::open_path(&self.path),
                2 => self.handle.to_string().parse::<Handle>().unwrap().open(),
                3 => serde_json::from_str(&serde_json::to_string(&self.handle).unwrap()).map_err(
                    |_| Error::Closed {
                        path: self.path.clone(),
                    },
                ),
                _ => self
                    .handle
                    .open::<u64, Ix2>()
                    .and_then(|array| array.read_only()),
            };
        if let Ok(array) = opened {
            assert_eq!(array.shape(), [ROWS, COLUMNS]);
            if let Some(old) = self.array.replace(array) {
                self.keep(Held::Array(old));
            }
        }
    }

    fn open_frozen(&mut self) {
        if self.is_written() {
            return;
        }
        let (waits, timeout) = (self.input.byte() % 2 == 1, self.timeout());
        let opened = if waits {
            self.handle.open_frozen_timeout::<u64, Ix2>(timeout)
        } else {
            self.handle.open_frozen()
        };
        if let Ok(frozen) = opened {
            assert_eq!(*frozen, self.shadow);
            self.keep(Held::Frozen(frozen));
        }
    }

    /// Changes which process deletes the array, or deletes it.
    fn own(&mut self) {
        let Some(array) = &self.array else { return };
        let _ = match self.input.byte() % 8 {
            0..2 => array.set_scope(Scope::Local),
            2..4 => array.set_scope(Scope::Remote),
            4..6 => array.set_scope(Scope::Store),
            6 => array.release(),
            _ => self.fixture.manager.remove("x"),
        };
    }

    fn look_around(&mut self) {
        match self.input.byte() % 3 {
            0 => drop(self.fixture.manager.list().map(|list| format!("{list:?}"))),
            1 => drop(
                self.fixture
                    .manager
                    .sweep()
                    .map(|swept| format!("{swept:?}")),
            ),
            _ => drop(
                self.array
                    .as_ref()
                    .map(|array| format!("{array:?} {} {}", array.handle(), array.is_frozen())),
            ),
        }
    }

    /// Copies one part to another, through two guards.
    fn assign(&mut self) {
        let Some((source, from)) = self.view() else {
            return;
        };
        let (top, left) = (
            usize::from(self.input.byte()),
            usize::from(self.input.byte()),
        );
        let [height, width] = *source.shape() else {
            return;
        };
        let (top, left) = (top % (ROWS - height + 1), left % (COLUMNS - width + 1));
        let to = Part {
            rows: (top, top + height, 1),
            columns: (left, left + width, 1),
        };
        let Some(array) = &self.array else { return };
        let target = cut!(array, slice, to).unwrap();
        if rescued(&self.file, || target.assign(&source)).is_ok() {
            let elements = cut!(self.shadow, slice, from).to_owned();
            cut!(self.shadow, slice_mut, to).assign(&elements);
        }
    }

    /// Checks a held value once more, and drops it. A write guard writes once more.
    fn let_go(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = usize::from(self.input.byte()) % self.held.len();
        match self.held.swap_remove(index) {
            Held::Read(guard, part) => assert_eq!(*guard, cut!(self.shadow, slice, part)),
            Held::Atomic(atomics, part) => {
                let shown = atomics.map(|element| element.load(Relaxed));
                assert_eq!(shown, cut!(self.shadow, slice, part));
            }
            Held::Write(mut guard, part) => {
                assert_eq!(*guard, cut!(self.shadow, slice, part));
                self.next += 1;
                guard.fill(self.next);
                cut!(self.shadow, slice_mut, part).fill(self.next);
            }
            Held::Frozen(frozen) => _ = std::hint::black_box(frozen.sum()),
            Held::Array(array) => drop(array),
        }
    }

    /// Drops everything, and checks all bytes but those of the block.
    pub fn end(mut self) {
        while !self.held.is_empty() {
            self.let_go();
        }
        self.array = None;
        let _ = fs::remove_file(&self.path);
        let mut bytes = vec![0; self.file.metadata().unwrap().len() as usize];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        let payload: Vec<u8> = self
            .shadow
            .iter()
            .flat_map(|element| element.to_ne_bytes())
            .collect();
        assert_eq!(
            bytes[self.data_offset..],
            payload,
            "bytes without a write guard changed"
        );
        let state = 64..64 + LEN as usize;
        assert_eq!(
            bytes[..state.start],
            self.head[..state.start],
            "bytes before the block changed"
        );
        assert_eq!(
            bytes[state.end..self.data_offset],
            self.head[state.end..],
            "bytes after the block changed"
        );
        let beside = self.fixture.beside.try_read().unwrap();
        assert!(
            beside.iter().all(|element| *element == 0x5555),
            "the array beside changed"
        );
    }
}
