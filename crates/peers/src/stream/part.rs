//! The processes of a stream: each reads jobs from its standard input, one in a line, and answers
//! on its standard output with lines of a name and figures, then `end`, or `error` and its text.
//!
//! | role | job | answer |
//! | --- | --- | --- |
//! | all | `ready` | none |
//! | `ping`, `pong` | `exchange COUNT` | `times` of the one way (`ping` alone), `switches` |
//! | `ping`, `pong` | `quiet COUNT` | none: the process ends, with 0 if it made no system call |
//! | `producer` | `produce COUNT NANOSECONDS` | `start`, `cpu` |
//! | `producer` | `crowd COUNT PID...` | `publish` times, `last` times |
//! | `consumer` | `consume COUNT` | `end`, `cpu`, `received`, `switches` |
//! | `consumer` | `watch COUNT` | none |
//! | `alone` | `copy COUNT NANOSECONDS`, `sum COUNT NANOSECONDS` | `cpu` |

use super::{
    link::{FRAMES, Options, Receiver, Sender},
    usage::{Usage, clock},
    variants::{Visitor, with_ends},
    words::Arrivals,
};
use crate::peer::Result;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    io::{BufRead, Write},
    thread,
    time::{Duration, Instant},
};

/// The bytes of a frame that a ping writes and reads.
const TOUCHED: usize = 64;
/// How long a producer waits for a crowd to sleep, and to have a frame.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a producer sleeps before it publishes to a crowd, as the one of a camera does.
const REST: Duration = Duration::from_millis(5);

/// A process of a stream.
pub struct Part {
    pub options: Options,
    pub role: String,
}

/// Runs a process of a stream until the driver ends.
pub fn run(part: Part) -> Result<()> {
    // A receiver that spins would not notice the end of its input.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if part.role == "alone" {
        let bytes = part.options.bytes;
        return serve(|verb, numbers| alone(verb, numbers, bytes));
    }
    with_ends(part.options.variant.library, part)
}

