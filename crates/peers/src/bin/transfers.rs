//! Measures exports and imports of ndshm beside `cp`, NumPy and the safetensors library, and writes
//! `docs/performance-transfers.md`: `crates/peers/transfer` runs it.
//!
//! Each round gives each variant of a case its turn, in an order that moves on by one with each
//! round. All files of the round before are deleted and the disk's writes are waited for before a
//! variant starts.

use ndarray::{Axis, Ix2, s};
use ndshm::{AnyArray, Export, Exportable, Import, Manager, SharedArray};
use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: transfers TMPFS DISK PYTHON DOCUMENT [--quick] [--mib N]";
const ROUNDS: usize = 7;
/// The part of the elements that is compressed, which is a hundred times slower than the rest.
const COMPRESSED_PART: usize = 8;

/// The process that calls NumPy and safetensors.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start(python: &Path, base: &Path, compressed_len: usize) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/transfers.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(base)
            .arg(compressed_len.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut python = Self {
            child,
            input,
            output,
        };
        match python.line()?.as_str() {
            "ready" => Ok(python),
            line => Err(line.into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().into())
    }

    fn time(&mut self, call: &str, path: &Path) -> Result<f64> {
        writeln!(self.input, "{call}\t{}", path.display())?;
        let line = self.line()?;
        line.parse()
            .map_err(|_| format!("{call} failed: {line:?}").into())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The arrays of all cases.
struct Arrays {
    manager: Manager,
    plain: AnyArray,
    fortran: AnyArray,
    strided: AnyArray,
    small: AnyArray,
}

impl Arrays {
    fn new(len: usize) -> Result<Self> {
        let manager = Manager::new()?;
        // As of a sensor: numbers that repeat more or less, with noise.
        let value =
            |i: usize| ((i / 3) % 5000) as f64 + (i.wrapping_mul(0x9e37_79b9) >> 7 & 15) as f64;
        let plain = manager.from_shape_fn::<f64, _>(len, value)?;
        let square: SharedArray<f64, Ix2> = plain.into_shape_with_order((len / 4096, 4096))?;
        let fortran = square.t()?.into_any()?;
        let pairs: SharedArray<f64, Ix2> = plain.into_shape_with_order((len / 2, 2))?;
        let strided = pairs.index_axis(Axis(1), 0)?.into_any()?;
        let small = plain.slice(s![..len / COMPRESSED_PART])?.into_any()?;
        Ok(Self {
            manager,
            plain: plain.into_any()?,
            fortran,
            strided,
            small,
        })
    }
}

/// A job, and the variants that do it; the first is ndshm's.
struct Case {
    name: &'static str,
    bytes: usize,
    variants: Vec<&'static str>,
    /// The variant of ndshm that makes the file which all variants read.
    reads: Option<&'static str>,
}

fn cases(len: usize) -> Vec<Case> {
    let bytes = 8 * len;
    let case = |name, bytes, variants: &[&'static str], reads| Case {
        name,
        bytes,
        variants: variants.to_vec(),
        reads,
    };
    let npy = Some("ndshm: export npy");
    let npz = Some("ndshm: export npz");
    let packed = Some("ndshm: export npz, compressed");
    let tensors = Some("ndshm: export safetensors");
    let small = bytes / COMPRESSED_PART;
    vec![
        case(
            "export .npy",
            bytes,
            &["ndshm: export npy", "cp", "numpy.save"],
            None,
        ),
        case(
            "export .npy over an existing file",
            bytes,
            &["ndshm: replace npy", "cp over", "numpy.save over"],
            None,
        ),
        // What ndshm does as well: a reader, or a program that is killed, leaves the old file or
        // the new one whole.
        case(
            "the same, and the old file stays until the new one is whole",
            bytes,
            &[
                "ndshm: replace npy",
                "cp and mv over",
                "numpy.save and os.replace over",
            ],
            None,
        ),
        case(
            "export every other element, .npy",
            bytes / 2,
            &["ndshm: export strided npy", "numpy.save strided"],
            None,
        ),
        case(
            "export F order as C order",
            bytes,
            &[
                "ndshm: export fortran raw",
                "numpy.save of a C-ordered copy",
            ],
            None,
        ),
        case(
            "export .npz",
            bytes,
            &["ndshm: export npz", "numpy.savez"],
            None,
        ),
        case(
            "export .npz, compressed",
            small,
            &["ndshm: export npz, compressed", "numpy.savez_compressed"],
            None,
        ),
        case(
            "export safetensors",
            bytes,
            &["ndshm: export safetensors", "safetensors.save_file"],
            None,
        ),
        case(
            "import .npy",
            bytes,
            &["ndshm: import npy", "numpy.load", "cp"],
            npy,
        ),
        case(
            "import .npz",
            bytes,
            &["ndshm: import npz", "numpy.load npz"],
            npz,
        ),
        case(
            "import .npz, compressed",
            small,
            &["ndshm: import npz", "numpy.load npz"],
            packed,
        ),
        case(
            "import safetensors",
            bytes,
            &["ndshm: import safetensors", "safetensors.load_file"],
            tensors,
        ),
    ]
}

struct Bench {
    arrays: Arrays,
    python: Python,
    /// A `.npy` file of the plain array on the tmpfs and on the disk: `cp` copies it.
    bases: [PathBuf; 2],
}

impl Bench {
    /// The seconds of one turn of a variant. `read` is the file that an import reads.
    fn time(
        &mut self,
        variant: &str,
        read: Option<&Path>,
        directory: &Path,
        base: usize,
    ) -> Result<f64> {
        let path = directory.join("out");
        let exists = variant.contains("over") || variant.contains("replace");
        if exists {
            fs::copy(&self.bases[base], &path)?;
        }
        rustix::fs::sync();
        let plain = variant.trim_end_matches(" over");
        let start = Instant::now();
        let seconds = match (plain, read) {
            ("cp", read) => {
                let from = read.unwrap_or(&self.bases[base]);
                succeed(Command::new("cp").args([from, &path]))?;
                start.elapsed().as_secs_f64()
            }
            ("cp and mv", _) => {
                let new = directory.join("new");
                succeed(Command::new("cp").args([&self.bases[base], &new]))?;
                succeed(Command::new("mv").args([&new, &path]))?;
                start.elapsed().as_secs_f64()
            }
            (ndshm, read) if ndshm.starts_with("ndshm") => {
                self.call(ndshm, read.unwrap_or(&path))?;
                start.elapsed().as_secs_f64()
            }
            (python, read) => self.python.time(python, read.unwrap_or(&path))?,
        };
        if path.exists() {
            fs::remove_file(&path)?;
        }
        Ok(seconds)
    }

    fn call(&self, variant: &str, path: &Path) -> Result<()> {
        let Arrays {
            manager,
            plain,
            fortran,
            strided,
            small,
        } = &self.arrays;
        let one = |array: &'static str| -> [(&str, &dyn Exportable); 1] {
            [("x", if array == "small" { small } else { plain })]
        };
        match variant {
            "ndshm: export npy" => Export::new().npy(plain, path)?,
            "ndshm: replace npy" => Export::new().replace().npy(plain, path)?,
            "ndshm: export strided npy" => Export::new().npy(strided, path)?,
            "ndshm: export fortran raw" => Export::new().raw(fortran, path)?,
            "ndshm: export npz" => Export::new().npz(&one("plain"), path)?,
            "ndshm: export npz, compressed" => Export::new().compress().npz(&one("small"), path)?,
            "ndshm: export safetensors" => Export::new().safetensors(&one("plain"), path)?,
            "ndshm: import npy" => drop(Import::new().npy(manager, path)?),
            "ndshm: import npz" => drop(Import::new().npz(manager, path)?),
            "ndshm: import safetensors" => drop(Import::new().safetensors(manager, path)?),
            other => return Err(format!("no variant {other}").into()),
        }
        Ok(())
    }

    /// The median seconds of all variants of a case.
    fn run(
        &mut self,
        case: &Case,
        directory: &Path,
        base: usize,
        rounds: usize,
    ) -> Result<Vec<f64>> {
        let read = case.reads.map(|_| directory.join("read"));
        if let (Some(make), Some(read)) = (case.reads, &read) {
            self.call(make, read)?;
        }
        let count = case.variants.len();
        let mut times = vec![Vec::new(); count];
        for round in 0..rounds {
            for turn in 0..count {
                let which = (round + turn) % count;
                let seconds = self.time(case.variants[which], read.as_deref(), directory, base)?;
                times[which].push(seconds);
            }
        }
        if let Some(read) = &read {
            fs::remove_file(read)?;
        }
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        Ok(times.into_iter().map(median).collect())
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

fn first_line(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .into()
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tmpfs, disk, python, document, options @ ..] = &arguments[..] else {
        return Err(USAGE.into());
    };
    let is_quick = options.iter().any(|option| option == "--quick");
    let mib = match options.iter().position(|option| option == "--mib") {
        Some(at) => options.get(at + 1).ok_or(USAGE)?.parse()?,
        None if is_quick => 32,
        None => 1024,
    };
    let rounds = if is_quick { 3 } else { ROUNDS };
    let len = (mib << 20) / 8;
    let load = fs::read_to_string("/proc/loadavg")?;
    let places = [("tmpfs", Path::new(tmpfs)), ("disk", Path::new(disk))];
    let arrays = Arrays::new(len)?;
    let bases = places.map(|(_, directory)| directory.join("base.npy"));
    for base in &bases {
        Export::new().npy(&arrays.plain, base)?;
    }
    let python = Python::start(Path::new(python), &bases[0], len / COMPRESSED_PART)?;
    let mut bench = Bench {
        arrays,
        python,
        bases,
    };
    let mut text = String::new();
    for (number, (place, directory)) in places.into_iter().enumerate() {
        writeln!(
            text,
            "\n## Files on {}\n",
            if number == 0 { "a tmpfs" } else { "a disk" }
        )?;
        writeln!(
            text,
            "| job | MiB | ndshm | GB/s | others | ratio to the best |"
        )?;
        writeln!(text, "| --- | ---: | ---: | ---: | --- | ---: |")?;
        for case in cases(len) {
            let medians = bench.run(&case, directory, number, rounds)?;
            let others: Vec<String> = case.variants[1..]
                .iter()
                .zip(&medians[1..])
                .map(|(name, seconds)| format!("{} {seconds:.3} s", name.trim_end_matches(" over")))
                .collect();
            let best = medians[1..].iter().copied().fold(f64::INFINITY, f64::min);
            let line = format!(
                "| {} | {} | {:.3} s | {:.2} | {} | {:.2} |",
                case.name,
                case.bytes >> 20,
                medians[0],
                case.bytes as f64 / medians[0] / 1e9,
                others.join(", "),
                medians[0] / best
            );
            eprintln!("{place}: {line}");
            writeln!(text, "{line}")?;
        }
    }
    let head = include_str!("transfers.md")
        .replace("{rounds}", &rounds.to_string())
        .replace("{mib}", &mib.to_string())
        .replace("{kernel}", &first_line("uname", &["-sr"]))
        .replace("{processors}", &first_line("nproc", &[]))
        .replace(
            "{commit}",
            &first_line("git", &["rev-parse", "--short", "HEAD"]),
        )
        .replace("{date}", &first_line("date", &["+%Y-%m-%d"]))
        .replace(
            "{load}",
            load.split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" ")
                .as_str(),
        )
        .replace(
            "{disk}",
            &first_line("findmnt", &["-nro", "FSTYPE", "-T", disk]),
        )
        .replace("{tables}", &text);
    fs::write(document, head)?;
    Ok(())
}
