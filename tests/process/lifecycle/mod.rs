//! The life of names, files, managers and processes: the properties that CPython tests of its own
//! shared memory hold here too.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    unsafe_code,
    reason = "default signals, closed standard streams and waits for other processes are calls of \
              libc"
)]

mod ends;

use crate::common::{self, Peer, Root, bad};
use ndarray::{Ix1, array};
use ndshm::{Error, Handle, Manager, Result, Scope, SharedArray1};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::{
    io::{BufRead, BufReader, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::FileExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

const NOTHING: Vec<PathBuf> = Vec::new();

#[test]
fn what_cannot_be_a_file_s_name_is_refused_by_every_verb() {
    let root = Root::new();
    let manager = root.manager();
    let plain = array![1.0, 2.0];
    let before = root.contents();
    for name in &bad::names() {
        let options = manager.options().name(name);
        let store = Manager::builder().root(root.path()).name(name);
        let refusals: [Result<()>; 13] = [
            options.zeros::<f64, _>(3).map(drop),
            options.ones::<f64, _>(3).map(drop),
            options.empty::<f64, _>(3).map(drop),
            options.from_elem(3, 1.0).map(drop),
            options.from_shape_fn(3, |i| i as f64).map(drop),
            options.from_ndarray(&plain).map(drop),
            options.open_or_zeros::<f64, _>(3).map(drop),
            manager.array::<f64, Ix1>(name).map(drop),
            manager.contains(name).map(drop),
            manager.remove(name),
            store.create().map(drop),
            store.open().map(drop),
            store.open_or_create().map(drop),
        ];
        for (verb, refusal) in refusals.into_iter().enumerate() {
            assert!(
                matches!(&refusal, Err(Error::Name { name: refused, .. }) if refused == name),
                "{name:?}, verb {verb}: {refusal:?}"
            );
        }
    }
    for path in [
        root.path().join("run\0"),
        root.path().join("run/.."),
        PathBuf::new(),
    ] {
        assert!(
            Manager::create(&path).is_err()
                && Manager::open(&path).is_err()
                && Manager::open_or_create(&path).is_err(),
            "{path:?}"
        );
        assert!(
            SharedArray1::<f64>::open_path(path.with_extension("ndshm")).is_err(),
            "{path:?}"
        );
    }
    assert_eq!(root.contents(), before);
    // The longest name is one for arrays and for stores.
    let longest = &"x".repeat(200);
    let store = Manager::builder()
        .root(root.path())
        .name(longest)
        .create()
        .unwrap();
    let xs = store.options().name(longest).ones::<f64, _>(3).unwrap();
    assert_eq!(store.array::<f64, Ix1>(longest).unwrap().id(), xs.id());
    assert_eq!(
        xs.handle()
            .to_string()
            .parse::<Handle>()
            .unwrap()
            .open::<f64, Ix1>()
            .unwrap()
            .read()
            .unwrap()
            .sum(),
        3.0
    );
    store.remove(longest).unwrap();
    store.close().unwrap();
    assert_eq!(root.contents(), before);
}

#[test]
fn a_refused_open_or_create_leaves_the_array_as_it_is() {
    let root = Root::new();
    let manager = root.manager();
    let options = manager.options().name("xs");
    let xs = options.from_shape_fn::<f64, _>(5, |i| i as f64).unwrap();
    let file = std::fs::read(xs.path()).unwrap();
    assert!(matches!(
        options.open_or_zeros::<f64, _>(4),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        options.open_or_zeros::<f64, _>(6),
        Err(Error::Layout { .. })
    ));
    assert!(matches!(
        options.open_or_zeros::<f64, _>((5, 1)),
        Err(Error::Rank { .. })
    ));
    assert!(matches!(
        options.open_or_zeros::<u64, _>(5),
        Err(Error::Dtype { .. })
    ));
    assert!(matches!(
        options.zeros::<f64, _>(5),
        Err(Error::AlreadyExists { .. })
    ));
    assert!(std::fs::read(xs.path()).unwrap() == file && manager.list().unwrap().len() == 1);
    assert_eq!(
        options
            .open_or_zeros::<f64, _>(5)
            .unwrap()
            .to_ndarray()
            .unwrap(),
        array![0.0, 1.0, 2.0, 3.0, 4.0]
    );
}

#[test]
fn a_length_is_never_rounded_to_pages() {
    let root = Root::new();
    let manager = root.manager();
    let mut child = Peer::start(child_tells_lengths, &[""]);
    for len in [0, 1, 4095, 4096, 4097] {
        let xs = manager.from_elem(len, 7u8).unwrap();
        let file = std::fs::File::open(xs.path()).unwrap();
        let mut word = [0; 8];
        file.read_exact_at(&mut word, 26).unwrap();
        let data_offset = u64::from_le_bytes(word);
        assert_eq!(data_offset % 4096, 0);
        assert_eq!(file.metadata().unwrap().len(), data_offset + len as u64);
        assert_eq!(
            (
                xs.len(),
                xs.handle().info().unwrap().byte_len,
                xs.read().unwrap().len()
            ),
            (len, len, len)
        );
        child.tell(&xs.handle().to_string());
        assert_eq!(child.hear("length and sum "), format!("{len} {}", 7 * len));
        let one_more = xs.handle().with_layout(0, &[len + 1], &[1]).unwrap();
        assert!(
            matches!(one_more.open::<u8, Ix1>(), Err(Error::Layout { .. })),
            "what the page has left is not the array's"
        );
    }
    child.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_tells_lengths() {
    common::arguments();
    for line in std::io::stdin().lines() {
        let xs: SharedArray1<u8> = line.unwrap().parse::<Handle>().unwrap().open().unwrap();
        println!(
            "length and sum {} {}",
            xs.len(),
            xs.read()
                .unwrap()
                .iter()
                .map(|&x| usize::from(x))
                .sum::<usize>()
        );
    }
    common::done();
}

#[test]
fn every_verb_of_a_closed_manager_says_so() {
    let root = Root::new();
    let by_hand: fn(&Manager) = |owner| owner.close().unwrap();
    let by_drop: fn(&Manager) = |_| {};
    for end in [by_hand, by_drop] {
        let owner = root.manager();
        let member = Manager::open(owner.path()).unwrap();
        let deserialized: Manager =
            serde_json::from_str(&serde_json::to_string(&owner).unwrap()).unwrap();
        let xs = owner.options().name("xs").ones::<f64, _>(3).unwrap();
        let of_array = xs.manager();
        end(&owner);
        let mut managers = vec![member, deserialized, of_array];
        // A manager that was closed by hand is still there to be asked.
        if owner.path().exists() {
            drop(owner)
        } else {
            managers.push(owner)
        }
        for manager in &managers {
            closed_in_every_way(manager, &xs);
        }
        assert_eq!((xs.read().unwrap().sum(), xs.len()), (3.0, 3));
        assert_eq!(root.contents(), NOTHING);
    }
}

fn closed_in_every_way(manager: &Manager, xs: &SharedArray1<f64>) {
    let named = manager.options().name("ys");
    let attempts: [(&str, Result<()>); 21] = [
        ("zeros", manager.zeros::<f64, _>(3).map(drop)),
        ("ones", manager.ones::<f64, _>(3).map(drop)),
        ("empty", manager.empty::<f64, _>(3).map(drop)),
        ("from_elem", manager.from_elem(3, 1.0).map(drop)),
        (
            "from_shape_fn",
            manager.from_shape_fn(3, |i| i as f64).map(drop),
        ),
        ("from_ndarray", manager.from_ndarray(&array![1.0]).map(drop)),
        ("zeros of nothing", manager.zeros::<f64, _>(0).map(drop)),
        ("named zeros", named.zeros::<f64, _>(3).map(drop)),
        (
            "named from_ndarray",
            named.from_ndarray(&array![1.0]).map(drop),
        ),
        ("open_or_zeros", named.open_or_zeros::<f64, _>(3).map(drop)),
        (
            "open_or_zeros of one that was there",
            manager
                .options()
                .name("xs")
                .open_or_zeros::<f64, _>(3)
                .map(drop),
        ),
        ("array", manager.array::<f64, Ix1>("xs").map(drop)),
        ("contains", manager.contains("xs").map(drop)),
        ("list", manager.list().map(drop)),
        ("usage", manager.usage().map(drop)),
        ("remove", manager.remove("xs")),
        ("sweep", manager.sweep().map(drop)),
        ("persist", manager.persist().map(drop)),
        ("close", manager.close()),
        ("copy", xs.copy().map(drop)),
        ("copy_into", xs.copy_into(manager).map(drop)),
    ];
    for (verb, result) in attempts {
        assert!(
            matches!(&result, Err(Error::Closed { path }) if path == manager.path()),
            "{verb}: {result:?}"
        );
    }
    assert!(matches!(
        Manager::open(manager.path()),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        xs.handle().open::<f64, Ix1>(),
        Err(Error::Released { .. })
    ));
    assert!(serde_json::from_str::<Manager>(&serde_json::to_string(manager).unwrap()).is_err());
}

#[test]
fn a_process_without_standard_streams_shares_arrays_like_any_other() {
    for closed in ["0", "1", "2", "012"] {
        let root = Root::new();
        let manager = root.manager();
        let xs = manager.ones::<f64, _>(3).unwrap();
        let (handle, report) = (xs.handle().to_string(), root.path().join("report"));
        common::start(
            child_has_no_standard_streams,
            &[
                Path::new(closed),
                manager.path(),
                Path::new(&handle),
                &report,
            ],
        )
        .wait()
        .unwrap();
        assert_eq!(
            std::fs::read_to_string(&report).unwrap_or_default(),
            "it came to its end",
            "closed: {closed}"
        );
        assert_eq!(xs.to_ndarray().unwrap(), array![2.0, 2.0, 2.0]);
        assert_eq!(
            manager
                .array::<f64, Ix1>("made")
                .unwrap()
                .read()
                .unwrap()
                .sum(),
            5.0
        );
        manager.sweep().unwrap();
        assert_eq!(
            Manager::open(manager.path()).unwrap().list().unwrap().len(),
            2
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_has_no_standard_streams() {
    let arguments = common::arguments();
    let report = arguments[3].clone();
    std::panic::set_hook(Box::new(move |panic| {
        std::fs::write(&report, panic.to_string()).unwrap()
    }));
    // The library opens the files that it keeps before, so that the next file gets the first free
    // number.
    let own = Manager::builder()
        .root(Path::new(&arguments[1]).parent().unwrap())
        .create()
        .unwrap();
    for stream in arguments[0].bytes().map(|digit| i32::from(digit - b'0')) {
        // SAFETY: a standard stream of this process, which no value owns; a write to it fails or is
        // ignored.
        unsafe { libc::close(stream) };
    }
    let manager = Manager::open(&arguments[1]).unwrap();
    let noise = || {
        // As a library in C would do that knows nothing of this.
        let bytes = [0xaa_u8; 64];
        for stream in 0..3 {
            // SAFETY: `write` reads 64 bytes from an array of 64.
            unsafe { libc::write(stream, bytes.as_ptr().cast(), bytes.len()) };
        }
    };
    noise();
    let xs: SharedArray1<f64> = arguments[2].parse::<Handle>().unwrap().open().unwrap();
    *xs.write().unwrap() += 1.0;
    noise();
    manager
        .options()
        .name("made")
        .from_shape_fn::<f64, _>(5, |_| {
            noise();
            1.0
        })
        .unwrap();
    own.ones::<f64, _>(3).unwrap().copy().unwrap();
    own.close().unwrap();
    let own = Manager::builder()
        .root(manager.path().parent().unwrap())
        .create()
        .unwrap();
    noise();
    own.ones::<f64, _>(3).unwrap();
    drop(own);
    std::fs::write(&arguments[3], "it came to its end").unwrap();
}
