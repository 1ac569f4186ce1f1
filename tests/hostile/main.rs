//! Hostile input through the public interface: array files, handles as text and as serde values,
//! views. Each is refused with an error of its own, and nothing is lost: the file is as it was, and
//! the array beside it opens.
//!
//! The pure parser has rows of its own in `src/format/header/tests/refusals.rs`, many more of them.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/forge.rs"]
mod forge;

mod allocation;
mod cbor;
mod claims;
mod files;
mod fixed_block;
mod handle_texts;
mod handles;
mod mutations;
mod race;
mod scribble;
mod shapes;
mod special;
mod types;

use common::Root;
use forge::Forge;
use ndarray::{Array2, IxDyn, array};
use ndshm::{
    ArrayInfo, Element, Error, Handle, Manager, Observer, Result, SharedArray, SharedArray2,
    SharedArrayD,
};
use std::{
    fmt::Debug,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The least number of rows, so that none vanishes unseen. Two more need rights that not every user
/// has.
const ROWS: usize = 365;

#[test]
fn every_hostile_input_is_refused_and_nothing_is_lost() {
    let mut fixture = Fixture::new();
    files::try_all(&mut fixture);
    special::try_all(&mut fixture);
    cbor::try_all(&mut fixture);
    types::try_all(&mut fixture);
    shapes::try_all(&mut fixture);
    handles::try_all(&mut fixture);
    claims::try_all(&mut fixture);
    println!("{} hostile rows", fixture.rows);
    assert!(
        fixture.rows >= ROWS,
        "{} rows, there were {ROWS}",
        fixture.rows
    );
}

/// A store with a valid array, `beside`, and the place of another one, `x`, that the rows put
/// something hostile into.
struct Fixture {
    manager: Manager,
    /// The file of `x`.
    path: PathBuf,
    /// The bytes of a valid file of `x`: f64, 2 by 3, elements 0 to 5.
    good: Vec<u8>,
    /// To the valid `x`.
    handle: Handle,
    rows: usize,
    root: Root,
}

/// Which functions look at more of a file than its header.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    /// Every function refuses the file.
    Always,
    /// The file is described, but not opened.
    OnOpening,
}

impl Fixture {
    fn new() -> Self {
        let root = Root::new();
        let manager = root.manager_that_forgets();
        let elements = Array2::from_shape_fn((2, 3), |(i, j)| (3 * i + j) as f64);
        manager
            .options()
            .name("beside")
            .from_ndarray(&elements)
            .unwrap();
        let xs = manager.options().name("x").from_ndarray(&elements).unwrap();
        let (path, handle) = (xs.path().to_path_buf(), xs.handle());
        drop(xs);
        // With the smallest alignment of the format, whatever the pages of this machine: rows name
        // bytes by their offsets.
        let good = Forge::of(&fs::read(&path).unwrap()).file();
        Self {
            manager,
            path,
            good,
            handle,
            rows: 0,
            root,
        }
    }

    fn forge(&self) -> Forge {
        Forge::of(&self.good)
    }

    /// The valid file with some bytes changed, and the checksum made right again.
    fn changed(&self, at: usize, new: &[u8]) -> Vec<u8> {
        let mut bytes = self.good.clone();
        forge::put(&mut bytes, at, new);
        // Over the bytes that the valid file sums, wherever the changed one says that they are.
        let sum = crc(
            &bytes,
            forge::number(&self.good, 18, 4),
            forge::prefix(&self.good).unwrap(),
        );
        forge::put(&mut bytes, 22, &sum);
        bytes
    }

    /// Makes `x` a file of these bytes.
    fn put(&self, bytes: &[u8]) {
        self.clear();
        fs::write(&self.path, bytes).unwrap();
        fs::set_permissions(&self.path, Permissions::from_mode(0o600)).unwrap();
    }

