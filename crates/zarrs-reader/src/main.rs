//! Reads the checkpoints of `.ci/readers` by zarrs, and compares each array byte by byte.

use serde_json::Value;
use std::{collections::BTreeMap, error::Error, fs, path::Path, process::ExitCode, sync::Arc};
use zarrs::{
    array::{Array, ArrayBytes},
    filesystem::FilesystemStore,
};

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The bytes of an array, in C order.
fn read(group: &str, node: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let store = Arc::new(FilesystemStore::new(group)?);
    let array = Array::open(store, &format!("/{node}"))?;
    let bytes: ArrayBytes<'static> = array.retrieve_array_subset(&array.subset_all())?;
    Ok(bytes.into_fixed()?.into_owned())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("name the directory")?;
    let directory = Path::new(&directory);
    let described = fs::read_to_string(directory.join("expected.json"))?;
    let described: Value = serde_json::from_str(&described)?;
    let arrays = described["arrays"].as_object().ok_or("no arrays")?;
    let groups = described["groups"].as_array().ok_or("no groups")?;
    // Of each kind the number of groups in which an array was not equal.
    let mut wrong: BTreeMap<&str, usize> = BTreeMap::new();
    for group in groups {
        for (node, entry) in arrays {
            let expected = fs::read(directory.join(text(&entry["raw"])))?;
            let wrong = wrong.entry(text(&entry["kind"])).or_default();
            match read(text(&group["path"]), node) {
                Ok(found) if found == expected => {}
                other => {
                    *wrong += 1;
                    let reason = other.map_or_else(|error| error.to_string(), |_| "differs".into());
                    println!("zarrs, {}, {node}: {reason}", text(&group["name"]));
                }
            }
        }
    }
    for (kind, wrong) in &wrong {
        println!(
            "{kind:32} zarrs {}/{}",
            groups.len().saturating_sub(*wrong),
            groups.len()
        );
    }
    Ok(ExitCode::from(u8::from(
        wrong.values().any(|&wrong| wrong > 0),
    )))
}
