//! Patterns of names: `frame-*`, `run/tmp-?`, `*/frames`, with an optional slice.

use super::{Target, find, nearest, selector, selector::Selector};
use crate::{
    context::Context,
    failure::{Code, Failure},
    shell,
};
use ndshm::{ArrayInfo, Error};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use wildmatch::WildMatch;

impl Target {
    /// The arrays that a text names: one, or all that match a pattern, in the order of their paths.
    /// An array that has the pattern for its name comes first.
    pub(crate) fn find_all(context: &Context, text: &str) -> Result<Vec<Self>, Failure> {
        match Self::find(context, text) {
            Ok(target) => Ok(vec![target]),
            Err(failure) if failure.code() != Code::NotFound || !is_pattern(text) => Err(failure),
            Err(_) => matching(context, text),
        }
    }
}

/// Whether a text can stand for several arrays.
pub(crate) fn is_pattern(text: &str) -> bool {
    let name = name_and_selector(text).0;
    !text.starts_with("ndshm1:") && name.contains(['*', '?'])
}

/// A name is as short as possible here: brackets are a slice where they can be one.
fn name_and_selector(text: &str) -> (&str, Option<&str>) {
    match selector::splits(text).last() {
        Some((name, selector)) => (name, Some(selector)),
        None => (text, None),
    }
}

fn matching(context: &Context, text: &str) -> Result<Vec<Target>, Failure> {
    let (path, selector) = name_and_selector(text);
    let selector = selector.map(Selector::parse).transpose()?;
    let (store, name) = match path.rsplit_once('/') {
        Some((store, name)) => (Some(store), name),
        None => (None, path),
    };
    let stores = match store {
        Some(store) => stores_of(context, store)?,
        None => find::stores_of_names(context)?,
    };
    let pattern = WildMatch::new(name.strip_suffix(".ndshm").unwrap_or(name));
    let mut found = BTreeSet::new();
    for store in &stores {
        for name in nearest::names_in(store) {
            if pattern.matches(&name) {
                found.insert((store, name));
            }
        }
    }
    let in_stores: BTreeSet<_> = found
        .iter()
        .map(|(store, _)| nearest::name_of(store))
        .collect();
    if store.is_none() && in_stores.len() > 1 {
        let in_stores: Vec<_> = in_stores.into_iter().collect();
        return Err(Failure::usage(format!(
            "{path}: it matches arrays in {} stores, {}: choose one with --store or NDSHM_STORE, \
             or all by {}",
            in_stores.len(),
            in_stores.join(", "),
            shell::quote(&format!("*/{text}"))
        )));
    }
    let mut targets = Vec::new();
    for (store, name) in found {
        match ArrayInfo::at(store.join(format!("{name}.ndshm"))) {
            Ok(info) => targets.push(Target::of(context, info.handle(), selector.clone())),
            // It was deleted meanwhile.
            Err(Error::NotFound { .. } | Error::Released { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match targets.is_empty() {
        true => Err(nothing_matches(context, path, &stores)),
        false => Ok(targets),
    }
}

/// The stores of the part before the last slash: one, or in the root all that match.
fn stores_of(context: &Context, store: &str) -> Result<Vec<PathBuf>, Failure> {
    match context.find_store(Path::new(store)) {
        Ok(found) => Ok(vec![found]),
        Err(failure) if store.contains('/') || !store.contains(['*', '?']) => Err(failure),
        Err(_) => {
            let pattern = WildMatch::new(store);
            let mut stores = context.stores()?;
            stores.retain(|store| pattern.matches(&nearest::name_of(store)));
            Ok(stores)
        }
    }
}

fn nothing_matches(context: &Context, pattern: &str, stores: &[PathBuf]) -> Failure {
    let all = match stores {
        [] => context.stores().unwrap_or_default(),
        stores => stores.to_vec(),
    };
    let all = nearest::arrays_of(context, all.iter().map(PathBuf::as_path));
    let name = pattern.rsplit('/').next().unwrap_or(pattern);
    let name = name.replace(['*', '?'], "");
    let close = nearest::closest(
        &name,
        all.iter()
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()),
    );
    let close = close.and_then(|name| {
        all.into_iter()
            .find(|path| path.rsplit('/').next() == Some(&name))
    });
    let close = close.map_or("there are no named arrays".to_owned(), |name| {
        format!("the nearest is {}", shell::quote(&name))
    });
    Failure::new(
        Code::NotFound,
        format!("{pattern}: no array matches; {close}, and ndshm ls lists all"),
    )
}
