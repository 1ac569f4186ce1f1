//! A plot of time against size, both logarithmic, as SVG.

use crate::text;
use std::fmt::Write;

/// One line of a plot.
pub struct Line {
    /// Its name in the legend.
    pub label: String,
    /// Its style.
    pub style: Style,
    /// Bytes and nanoseconds.
    pub points: Vec<(usize, f64)>,
}

/// The style of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Grey and dashed.
    Floor,
    /// Thick.
    Own,
    /// Thick and broken.
    OwnRecycled,
    /// In the n-th colour.
    Peer(usize),
}

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 410.0;
const COLOURS: [&str; 12] = [
    "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#e377c2", "#ff7f0e",
    "#7f7f7f", "#005f73", "#6a994e", "#b5838d",
];

impl Style {
    fn attributes(self) -> String {
        match self {
            Self::Floor => "stroke=\"#888\" stroke-width=\"1.5\" stroke-dasharray=\"5 3\"".into(),
            Self::Own => "stroke=\"#d62728\" stroke-width=\"3\"".into(),
            Self::OwnRecycled => {
                "stroke=\"#d62728\" stroke-width=\"3\" stroke-dasharray=\"8 4\"".into()
            }
            Self::Peer(n) if n < COLOURS.len() => {
                format!("stroke=\"{}\" stroke-width=\"1.5\"", COLOURS[n])
            }
            Self::Peer(n) => format!(
                "stroke=\"{}\" stroke-width=\"1.5\" stroke-dasharray=\"2 2\"",
                COLOURS[n % COLOURS.len()]
            ),
        }
    }
}

/// The plot; lines without points are left out, and the legend is in the order of their last
/// points.
pub fn svg(title: &str, mut lines: Vec<Line>) -> String {
    lines.retain(|line| !line.points.is_empty());
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let log = |nanoseconds: f64| nanoseconds.max(1.0).log10();
    let (low, high) = points().fold((f64::MAX, f64::MIN), |(low, high), point| {
        (low.min(log(point.1)), high.max(log(point.1)))
    });
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let sizes: std::collections::BTreeSet<usize> = points().map(|point| point.0).collect();
    let (first, last) = (
        sizes.first().copied().unwrap_or(1) as f64,
        sizes.last().copied().unwrap_or(2) as f64,
    );
    let x = |bytes: usize| {
        LEFT + (RIGHT - LEFT) * ((bytes as f64).log2() - first.log2())
            / (last.log2() - first.log2()).max(1.0)
    };
    let y = |nanoseconds: f64| BOTTOM - (BOTTOM - TOP) * (log(nanoseconds) - low) / (high - low);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    for power in low as i32..=high as i32 {
        let (at, label) = (y(10f64.powi(power)), tick(power));
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e4e4e4\"/>"
        );
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for &bytes in &sizes {
        let at = x(bytes);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" stroke=\"#e4e4e4\"/>"
        );
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            text::size(bytes)
        );
    }
    lines.sort_by(|a, b| {
        let end = |line: &Line| {
            line.points
                .last()
                .map_or((0, 0.0), |&(bytes, time)| (bytes, time))
        };
        end(b).0.cmp(&end(a).0).then(end(b).1.total_cmp(&end(a).1))
    });
    for (at, line) in lines.iter().enumerate() {
        let attributes = line.style.attributes();
        let path: Vec<String> = line
            .points
            .iter()
            .map(|&(bytes, time)| format!("{:.1},{:.1}", x(bytes), y(time)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" {attributes} points=\"{}\"/>",
            path.join(" ")
        );
        let (left, middle) = (RIGHT + 20.0, TOP + 6.0 + 21.0 * at as f64);
        let weight = if matches!(line.style, Style::Own | Style::OwnRecycled) {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" {attributes}/>",
            left + 24.0
        );
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\"{weight}>{}</text>",
            left + 30.0,
            middle + 4.0,
            line.label
        );
    }
    out + "</svg>\n"
}

/// A power of ten of nanoseconds.
fn tick(power: i32) -> String {
    let unit = ["ns", "µs", "ms", "s"][(power / 3).clamp(0, 3) as usize];
    format!(
        "{} {unit}",
        10i64.pow((power - 3 * (power / 3).clamp(0, 3)).max(0) as u32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_line_for_each_variant_that_was_measured() {
        let line = |label: &str, points: &[(usize, f64)]| Line {
            label: label.into(),
            style: Style::Own,
            points: points.into(),
        };
        let plot = svg(
            "create",
            vec![line("a", &[(4096, 1e4), (65536, 1e5)]), line("b", &[])],
        );
        assert_eq!(plot.matches("<polyline").count(), 1);
        assert!(
            plot.contains(">a</text>")
                && !plot.contains(">b</text>")
                && plot.contains("64 KiB")
                && plot.contains("10 µs")
        );
        assert_eq!(
            [tick(0), tick(4), tick(8), tick(10)],
            ["1 ns", "10 µs", "100 ms", "10 s"]
        );
    }
}
