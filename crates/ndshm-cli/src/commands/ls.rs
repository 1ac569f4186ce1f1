//! `ls`: the stores and their arrays, the processes that use them, and the leftovers of crashes.

use crate::{
    Outcome,
    context::Context,
    display::text,
    failure::{Failure, printable},
    survey::{ArrayView, StoreView, Survey, guard_kind},
    target::listed::Listed,
    users,
};
use clap::ValueEnum;
use comfy_table::{Cell, Color, Row};
use ndshm::ArrayKind;
use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

/// List stores and arrays with size, type, owner, mapping processes and poison, leftovers in red
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm ls run 'frame-*'
  ndshm ls --dead --json")]
pub(crate) struct Args {
    /// These stores and arrays only: directories, names, or patterns such as 'frame-*'
    #[arg(value_name = "STORE|ARRAY")]
    names: Vec<PathBuf>,
    /// One line for each store, without its arrays
    #[arg(short, long)]
    brief: bool,
    /// Only the leftovers, which a sweep would delete
    #[arg(short, long)]
    dead: bool,
    /// The order of the arrays
    #[arg(long, value_enum, default_value = "created")]
    sort: Sort,
    /// The stores in the default roots of all users, for root only
    #[arg(long, conflicts_with = "names")]
    all_users: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    Created,
    Name,
    Size,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if args.all_users {
        let sort = args.sort.to_possible_value();
        let sort = format!(
            "--sort={}",
            sort.as_ref().map_or("created", |sort| sort.get_name())
        );
        let mut command = vec!["ls", &sort];
        command.extend(args.brief.then_some("--brief"));
        command.extend(args.dead.then_some("--dead"));
        return users::run_for_all(context, &command);
    }
    let listed = Listed::find(context, &args.names)?;
    let mut survey = Survey::look(&context.root_of(&listed.stores), &listed.stores)?;
    for store in &mut survey.stores {
        let path = &store.path;
        let is_listed = |array: &ArrayView| listed.has(path, &array.info.path);
        store.arrays.retain(is_listed);
        match args.sort {
            Sort::Created => {}
            Sort::Name => store.arrays.sort_by_key(ArrayView::name),
            Sort::Size => store
                .arrays
                .sort_by_key(|array| std::cmp::Reverse(array.allocated)),
        }
        if args.dead {
            store.arrays.retain(|array| array.is_dead);
        }
    }
    if args.dead {
        survey
            .stores
            .retain(|store| store.is_dead() || !store.arrays.is_empty());
    }
    match context.is_json {
        true => context.print_json(&survey.to_json())?,
        false => print(context, args, &survey)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(context: &Context, args: &Args, survey: &Survey) -> Result<(), Failure> {
    let mut out = context.out();
    for store in &survey.stores {
        let style = if store.is_dead() {
            text::BAD
        } else {
            text::HEAD
        };
        writeln!(
            out,
            "{}  {}",
            text::styled(style, store.name()),
            describe(store)
        )?;
        for damaged in &store.damaged {
            writeln!(out, "  {} {damaged}", text::styled(text::BAD, "damaged:"))?;
        }
        for stray in &store.strays {
            let name = stray.file_name().unwrap_or(stray.as_os_str());
            let name = printable(&name.to_string_lossy());
            writeln!(
                out,
                "  {} {name}: not the store's, and keeps it from being deleted: move it away",
                text::styled(text::BAD, "stray:")
            )?;
        }
        if !args.brief && !store.arrays.is_empty() {
            let mut table = text::table(
                &[
                    "NAME",
                    "DTYPE",
                    "SHAPE",
                    "SIZE",
                    "AGE",
                    "SCOPE",
                    "MAPPED BY",
                    "STATE",
                ],
                context.has_colors(),
            );
            store.arrays.iter().for_each(|array| {
                table.add_row(row(survey, store, array));
            });
            for line in table.lines() {
                writeln!(out, " {}", line.trim_end())?;
            }
        }
    }
    summarize(&mut out, survey)?;
    Ok(out.flush()?)
}

/// The rest of a store's line.
fn describe(store: &StoreView) -> String {
    let kind = match (store.is_persistent, store.is_closing) {
        (_, true) => "half deleted",
        (true, _) => "persistent",
        (false, _) => "ephemeral",
    };
    let owner = match store.owner {
        Some(owner) if owner.is_alive => store
            .pids
            .process_of(owner.id)
            .map_or(", owner alive".into(), |pid| format!(", owner {pid}")),
        Some(_) => format!(", {}", text::styled(text::BAD, "owner dead")),
        None => String::new(),
    };
    let members = match store.members.len() {
        0 if store.is_dead() => text::styled(text::BAD, "dead: ndshm sweep deletes it"),
        members => text::count(members, "member"),
    };
    format!(
        "{kind}{owner}, {members}, {}, {}",
        text::count(store.arrays.len(), "array"),
        text::bytes(store.bytes())
    )
}

fn row(survey: &Survey, store: &StoreView, array: &ArrayView) -> Row {
    let info = &array.info;
    let name = Cell::new(array.name());
    let mapped = match &array.mapped[..] {
        many if many.len() > 4 => format!("{} processes", many.len()),
        few => few
            .iter()
            .map(|mapped| format!("{}({})", survey.processes.command(mapped.pid), mapped.pid))
            .collect::<Vec<_>>()
            .join(" "),
    };
    Row::from(vec![
        if array.is_dead {
            name.fg(Color::Red)
        } else {
            name
        },
        Cell::new(&info.dtype),
        Cell::new(text::shape(&info.shape)),
        text::right(text::bytes(array.allocated)),
        text::right(text::age(info.created)),
        Cell::new(array.state.scope),
        Cell::new(mapped),
        state(store, array),
    ])
}

/// The state of an array in a few words: dead, frozen, poisoned, guards held.
fn state(store: &StoreView, array: &ArrayView) -> Cell {
    let state = &array.state;
    let mut words = Vec::new();
    if array.info.kind != ArrayKind::Array {
        words.push(array.info.kind.to_string());
    }
    if array.is_dead {
        words.push(if store.is_dead() {
            "dead".to_owned()
        } else {
            "dead: its owner is gone".to_owned()
        });
    }
    if state.is_frozen {
        words.push("frozen".into());
    }
    if !state.poisoned.is_empty() {
        let bytes = state.poisoned.iter().map(|range| range.len() as u64).sum();
        words.push(format!(
            "poisoned: {} in {}",
            text::bytes(bytes),
            text::count(state.poisoned.len(), "range")
        ));
    }
    let mut guards = BTreeMap::<_, usize>::new();
    state
        .guards
        .iter()
        .for_each(|guard| *guards.entry(guard_kind(guard.kind)).or_default() += 1);
    words.extend(guards.into_iter().map(|(kind, number)| {
        if kind == "waiting" {
            format!("{number} waiting")
        } else {
            format!("{number} {kind} held")
        }
    }));
    let cell = Cell::new(words.join(", "));
    if array.is_dead || !state.poisoned.is_empty() {
        cell.fg(Color::Red)
    } else {
        cell
    }
}

fn summarize(out: &mut impl Write, survey: &Survey) -> Result<(), Failure> {
    for file in &survey.unlinked {
        let pids = file
            .pids
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        writeln!(
            out,
            "{} {}, {}, mapped by {pids}",
            text::styled(text::FAINT, "released, still in memory:"),
            file.path.display(),
            text::bytes(file.bytes)
        )?;
    }
    let (all, dead) = survey.bytes();
    let arrays = survey.stores.iter().map(|store| store.arrays.len()).sum();
    let used = survey.total - survey.available;
    let percent = (used * 100).checked_div(survey.total).unwrap_or(0);
    writeln!(
        out,
        "{}, {}, {}; {} has {} of {} in use ({percent} %)",
        text::count(survey.stores.len(), "store"),
        text::count(arrays, "array"),
        text::bytes(all),
        survey.root.display(),
        text::bytes(used),
        text::bytes(survey.total)
    )?;
    if dead > 0 {
        writeln!(
            out,
            "{}",
            text::styled(
                text::BAD,
                format!(
                    "{} of it belong to dead processes: ndshm sweep frees them",
                    text::bytes(dead)
                )
            )
        )?;
    }
    Ok(())
}
