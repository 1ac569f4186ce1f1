//! `sum`: digests of the elements of arrays, which do not depend on how they lie in memory.

use crate::{
    Outcome,
    context::Context,
    display::text,
    elements::{columns, reading::Reading, stream::Stream},
    failure::{Code, Failure, printable},
    target::Target,
};
use ndshm::AnyArray;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    ops::Range,
    path::Path,
    process::ExitCode,
};

/// Print the SHA-256 digest of the elements, type and shape of each array
///
/// The digest is that of the line `ndshm-sum-1 DTYPE SHAPE`, as ndshm show prints the two, and of
/// the elements in C order, little-endian and without gaps. Copies, equal slices and other orders
/// in memory have the same digest. docs/cli.md has the three lines of Python that compute it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  ndshm sum frames 'frames[0:10]' > sums
  ndshm sum --check sums")]
pub(crate) struct Args {
    /// The arrays, each with an optional slice; with --check the files
    #[arg(required = true, value_name = "ARRAY")]
    arrays: Vec<String>,
    /// Compute the digests in files that this command wrote again, and compare; - is the standard
    /// input
    #[arg(short, long)]
    check: bool,
    /// With --check, print only the arrays that differ
    #[arg(short, long, requires = "check")]
    quiet: bool,
    /// Take no lock: read a snapshot of elements that other processes may change meanwhile
    #[arg(long)]
    unlocked: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    match args.check {
        true => check(context, args),
        false => print(context, args),
    }
}

fn print(context: &Context, args: &Args) -> Outcome {
    // No line is printed if one of the names is wrong.
    let targets = args.arrays.iter().map(|text| Target::find(context, text));
    let targets: Vec<_> = targets.collect::<Result<_, _>>()?;
    let mut values = Vec::new();
    // Not through the stream that filters colours: it would change names with escapes.
    let mut out = io::stdout().lock();
    let mut warning = None;
    for (text, target) in args.arrays.iter().zip(targets) {
        let (array, reading) = target.look(args.unlocked)?;
        let digest = digest(&array, reading)?;
        warning = warning.or(reading.warning());
        match context.is_json {
            true => values.push(json!({
                "array": text, "digest": digest, "dtype": array.dtype().to_string(),
                "shape": array.shape(), "read": reading.name(),
            })),
            false => {
                let (mark, name) = escaped(text);
                writeln!(out, "{mark}{digest}  {name}")?;
                out.flush()?;
            }
        }
    }
    if context.is_json {
        context.print_json(&values.into())?;
    } else if let Some(warning) = warning {
        writeln!(anstream::stderr(), "read {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The digest of an array, in hexadecimal digits.
pub(crate) fn digest(array: &AnyArray, reading: Reading) -> Result<String, Failure> {
    let dtype = array.dtype();
    let mut hash = Sha256::new();
    let shape = text::shape(array.shape());
    hash.update(format!("ndshm-sum-1 {dtype} {shape}\n"));
    let runs = runs(array)?;
    let is_packed = runs.len() == 1 && runs[0].len() == dtype.itemsize();
    let mut packed = Vec::new();
    let mut stream = Stream::new(array, reading);
    for piece in stream.pieces() {
        stream.lent(&piece, &mut |bytes| {
            if is_packed {
                hash.update(bytes);
                return Ok(());
            }
            packed.clear();
            for element in bytes.chunks_exact(dtype.itemsize()) {
                for run in &runs {
                    packed.extend_from_slice(&element[run.clone()]);
                }
            }
            hash.update(&packed);
            Ok(())
        })?;
    }
    let bytes = hash.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The bytes of an element without the gaps between the fields of structs, whose bytes are of no
/// meaning.
fn runs(array: &AnyArray) -> Result<Vec<Range<usize>>, Failure> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for column in columns::of(array.dtype())? {
        let range = column.offset..column.offset + column.number.size();
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    Ok(runs)
}

/// A name as one line, as sha256sum writes it: a backslash before the digest says that the name has
/// escapes.
fn escaped(name: &str) -> (&'static str, String) {
    if !name.contains(|c: char| c == '\\' || c.is_control()) {
        return ("", name.to_owned());
    }
    let mut text = String::new();
    for c in name.chars() {
        match c {
            '\\' => text += "\\\\",
            '\n' => text += "\\n",
            '\r' => text += "\\r",
            // Only a terminal would obey them.
            c if c.is_control() && io::stdout().is_terminal() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    ("\\", text)
}

/// A line of a file of digests: the digest and the name.
fn parse(line: &str) -> Option<(&str, String)> {
    let (line, is_escaped) = match line.strip_prefix('\\') {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let (digest, name) = line.split_once("  ").or_else(|| line.split_once(" *"))?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_digest || name.is_empty() {
        return None;
    }
    if !is_escaped {
        return Some((digest, name.to_owned()));
    }
    let mut text = String::new();
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                c => c,
            },
            c => c,
        });
    }
    Some((digest, text))
}

/// The digests and names in a file.
fn sums(file: &Path) -> Result<Vec<(String, String)>, Failure> {
    let failure =
        |reason: String| Failure::new(Code::Failed, format!("{}: {reason}", file.display()));
    let input: Box<dyn BufRead> = match file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(
            File::open(file).map_err(|error| failure(error.to_string()))?,
        )),
    };
    let mut sums = Vec::new();
    for (number, line) in input.lines().enumerate() {
        let line = line.map_err(|error| failure(error.to_string()))?;
        let (digest, name) = parse(&line).ok_or_else(|| {
            failure(format!(
                "line {} is no digest and name of an array: ndshm sum writes them",
                number + 1
            ))
        })?;
        sums.push((digest.to_owned(), name));
    }
    match sums.is_empty() {
        true => Err(failure("it has no digests: ndshm sum writes them".into())),
        false => Ok(sums),
    }
}

fn check(context: &Context, args: &Args) -> Outcome {
    let files = args.arrays.iter().map(|file| sums(Path::new(file)));
    let sums = files.collect::<Result<Vec<_>, _>>()?.concat();
    let mut out = context.out();
    let (mut values, mut failed) = (Vec::new(), 0);
    for (expected, name) in &sums {
        let computed = Target::find(context, name).and_then(|target| {
            let (array, reading) = target.look(args.unlocked)?;
            digest(&array, reading)
        });
        let is_equal = matches!(&computed, Ok(digest) if digest.eq_ignore_ascii_case(expected));
        failed += usize::from(!is_equal);
        let (state, reason) = match &computed {
            Ok(_) if is_equal => ("OK", None),
            Ok(_) => ("FAILED", None),
            Err(failure) => ("FAILED to read", Some(failure.to_string())),
        };
        if context.is_json {
            values.push(json!({ "array": name, "equal": is_equal, "error": reason }));
            continue;
        }
        if !is_equal || !args.quiet {
            writeln!(out, "{}: {state}", printable(name))?;
            out.flush()?;
        }
        if let Some(reason) = reason {
            writeln!(anstream::stderr(), "ndshm: {reason}")?;
        }
    }
    if context.is_json {
        context.print_json(&values.into())?;
    } else if failed > 0 {
        writeln!(
            anstream::stderr(),
            "ndshm: {failed} of {} could not be confirmed",
            text::count(sums.len(), "digest")
        )?;
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}
