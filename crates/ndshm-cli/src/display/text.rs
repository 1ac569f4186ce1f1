//! Words for the terminal: sizes, shapes, tables, colours.

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use std::time::{Duration, SystemTime};

/// The style of leftovers, poison and damage.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const HEAD: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// A text in a style, which the output stream drops if it has no colours.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// 1.5 GiB.
pub(crate) fn bytes(bytes: u64) -> String {
    humansize::format_size(bytes, humansize::BINARY.decimal_places(1))
}

/// 3 arrays, 1 array.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A shape as NumPy prints it: (3,), (3, 4), ().
pub(crate) fn shape(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!(
            "({})",
            shape
                .iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// The time since then, rounded down: 3 s, 5 min, 2 h, 4 d.
pub(crate) fn age(created: SystemTime) -> String {
    duration(created.elapsed().unwrap_or_default())
}

pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Narrower terminals break the lines of tables themselves: cells would be wrapped to a few
/// letters.
const NARROW: usize = 60;

/// The columns and rows of the terminal that the output goes to; none if it goes elsewhere. A
/// terminal that does not know its size has 0 of both (a serial line, `docker exec -t`, expect):
/// then `COLUMNS` and `LINES` have it, as for other programs, or it is unknown too.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    if !std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return None;
    }
    let (columns, rows) = ratatui::crossterm::terminal::size().unwrap_or_default();
    let or_variable = |found: u16, name| match found {
        0 => std::env::var(name).ok()?.parse().ok(),
        found => Some(usize::from(found)),
    };
    let size = (
        or_variable(columns, "COLUMNS")?,
        or_variable(rows, "LINES").unwrap_or(24),
    );
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// An empty table without lines. On a terminal of a known width it wraps wide cells; elsewhere each
/// row is one line.
pub(crate) fn table(header: &[&str], has_colors: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match terminal_size() {
        Some((columns, _)) if columns >= NARROW => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(columns).unwrap_or(u16::MAX)),
        _ => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if has_colors {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table.set_header(
        header
            .iter()
            .map(|name| Cell::new(name).add_attribute(comfy_table::Attribute::Dim)),
    );
    table
}

/// A cell for a number: aligned to the right.
pub(crate) fn right(text: impl std::fmt::Display) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
