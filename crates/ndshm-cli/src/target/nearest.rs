//! Names that are close to one that was not found.

use crate::{context::Context, failure::printable, shell};
use std::{collections::BTreeSet, path::Path};

/// Most names that an error suggests.
const MOST: usize = 3;

/// Up to three of the names that are close to this one, the closest first.
pub(crate) fn close_to(name: &str, candidates: impl IntoIterator<Item = String>) -> Vec<String> {
    let lower = name.to_lowercase();
    let most = lower.chars().count() / 3;
    let mut found: Vec<(usize, String)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&lower, &other);
            let is_part = lower.chars().count() >= 3 && other.contains(&lower);
            (distance <= most || is_part).then_some((distance, candidate))
        })
        .collect();
    found.sort();
    found.dedup();
    found
        .into_iter()
        .take(MOST)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// The one that is the closest, however far it is.
pub(crate) fn closest(name: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    let candidates: BTreeSet<_> = candidates.into_iter().collect();
    let distance = |candidate: &String| strsim::damerau_levenshtein(name, candidate);
    candidates.into_iter().min_by_key(distance)
}

/// The words that suggest these names, as a user would type them; nothing without a name.
pub(crate) fn suggestion(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| shell::quote(name)).collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => format!(" (did you mean {only}?)"),
        Some((last, others)) => format!(" (did you mean {} or {last}?)", others.join(", ")),
    }
}

/// The names of the arrays in a store that users chose, without a look at the files.
pub(crate) fn names_in(store: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        let name = file.strip_suffix(".ndshm")?;
        let is_id = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!is_id && !name.starts_with('.') && !name.is_empty()).then(|| name.to_owned())
    });
    names.collect()
}

/// The name of a store's directory.
pub(crate) fn name_of(store: &Path) -> String {
    let name = store.file_name().unwrap_or(store.as_os_str());
    printable(&name.to_string_lossy())
}

/// The way to name an array of a store on a command line: `STORE/NAME`, with the whole path of a
/// store outside the root.
pub(crate) fn in_store(context: &Context, store: &Path, name: &str) -> String {
    let is_in_root = context
        .root()
        .ok()
        .and_then(|root| std::fs::canonicalize(root).ok())
        .is_some_and(|root| store.parent() == Some(&root));
    match is_in_root {
        true => format!("{}/{name}", name_of(store)),
        false => format!("{}/{name}", store.display()),
    }
}

/// All named arrays of these stores, as [`in_store`] names them.
pub(crate) fn arrays_of<'a>(
    context: &Context,
    stores: impl IntoIterator<Item = &'a Path>,
) -> Vec<String> {
    let named = |store: &'a Path| {
        let prefix = in_store(context, store, "");
        names_in(store)
            .into_iter()
            .map(move |name| format!("{prefix}{name}"))
    };
    stores.into_iter().flat_map(named).collect()
}
