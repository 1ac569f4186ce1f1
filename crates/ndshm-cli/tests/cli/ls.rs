//! `ls`.

use crate::{
    common::Peer,
    fixture::{Fixture, leave_a_dead_store, start_a_writer},
};
use snapbox::{cmd::cargo_bin, str};

#[path = "../../src/survey/maps.rs"]
#[allow(dead_code, reason = "the tool uses the rest")]
mod maps;

#[test]
fn an_empty_root_has_no_stores() {
    let root = crate::common::Root::new();
    crate::fixture::tool(root.path())
        .arg("ls")
        .assert()
        .success()
        .stdout_eq(str![[r#"
0 stores, 0 arrays, 0 B; [..] has [..] of [..] in use ([..] %)

"#]]);
}

#[test]
fn arrays_are_listed_with_type_shape_size_and_mapping_processes() {
    let fixture = Fixture::new();
    let _xs = fixture.arange("xs", &[3, 4]);
    fixture.arange("ys", &[5]).freeze().unwrap();
    fixture.ndshm("ls").success().stdout_eq(str![[r#"
run  persistent, 1 member, 2 arrays, 16 KiB
  NAME  DTYPE  SHAPE   SIZE   AGE  SCOPE  MAPPED BY[..]STATE
  xs    <f8    (3, 4)  8 KiB  [..] s  store  cli[..]
  ys    <f8    (5,)    8 KiB  [..] s  store [..] frozen
1 store, 2 arrays, 16 KiB; [..]

"#]]);
}

#[test]
fn leftovers_are_red_and_can_be_listed_alone() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3, 4]);
    leave_a_dead_store(&fixture);
    fixture.ndshm("ls --dead").success().stdout_eq(str![[r#"
dead  ephemeral, owner dead, dead: ndshm sweep deletes it, 1 array, 12 KiB
  NAME  DTYPE  SHAPE    SIZE    AGE  SCOPE  MAPPED BY  STATE
  left  <f8    (1000,)  12 KiB  [..] s  local [..] dead
1 store, 1 array, 12 KiB; [..]
12 KiB of it belong to dead processes: ndshm sweep frees them

"#]]);
    let red = fixture
        .command("--color always ls --dead")
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    assert!(
        String::from_utf8(red)
            .unwrap()
            .contains("\u{1b}[1m\u{1b}[31mdead")
    );
}

#[test]
fn guards_poison_and_owners_are_in_the_json() {
    let fixture = Fixture::new();
    let _xs = fixture.arange("xs", &[8]);
    let mut writer = start_a_writer(&fixture);
    let array = fixture.json("ls")["stores"][0]["arrays"][0].clone();
    let guard = &array["guards"][0];
    assert_eq!(
        (&guard["kind"], &guard["start"], &guard["end"]),
        (&"write".into(), &16.into(), &32.into()),
        "{array:#}"
    );
    let pids: Vec<_> = array["mapped_by"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mapped| mapped["pid"].clone())
        .collect();
    assert!(
        guard["pid"].is_u64()
            && pids.contains(&guard["pid"])
            && pids.contains(&std::process::id().into()),
        "{array:#}"
    );
    writer.kill();
    let array = fixture.json("ls")["stores"][0]["arrays"][0].clone();
    assert_eq!(
        (
            array["poisoned"].to_string().as_str(),
            array["guards"].as_array().unwrap().len()
        ),
        ("[[16,32]]", 0),
        "{array:#}"
    );
    assert_eq!(
        (&array["name"], &array["dtype"], &array["scope"]),
        (&"xs".into(), &"<f8".into(), &"store".into())
    );
}

#[test]
fn one_damaged_file_does_not_hide_the_others() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[8]);
    let bad = fixture.arange("bad", &[8]);
    let file = std::fs::File::options()
        .write(true)
        .open(bad.path())
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[7], 68).unwrap();
    let text = fixture.output("ls");
    assert!(
        text.contains("damaged: ") && text.contains("bad.ndshm") && text.contains("  xs "),
        "{text}"
    );
}

// `ls` called a note that is called like an array a damaged array.
#[test]
fn a_file_that_is_not_the_stores_is_called_so() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[8]);
    std::fs::write(fixture.run.path().join("note.ndshm"), "no array").unwrap();
    std::fs::write(fixture.run.path().join("notes.txt"), "no array").unwrap();
    let text = fixture.output("ls");
    assert!(
        text.contains("stray: note.ndshm: not the store's")
            && text.contains("stray: notes.txt: not the store's")
            && text.contains("  xs ")
            && !text.contains("damaged"),
        "{text}"
    );
    let json = fixture.output("ls --json");
    assert!(
        json.contains("note.ndshm") && json.contains("\"strays\""),
        "{json}"
    );
}

#[test]
fn a_released_array_that_is_still_mapped_is_listed() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[100_000]);
    xs.release().unwrap();
    let text = fixture.output("ls");
    assert!(
        text.contains("released, still in memory:")
            && text.contains(&format!("mapped by {}", std::process::id())),
        "{text}"
    );
}

