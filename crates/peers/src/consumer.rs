//! The consumer: opens the arrays that the producer publishes, reads them, and reports the times.
//!
//! | line | answer |
//! | --- | --- |
//! | `ping` | `pong` |
//! | `prepare LEN ARRAYS`, `finish`, `drop` | `done` |
//! | `first TOKEN`, `sum TOKEN` | nanoseconds to open, read one or all elements, close; the value |
//! | `hold TOKEN` | opens and keeps, answers as `sum` |
//! | `again TOKEN` | the same of the array that is held by this token |
//! | `keep TOKEN` | opens one more, reads one element and keeps it; answers as `first` |
//! | `memory` | the process's figures |
//!
//! The answer to a failed command is `error` and the text of the error.

use crate::{
    bytes,
    memory::Memory,
    peer::{Peer, Place, Result, Role},
    variants::Visitor,
    wire::Wire,
};
use std::{collections::HashMap, time::Instant};

/// Runs the consumer of a variant until the producer ends.
pub struct Consume {
    /// Where.
    pub place: Place,
    /// The producer's greeting.
    pub greeting: String,
}

struct Consumer<P: Peer> {
    peer: P,
    len: usize,
    /// By what was sent: a process that gets the name of an array has to find the array.
    held: HashMap<String, P::Opened>,
    kept: Vec<P::Opened>,
}

impl Visitor for Consume {
    fn visit<P: Peer>(self) -> Result<()> {
        let mut wire = Wire::of_consumer()?;
        let mut consumer = Consumer::<P> {
            peer: P::new(Role::Consumer, &self.place, &self.greeting)?,
            len: 0,
            held: HashMap::new(),
            kept: Vec::new(),
        };
        wire.send("ready".into())?;
        while let Ok(line) = wire.receive() {
            let line = line.to_owned();
            let answer = consumer
                .answer(&line)
                .unwrap_or_else(|error| format!("error {}", error.to_string().replace('\n', " ")));
            wire.send(answer)?;
        }
        Ok(())
    }
}

impl<P: Peer> Consumer<P> {
    fn answer(&mut self, line: &str) -> Result<String> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let start = Instant::now();
        let value = match command {
            "ping" => return Ok("pong".into()),
            "memory" => return Ok(Memory::now()?.line()),
            "first" | "sum" => {
                let mut opened = self.peer.open(rest, self.len)?;
                let read = if command == "sum" {
                    bytes::sum
                } else {
                    |elements: &[f64]| elements[0]
                };
                let value = self.peer.read(&mut opened, read)?;
                self.peer.close(opened)?;
                value
            }
            "hold" => {
                let mut opened = self.peer.open(rest, self.len)?;
                let value = self.peer.read(&mut opened, bytes::sum)?;
                let token = if P::RESENDS { rest } else { "-" };
                self.held.insert(token.into(), opened);
                value
            }
            "again" => {
                let held = self.held.get_mut(rest).ok_or("it is not held")?;
                self.peer.again(held, rest)?;
                self.peer.read(held, bytes::sum)?
            }
            "keep" => {
                let mut opened = self.peer.open(rest, self.len)?;
                let value = self.peer.read(&mut opened, |elements| elements[0])?;
                self.kept.push(opened);
                value
            }
            "drop" => {
                let held = self.held.drain().map(|(_, opened)| opened);
                for opened in held.chain(self.kept.drain(..)) {
                    self.peer.close(opened)?;
                }
                return Ok("done".into());
            }
            "finish" => {
                self.peer.finish();
                return Ok("done".into());
            }
            "prepare" => {
                let (len, arrays) = rest.split_once(' ').ok_or("prepare LEN ARRAYS")?;
                self.len = len.parse()?;
                self.peer.prepare(self.len, arrays.parse()?)?;
                return Ok("done".into());
            }
            other => return Err(format!("unknown: {other}").into()),
        };
        Ok(format!("{} {value}", start.elapsed().as_nanos()))
    }
}
