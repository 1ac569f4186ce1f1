//! `export`.

use crate::fixture::Fixture;
use ndshm::Import;
use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

fn file(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.root.path().join(name)
}

#[test]
fn the_suffix_decides_the_format_of_arrays_and_slices() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3, 4]);
    for name in ["a.npy", "a.npz", "a.safetensors"] {
        fixture
            .command("export -o")
            .args([file(&fixture, name).as_os_str(), "xs[::2, ::-1]".as_ref()])
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
            .npz(&fixture.run, file(&fixture, "a.npz"))
            .unwrap(),
        Import::new()
            .safetensors(&fixture.run, file(&fixture, "a.safetensors"))
            .unwrap(),
    );
    for read in [
        &Import::new()
            .npy(&fixture.run, file(&fixture, "a.npy"))
            .unwrap(),
        &npz.arrays[0].1,
        &tensors.arrays[0].1,
    ] {
        assert_eq!(
            (read.shape(), read.read_bytes().unwrap()),
            (&[2, 4][..], expected.clone())
        );
    }
    assert_eq!(
        (npz.arrays[0].0.as_str(), tensors.arrays[0].0.as_str()),
        ("xs", "xs")
    );
    fixture
        .command("export xs --format raw -o")
        .arg(file(&fixture, "a"))
        .assert()
        .success();
    assert_eq!(
        std::fs::read(file(&fixture, "a")).unwrap(),
        xs.read_bytes().unwrap()
    );
}

#[test]
fn several_arrays_have_their_names_or_given_ones_as_keys() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    fixture.arange("ys", &[2, 2]);
    let npz = file(&fixture, "a.npz");
    fixture
        .command("export xs first=ys[0] ys -o")
        .arg(&npz)
        .arg("--compress")
        .assert()
        .success();
    let read = Import::new().npz(&fixture.run, &npz).unwrap().arrays;
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
            fixture
                .failure(&format!("export {arguments}"))
                .0
                .contains(reason),
            "{arguments}"
        );
    }
}

#[test]
fn an_existing_file_is_replaced_only_by_force_and_bad_input_leaves_no_file() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    let npy = file(&fixture, "a.npy");
    let export = |more: &str| format!("export xs -o {} {more}", npy.display());
    std::fs::write(&npy, "mine").unwrap();
    let (line, code) = fixture.failure(&export(""));
    assert!(code == 4 && line.contains("a.npy"), "{line}");
    assert_eq!(std::fs::read(&npy).unwrap(), b"mine");
    fixture.ndshm(&export("--force")).success();
    assert!(std::fs::read(&npy).unwrap().starts_with(b"\x93NUMPY"));
    for (arguments, reason, code) in [
        (
            "export xs -o a.txt",
            "name it .npy, .npz, .safetensors or .raw, or give --format",
            2,
        ),
        ("export ys -o a.npy", "no such array", 3),
        ("export xs[5:, 0] -o a.npy", "xs", 2),
        ("export xs -o /nowhere/a.npy", "/nowhere/a.npy", 1),
    ] {
        let failure = fixture.failure(arguments);
        assert!(
            failure.0.contains(reason) && failure.1 == code,
            "{arguments}: {failure:?}"
        );
    }
    assert!(!std::path::Path::new("a.txt").exists() && !std::path::Path::new("a.npy").exists());
}

/// Bytes of the file that a process is writing into this directory. The file has no name yet, so
/// only the descriptors of the process show it.
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
    let fixture = Fixture::new();
    // The file is one hole and takes no memory.
    let len: u64 = 2 << 30;
    fixture
        .run
        .options()
        .name("large")
        .zeros::<u8, _>(len as usize)
        .unwrap();
    let out = fixture.root.path().join("out");
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
        tool.env("NDSHM_ROOT", fixture.root.path())
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
    // The guard of the dead process does not block writers.
    let large = fixture.run.array_any("large").unwrap();
    large.try_write().unwrap();
    fixture
        .command("export large[:10] -o")
        .arg(out.join("small.raw"))
        .assert()
        .success();
    assert_eq!(std::fs::read(out.join("small.raw")).unwrap(), [0; 10]);
}

pub(crate) fn shell(fixture: &Fixture, script: &str) -> std::process::Output {
    let tool = snapbox::cmd::cargo_bin!("ndshm");
    let script = format!(
        "set -o pipefail; ndshm() {{ {} \"$@\"; }}; {script}",
        tool.display()
    );
    std::process::Command::new("bash")
        .args(["-c", &script])
        .env("NDSHM_ROOT", fixture.root.path())
        .env("NDSHM_STORE", "run")
        .current_dir(fixture.root.path())
        .output()
        .unwrap()
}