#[test]
fn arrays_are_sorted_and_stores_are_listed_in_brief() {
    let fixture = Fixture::new();
    fixture.arange("b", &[2]);
    fixture.arange("a", &[100_000]);
    fixture.arange("c", &[10_000]);
    let order = |sort: &str| -> Vec<String> {
        let arrays = fixture.json(&format!("ls --sort {sort}"))["stores"][0]["arrays"].clone();
        arrays
            .as_array()
            .unwrap()
            .iter()
            .map(|array| array["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (order("created"), order("name"), order("size")),
        (words("b a c"), words("a b c"), words("a c b"))
    );
    assert_eq!(fixture.output("ls --brief run").lines().count(), 2);
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// The lines of `ndshm ls` on a terminal of so many columns; none without the tool `script`.
fn lines_on_terminal(fixture: &Fixture, columns: u16, variable: &str) -> Option<Vec<String>> {
    let tool = snapbox::cmd::cargo_bin!("ndshm");
    let line = format!(
        "stty cols {columns} rows 0; exec '{}' --color never ls run",
        tool.display()
    );
    let output = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("NDSHM_ROOT", fixture.root.path())
        .env("COLUMNS", variable)
        .env_remove("LINES")
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect(),
    )
}

// A terminal that does not know its size has 0 columns: each letter stood on a line of its own. So
// it was on a terminal of 20.
#[test]
fn a_terminal_of_no_or_few_columns_gets_whole_lines() {
    let fixture = Fixture::new();
    let name = "an-array-with-a-name-that-is-longer-than-forty-columns";
    let _xs = fixture.arange(name, &[3, 4]);
    let is_row = |line: &String| line.contains(name) && line.contains("(3, 4)  8 KiB");
    for (columns, variable) in [(0, ""), (0, "0"), (0, "7"), (1, "200"), (20, ""), (59, "")] {
        let Some(lines) = lines_on_terminal(&fixture, columns, variable) else {
            let test = "a_terminal_of_no_or_few_columns_gets_whole_lines";
            return crate::common::skip(test, "script is not installed here");
        };
        assert!(
            lines.iter().any(is_row) && lines.len() < 6,
            "{columns}: {lines:#?}"
        );
    }
    // Wide enough to wrap the name, by the terminal or by the variable.
    for (columns, variable) in [(70, ""), (0, "70")] {
        let lines = lines_on_terminal(&fixture, columns, variable).unwrap();
        assert!(!lines.iter().any(is_row), "{columns}: {lines:#?}");
        let widest = lines.iter().filter(|line| line.starts_with("  "));
        assert!(widest.clone().all(|line| line.len() <= 70), "{lines:#?}");
        assert!(widest.count() < 8, "{lines:#?}");
    }
}

#[test]
#[ignore = "started by another test"]
fn child_that_maps() {
    let _xs = ndshm::SharedArray1::<f64>::open_path(crate::common::arguments().remove(0)).unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    crate::common::done();
}

// A store of 1,000 members took 140 ms: the tool read the maps, the name and the descriptors of
// each process, and showed that there were 1,000.
#[test]
fn a_process_that_is_only_counted_is_looked_at_once() {
    let fixture = Fixture::new();
    let test = "a_process_that_is_only_counted_is_looked_at_once";
    let _xs = fixture.arange("xs", &[8]);
    let path = fixture.run.path().join("xs.ndshm");
    let members: Vec<_> = (0..12)
        .map(|_| {
            let mut member = Peer::start(child_that_maps, &[path.to_str().unwrap()]);
            member.hear("ready");
            member
        })
        .collect();
    let trace = fixture.root.path().join("trace");
    let tool = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=openat,open,ioctl,read", "-o"])
        .args([trace.as_os_str(), cargo_bin!("ndshm").as_os_str()])
        .arg("ls")
        .env("NDSHM_ROOT", fixture.root.path())
        .output();
    let Ok(output) = tool else {
        return crate::common::skip(test, "strace is not installed here");
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("13 members") && text.contains("13 processes"),
        "{text}"
    );
    let trace = std::fs::read_to_string(trace).unwrap();
    for member in &members {
        let place = format!("/proc/{}/", member.pid().as_raw_nonzero());
        let opened: Vec<_> = trace.lines().filter(|line| line.contains(&place)).collect();
        assert!(
            opened.len() == 1 && opened[0].contains("maps"),
            "{opened:?}"
        );
    }
}

// The two ways to ask for a process's mappings.
#[test]
fn questions_and_the_text_name_the_same_mappings() {
    let fixture = Fixture::new();
    let _xs = fixture.arange("xs", &[1000]);
    let [frozen, released] = ["ys", "zs"].map(|name| fixture.arange(name, &[5]));
    frozen.freeze().unwrap();
    released.release().unwrap();
    let open = || std::fs::File::open("/proc/self/maps").unwrap();
    let of_root = |parts: Vec<maps::Part>| {
        let root = fixture.root.path().to_str().unwrap();
        let mut parts = parts;
        parts.retain(|part| part.path.starts_with(root));
        parts
    };
    let text = of_root(maps::read(open()));
    let ends = ["xs.ndshm", "ys.ndshm", "zs.ndshm (deleted)", "/.lock"];
    for end in ends {
        assert!(
            text.iter().any(|part| part.path.ends_with(end)),
            "{end}: {text:?}"
        );
    }
    let Some(answers) = maps::Look::default().ask(&open()) else {
        let test = "questions_and_the_text_name_the_same_mappings";
        return crate::common::skip(test, "this kernel has no PROCMAP_QUERY: Linux 6.11 has");
    };
    assert_eq!(of_root(answers), text);
}

#[test]
fn arrays_are_listed_by_name_and_by_pattern() {
    let fixture = Fixture::new();
    for name in ["frame-1", "frame-2", "other", "f*"] {
        fixture.arange(name, &[2]);
    }
    fixture
        .ndshm("new side/frame-3 u8 1 --create-store")
        .success();
    fixture.ndshm("new side/labels u8 1").success();
    let listed = |arguments: &str| {
        let survey = fixture.json(&format!("ls {arguments}"));
        let stores = survey["stores"].as_array().unwrap();
        let of_store = |store: &serde_json::Value| {
            let arrays = store["arrays"].as_array().unwrap().iter();
            let names: Vec<_> = arrays
                .map(|array| array["name"].as_str().unwrap())
                .collect();
            format!("{}: {}", store["name"].as_str().unwrap(), names.join(" "))
        };
        stores.iter().map(of_store).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(listed("'frame-*'"), "run: frame-1 frame-2; side: frame-3");
    assert_eq!(listed("'frame-*' --store side"), "side: frame-3");
    assert_eq!(listed("'run/frame-*' --sort name"), "run: frame-1 frame-2");
    assert_eq!(listed("run/other side"), "run: other; side: frame-3 labels");
    assert_eq!(listed("labels other"), "side: labels; run: other");
    // An array whose name is the pattern, and stores by a pattern.
    assert_eq!(listed("'run/f*'"), "run: f*");
    assert_eq!(listed("'si*'"), "side: frame-3 labels");
    let (error, code) = fixture.failure("ls 'frane-*'");
    assert!(
        error.contains("frane-*: no array matches") && code == 3,
        "{error}"
    );
    let (error, code) = fixture.failure("ls run/othr");
    assert!(error.contains("other") && code == 3, "{error}");
    let (error, code) = fixture.failure("ls 'run/other[0]'");
    assert!(
        error.contains("ndshm show takes slices") && code == 2,
        "{error}"
    );
}
