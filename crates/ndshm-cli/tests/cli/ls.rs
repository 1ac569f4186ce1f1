//! `ls`.

use crate::stage::{Stage, a_dead_store, a_writer};
use snapbox::str;

#[test]
fn an_empty_root_has_no_stores() {
    let root = crate::common::Root::new();
    crate::stage::tool(root.path())
        .arg("ls")
        .assert()
        .success()
        .stdout_eq(str![[r#"
0 stores, 0 arrays, 0 B; [..] has [..] of [..] in use ([..] %)

"#]]);
}

#[test]
fn arrays_are_listed_with_type_shape_size_and_who_maps_them() {
    let stage = Stage::new();
    let _xs = stage.counting("xs", &[3, 4]);
    stage.counting("ys", &[5]).freeze().unwrap();
    stage.ndshm("ls").success().stdout_eq(str![[r#"
run  persistent, 1 member, 2 arrays, 16 KiB
  NAME  DTYPE  SHAPE   SIZE   AGE  SCOPE  MAPPED BY[..]STATE
  xs    <f8    (3, 4)  8 KiB  [..] s  store  cli[..]
  ys    <f8    (5,)    8 KiB  [..] s  store [..] frozen
1 store, 2 arrays, 16 KiB; [..]

"#]]);
}

#[test]
fn dead_memory_stands_out_and_can_be_listed_alone() {
    let stage = Stage::new();
    stage.counting("xs", &[3, 4]);
    a_dead_store(&stage);
    stage.ndshm("ls --dead").success().stdout_eq(str![[r#"
dead  ephemeral, owner dead, dead: ndshm sweep deletes it, 1 array, 12 KiB
  NAME  DTYPE  SHAPE    SIZE    AGE  SCOPE  MAPPED BY  STATE
  left  <f8    (1000,)  12 KiB  [..] s  local [..] dead
1 store, 1 array, 12 KiB; [..]
12 KiB of it belong to the dead: ndshm sweep gives them back

"#]]);
    let red = stage
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
    let stage = Stage::new();
    let _xs = stage.counting("xs", &[8]);
    let mut writer = a_writer(&stage);
    let array = stage.json("ls")["stores"][0]["arrays"][0].clone();
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
    let array = stage.json("ls")["stores"][0]["arrays"][0].clone();
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
    let stage = Stage::new();
    stage.counting("xs", &[8]);
    std::fs::write(stage.run.path().join("bad.ndshm"), "no array").unwrap();
    let text = stage.output("ls");
    assert!(
        text.contains("damaged: ")
            && text.contains("bad.ndshm: the file has 8 bytes")
            && text.contains("  xs "),
        "{text}"
    );
}

#[test]
fn what_was_released_and_is_still_mapped_is_told() {
    let stage = Stage::new();
    let xs = stage.counting("xs", &[100_000]);
    xs.release().unwrap();
    let text = stage.output("ls");
    assert!(
        text.contains("released, and still in memory:")
            && text.contains(&format!("mapped by {}", std::process::id())),
        "{text}"
    );
}

#[test]
fn arrays_are_sorted_and_stores_are_told_in_brief() {
    let stage = Stage::new();
    stage.counting("b", &[2]);
    stage.counting("a", &[100_000]);
    stage.counting("c", &[10_000]);
    let order = |sort: &str| -> Vec<String> {
        let arrays = stage.json(&format!("ls --sort {sort}"))["stores"][0]["arrays"].clone();
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
    assert_eq!(stage.output("ls --brief run").lines().count(), 2);
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
