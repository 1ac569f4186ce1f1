//! The producer: makes arrays, has its consumer open them, and reports the times.
//!
//! It reads jobs from its standard input, one in a line, and answers on its standard output: any
//! number of lines with an operation and nanoseconds, or with `memory`, then `end`, or `error` and
//! its text. `python/peers.py` exchanges the same lines.
//!
//! | job | operations |
//! | --- | --- |
//! | `ready` | none |
//! | `turn BYTES CALLS` | `ping`, `create`, `open_first`, `open_sum`, `reopened`, `steady`, `release`, `fresh`, CALLS times each |
//! | `crowd ARRAYS BYTES` | `crowd_create`, `crowd_open`, `crowd_release`: the time of all arrays together |
//! | `large BYTES CALLS` | `large_create`, `large_open`: an array whose elements were not written |
//! | `memory BYTES` | growth of the producer with the array made, and with the consumer having it open; that of the consumer |

use crate::{
    bytes,
    memory::{self, Memory},
    peer::{Peer, Place, Result, Role},
    variants::Visitor,
    wire::Wire,
};
use std::{
    io::{BufRead, Write},
    time::Instant,
};

/// Arrays of a turn that exist at the same time, with room for those in transit.
const ARRAYS_OF_A_TURN: usize = 4;

/// Runs the producer of a variant until the driver ends.
pub struct Produce {
    /// The variant.
    pub name: String,
    /// Where.
    pub place: Place,
}

struct Producer<P: Peer> {
    peer: P,
    consumer: Wire,
}

/// The result of a call and how long it took, in nanoseconds.
fn timed<T>(call: impl FnOnce() -> Result<T>) -> Result<(u128, T)> {
    let start = Instant::now();
    let result = call()?;
    Ok((start.elapsed().as_nanos(), result))
}

impl Visitor for Produce {
    fn visit<P: Peer>(self) -> Result<()> {
        let mut peer = P::new(Role::Producer, &self.place, "")?;
        let directory = self.place.directory.display().to_string();
        let (mut consumer, mut child) =
            Wire::to_consumer(&[&self.name, &directory, &peer.greeting()])?;
        peer.meet()?;
        consumer.receive()?;
        let mut producer = Producer { peer, consumer };
        for job in std::io::stdin().lock().lines() {
            let answer = match producer.work(&job?) {
                Ok(lines) => lines + "end\n",
                Err(error) => format!("error {}\n", error.to_string().replace('\n', " ")),
            };
            let mut output = std::io::stdout().lock();
            output.write_all(answer.as_bytes())?;
            output.flush()?;
        }
        // The consumer ends with its socket, before the producer deletes the arrays that it has
        // open.
        drop(producer.consumer);
        child.wait()?;
        Ok(())
    }
}

impl<P: Peer> Producer<P> {
    fn work(&mut self, job: &str) -> Result<String> {
        let words: Vec<&str> = job.split_whitespace().collect();
        let number = |at: usize| -> Result<usize> {
            Ok(words.get(at).ok_or("a job lacks a number")?.parse()?)
        };
        match words.first() {
            Some(&"ready") => Ok(String::new()),
            Some(&"turn") => self.turn(number(1)? / 8, number(2)?),
            Some(&"crowd") => self.crowd(number(1)?, number(2)? / 8),
            Some(&"large") => self.large(number(1)? / 8, number(2)?),
            Some(&"memory") => self.memory(number(1)? / 8),
            _ => Err(format!("unknown job: {job}").into()),
        }
    }

    fn prepare(&mut self, len: usize, arrays: usize) -> Result<()> {
        self.peer.prepare(len, arrays)?;
        self.consumer.ask(format!("prepare {len} {arrays}"))?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.consumer.ask("finish".into())?;
        self.peer.finish();
        Ok(())
    }

    /// Publishes, and has the consumer run `command`. Returns the time of the whole exchange, the
    /// consumer's own time, and the value that it read.
    fn exchange(&mut self, command: &str, made: &mut P::Made) -> Result<(u128, u128, f64)> {
        let start = Instant::now();
        let token = self.peer.publish(made)?;
        let answer = self.consumer.ask(format!("{command} {token}"))?;
        let whole = start.elapsed().as_nanos();
        let (inner, value) = answer.split_once(' ').ok_or("an answer has two words")?;
        Ok((whole, inner.parse()?, value.parse()?))
    }