/// `export -o /dev/stdout --force` replaced the link (as root), and there was no way to pipe an
/// array into another program, or to another machine.
#[test]
fn arrays_go_through_pipes_in_every_format() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[300, 200]);
    for (number, (export, import)) in [
        ("-o -", "- --name NAME"),
        ("-o /dev/stdout", "/dev/stdin --name NAME"),
        (
            "-o - --format raw",
            "- --name NAME --dtype f8 --shape 300,200",
        ),
        ("-o - --format npz", "- --name NAME-"),
        ("-o - --format npz --compress", "- --name NAME-"),
        ("-o - --format safetensors", "- --name NAME-"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("copy{number}");
        let import = import.replace("NAME", &name);
        let script = format!("ndshm export xs {export} | cat | ndshm import {import}");
        let output = shell(&fixture, &script);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{script}: {output:?}"
        );
        let name = if import.ends_with('-') {
            format!("{name}-xs")
        } else {
            name
        };
        let copy = fixture.run.array_any(&name).unwrap();
        assert_eq!(
            copy.read_bytes().unwrap(),
            xs.read_bytes().unwrap(),
            "{script}"
        );
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim(), copy.path().to_str().unwrap(), "{script}");
    }
    // Nothing but the bytes, whatever the shell connects.
    fixture.output(&format!(
        "export xs -o {}/plain.npy",
        fixture.root.path().display()
    ));
    for script in [
        "ndshm export xs -o - > out.npy; cmp out.npy plain.npy",
        "ndshm --json export xs -o - > out.npy; cmp out.npy plain.npy",
        "ndshm export xs -o /dev/stdout > out.npy; cmp out.npy plain.npy",
        "{ printf 12345; ndshm export xs -o -; } > out.npy; tail -c +6 out.npy | cmp - plain.npy",
        "ndshm export xs --format npy -o >(cat > out.npy; touch done); until [ -e done ]; do :; \
         done; cmp out.npy plain.npy",
        "mkfifo pipe; cat pipe > out.npy & ndshm export xs --format npy -o pipe; wait; \
         cmp out.npy plain.npy; [ -p pipe ]",
        "ln -s target.npy link.npy; ndshm export xs -o link.npy; ndshm export xs -f -o link.npy; \
         [ -L link.npy ] && cmp target.npy plain.npy",
        "ndshm import - --name a1 < plain.npy",
        "ndshm import <(cat plain.npy) --format npy --name a2",
        "{ head -c 5 > /dev/null; ndshm import - --name a3; } < <(printf 12345; cat plain.npy)",
    ] {
        let output = shell(&fixture, script);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{script}: {output:?}"
        );
    }
    let output = shell(
        &fixture,
        "ndshm export xs -o - | head -c 100 | wc -c; echo ${PIPESTATUS[1]}",
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "100\n0\n");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_stream_that_cannot_be_imported_says_why_and_makes_no_array() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[30]);
    for (script, words) in [
        (
            "echo hello | ndshm import - --name a",
            "no lines of numbers",
        ),
        (
            r"printf '\x80\x81' | ndshm import - --name a",
            "no .npy, .npz or safetensors file, and no text",
        ),
        (
            "ndshm import - --name a < /dev/null",
            "no .npy, .npz or safetensors file",
        ),
        ("ndshm export xs -o - | ndshm import -", "give --name"),
        (
            "ndshm export xs -o - | head -c 300 | ndshm import - --name a",
            "it ends too early",
        ),
        (
            "{ ndshm export xs -o -; echo; } | ndshm import - --name a",
            "more bytes follow",
        ),
        ("ndshm export xs xs -o - | cat", "or by --format"),
        (
            "script -qec 'NDSHM export xs -o -' /dev/null",
            "the standard output is a terminal",
        ),
        (
            "script -qec 'NDSHM export xs --format raw -o /dev/tty' /dev/null",
            "it is a terminal",
        ),
        (
            "script -qec 'NDSHM import - --name a' /dev/null",
            "the standard input is a terminal",
        ),
    ] {
        if script.starts_with("script") && !std::path::Path::new("/usr/bin/script").exists() {
            crate::common::skip(
                "a_stream_that_cannot_be_imported",
                "script is not installed",
            );
            continue;
        }
        let tool = snapbox::cmd::cargo_bin!("ndshm").display().to_string();
        let output = shell(&fixture, &script.replace("NDSHM", &tool));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            !output.status.success() && said.contains(words),
            "{script}: {said}"
        );
        assert!(!fixture.run.contains("a").unwrap(), "{script}");
    }
}
