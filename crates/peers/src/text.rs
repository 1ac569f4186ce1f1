//! Figures as text.

/// A time with three significant digits.
pub fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n.is_nan() => return "–".into(),
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// Three significant digits.
pub fn digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A power of two of bytes.
pub fn size(bytes: usize) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{} KiB", b >> 10),
    }
}

/// Kibibytes as mebibytes.
pub fn mebibytes(kib: i64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// Columns of the document's prose.
const WIDTH: usize = 120;

/// Markdown with its prose wrapped. Tables, headings and images stay on one line.
pub fn wrapped(document: &str) -> String {
    document.lines().map(wrapped_line).collect()
}

fn wrapped_line(line: &str) -> String {
    let indent = if line.starts_with("- ") { "  " } else { "" };
    if line.starts_with(['|', '#', '!']) {
        return format!("{line}\n");
    }
    let mut out = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > WIDTH {
            out += "\n";
            out += indent;
            out += word;
            column = indent.len() + len;
        } else {
            let space = if column > 0 { " " } else { "" };
            out += space;
            out += word;
            column += space.len() + len;
        }
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [time(7.0), time(1234.0), time(56_780_000.0), time(2.5e9)],
            ["7.00 ns", "1.23 µs", "56.8 ms", "2.50 s"]
        );
        assert_eq!(
            [digits(0.123), digits(12.34), digits(1234.5)],
            ["0.12", "12.3", "1234"]
        );
        assert_eq!(
            [size(4096), size(16 << 20), size(8 << 30)],
            ["4 KiB", "16 MiB", "8 GiB"]
        );
    }

    #[test]
    fn prose_is_wrapped_and_tables_are_not() {
        let row = format!("| {} |", "cell ".repeat(50));
        let text = wrapped(&format!(
            "# Head\n\n- {}\n{row}\n",
            "word ".repeat(40).trim_end()
        ));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[4]), ("# Head", "", row.as_str()));
        assert!(lines[2].starts_with("- word") && lines[2].len() <= WIDTH);
        assert!(lines[3].starts_with("  word"));
    }
}