/// Answers jobs.
fn serve(mut work: impl FnMut(&str, &[u64]) -> Result<String>) -> Result<()> {
    for job in std::io::stdin().lock().lines() {
        let job = job?;
        let mut words = job.split(' ');
        let verb = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>()?;
        let answer = match work(verb, &numbers) {
            Ok(lines) => format!("{lines}end\n"),
            Err(error) => format!("error {error}\n"),
        };
        std::io::stdout().write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn unknown(verb: &str) -> Result<String> {
    match verb {
        "ready" => Ok(String::new()),
        _ => Err(format!("no job {verb}").into()),
    }
}

/// A line of figures.
fn line(name: &str, figures: impl IntoIterator<Item = f64>) -> String {
    let mut line = name.to_owned();
    for figure in figures {
        let _ = write!(line, " {figure}");
    }
    line + "\n"
}

fn one(name: &str, figure: f64) -> String {
    line(name, [figure])
}

impl Visitor for Part {
    fn visit<S: Sender, R: Receiver>(self) -> Result<()> {
        let options = &self.options;
        match self.role.as_str() {
            "ping" => {
                let mut ends = Ends {
                    // A sender that is there lets the other side's receiver begin.
                    sender: S::open(options, "there")?,
                    receiver: R::open(options, "back")?,
                    is_early: options.variant.is_early,
                    number: 0,
                };
                serve(|verb, numbers| ends.work(verb, numbers, Ends::ping))
            }
            "pong" => {
                let mut ends = Ends {
                    sender: S::open(options, "back")?,
                    receiver: R::open(options, "there")?,
                    is_early: options.variant.is_early,
                    number: 0,
                };
                serve(|verb, numbers| ends.work(verb, numbers, |ends| ends.pong().map(|()| 0.0)))
            }
            "producer" => {
                let mut sender = S::open(options, "there")?;
                let source = vec![1; options.bytes];
                serve(|verb, numbers| match (verb, numbers) {
                    ("produce", &[count, pace]) => {
                        produce(&mut sender, source.clone(), count, pace)
                    }
                    ("crowd", &[count, ref members @ ..]) => {
                        crowd(&mut sender, options, count, members)
                    }
                    _ => unknown(verb),
                })
            }
            role => {
                let member = role.strip_prefix("consumer-").ok_or("no such role")?;
                let member = member.parse()?;
                let mut receiver = R::open(options, "there")?;
                let arrivals = Arrivals::open(options)?;
                serve(|verb, numbers| match (verb, numbers) {
                    ("consume", &[count]) => consume(&mut receiver, options.bytes, count),
                    ("watch", &[count]) => {
                        for _ in 0..count {
                            receiver.receive(|_| arrivals.note(member, clock()))?;
                        }
                        Ok(String::new())
                    }
                    _ => unknown(verb),
                })
            }
        }
    }
}

/// A stream there and one back.
struct Ends<S, R> {
    sender: S,
    receiver: R,
    is_early: bool,
    number: u64,
}

fn write_number(frame: &mut [u8], number: u64) {
    let mut touched = [0; TOUCHED];
    touched[..8].copy_from_slice(&number.to_le_bytes());
    frame[..TOUCHED].copy_from_slice(&touched);
}

fn read_number(frame: &[u8]) -> u64 {
    let touched: [u8; TOUCHED] = *black_box(frame.first_chunk().unwrap_or(&[0; TOUCHED]));
    touched
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl<S: Sender, R: Receiver> Ends<S, R> {
    /// Sends a frame and waits for its echo. Returns half of the time, in nanoseconds.
    fn ping(&mut self) -> Result<f64> {
        self.number += 1;
        let number = self.number;
        let write = |frame: &mut [u8], _: &Instant| write_number(frame, number);
        let start = match self.is_early {
            true => self.sender.send(|| Ok(Instant::now()), write)?,
            false => {
                let start = Instant::now();
                self.sender.send(|| Ok(start), write)?
            }
        };
        let echo = self.receiver.receive(read_number)?;
        let time = start.elapsed().as_nanos() as f64 / 2.0;
        match echo == number {
            true => Ok(time),
            false => Err(format!("the echo of {number} is {echo}").into()),
        }
    }

    /// Waits for a frame and echoes its number.
    fn pong(&mut self) -> Result<()> {
        let write = |frame: &mut [u8], number: &u64| write_number(frame, *number);
        match self.is_early {
            true => {
                let receiver = &mut self.receiver;
                self.sender.send(|| receiver.receive(read_number), write)?
            }
            false => {
                let number = self.receiver.receive(read_number)?;
                self.sender.send(|| Ok(number), write)?
            }
        };
        Ok(())
    }

    fn work(
        &mut self,
        verb: &str,
        numbers: &[u64],
        mut exchange: impl FnMut(&mut Self) -> Result<f64>,
    ) -> Result<String> {
        match (verb, numbers) {
            ("exchange", &[count]) => {
                for _ in 0..count / 10 {
                    exchange(self)?;
                }
                let before = Usage::now();
                let times = (0..count).map(|_| exchange(self));
                let times = times.collect::<Result<Vec<f64>>>()?;
                let switches = before.since().switches as f64 / count as f64;
                let times = match times.first() {
                    Some(&time) if time > 0.0 => line("times", times),
                    _ => String::new(),
                };
                Ok(times + &one("switches", switches))
            }
            ("quiet", &[count]) => {
                for _ in 0..count {
                    exchange(self)?;
                }
                quietly(|| (0..count).all(|_| exchange(self).is_ok()))
            }
            _ => unknown(verb),
        }
    }
}

/// Does something without system calls, and ends the process; the kernel kills it if it makes one.
///
/// A filter, because strict mode forbids the instruction that reads the processor's clock too.
#[allow(
    unsafe_code,
    reason = "a filter of system calls and the bare exit are calls of libc"
)]
fn quietly(work: impl FnOnce() -> bool) -> Result<String> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (load, equal) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
    );
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    // The number of the call comes first in what the filter is given.
    let mut filter = [
        step(load as u16, 0, 0, 0),
        step(equal as u16, 0, 1, libc::SYS_exit as u32),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(answer, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the program and its filter live until the call returns, which copies them. From here
    // on the process may only exit.
    if unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    } != 0
    {
        return Err(std::io::Error::last_os_error().into());
    }
    let is_done = work();
    // SAFETY: the call takes a number and ends the process at once; no other way of ending it is
    // allowed now.
    unsafe { libc::syscall(libc::SYS_exit, libc::c_int::from(!is_done)) };
    Ok(String::new())
}