    /// Takes away whatever is in the place of `x`.
    fn clear(&self) {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir(&self.path).unwrap(),
            Ok(_) => fs::remove_file(&self.path).unwrap(),
            Err(_) => {}
        }
    }

    /// A row: `x` as a file of these bytes.
    #[track_caller]
    fn refuse(&mut self, what: &str, bytes: &[u8], variant: &str, piece: &str) {
        self.refuse_file(what, bytes, variant, piece, Seen::Always);
    }

    #[track_caller]
    fn refuse_file(&mut self, what: &str, bytes: &[u8], variant: &str, piece: &str, seen: Seen) {
        self.put(bytes);
        self.refuse_openings(what, variant, piece, seen);
        assert!(
            fs::read(&self.path).unwrap() == bytes,
            "{what}: the file is as it was, openers included"
        );
        self.close_row(what);
    }

    /// Tries to open whatever is in the place of `x`, in every way there is.
    #[track_caller]
    fn refuse_openings(&self, what: &str, variant: &str, piece: &str, seen: Seen) {
        let reading = read_only(&self.handle);
        let json = serde_json::to_string(&self.handle).unwrap();
        expect(what, variant, piece, self.manager.array::<f64, IxDyn>("x"));
        expect(
            what,
            variant,
            piece,
            SharedArrayD::<f64>::open_path(&self.path),
        );
        expect(what, variant, piece, self.handle.open::<f64, IxDyn>());
        expect(what, variant, piece, reading.open::<f64, IxDyn>());
        let through = serde_json::from_str::<SharedArrayD<f64>>(&json)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            through.contains(piece),
            "{what}: through serde {through:?}, expected {piece:?}"
        );
        match seen {
            Seen::Always => {
                expect(what, variant, piece, self.handle.info());
                expect(what, variant, piece, damage(&self.manager, &self.path));
            }
            Seen::OnOpening => {
                self.handle.info().unwrap();
                let observer = Observer::open(self.manager.path()).unwrap();
                let strays = observer.strays().unwrap().len();
                let listed = self.manager.list().unwrap().len();
                assert_eq!(listed + strays, 2, "{what}");
            }
        }
    }

    /// Counts a row, after a look at the files that it must have left alone.
    #[track_caller]
    fn close_row(&mut self, what: &str) {
        self.rows += 1;
        assert!(
            fs::symlink_metadata(&self.path).is_ok(),
            "{what}: the file is still there"
        );
        assert!(self.manager.contains("beside").unwrap(), "{what}");
        let beside: SharedArray2<f64> = self.manager.array("beside").unwrap();
        assert_eq!(
            beside.to_ndarray().unwrap(),
            array![[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
            "{what}"
        );
        drop(beside);
        let entries = common::files_below(self.manager.path()).len();
        assert_eq!(
            entries, 3,
            "{what}: nothing but the two arrays and the lock file"
        );
    }

    /// Makes `x` valid again, opens it, and looks at its elements.
    #[track_caller]
    fn restore(&self) -> SharedArrayD<f64> {
        self.put(&self.good);
        let xs: SharedArrayD<f64> = self.manager.array("x").unwrap();
        assert_eq!(xs.read().unwrap().sum(), 15.0);
        xs
    }
}

/// The checksum of a file whose header ends there, by the words of the format.
fn crc(file: &[u8], header_end: usize, prefix: std::ops::Range<usize>) -> [u8; 4] {
    crc32fast::hash(
        &[
            &file[..22],
            &[0; 4],
            &file[26..55],
            &file[2176..header_end],
            &file[prefix],
        ]
        .concat(),
    )
    .to_le_bytes()
}

/// The handle of the same view for reading.
fn read_only(handle: &Handle) -> Handle {
    handle
        .to_string()
        .replacen(":m=w:", ":m=r:", 1)
        .parse()
        .unwrap()
}

/// Requires an error of this variant, with this in its message. Variants of headers are named as in
/// `Header::Magic`.
#[track_caller]
fn expect<T>(what: &str, variant: &str, piece: &str, result: Result<T>) {
    let Err(error) = result else {
        panic!("{what}: was accepted, expected {variant}")
    };
    let found = match &error {
        Error::Header { source, .. } => format!("Header::{}", first_word(source)),
        other => first_word(other),
    };
    assert_eq!(found, variant, "{what}: {error}");
    assert!(
        error.to_string().contains(piece),
        "{what}: {error}, expected {piece:?}"
    );
}

/// The name of an enum's variant.
fn first_word(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split(|letter: char| !letter.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// An array of this type in the place of `x`, whose file is then left alone.
fn make<T: Element>(manager: &Manager, path: &Path, shape: &[usize]) -> SharedArray<T, IxDyn> {
    let _ = fs::remove_file(path);
    manager
        .options()
        .name("x")
        .zeros::<T, _>(IxDyn(shape))
        .unwrap()
}

/// The error of the only file that the manager cannot list; the others are listed. A file that does
/// not name the store is a stray instead.
fn damage(manager: &Manager, path: &Path) -> ndshm::Result<()> {
    assert_eq!(manager.list()?.len(), 1);
    let damaged = manager.damaged()?;
    let strays = Observer::open(manager.path())?.strays()?;
    if strays.is_empty() {
        return damaged.into_iter().try_for_each(Err);
    }
    assert!(strays == [path] && damaged.is_empty(), "{damaged:?}");
    ArrayInfo::at(path).map(drop)
}
