//! `locks`: the guards that processes hold or wait for, with the bytes that each covers.

use crate::{Outcome, context::Context, display::text, failure::Failure};
use comfy_table::Cell;
use ndshm::{GuardKind, Holder, LockState, Observer};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Show the guards that processes hold and wait for, and which of them wait for which
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ndshm locks run
  ndshm locks --waits --json")]
pub(crate) struct Args {
    /// These stores only: directories, or names in the root
    stores: Vec<PathBuf>,
    /// Only the waits, and the guards that are waited for
    #[arg(short, long)]
    waits: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let stores = context.choose_stores(&args.stores)?;
    let mut found = Vec::new();
    for store in stores {
        let locks = Observer::open(&store)?.locks()?;
        let waits_for = locks.iter().flat_map(|lock| lock.waits_for.iter().copied());
        let waited_for: HashSet<usize> = waits_for.collect();
        let is_shown =
            |at: usize| !args.waits || locks[at].holder.is_waiting || waited_for.contains(&at);
        let shown: Vec<_> = (0..locks.len()).filter(|&at| is_shown(at)).collect();
        found.push((store, locks, shown));
    }
    if context.is_json {
        let stores: Vec<_> = found
            .iter()
            .map(|(store, locks, shown)| {
                json!({
                    "path": store.display().to_string(),
                    "locks": shown.iter().map(|&at| to_json(at, &locks[at])).collect::<Vec<_>>(),
                })
            })
            .collect();
        context.print_json(&json!({ "stores": stores }))?;
    } else {
        for (store, locks, shown) in &found {
            print(context, store, locks, shown)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(at: usize, lock: &LockState) -> Value {
    let holder = &lock.holder;
    json!({
        "lock": at,
        "array": lock.array.map(|id| id.to_string()),
        "path": holder.path.as_ref().map(|path| path.display().to_string()),
        "kind": kind(holder),
        "waiting": holder.is_waiting,
        "start": holder.range.start,
        "end": holder.range.end,
        "view": holder.slice,
        "member": holder.member,
        "alive": holder.is_alive,
        "pid": holder.pid,
        "command": holder.command,
        "waited_seconds": holder.since.map(|since| since.as_secs_f64()),
        "waits_for": lock.waits_for,
    })
}

pub(super) fn kind(holder: &Holder) -> &'static str {
    match holder.kind {
        Some(GuardKind::Read) => "read",
        Some(GuardKind::Atomic) => "atomic",
        _ => "write",
    }
}

fn print(
    context: &Context,
    store: &Path,
    locks: &[LockState],
    shown: &[usize],
) -> Result<(), Failure> {
    let mut out = context.out();
    let name = store.file_name().unwrap_or(store.as_os_str());
    let waits = shown
        .iter()
        .filter(|&&at| locks[at].holder.is_waiting)
        .count();
    writeln!(
        out,
        "{}  {} held, {} waited for",
        text::styled(text::HEAD, printable(&name.to_string_lossy())),
        text::count(shown.len() - waits, "guard"),
        waits
    )?;
    if shown.is_empty() {
        return Ok(out.flush()?);
    }
    let headers = ["LOCK", "VIEW", "FOR", "STATE", "PROCESS", "COMMAND"];
    let mut table = text::table(&headers, context.has_colors());
    for &at in shown {
        let LockState {
            holder, waits_for, ..
        } = &locks[at];
        let state = match (holder.is_waiting, holder.is_alive) {
            (false, true) => "held".into(),
            (false, false) => "held by the dead".into(),
            (true, _) => {
                let seconds = holder.since.unwrap_or_default().as_secs_f64();
                let others: Vec<_> = waits_for.iter().map(usize::to_string).collect();
                match others.len() {
                    0 => format!("waits for {seconds:.1} s"),
                    1..=8 => format!("waits for {seconds:.1} s, for {}", others.join(" ")),
                    more => format!(
                        "waits for {seconds:.1} s, for {} and {} more",
                        others[..8].join(" "),
                        more - 8
                    ),
                }
            }
        };
        let process = match holder.pid {
            Some(pid) => pid.to_string(),
            None => format!("member {}", holder.member),
        };
        table.add_row([
            Cell::new(at),
            Cell::new(view(holder)),
            Cell::new(kind(holder)),
            Cell::new(state),
            Cell::new(process),
            Cell::new(printable(holder.command.as_deref().unwrap_or(""))),
        ]);
    }
    for line in table.lines() {
        writeln!(out, " {}", line.trim_end())?;
    }
    Ok(out.flush()?)
}

/// The array and the part of it.
pub(super) fn view(holder: &Holder) -> String {
    let name = match &holder.path {
        Some(path) => path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        None => "an array that is gone".into(),
    };
    let part = match &holder.slice {
        Some(slice) if slice == "[:]" => String::new(),
        Some(slice) => slice.clone(),
        None => format!(" bytes {}..{}", holder.range.start, holder.range.end),
    };
    printable(&(name + &part))
}

/// Control characters of a name would move the cursor.
fn printable(text: &str) -> String {
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(shown).collect()
}