/// The sum of all bytes, eight at a time.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| {
        word.first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    });
    words.fold(0, u64::wrapping_add)
}

/// Sleeps until the time of a frame, where frames have one.
fn keep_pace(start: Instant, frame: u64, pace: u64) {
    if pace > 0 {
        let due = start + Duration::from_nanos(frame * pace);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn produce<S: Sender>(
    sender: &mut S,
    mut source: Vec<u8>,
    count: u64,
    pace: u64,
) -> Result<String> {
    let before = Usage::now();
    let (start, begin) = (clock(), Instant::now());
    for number in 1..=count {
        keep_pace(begin, number, pace);
        source[..8].copy_from_slice(&number.to_le_bytes());
        sender.send_copy(&source)?;
    }
    Ok(one("start", start as f64) + &one("cpu", before.since().cpu))
}

/// Reads frames until the last one, whose number is `count`.
fn consume<R: Receiver>(receiver: &mut R, bytes: usize, count: u64) -> Result<String> {
    let rest = sum(&vec![1; bytes - 8]);
    let before = Usage::now();
    let mut received = 0;
    loop {
        let read = |frame: &[u8]| {
            let number = frame.first_chunk().copied().map_or(0, u64::from_le_bytes);
            (number, sum(frame).wrapping_sub(number))
        };
        let (number, found) = receiver.receive(read)?;
        if found != rest {
            return Err(format!("the sum of frame {number} is {found}, expected {rest}").into());
        }
        received += 1;
        if number == count {
            break;
        }
    }
    let (end, used) = (clock(), before.since());
    Ok(one("end", end as f64)
        + &one("cpu", used.cpu)
        + &one("received", f64::from(received))
        + &one("switches", used.switches as f64))
}

/// Whether the kernel says that a process sleeps.
fn is_asleep(process: u64) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('S'))
}

/// Publishes frames to members that all sleep.
fn crowd<S: Sender>(
    sender: &mut S,
    options: &Options,
    count: u64,
    members: &[u64],
) -> Result<String> {
    let arrivals = Arrivals::open(options)?;
    let wait = |is_met: &dyn Fn() -> bool, what: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !is_met() {
            if Instant::now() > deadline {
                return Err(what.to_owned());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    };
    let (mut publish, mut last) = (Vec::new(), Vec::new());
    for number in 1..=count {
        arrivals.clear();
        let all_sleep = || members.iter().all(|&member| is_asleep(member));
        wait(&all_sleep, "the members of the crowd do not sleep")?;
        // The kernel would let a woken member run before a producer that just ran for so long.
        thread::sleep(REST);
        let begin = || Ok((clock(), Instant::now()));
        let (start, begun) =
            sender.send(begin, |frame: &mut [u8], _| write_number(frame, number))?;
        publish.push(begun.elapsed().as_nanos() as f64);
        wait(
            &|| arrivals.last().is_some(),
            "not all members got the frame",
        )?;
        let end = arrivals.last().unwrap_or_default();
        last.push(end.saturating_sub(start) as f64);
    }
    Ok(line("publish", publish) + &line("last", last))
}

/// The work of both ends of a stream, on the heap of one process.
fn alone(verb: &str, numbers: &[u64], bytes: usize) -> Result<String> {
    let &[count, pace] = numbers else {
        return unknown(verb);
    };
    let source = vec![1; bytes];
    let mut frames = vec![source.clone(); FRAMES];
    let before = Usage::now();
    let begin = Instant::now();
    for number in 0..count {
        keep_pace(begin, number, pace);
        let frame = &mut frames[number as usize % FRAMES];
        match verb {
            "copy" => black_box(frame).copy_from_slice(black_box(&source)),
            "sum" => {
                black_box(sum(black_box(frame)));
            }
            _ => return unknown(verb),
        }
    }
    Ok(one("cpu", before.since().cpu))
}
