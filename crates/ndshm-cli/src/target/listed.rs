//! What `ls` lists: whole stores, and single arrays of others.

use super::{Target, nearest, patterns};
use crate::{
    context::Context,
    failure::{Code, Failure},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use wildmatch::WildMatch;

/// The stores and arrays that the command line names.
pub(crate) struct Listed {
    /// In the order in which they were named, or of their names.
    pub(crate) stores: Vec<PathBuf>,
    whole: BTreeSet<PathBuf>,
    arrays: BTreeSet<PathBuf>,
}

impl Listed {
    /// Finds stores, arrays, and all that match a pattern. Without a text: the store of --store or
    /// NDSHM_STORE, else all stores of the root.
    pub(crate) fn find(context: &Context, texts: &[PathBuf]) -> Result<Self, Failure> {
        let mut listed = Self {
            stores: Vec::new(),
            whole: BTreeSet::new(),
            arrays: BTreeSet::new(),
        };
        if texts.is_empty() {
            for store in context.choose_stores(&[])? {
                listed.add_store(store);
            }
            return Ok(listed);
        }
        // An unknown --store is an error also where the command line names others.
        let default = context.store()?;
        for text in texts {
            match (context.find_store(text), text.to_str()) {
                (Ok(store), _) => listed.add_store(store),
                (Err(failure), None) => return Err(failure),
                (Err(failure), Some(name)) => {
                    listed.add(context, name, failure, default.is_some())?
                }
            }
        }
        Ok(listed)
    }

    /// Whether an array of a listed store is listed.
    pub(crate) fn has(&self, store: &Path, array: &Path) -> bool {
        self.whole.contains(store) || self.arrays.contains(array)
    }

    fn add_store(&mut self, store: PathBuf) {
        if self.whole.insert(store.clone()) && !self.stores.contains(&store) {
            self.stores.push(store);
        }
    }

    /// Adds the arrays of a text that names no store, or whose pattern may match stores.
    fn add(
        &mut self,
        context: &Context,
        text: &str,
        no_store: Failure,
        has_default: bool,
    ) -> Result<(), Failure> {
        let is_pattern = patterns::is_pattern(text);
        let before = self.whole.len();
        if is_pattern && !text.contains('/') {
            let pattern = WildMatch::new(text);
            let mut stores = context.stores()?;
            stores.retain(|store| pattern.matches(&nearest::name_of(store)));
            stores.into_iter().for_each(|store| self.add_store(store));
        }
        let everywhere = match is_pattern && !text.contains('/') && !has_default {
            true => format!("*/{text}"),
            false => text.to_owned(),
        };
        let found = match Target::find_all(context, &everywhere) {
            Ok(found) => found,
            Err(failure) if failure.code() == Code::NotFound && is_pattern => {
                return match self.whole.len() > before {
                    true => Ok(()),
                    false => Err(failure),
                };
            }
            Err(failure) if failure.code() == Code::NotFound && !text.contains('/') => {
                return Err(no_store);
            }
            Err(failure) => return Err(failure),
        };
        for target in found {
            if target.is_sliced() {
                return Err(Failure::usage(format!(
                    "{text}: ls lists whole arrays; ndshm show takes slices"
                )));
            }
            let path = target.path().to_path_buf();
            let store = path.parent().unwrap_or(Path::new("/")).to_path_buf();
            if !self.stores.contains(&store) {
                self.stores.push(store);
            }
            self.arrays.insert(path);
        }
        Ok(())
    }
}
