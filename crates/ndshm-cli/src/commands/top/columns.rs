//! The columns of a list, and those of them that fit on the screen.

use ratatui::layout::Constraint;

/// A column of a list.
pub(super) struct Column {
    pub(super) title: &'static str,
    width: u16,
    /// Columns of a higher rank are left out first; one of rank 0 stays.
    rank: u8,
}

pub(super) const fn column(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, rank }
}

/// The columns that fit, by their places in the list, each with its width.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitting(pub(super) Vec<(usize, u16)>);

/// Below this room the first column takes less than half of it, so that a second one fits.
const NARROW: u16 = 40;

impl Fitting {
    /// Leaves out columns until the others, with a space between two, fit into this room.
    pub(super) fn new(columns: &[Column], room: u16) -> Self {
        let mut kept: Vec<usize> = (0..columns.len()).collect();
        let width_of = |at: usize| match columns[at].rank {
            0 if room < NARROW => columns[at].width.min((room / 2).saturating_sub(1)),
            _ => columns[at].width,
        };
        let width = |kept: &[usize]| {
            let widths = kept.iter().map(|&at| usize::from(width_of(at)) + 1);
            widths.sum::<usize>().saturating_sub(1)
        };
        while width(&kept) > usize::from(room) {
            let last = kept.iter().copied().max_by_key(|&at| columns[at].rank);
            match last.filter(|&at| columns[at].rank > 0) {
                Some(last) => kept.retain(|&at| at != last),
                None => break,
            }
        }
        Self(kept.into_iter().map(|at| (at, width_of(at))).collect())
    }

    /// The widths for the table; the last column takes the rest.
    pub(super) fn constraints(&self) -> Vec<Constraint> {
        let last = self.0.len().saturating_sub(1);
        let widths = self.0.iter().enumerate();
        widths
            .map(|(at, &(_, width))| match at == last {
                true => Constraint::Fill(1),
                false => Constraint::Length(width),
            })
            .collect()
    }

    /// The cells of these columns.
    pub(super) fn of(&self, cells: &[String]) -> Vec<String> {
        let cell = |&(at, _): &(usize, u16)| cells.get(at).cloned().unwrap_or_default();
        self.0.iter().map(cell).collect()
    }
}
