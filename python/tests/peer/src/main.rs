//! The Rust process in the tests of the Python package.
//!
//! It executes commands on an array of float64: one line in and one line out for each command.

use ndarray::IxDyn;
use ndshm::{Error, Handle, Manager, SharedArrayD};
use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// The store and the array that the commands use.
struct Peer {
    manager: Option<Manager>,
    array: Option<SharedArrayD<f64>>,
}

/// The error for a command that needs an array, before `make` or `open`.
fn no_array() -> Error {
    Error::NotFound {
        path: "-".into(),
        what: "make or open an array first",
    }
}

impl Peer {
    fn array(&self) -> ndshm::Result<&SharedArrayD<f64>> {
        self.array.as_ref().ok_or_else(no_array)
    }

    fn answer(&mut self, verb: &str, rest: &str) -> ndshm::Result<String> {
        Ok(match verb {
            "make" => {
                let shape: Vec<usize> = rest.split(',').filter_map(|n| n.parse().ok()).collect();
                let manager = Manager::new()?;
                let mut count = 0.0;
                let next = |_| {
                    count += 1.0;
                    count - 1.0
                };
                let array = manager.from_shape_fn(IxDyn(&shape), next)?;
                let text = array.handle().to_string();
                (self.manager, self.array) = (Some(manager), Some(array));
                text
            }
            "open" => {
                let array: SharedArrayD<f64> = rest.parse::<Handle>()?.open()?;
                let text = format!("{:?} {:?}", array.shape(), array.strides());
                self.array = Some(array);
                text
            }
            "row" => {
                let index = rest.parse().unwrap_or_default();
                self.array()?
                    .index_axis(ndarray::Axis(0), index)?
                    .handle()
                    .to_string()
            }
            "sum" => self.array()?.read()?.sum().to_string(),
            "fill" => {
                self.array()?
                    .write()?
                    .fill(rest.parse().unwrap_or_default());
                "filled".to_owned()
            }
            "try_write" => {
                self.array()?.try_write()?;
                "free".to_owned()
            }
            "try_read" => {
                self.array()?.try_read()?;
                "free".to_owned()
            }
            // Every write sets all elements to one value: different values are half a write.
            "count" => {
                for _ in 0..rest.parse().unwrap_or(0) {
                    let mut guard = self.array()?.write()?;
                    let first = guard.first().copied().unwrap_or_default();
                    if guard.iter().any(|&x| x != first) {
                        return Ok("torn".to_owned());
                    }
                    guard.mapv_inplace(|x| x + 1.0);
                }
                "counted".to_owned()
            }
            "hold" => {
                let array = self.array()?;
                let _guards = match rest {
                    "read" => (Some(array.read()?), None),
                    _ => (None, Some(array.write()?)),
                };
                println!("held");
                io::stdout().flush().ok();
                std::thread::sleep(Duration::from_secs(60));
                "released".to_owned()
            }
            "poisoned" => format!("{:?}", self.array()?.poisoned()?),
            "recover" => {
                self.array()?.recover()?.fill(0.0);
                "recovered".to_owned()
            }
            "freeze" => {
                self.array()?.freeze()?;
                "frozen".to_owned()
            }
            "frozen" => rest
                .parse::<Handle>()?
                .open_frozen_timeout::<f64, IxDyn>(Duration::from_secs(30))?
                .sum()
                .to_string(),
            "drop" => {
                (self.array, self.manager) = (None, None);
                "dropped".to_owned()
            }
            _ => format!("unknown: {verb}"),
        })
    }
}

/// The cost of a call in microseconds, the best of several runs.
fn best(mut call: impl FnMut() -> ndshm::Result<()>) -> ndshm::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..2000 {
            call()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / 2000.0 * 1e6);
    }
    Ok(best)
}

/// Prints the costs of the calls that the Python package's figures have.
fn bench() -> ndshm::Result<()> {
    let manager = Manager::builder().recycle(1 << 24).create()?;
    let array = manager.zeros::<f64, _>((32, 16))?;
    let any = array.into_any()?;
    let text = array.handle().to_string();
    println!("`any.read()` {}", best(|| any.read().map(drop))?);
    println!("`any.write()` {}", best(|| any.write().map(drop))?);
    println!(
        "`any.handle().to_string()` {}",
        best(|| {
            std::hint::black_box(any.handle().to_string());
            Ok(())
        })?
    );
    println!(
        "`parse::<Handle>()`, `open_any()`, open already {}",
        best(|| text.parse::<Handle>()?.open_any().map(drop))?
    );
    println!(
        "`empty((32, 16))`, and its end {}",
        best(|| manager.empty::<f64, _>((32, 16)).map(drop))?
    );
    Ok(())
}

fn main() {
    if std::env::args().any(|argument| argument == "bench") {
        if let Err(error) = bench() {
            println!("{error:?}");
        }
        return;
    }
    let mut peer = Peer {
        manager: None,
        array: None,
    };
    for line in io::stdin().lines().map_while(Result::ok) {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match peer.answer(verb, rest) {
            Ok(text) => println!("{text}"),
            Err(error) => println!("{error:?}"),
        }
        io::stdout().flush().ok();
    }
}
