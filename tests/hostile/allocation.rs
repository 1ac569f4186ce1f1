//! No allocation has an unchecked size: the bytes of a hostile file or handle bound the memory that
//! its refusal costs.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use crate::common::Root;
use crate::forge::{self, Forge};
use ciborium::Value;
use ndarray::IxDyn;
use ndshm::{Handle, Manager};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

/// Bytes that the thread asked for since it began to count.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// In one piece.
    most: usize,
    /// All together, given back or not.
    sum: usize,
}

thread_local! {
    static ASKED: Cell<Option<Asked>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(size: usize) {
    let add = |asked: Asked| Asked {
        most: asked.most.max(size),
        sum: asked.sum.saturating_add(size),
    };
    ASKED.set(ASKED.get().map(add));
}

// SAFETY: every request goes to the system's allocator as it came; the counts lie in a thread-local
// cell, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller keeps the contract of `realloc`, which is the same; all memory is the
        // system's.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same; all memory is the
        // system's.
        unsafe { System.dealloc(old, layout) }
    }
}

fn count(work: impl FnOnce()) -> Asked {
    ASKED.set(Some(Asked::default()));
    work();
    ASKED.take().unwrap()
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

struct Fixture {
    manager: Manager,
    path: PathBuf,
    good: Vec<u8>,
    handle: Handle,
    _root: Root,
}

impl Fixture {
    fn new() -> Self {
        let root = Root::new();
        let manager = root.manager_that_forgets();
        let xs = manager.options().name("x").zeros::<f64, _>((2, 3)).unwrap();
        let (path, handle) = (xs.path().to_path_buf(), xs.handle());
        drop(xs);
        Self {
            good: fs::read(&path).unwrap(),
            manager,
            path,
            handle,
            _root: root,
        }
    }

    /// The cost of refusing a file of these bytes, which is `len` bytes long, in the most expensive
    /// of all ways to open it.
    fn cost(&self, what: &str, bytes: &[u8], len: u64) -> Asked {
        let _ = fs::remove_file(&self.path);
        fs::write(&self.path, bytes).unwrap();
        fs::File::options()
            .write(true)
            .open(&self.path)
            .unwrap()
            .set_len(len)
            .unwrap();
        fs::set_permissions(&self.path, Permissions::from_mode(0o600)).unwrap();
        let costs = [
            count(|| {
                drop(
                    self.manager
                        .array::<f64, IxDyn>("x")
                        .unwrap_err()
                        .to_string(),
                )
            }),
            count(|| drop(self.handle.open::<f64, IxDyn>().unwrap_err().to_string())),
            count(|| drop(self.handle.info().unwrap_err().to_string())),
            count(|| drop(format!("{:?}", self.manager.damaged().unwrap()))),
        ];
        let (most, sum) = (
            costs.iter().map(|cost| cost.most).max().unwrap(),
            costs.iter().map(|cost| cost.sum).max().unwrap(),
        );
        println!("{what}: {most} bytes at once, {sum} in all");
        Asked { most, sum }
    }
}

#[test]
fn the_allocator_counts() {
    let asked = count(|| {
        let mut list = vec![0u8; 3 * MIB];
        list.reserve_exact(4 * MIB);
        drop((list, Vec::<u64>::with_capacity(KIB)));
    });
    assert_eq!((asked.most, asked.sum), (7 * MIB, 10 * MIB + 8 * KIB));
    assert_eq!(count(|| ()).sum, 0);
}

#[test]
fn a_number_that_lies_allocates_nothing() {
    let fixture = Fixture::new();
    let forge = Forge::of(&fixture.good);
    let len = fixture.good.len() as u64;
    for (what, at, new) in [
        (
            "data_len 2^63-8192",
            34,
            (i64::MAX as u64 - 8191).to_le_bytes(),
        ),
        ("data_len 2^64-1", 34, u64::MAX.to_le_bytes()),
        ("data_offset 2^62", 26, (1u64 << 62).to_le_bytes()),
        ("data_offset 2^32", 26, (1u64 << 32).to_le_bytes()),
    ] {
        let mut bytes = fixture.good.clone();
        forge::put(&mut bytes, at, &new);
        let cost = fixture.cost(what, &bytes, len);
        assert!(cost.most <= 16 * KIB && cost.sum <= 64 * KIB, "{what}");
    }
    // Files that are as long as they say, without memory behind them.
    for (at, number) in [(34, 8u64 << 40), (26, 8 << 40)] {
        let mut bytes = fixture.good.clone();
        forge::put(&mut bytes, at, &number.to_le_bytes());
        let what = format!("a sparse file of 8 TiB, number at {at}");
        let cost = fixture.cost(
            &what,
            &bytes,
            forge::number(&bytes, 26, 8) as u64 + forge::number(&bytes, 34, 8) as u64,
        );
        assert!(cost.most <= 16 * KIB && cost.sum <= 64 * KIB, "{what}");
    }
    let mut longest = fixture.good.clone();
    forge::put(&mut longest, 18, &65_536u32.to_le_bytes());
    forge::put(&mut longest, 26, &(1u64 << 30).to_le_bytes());
    let cost = fixture.cost(
        "header_end 64 KiB, data_offset 2^30",
        &longest,
        (1 << 30) + 48,
    );
    assert!(cost.most <= 128 * KIB && cost.sum <= 256 * KIB);

    let huge = |head: u8, value: u64| [&[head], &value.to_be_bytes()[..]].concat();
    for (what, item) in [
        ("an array of 2^60", huge(0x9b, 1 << 60)),
        ("an array of 2^64-1", huge(0x9b, u64::MAX)),
        ("an array of 2^20", huge(0x9b, 1 << 20)),
        ("a map of 2^60", huge(0xbb, 1 << 60)),
        ("a map of 2^20", huge(0xbb, 1 << 20)),
        ("bytes of 2^64-1", huge(0x5b, u64::MAX)),
        ("bytes of 2^30", huge(0x5b, 1 << 30)),
        ("text of 2^64-1", huge(0x7b, u64::MAX)),
        ("text of 2^30", huge(0x7b, 1 << 30)),
        (
            "a bignum of 2^30",
            [&[0xc2][..], &huge(0x5b, 1 << 30)].concat(),
        ),
        (
            "arrays of 1000 in arrays of 1000",
            b"\x99\x03\xe8".repeat(20),
        ),
        ("maps of 1000 in maps of 1000", b"\xb9\x03\xe8".repeat(20)),
    ] {
        let map = [&[forge.map[0] + 1, 0x61, b'.'], &item[..], &forge.map[1..]].concat();
        let file = Forge {
            map,
            ..forge.clone()
        }
        .file();
        let cost = fixture.cost(what, &file, file.len() as u64);
        assert!(cost.most <= 128 * KIB && cost.sum <= MIB, "{what}");
    }
    let list = |numbers: &[i64]| Some(Value::Array(numbers.iter().map(|&n| n.into()).collect()));
    for shape in [
        &[1 << 40, 1 << 40][..],
        &[1 << 59],
        &[1; 33],
        &[1 << 40; 32],
    ] {
        let file = forge
            .with(&[("shape", list(shape)), ("strides", list(shape))])
            .file();
        let cost = fixture.cost(&format!("shape {shape:?}"), &file, file.len() as u64);
        assert!(cost.most <= 16 * KIB && cost.sum <= 256 * KIB, "{shape:?}");
    }
}

/// A decoded item takes some dozen times as much memory as its one byte did, and is decoded, sorted
/// and compared. That is as much as 64 KiB can cost.
#[test]
fn the_dearest_headers_cost_a_multiple_of_their_64_kib() {
    let fixture = Fixture::new();
    let forge = Forge::of(&fixture.good);
    let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
    // Each is the value of an unknown key in a map that lacks all others.
    let mut add = |what: &str, item: Vec<u8>| {
        rows.push((what.into(), [&[0xa1, 0x61, b'.'][..], &item].concat()))
    };
    let body = 60_000usize;
    let array = |count: usize, item: &[u8]| {
        [forge::item_head(4, count as u64), item.repeat(count)].concat()
    };
    add("60,000 numbers", array(body, &[0x01]));
    add("60,000 empty arrays", array(body, &[0x80]));
    add("60,000 empty texts", array(body, &[0x60]));
    add(
        "30,000 maps of none in arrays of one",
        array(body / 2, &[0x81, 0xa0]),
    );
    add("30,000 tags", array(body / 2, &[0xc6, 0x01]));
    add("20,000 maps of one", array(body / 3, &[0xa1, 0x00, 0x01]));
    add(
        "3000 arrays, 18 deep",
        array(body / 20, &[&[0x81; 17][..], &[0x80]].concat()),
    );
    let sorted: Vec<u8> = (0..body as u16 / 5)
        .flat_map(|n| [&[0x19], &(0x1000 + n).to_be_bytes()[..], &[0x00]].concat())
        .collect();
    add(
        "a map of 12,000",
        [forge::item_head(5, body as u64 / 5), sorted.clone()].concat(),
    );
    add(
        "a map of 12,000 that is cut",
        [forge::item_head(5, body as u64 / 5 + 1), sorted].concat(),
    );
    add("60,000 nested arrays", vec![0x81; body]);
    add("60,000 nested tags", vec![0xc6; body]);
    add("60,000 nested maps", [0xa1, 0x00].repeat(body / 2));
    add(
        "one text of 60,000",
        [forge::item_head(3, body as u64), vec![b'x'; body]].concat(),
    );
    add(
        "one string of 60,000 bytes",
        [forge::item_head(2, body as u64), vec![0xff; body]].concat(),
    );
    add(
        "60,000 pieces of one text",
        [vec![0x7f], vec![0x60; body], vec![0xff]].concat(),
    );
    let text = format!("({}1)<f4", "1,".repeat(body / 2 - 10));
    rows.push((
        "a type of 60,000 letters".into(),
        forge.with(&[("dtype", Some(text.into()))]).map,
    ));
    rows.push((
        "a type of 60,000 bells".into(),
        forge
            .with(&[("dtype", Some("\u{7}".repeat(body).into()))])
            .map,
    ));
    let fields = 4000usize;
    let numbers = |of: &dyn Fn(usize) -> Value| Value::Array((0..fields).map(of).collect());
    let structure = Value::Map(vec![
        ("names".into(), numbers(&|n| format!("{n}").into())),
        ("formats".into(), numbers(&|_| "|u1".into())),
        ("offsets".into(), numbers(&|n| (n as u64 / 2).into())),
        ("itemsize".into(), (fields as u64).into()),
    ]);
    rows.push((
        "a struct of 4000 fields that overlap".into(),
        forge.with(&[("dtype", Some(structure))]).map,
    ));
    let names = Value::Array((0..12_000).map(|n| format!("{n}").into()).collect());
    rows.push((
        "12,000 axis names for two axes".into(),
        forge.with(&[("dims", Some(names))]).map,
    ));
    for (what, map) in rows {
        let file = Forge {
            map,
            ..forge.clone()
        }
        .file();
        let cost = fixture.cost(&what, &file, file.len() as u64);
        assert!(cost.most <= 2 * MIB && cost.sum <= 12 * MIB, "{what}");
    }
}

#[test]
fn a_handle_that_lies_allocates_little() {
    let fixture = Fixture::new();
    let handle = fixture.handle.with_layout(0, &[6], &[8]).unwrap();
    let refuse = |what: &str, work: &dyn Fn()| {
        let cost = count(work);
        println!("{what}: {} bytes at once, {} in all", cost.most, cost.sum);
        assert!(cost.most <= MIB && cost.sum <= 4 * MIB, "{what}");
    };
    let postcard = postcard::to_allocvec(&handle).unwrap();
    let varint = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for at in 0..=postcard.len() {
        let bytes = [&postcard[..at], &varint, &postcard[at..]].concat();
        let instead = [
            &postcard[..at],
            &varint,
            postcard.get(at + 1..).unwrap_or_default(),
        ]
        .concat();
        for bytes in [bytes, instead] {
            refuse(&format!("postcard, 2^63 at {at}"), &|| {
                drop(postcard::from_bytes::<Handle>(&bytes))
            });
        }
    }
    let json = serde_json::to_string(&handle).unwrap();
    for (from, to) in [
        ("[6]", format!("[{}1]", "1,".repeat(20_000))),
        ("\"view\"", format!("\"v\":{},\"view\"", "[".repeat(60_000))),
    ] {
        let changed = json.replacen(from, &to, 1);
        assert_ne!(changed, json);
        refuse("JSON", &|| {
            drop(
                serde_json::from_str::<Handle>(&changed)
                    .unwrap_err()
                    .to_string(),
            )
        });
    }
    let text = handle.to_string();
    for (from, to) in [
        (":n=6", format!(":n={}6", "6,".repeat(8000))),
        (":o=0", format!(":o={}", "9".repeat(16_000))),
        ("p=/", "p=/%".repeat(4000)),
    ] {
        let changed = text.replacen(from, &to, 1);
        assert_ne!(changed, text);
        refuse("text", &|| {
            drop(changed.parse::<Handle>().unwrap_err().to_string())
        });
    }
    let long = "a".repeat(64 * MIB);
    assert!(count(|| drop(long.parse::<Handle>().unwrap_err().to_string())).sum <= KIB);
    // Views of any size open without memory of their own.
    let reading: Handle = text.replacen(":m=w:", ":m=r:", 1).parse().unwrap();
    let wide = reading.with_layout(0, &[1 << 62], &[0]).unwrap();
    refuse("a broadcast of 2^62", &|| {
        drop(wide.open::<f64, IxDyn>().unwrap())
    });
}