    /// The array, or a new one if an array can be published only once.
    fn renewed(&mut self, made: P::Made, source: &Vec<f64>) -> Result<P::Made> {
        if P::RESENDS {
            return Ok(made);
        }
        self.peer.release(made)?;
        self.peer.create(source)
    }

    fn turn(&mut self, len: usize, calls: usize) -> Result<String> {
        let source = bytes::source(len);
        let expected = bytes::sum(&source);
        let check = |value: f64| {
            if value == expected {
                Ok(())
            } else {
                Err(format!("the consumer read {value} instead of {expected}"))
            }
        };
        self.prepare(len, ARRAYS_OF_A_TURN)?;
        let mut lines = String::new();
        let mut note = |operation: &str, nanoseconds: u128| {
            lines.push_str(&format!("{operation} {nanoseconds}\n"))
        };
        for _ in 0..calls {
            memory::warm_for(len * 8);
            note(
                "ping",
                timed(|| self.consumer.ask("ping".into()).map(drop))?.0,
            );

            let (create, mut made) = timed(|| self.peer.create(&source))?;
            note("create", create);
            note("open_first", self.exchange("first", &mut made)?.1);
            made = self.renewed(made, &source)?;
            let (whole, inner, value) = self.exchange("sum", &mut made)?;
            check(value)?;
            note("open_sum", inner);
            if P::RESENDS {
                note("reopened", whole);
            }

            made = self.renewed(made, &source)?;
            self.exchange("hold", &mut made)?;
            if P::RESENDS {
                let (whole, _, value) = self.exchange("again", &mut made)?;
                check(value)?;
                note("steady", whole);
            } else {
                note(
                    "steady",
                    timed(|| self.consumer.ask("again -".into()).map(drop))?.0,
                );
            }
            self.consumer.ask("drop".into())?;
            made = self.renewed(made, &source)?;
            note("release", timed(|| self.peer.release(made))?.0);

            let start = Instant::now();
            let mut made = self.peer.create(&source)?;
            let (_, _, value) = self.exchange("sum", &mut made)?;
            note("fresh", start.elapsed().as_nanos());
            check(value)?;
            self.peer.release(made)?;
        }
        self.finish()?;
        Ok(lines)
    }

    fn crowd(&mut self, arrays: usize, len: usize) -> Result<String> {
        let source = bytes::source(len);
        self.prepare(len, arrays)?;
        let (create, mut made) = timed(|| {
            (0..arrays)
                .map(|_| self.peer.create(&source))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut open = 0;
        for one in &mut made {
            open += self.exchange("keep", one)?.1;
        }
        self.consumer.ask("drop".into())?;
        let (release, _) = timed(|| made.into_iter().try_for_each(|one| self.peer.release(one)))?;
        self.finish()?;
        let release = if P::RESENDS {
            format!("crowd_release {release}\n")
        } else {
            String::new()
        };
        Ok(format!(
            "crowd_create {create}\ncrowd_open {open}\n{release}"
        ))
    }

    fn large(&mut self, len: usize, calls: usize) -> Result<String> {
        self.prepare(len, 1)?;
        let mut lines = String::new();
        for _ in 0..calls {
            let (create, made) = timed(|| self.peer.create_empty(len))?;
            let mut made = made.ok_or("it cannot make an array without filling it")?;
            let (_, open, _) = self.exchange("first", &mut made)?;
            self.peer.release(made)?;
            lines.push_str(&format!("large_create {create}\nlarge_open {open}\n"));
        }
        self.finish()?;
        Ok(lines)
    }

    fn memory(&mut self, len: usize) -> Result<String> {
        let source = bytes::source(len);
        self.prepare(len, ARRAYS_OF_A_TURN)?;
        let before = (
            Memory::now()?,
            Memory::parse(self.consumer.ask("memory".into())?)?,
        );
        let mut made = self.peer.create(&source)?;
        let alone = Memory::now()?.since(before.0);
        self.exchange("hold", &mut made)?;
        let shared = Memory::now()?.since(before.0);
        let consumer = Memory::parse(self.consumer.ask("memory".into())?)?.since(before.1);
        self.consumer.ask("drop".into())?;
        self.peer.release(made)?;
        self.finish()?;
        Ok(format!(
            "memory alone {}\nmemory shared {}\nmemory consumer {}\n",
            alone.line(),
            shared.line(),
            consumer.line()
        ))
    }
}
