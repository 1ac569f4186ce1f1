//! Finds arrays by name, path and id.

use super::nearest;
use crate::{
    context::Context,
    failure::{Code, Failure},
    shell,
};
use ndshm::{ArrayInfo, Observer};
use std::path::{Path, PathBuf};

/// Fewest digits of an id that name an array.
const FEWEST_DIGITS: usize = 4;
/// Most arrays that the error of an ambiguous name lists.
const MOST_LISTED: usize = 5;

/// The array of this name, path or id.
pub(super) fn info_of(context: &Context, name: &str) -> Result<ArrayInfo, Failure> {
    if name.contains('/') {
        return at_path(context, name);
    }
    let stores = stores_of_names(context)?;
    let mut found = Vec::new();
    for store in &stores {
        let path = store.join(format!("{name}.ndshm"));
        if path.symlink_metadata().is_ok() {
            found.push(path);
        }
    }
    if found.is_empty() {
        found = with_id(&stores, name);
    }
    match &found[..] {
        [path] => Ok(ArrayInfo::at(path)?),
        [] => Err(no_such_name(context, &stores, name)),
        _ => Err(ambiguous(context, name, &found)),
    }
}

/// The stores in which a name without a store is looked for: that of --store or NDSHM_STORE, else
/// all.
pub(super) fn stores_of_names(context: &Context) -> Result<Vec<PathBuf>, Failure> {
    Ok(match context.store()? {
        Some(store) => vec![store],
        None => context.stores()?,
    })
}

fn no_such_name(context: &Context, stores: &[PathBuf], name: &str) -> Failure {
    let close = || {
        let all = nearest::arrays_of(context, stores.iter().map(PathBuf::as_path));
        let close = nearest::close_to(name, all.iter().map(|path| last_part(path)));
        let suggested = close.iter().flat_map(|close| {
            all.iter()
                .filter(move |path| last_part(path) == *close)
                .cloned()
        });
        nearest::suggestion(&suggested.take(3).collect::<Vec<_>>())
    };
    let words = match stores {
        [] => format!(
            "{name}: there are no stores; name one with --store or NDSHM_STORE, or give a path"
        ),
        [store] => format!(
            "{name}: no such array in {}{}; ndshm ls lists the arrays, and --store chooses \
             another store",
            store.display(),
            close()
        ),
        stores => format!(
            "{name}: no such array in {} stores{}; ndshm ls lists the arrays",
            stores.len(),
            close()
        ),
    };
    Failure::new(Code::NotFound, words)
}

fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// The error of a name or of digits that several arrays have.
fn ambiguous(context: &Context, name: &str, found: &[PathBuf]) -> Failure {
    let one = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let store = path.parent().unwrap_or(Path::new("/"));
        let array = shell::quote(&nearest::in_store(context, store, &stem));
        match ArrayInfo::at(path) {
            Ok(info) if stem != name => format!("{array} ({})", info.id),
            _ => array,
        }
    };
    let mut listed: Vec<_> = found.iter().take(MOST_LISTED).map(one).collect();
    if found.len() > MOST_LISTED {
        listed.push(format!("{} more", found.len() - MOST_LISTED));
    }
    Failure::usage(format!(
        "{name}: there are {} arrays, {}: choose the store with --store or NDSHM_STORE, or give \
         more digits of the id",
        found.len(),
        listed.join(", ")
    ))
}

/// The array of a path, with or without the suffix, or of `STORE/NAME` or `STORE/ID`.
fn at_path(context: &Context, name: &str) -> Result<ArrayInfo, Failure> {
    let given = PathBuf::from(name);
    let with_suffix = PathBuf::from(format!("{name}.ndshm"));
    let is_there = |path: &PathBuf| {
        path.symlink_metadata()
            .is_ok_and(|metadata| !metadata.is_dir())
    };
    let in_root = context.root().ok().map(|root| root.join(&with_suffix));
    let found = [Some(given), Some(with_suffix), in_root]
        .into_iter()
        .flatten()
        .find(is_there);
    let Some(found) = found else {
        return by_id_in_store(context, name);
    };
    let (directory, file) = (
        found.parent().unwrap_or(Path::new(".")),
        found.file_name().unwrap_or_default(),
    );
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    Ok(ArrayInfo::at(std::fs::canonicalize(directory)?.join(file))?)
}

/// The array of `STORE/ID`, where no file has the path.
fn by_id_in_store(context: &Context, name: &str) -> Result<ArrayInfo, Failure> {
    let (store, digits) = name.rsplit_once('/').unwrap_or(("", name));
    let Ok(store) = context.find_store(Path::new(store)) else {
        return Err(no_such_path(context, name));
    };
    let found = with_id(std::slice::from_ref(&store), digits);
    match &found[..] {
        [path] => Ok(ArrayInfo::at(path)?),
        [] => {
            let close = nearest::close_to(digits, nearest::names_in(&store));
            let close = close
                .iter()
                .map(|name| nearest::in_store(context, &store, name));
            Err(Failure::new(
                Code::NotFound,
                format!(
                    "{name}: no such array in {}{}; ndshm ls lists the arrays",
                    store.display(),
                    nearest::suggestion(&close.collect::<Vec<_>>())
                ),
            ))
        }
        _ => Err(ambiguous(context, name, &found)),
    }
}

fn no_such_path(context: &Context, name: &str) -> Failure {
    let stores = context.stores().unwrap_or_default();
    let all = nearest::arrays_of(context, stores.iter().map(PathBuf::as_path));
    Failure::new(
        Code::NotFound,
        format!(
            "{name}: no such file, and no such array in the root{}; ndshm ls lists the arrays",
            nearest::suggestion(&nearest::close_to(name, all))
        ),
    )
}

/// The arrays whose ids begin with these digits, named or not, and those without a name whose file
/// names do.
fn with_id(stores: &[PathBuf], digits: &str) -> Vec<PathBuf> {
    let digits = digits.replace('-', "").to_ascii_lowercase();
    if digits.len() < FEWEST_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for store in stores {
        // A store that cannot be read has no arrays here; ls says why.
        let arrays = Observer::open(store).and_then(|observer| observer.arrays());
        for info in arrays.into_iter().flatten().flatten() {
            let id = info.id.to_string().replace('-', "");
            let stem = info.path.file_stem().unwrap_or_default();
            let stem = stem.to_str().filter(|_| info.name.is_none());
            if id.to_ascii_lowercase().starts_with(&digits)
                || stem.is_some_and(|stem| stem.starts_with(&digits))
            {
                found.push(info.path);
            }
        }
    }
    found
}
