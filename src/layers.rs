//! The order of the folders: a folder imports only from the folders before it and from the files at
//! the root.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folders, lowest first. ARCHITECTURE.md describes each of them.
const FOLDERS: [&str; 13] = [
    "sys", "layout", "element", "format", "state", "store", "handle", "segment", "inspect",
    "array", "ring", "manager", "interop",
];

/// The names that a file may import from the root. The other re-exports are for users of the
/// library.
const FROM_THE_ROOT: [&str; 2] = ["Error", "Result"];

#[test]
fn a_folder_imports_from_folders_before_it_only() {
    let mut found = Vec::new();
    for (place, folder) in FOLDERS.iter().enumerate() {
        for file in sources(&src().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            for name in first_names(code) {
                let is_upward = FOLDERS.iter().skip(place + 1).any(|above| *above == name);
                let is_reexport =
                    name.starts_with(char::is_uppercase) && !FROM_THE_ROOT.contains(&name.as_str());
                if is_upward || is_reexport {
                    found.push(format!("{} imports crate::{name}", file.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_folder_has_its_place_in_the_order() {
    let folders = fs::read_dir(src())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<_> = folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "failpoint" && name != "bin")
        .collect();
    let mut known = FOLDERS.map(String::from);
    names.sort();
    known.sort();
    assert_eq!(names, known);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All `.rs` files of a folder that are compiled outside of tests too.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
    found
}

/// The first names of all paths that begin with `crate::`, in imports and elsewhere, without
/// comments.
fn first_names(code: &str) -> Vec<String> {
    let without_comments: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    // In a macro, `$crate` is the caller's path to this crate.
    let own = without_comments
        .replace("$crate::", "")
        .replace("$dollar crate::", "");
    own.split("crate::").skip(1).flat_map(names_after).collect()
}

/// The next name of a path, or the names in its braces.
fn names_after(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![leading_name(path)];
    };
    let mut depth = 0;
    let mut names = vec![leading_name(group)];
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(leading_name(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}
