//! A golden file, changed by the input, opened in a store and read completely. Each input
//! overwrites the same file.
//!
//! The input: one byte for the golden file; one byte of bits (bit 0: correct the checksum, bit 1:
//! correct the file's length, bit 2: the rest of the input is the header map); then changes of four
//! bytes each: an offset (two bytes), an operation and a value.
#![no_main]

#[path = "../../tests/common/forge.rs"]
mod forge;

use forge::Forge;
use libfuzzer_sys::fuzz_target;
use ndarray::IxDyn;
use ndshm::{AnyFrame, AnyRing, Bool, Element, Handle, Manager, SharedArray, fuzzing};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

struct Store {
    manager: Manager,
    path: PathBuf,
    golden: Vec<Vec<u8>>,
}

static STORE: OnceLock<Store> = OnceLock::new();

/// The store of the golden files, empty, in TMPDIR. It is not deleted: a fuzz target is not told
/// that it ends.
fn store() -> Store {
    let directory = tempfile::Builder::new()
        .prefix("ndshm-fuzz-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap()
        .keep();
    let lock = directory.join(".lock");
    fs::copy(format!("{GOLDEN}/lock"), &lock).unwrap();
    fs::set_permissions(&lock, Permissions::from_mode(0o600)).unwrap();
    let mut paths: Vec<_> = fs::read_dir(GOLDEN)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "ndshm")
    });
    paths.sort();
    // The other kinds behind them: a seed names a file by its number.
    paths.extend(
        fs::read_dir(format!("{GOLDEN}/kinds"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let golden = paths
        .into_iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    Store {
        manager: Manager::open(&directory).unwrap(),
        path: directory.join("x.ndshm"),
        golden,
    }
}

fuzz_target!(|data: &[u8]| {
    let Store {
        manager,
        path,
        golden,
    } = STORE.get_or_init(store);
    let &[which, mode, ref rest @ ..] = data else {
        return;
    };
    let mut bytes = golden[which as usize % golden.len()].clone();
    if mode & 4 == 4 {
        let mut forge = Forge {
            map: rest[..rest.len().min(60_000)].to_vec(),
            ..Forge::of(&bytes)
        };
        if let Some((prefix, data_len)) =
            fuzzing::prefix_of(&forge.map).filter(|(_, len)| *len < 1 << 16)
        {
            (forge.prefix, forge.data_len) = (prefix, data_len);
            forge.payload.resize(data_len as usize, 0x55);
        }
        bytes = forge.file();
    } else {
        rest.chunks_exact(4)
            .for_each(|change| apply(&mut bytes, change));
    }
    if mode & 1 == 1 {
        forge::mend(&mut bytes);
    }
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap();
    let len = match bytes
        .get(..42)
        .map(|_| forge::number(&bytes, 26, 8).wrapping_add(forge::number(&bytes, 34, 8)))
    {
        Some(len) if mode & 2 == 2 && len < 1 << 20 => len,
        _ => bytes.len(),
    };
    file.set_len(len as u64).unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    file.write_all_at(&bytes[..bytes.len().min(len)], 0)
        .unwrap();

    if let Ok(ring) = manager.ring_any("x") {
        produce_and_subscribe(&ring);
    }
    let list = manager.list();
    let dtype = list
        .as_ref()
        .ok()
        .and_then(|list| list.first())
        .map_or(String::new(), |info| info.dtype.to_string());
    match dtype.as_str() {
        "|b1" => read::<Bool>(manager),
        "|u1" => read::<u8>(manager),
        "|i1" => read::<i8>(manager),
        "<u2" => read::<u16>(manager),
        "<i2" => read::<i16>(manager),
        "<u4" => read::<u32>(manager),
        "<i4" => read::<i32>(manager),
        "<u8" => read::<u64>(manager),
        "<i8" => read::<i64>(manager),
        "uint128" => read::<u128>(manager),
        "int128" => read::<i128>(manager),
        "<f2" => read::<half::f16>(manager),
        "bfloat16" => read::<half::bf16>(manager),
        "<f4" => read::<f32>(manager),
        "<c8" => read::<num_complex::Complex32>(manager),
        "<c16" => read::<num_complex::Complex64>(manager),
        "|V5" => read::<[u8; 5]>(manager),
        "(3,)<f4" => read::<[f32; 3]>(manager),
        "(3,2)<f4" => read::<[[f32; 2]; 3]>(manager),
        _ => read::<f64>(manager),
    }
});

/// Applies one change: of a byte, or of the length.
fn apply(bytes: &mut Vec<u8>, change: &[u8]) {
    // Most of a head is padding: offsets beyond the map count from the end.
    let place = usize::from(change[0]) << 8 | usize::from(change[1]);
    let at = if place < 0x4000 {
        place
    } else {
        bytes.len().saturating_sub(place & 0xff)
    };
    let value = change[3];
    match change[2] % 8 {
        0..4 if at < bytes.len() => bytes[at] = value,
        4 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
        5 if at <= bytes.len() => bytes.insert(at, value),
        6 if at < bytes.len() => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
        7 => bytes.truncate(at),
        _ => {}
    }
}

/// Takes and publishes frames, whatever the words of the ring are.
fn produce_and_subscribe(ring: &AnyRing) {
    let in_time = Duration::from_millis(1);
    let _ = (ring.newest(), ring.subscribers(), ring.producer());
    let Ok(mut subscriber) = ring.subscribe_lossless() else {
        return;
    };
    let look = |frame: ndshm::Result<Option<AnyFrame>>| {
        if let Ok(Some(frame)) = frame {
            std::hint::black_box(frame.bytes().iter().fold(0u8, |sum, byte| sum ^ byte));
            std::hint::black_box((frame.info().len(), frame.time(), frame.shape()));
        }
    };
    look(subscriber.latest());
    if let Ok(mut producer) = ring.try_produce() {
        for _ in 0..3 {
            if let Ok(mut frame) = producer.next_timeout(in_time) {
                frame.bytes_mut().fill(7);
                let _ = frame.publish();
            }
            look(subscriber.next_timeout(in_time));
        }
    }
    look(subscriber.frame(2));
}

fn read<T: Element>(manager: &Manager) {
    let Ok(array) = manager.array::<T, IxDyn>("x") else {
        return;
    };
    let whole = visit(&array, None);
    // Open views of the same memory from all corners, through handles.
    let (shape, size) = (array.shape().to_vec(), size_of::<T>() as isize);
    let zeros = vec![0; shape.len()];
    let backwards: Vec<_> = shape.iter().map(|_| -size).collect();
    for (offset, strides) in [
        (0, &zeros),
        (array.len().saturating_sub(1) * size_of::<T>(), &backwards),
        (array.len() * size_of::<T>(), &zeros),
    ] {
        let Ok(handle) = array
            .read_only()
            .unwrap()
            .handle()
            .with_layout(offset, &shape, strides)
        else {
            continue;
        };
        let handle: Handle = handle.to_string().parse().unwrap();
        if let Ok(view) = handle.open::<T, IxDyn>() {
            visit(&view, whole);
        }
    }
}

/// Reads the elements (the first million), checks that they lie within the given addresses, and
/// returns their range.
fn visit<T: Element>(
    array: &SharedArray<T, IxDyn>,
    within: Option<(usize, usize)>,
) -> Option<(usize, usize)> {
    let guard = array.try_read().ok()?;
    let mut bounds = (usize::MAX, 0);
    let mut sum = 0u8;
    for element in guard.iter().take(1_000_000) {
        let start = std::ptr::from_ref(element).addr();
        bounds = (bounds.0.min(start), bounds.1.max(start + size_of::<T>()));
        // SAFETY: the bytes of one element.
        let bytes = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(element).cast::<u8>(), size_of::<T>())
        };
        sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(*byte));
    }
    std::hint::black_box(sum);
    let found = Some(bounds).filter(|(start, end)| start < end);
    match (found, within) {
        (Some(found), None) => assert!(found.1 - found.0 <= array.len() * size_of::<T>()),
        // A process that has a file open for writing uses one mapping for all openings of it.
        (Some(found), Some(within)) => assert!(
            within.0 <= found.0 && found.1 <= within.1,
            "{found:?} lies outside of {within:?}"
        ),
        (None, _) => {}
    }
    found
}
