//! The names of arrays and stores at the arguments that take them; clap's engine knows the rest.

use super::Line;
use crate::{Cli, context::Context, target::nearest};
use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What an argument names, by its identifier in a command's `Args`.
const ARRAYS: &[&str] = &["array", "arrays", "source", "what", "first", "second"];
const STORES: &[&str] = &["store", "stores", "guarded"];
/// Arguments that name whole stores, or arrays.
const LISTED: &[&str] = &["names"];
/// Arguments that name a new array, which may be in another store.
const PLACES: &[&str] = &["name", "to"];

/// All candidates for the last word of a line.
pub(super) fn candidates(context: &Context, line: &Line) -> Vec<String> {
    let choice = Arc::new(Choice::of(context, line));
    let mut command = with_names(Cli::command(), &choice);
    let mut words: Vec<OsString> = line.before.iter().map(OsString::from).collect();
    words.push(OsString::from(&line.current));
    let (last, here) = (words.len() - 1, std::env::current_dir().ok());
    let found = engine::complete(&mut command, words, last, here.as_deref());
    let found = found.unwrap_or_default().into_iter();
    let texts = found.filter_map(|candidate| candidate.get_value().to_str().map(str::to_owned));
    // An empty word would get the options too, among which the names are lost.
    let texts: Vec<_> = texts
        .filter(|text| !line.current.is_empty() || !text.starts_with('-'))
        .collect();
    texts
}

fn with_names(command: Command, choice: &Arc<Choice>) -> Command {
    command
        .mut_args(|arg| completed(arg, choice))
        .mut_subcommands(|command| with_names(command, choice))
}

fn completed(arg: Arg, choice: &Arc<Choice>) -> Arg {
    let choice = choice.clone();
    let is_one_of = |ids: &[&str]| ids.contains(&arg.get_id().as_str());
    let complete: fn(&Choice, &str) -> Vec<String> = match () {
        () if is_one_of(ARRAYS) => Choice::arrays,
        () if is_one_of(STORES) => Choice::stores,
        () if is_one_of(LISTED) => Choice::listed,
        () if is_one_of(PLACES) => Choice::places,
        () => return arg,
    };
    arg.add(ArgValueCompleter::new(move |current: &OsStr| {
        let texts = complete(&choice, current.to_str().unwrap_or_default());
        texts.into_iter().map(CompletionCandidate::new).collect()
    }))
}

/// The arrays and stores that a command line can name.
struct Choice {
    root: Option<PathBuf>,
    stores: Vec<PathBuf>,
    /// The store of --store on that line or of NDSHM_STORE.
    selected: Option<PathBuf>,
}

impl Choice {
    fn of(context: &Context, line: &Line) -> Self {
        let words = &line.before;
        let option = words.iter().enumerate().find_map(|(at, word)| {
            let joined = word.strip_prefix("--store=");
            let next = words.get(at + 1).map(String::as_str);
            joined.or(next.filter(|_| word == "--store"))
        });
        let selected = match option {
            Some(store) => context.find_store(Path::new(store)).ok(),
            None => context.store().ok().flatten(),
        };
        Self {
            root: context.root().ok(),
            stores: context.stores().unwrap_or_default(),
            selected,
        }
    }

    /// Names in the selected store, else the names that one store alone has; stores, with a slash;
    /// behind a slash the arrays of the store. Also behind the `KEY=` of an export.
    fn arrays(&self, current: &str) -> Vec<String> {
        let mut found = self.names(current);
        if let Some((key, current)) = current.split_once('=') {
            let names = self.names(current).into_iter();
            found.extend(names.map(|name| format!("{key}={name}")));
        }
        found
    }

    fn names(&self, current: &str) -> Vec<String> {
        if let Some((store, name)) = current.rsplit_once('/') {
            let mut found = nearest::names_in(&self.directory(store));
            found.retain(|found| found.starts_with(name));
            found.sort();
            return found
                .into_iter()
                .map(|found| format!("{store}/{found}"))
                .collect();
        }
        let stores = match &self.selected {
            Some(store) => std::slice::from_ref(store),
            None => &self.stores,
        };
        let mut count = BTreeMap::<String, usize>::new();
        for name in stores.iter().flat_map(|store| nearest::names_in(store)) {
            if name.starts_with(current) {
                *count.entry(name).or_default() += 1;
            }
        }
        let names = count.into_iter().filter(|(_, stores)| *stores == 1);
        let names = names.map(|(name, _)| name);
        names.chain(self.places(current)).collect()
    }

    /// Stores without a slash, and arrays.
    fn listed(&self, current: &str) -> Vec<String> {
        let mut found = self.names(current);
        found.retain(|name| !name.ends_with('/'));
        self.stores(current).into_iter().chain(found).collect()
    }

    fn stores(&self, current: &str) -> Vec<String> {
        let names = self.stores.iter().map(|store| nearest::name_of(store));
        names.filter(|name| name.starts_with(current)).collect()
    }

    /// The stores, with a slash behind them.
    fn places(&self, current: &str) -> Vec<String> {
        let stores = self.stores(current).into_iter();
        stores.map(|store| format!("{store}/")).collect()
    }

    /// The directory of a store of this name, or at this path.
    fn directory(&self, store: &str) -> PathBuf {
        let in_root = self.root.as_ref().map(|root| root.join(store));
        in_root
            .filter(|directory| directory.is_dir())
            .unwrap_or_else(|| PathBuf::from(format!("{store}/")))
    }
}
