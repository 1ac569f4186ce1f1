//! Pictures in characters: a histogram, and a heat map of half blocks.

use crate::{
    display::text,
    elements::scalar::{on_scale, real},
    elements::tally::Grid,
    failure::Failure,
};
use std::{io::Write, ops::Range};

/// Widest bar of a histogram.
const BAR: usize = 40;
/// From low to high, for output without colours.
const SHADES: &[u8] = b" .:-=+*#%@";

/// Room for a picture: columns, and rows of elements.
pub(crate) fn room() -> (usize, usize) {
    let (columns, rows) = text::terminal_size().unwrap_or((80, 24));
    (columns.clamp(20, 120) - 2, rows.clamp(12, 40) - 4)
}

pub(crate) fn histogram(
    out: &mut impl Write,
    range: Range<f64>,
    counts: &[u64],
) -> Result<(), Failure> {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let width = (range.end - range.start) / counts.len() as f64;
    let bounds: Vec<_> = (0..=counts.len())
        .map(|bin| on_scale(range.start + width * bin as f64, range.end - range.start))
        .collect();
    let widest = bounds.iter().map(String::len).max().unwrap_or(0);
    for (bin, &count) in counts.iter().enumerate() {
        // In eighths of a character; a bin that is not empty has at least one.
        let eighths = (count as u128 * (BAR * 8) as u128 / most as u128) as usize;
        let eighths = if count > 0 { eighths.max(1) } else { 0 };
        let part = match eighths % 8 {
            0 => String::new(),
            part => char::from_u32(0x2590 - part as u32).map_or(String::new(), String::from),
        };
        let bar = "\u{2588}".repeat(eighths / 8) + &part;
        writeln!(
            out,
            "{:>widest$} .. {:>widest$}  {bar} {count}",
            bounds[bin],
            bounds[bin + 1]
        )?;
    }
    Ok(())
}

pub(crate) fn heat_map(out: &mut impl Write, grid: &Grid, has_colors: bool) -> Result<(), Failure> {
    let Some((low, high)) = grid.range() else {
        return Ok(());
    };
    let share = |row: usize, column: usize| {
        let mean = grid
            .cells
            .get(row * grid.columns + column)
            .filter(|_| row < grid.rows)?
            .mean()?;
        Some(if high > low {
            (mean - low) / (high - low)
        } else {
            0.5
        })
    };
    writeln!(out)?;
    if has_colors {
        // A half block shows two rows: the upper one as its colour, the lower one behind it.
        for row in (0..grid.rows).step_by(2) {
            for column in 0..grid.columns {
                let (upper, lower) = (share(row, column), share(row + 1, column));
                let style = anstyle::Style::new()
                    .fg_color(upper.map(color))
                    .bg_color(lower.map(color));
                let block = if upper.is_some() { '\u{2580}' } else { ' ' };
                write!(out, "{}", text::styled(style, block))?;
            }
            writeln!(out)?;
        }
    } else {
        for row in 0..grid.rows {
            let line: String = (0..grid.columns)
                .map(|column| share(row, column).map_or('?', shade))
                .collect();
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    let scale = if has_colors {
        "dark is low"
    } else {
        "from ' ' to '@'"
    };
    let words = format!("means of cells, {} to {}, {scale}", real(low), real(high));
    writeln!(out, "{}", text::styled(text::FAINT, words))?;
    Ok(())
}

/// The character of a share between low, 0, and high, 1.
fn shade(share: f64) -> char {
    let index = (share * SHADES.len() as f64) as usize;
    char::from(SHADES[index.min(SHADES.len() - 1)])
}

/// The colour of a share between low, 0, and high, 1: dark violet to yellow.
pub(crate) fn rgb(share: f64) -> (u8, u8, u8) {
    const STOPS: [(f64, f64, f64); 5] = [
        (68.0, 1.0, 84.0),
        (59.0, 82.0, 139.0),
        (33.0, 145.0, 140.0),
        (94.0, 201.0, 98.0),
        (253.0, 231.0, 37.0),
    ];
    let at = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let index = (at as usize).min(STOPS.len() - 2);
    let (from, to, part) = (STOPS[index], STOPS[index + 1], at - index as f64);
    let mix = |a: f64, b: f64| (a + (b - a) * part).round() as u8;
    (mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

fn color(share: f64) -> anstyle::Color {
    let (r, g, b) = rgb(share);
    anstyle::Color::Rgb(anstyle::RgbColor(r, g, b))
}
