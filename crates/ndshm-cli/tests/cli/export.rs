//! `export`.

use crate::stage::Stage;
use ndshm::Import;
use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

fn file(stage: &Stage, name: &str) -> PathBuf {
    stage.root.path().join(name)
}

#[test]
fn arrays_and_slices_are_written_as_the_suffix_says() {
    let stage = Stage::new();
    let xs = stage.counting("xs", &[3, 4]);
    for name in ["a.npy", "a.npz", "a.safetensors"] {
        stage
            .command("export -o")
            .args([file(&stage, name).as_os_str(), "xs[::2, ::-1]".as_ref()])
            .assert()
            .success()
            .stdout_eq("")
            .stderr_eq("");
    }
    let expected = [3.0, 2.0, 1.0, 0.0, 11.0, 10.0, 9.0, 8.0_f64]
        .map(f64::to_ne_bytes)
        .concat();
    let (npz, tensors) = (
        Import::new()
            .npz(&stage.run, file(&stage, "a.npz"))
            .unwrap(),
        Import::new()
            .safetensors(&stage.run, file(&stage, "a.safetensors"))
            .unwrap(),
    );
    for read in [
        &Import::new()
            .npy(&stage.run, file(&stage, "a.npy"))
            .unwrap(),
        &npz[0].1,
        &tensors[0].1,
    ] {
        assert_eq!(
            (read.shape(), read.read_bytes().unwrap()),
            (&[2, 4][..], expected.clone())
        );
    }
    assert_eq!((npz[0].0.as_str(), tensors[0].0.as_str()), ("xs", "xs"));
    stage
        .command("export xs --format raw -o")
        .arg(file(&stage, "a"))
        .assert()
        .success();
    assert_eq!(
        std::fs::read(file(&stage, "a")).unwrap(),
        xs.read_bytes().unwrap()
    );
}

#[test]
fn several_arrays_have_their_names_or_those_that_they_are_given() {
    let stage = Stage::new();
    stage.counting("xs", &[3]);
    stage.counting("ys", &[2, 2]);
    let npz = file(&stage, "a.npz");
    stage
        .command("export xs first=ys[0] ys -o")
        .arg(&npz)
        .arg("--compress")
        .assert()
        .success();
    let read = Import::new().npz(&stage.run, &npz).unwrap();
    let read: Vec<_> = read
        .iter()
        .map(|(key, array)| (key.as_str(), array.shape()))
        .collect();
    assert_eq!(read, [("xs", &[3][..]), ("first", &[2]), ("ys", &[2, 2])]);
    for (arguments, reason) in [
        ("xs ys -o a.npy", "take .npz or .safetensors for several"),
        ("xs xs -o a.npz", "duplicate key"),
    ] {
        assert!(
            stage
                .failure(&format!("export {arguments}"))
                .0
                .contains(reason),
            "{arguments}"
        );
    }
}

#[test]
fn what_is_there_is_replaced_only_by_force_and_bad_input_leaves_no_file() {
    let stage = Stage::new();
    stage.counting("xs", &[3]);
    let npy = file(&stage, "a.npy");
    let export = |more: &str| format!("export xs -o {} {more}", npy.display());
    std::fs::write(&npy, "mine").unwrap();
    let (line, code) = stage.failure(&export(""));
    assert!(code == 4 && line.contains("a.npy"), "{line}");
    assert_eq!(std::fs::read(&npy).unwrap(), b"mine");
    stage.ndshm(&export("--force")).success();
    assert!(std::fs::read(&npy).unwrap().starts_with(b"\x93NUMPY"));
    for (arguments, reason, code) in [
        (
            "export xs -o a.txt",
            "name it .npy, .npz, .safetensors or .raw, or say --format",
            2,
        ),
        ("export ys -o a.npy", "no such array", 3),
        ("export xs[5:, 0] -o a.npy", "xs", 2),
        ("export xs -o /nowhere/a.npy", "/nowhere/a.npy", 1),
    ] {
        let failure = stage.failure(arguments);
        assert!(
            failure.0.contains(reason) && failure.1 == code,
            "{arguments}: {failure:?}"
        );
    }
    assert!(!std::path::Path::new("a.txt").exists() && !std::path::Path::new("a.npy").exists());
}

/// Nobody knows the file that is being written but the process that writes it: how much of it is
/// there is seen through its descriptors.
fn written(pid: u32, directory: &std::path::Path) -> u64 {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let ours = descriptors.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|path| path.parent() == Some(directory))
    });
    ours.filter_map(|entry| Some(std::fs::metadata(entry.path()).ok()?.len()))
        .max()
        .unwrap_or(0)
}

#[test]
fn an_export_that_is_killed_in_the_middle_leaves_nothing_and_harms_nothing() {
    let stage = Stage::new();
    // Without memory: all of it is a hole in the file.
    let len: u64 = 2 << 30;
    stage
        .run
        .options()
        .name("large")
        .zeros::<u8, _>(len as usize)
        .unwrap();
    let out = stage.root.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let is_supported = rustix::fs::open(
        &out,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE,
        rustix::fs::Mode::RWXU,
    )
    .is_ok();
    if !is_supported {
        return crate::common::skip(
            "an_export_that_is_killed",
            "the file system has no files without a name",
        );
    }
    for name in ["large.npy", "large.npz", "large.safetensors", "large.raw"] {
        let mut tool = Command::new(snapbox::cmd::cargo_bin!("ndshm"));
        tool.env("NDSHM_ROOT", stage.root.path())
            .env_remove("NDSHM_STORE")
            .args(["export", "large", "-o"])
            .arg(out.join(name));
        let mut child = tool.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while written(child.id(), &out) < 8 << 20 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "{name}: it ended before it was killed"
            );
            assert!(Instant::now() < deadline, "{name}: it never wrote anything");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert!(
            !child.wait().unwrap().success(),
            "{name}: it was complete before it was killed"
        );
        let left: Vec<_> = std::fs::read_dir(&out)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    // The guard of the dead does not stand in the way of those who write.
    let large = stage.run.array_any("large").unwrap();
    large.try_write().unwrap();
    stage
        .command("export large[:10] -o")
        .arg(out.join("small.raw"))
        .assert()
        .success();
    assert_eq!(std::fs::read(out.join("small.raw")).unwrap(), [0; 10]);
}
