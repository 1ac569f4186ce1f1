//! The obstacles of a refused call: the holders that its error names.
//!
//! # When they are read
//!
//! A call that is refused notes the lane in its way at once (`waiting`), and this module copies the
//! other ones right after, without the lock word. It keeps a copy only if the lane was in one use
//! while it was copied. So a holder was one at that moment; it may have given its guard back since.
//! If all of them did before they were copied, the error names none.
//!
//! # Which process
//!
//! A lane has its member and its process. The process is named by its pid if that means something
//! in this pid namespace, and by its command if the member lives after the command was read: a
//! member has one process, so no other one had the pid meanwhile. Any process of the user can write
//! other numbers into a lane. They change the words of an error and nothing else.
//!
//! A record of poison has its member only. The process is found in the lane from which the record
//! came, or in another one of the member, for as long as these are not leased again.

use crate::{
    array::{open_array::OpenArray, waiting::Waiting},
    format::array_spec::ArraySpec,
    inspect::{
        holder::{Holder, Holders},
        observer::{
            GuardKind,
            locks::{kind_of, range_of, slice_of_span, waited},
        },
    },
    layout::span::Span,
    segment::described,
    state::{
        lanes::{Conflicts, Lane, Lanes, Mode, OF_ARRAYS, is_in, is_waiting, member_of, turns},
        lock_table::{Poison, Request, Watched},
        snapshot::LaneSnapshot,
    },
    store::{member::Member, thread_lanes},
    sync::Instant,
    sys::{fork, process},
};
use std::{
    path::PathBuf,
    sync::atomic::Ordering::{Acquire, Relaxed},
    time::Duration,
};

/// The most holders that an error names.
const MOST: usize = 16;
/// How long a command is known: a process may give itself another one. To read it takes ten times
/// as long as all else of a call that does not wait, and programs repeat such calls.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// The obstacle of a request at the end of its time.
pub(super) enum Blocker {
    Lane {
        index: u32,
        lane: LaneSnapshot,
        since: Option<Duration>,
    },
    /// The lock word, and the member that held it.
    Word { member: u64, since: Duration },
}

impl Blocker {
    /// The guard or wait in a lane of this array, if it is one.
    pub(super) fn of_lane(array: &OpenArray, index: u32, watched: Option<Watched>) -> Option<Self> {
        let lane = copy_of(array.member().lanes().lane(index)?)?;
        let is_same =
            |watched: &Watched| (watched.lane, watched.number) == (index, turns::number(lane.turn));
        let since = watched
            .filter(is_same)
            .map(|watched| Instant::now().saturating_duration_since(watched.since));
        let is_of_array = lane.key == array.lock_table().key;
        is_of_array.then_some(Blocker::Lane { index, lane, since })
    }
}

/// A copy of the guard or wait in a lane, unless its use changed meanwhile.
fn copy_of(lane: &Lane) -> Option<LaneSnapshot> {
    let copy = LaneSnapshot::read(lane);
    let is_one = is_in(copy.tag, OF_ARRAYS) && !Mode::Poisoned.is(copy.tag);
    (is_one && copy.is_of_one_use(lane)).then_some(copy)
}

/// The guards and waits that a request whose time is over found in its way.
pub(super) fn in_the_way(array: &OpenArray, request: &Request, around: &Waiting<'_>) -> Holders {
    let mut found = Vec::new();
    let mut noted = None;
    match around.blocker.take() {
        Some(Blocker::Word { member, since }) => {
            return [of_word(array, member, since)].into_iter().collect();
        }
        // Its use may be another one since the table looked.
        Some(Blocker::Lane { index, lane, since })
            if lane.span.overlaps(&request.span)
                && (is_waiting(lane.tag) || Conflicts::of(request.mode).has(lane.tag)) =>
        {
            noted = Some(index);
            found.push((lane, since));
        }
        Some(Blocker::Lane { .. }) | None => {}
    }
    array
        .lock_table()
        .each_guard_against(request, |index, lane| {
            let is_new = Some(index) != noted && index != request.lane;
            if is_new && found.len() < MOST {
                found.extend(copy_of(lane).map(|lane| (lane, None)));
            }
        });
    let array = Named::of(array);
    let holders = found.iter().map(|(lane, since)| array.holder(lane, *since));
    holders.collect()
}

/// The guards and waits for which a thread would wait for itself.
pub(super) fn in_the_circle(array: &OpenArray, request: &Request, around: &Waiting<'_>) -> Holders {
    let named = Named::of(array);
    let is_own = |lane: &LaneSnapshot| {
        member_of(lane.tag) == request.member && lane.is_of_thread(request.thread)
    };
    if let Some(circle) = around.circle.take() {
        let others = circle.iter().filter(|link| !is_own(&link.lane)).take(MOST);
        return others
            .map(|link| Named::of_key(&link.store, link.lane.key).holder(&link.lane, None))
            .collect();
    }
    let table = array.lock_table();
    let own_guards = |request: &Request| {
        let mut found = Vec::new();
        table.each_guard_against(request, |_, lane| {
            found.extend(copy_of(lane).filter(is_own));
        });
        found
    };
    let mut found = own_guards(request);
    if found.is_empty() {
        // It would wait for a writer that waits for a guard of this thread.
        let mut writers = Vec::new();
        table.each_waiting_writer(request, |lane| writers.extend(copy_of(lane)));
        for writer in writers {
            let guards = own_guards(&Request {
                span: writer.span,
                mode: Mode::Write,
                ..*request
            });
            if !guards.is_empty() && !is_own(&writer) {
                found.push(writer);
                found.extend(guards);
            }
        }
    }
    let holders = found.iter().take(MOST);
    holders.map(|lane| named.holder(lane, None)).collect()
}

/// The writer that left bytes half-written.
pub(super) fn writer_of(array: &OpenArray, poison: &Poison) -> Holders {
    let named = Named::of(array);
    let process = number_of(array.member(), poison.member);
    let writer = Holder {
        kind: Some(GuardKind::Write),
        range: range_of(poison.span, named.byte_len()),
        slice: named.slice_of(poison.span),
        ..named.process(poison.member, process, false)
    };
    [writer].into_iter().collect()
}

fn of_word(array: &OpenArray, member: u64, since: Duration) -> Holder {
    let process = number_of(array.member(), member);
    Holder {
        since: Some(since),
        ..Named::of(array).process(member, process, false)
    }
}

/// The process of a member, as errors name it, without a guard. `number` is that of the process.
pub(crate) fn process(array: &OpenArray, member: u64, number: u32) -> Holder {
    let holder = Named::of(array).process(member, Some(number), false);
    Holder {
        slice: Some("[:]".into()),
        ..holder
    }
}

/// The member that appends to an array that grows; `number` is that of its process.
pub(super) fn appender(array: &OpenArray, member: u64, number: u32) -> Holders {
    let named = Named::of(array);
    let first = array.rows_seen();
    let is_this_thread =
        array.member().is_own_id(member) && array.is_reserved_by(thread_lanes::number());
    let holder = Holder {
        kind: Some(GuardKind::Write),
        range: first * array.row_len()..named.byte_len(),
        slice: Some(format!("[{first}:]")),
        ..named.process(member, Some(number), is_this_thread)
    };
    [holder].into_iter().collect()
}

/// The number of a member's process, from any lane of its store that is or was the member's.
fn number_of(store: &Member, member: u64) -> Option<u32> {
    let pool = store.lanes();
    let mut found = None;
    for lane in (0..pool.count()).filter_map(|index| pool.lane(index)) {
        let tag = lane.tag.load(Acquire);
        if tag == 0 || member_of(tag) != member {
            continue;
        }
        let number = lane.process.load(Relaxed);
        if Mode::Leased.is(tag) {
            // Its thread may not have written the number yet: another lane is better.
            found = found.or(Some(number));
        } else if lane.tag.load(Acquire) == tag {
            return Some(number);
        }
    }
    found
}

/// An array whose lanes are put into words.
struct Named<'a> {
    store: &'a Member,
    array: Option<(PathBuf, ArraySpec)>,
}

impl<'a> Named<'a> {
    fn of(array: &'a OpenArray) -> Self {
        Self {
            store: array.member(),
            array: Some((array.path().into(), array.header().spec.clone())),
        }
    }

    /// The array of a store that lanes name by this key.
    fn of_key(store: &'a Member, key: u64) -> Self {
        Self {
            store,
            array: described(store, key),
        }
    }

    fn byte_len(&self) -> usize {
        let spec = self.array.as_ref().map(|(_, spec)| spec);
        spec.map_or(usize::MAX, ArraySpec::byte_len)
    }

    fn holder(&self, lane: &LaneSnapshot, since: Option<Duration>) -> Holder {
        let is_this_thread =
            self.store.is_own_id(member_of(lane.tag)) && lane.is_of_thread(thread_lanes::number());
        Holder {
            kind: Some(kind_of(lane.tag)),
            is_waiting: is_waiting(lane.tag),
            range: range_of(lane.span, self.byte_len()),
            slice: self.slice_of(lane.span),
            since: waited(lane).or(since),
            ..self.process(member_of(lane.tag), Some(lane.process), is_this_thread)
        }
    }

    fn slice_of(&self, span: Span) -> Option<String> {
        let (_, spec) = self.array.as_ref()?;
        slice_of_span(&span, spec.shape(), spec.order(), spec.dtype())
    }

    /// A holder of nothing yet: its process. `number` is that of the process, as a lane has it.
    fn process(&self, member: u64, number: Option<u32>, is_this_thread: bool) -> Holder {
        let is_this_process = self.store.is_own_id(member);
        let number = match is_this_process {
            true => Some(self.store.process()),
            false => number,
        };
        let known = number.map(|number| Known::of(self.store, member, number));
        let (pid, command) = known.map_or((None, None), |known| (known.pid, known.command));
        // If it lives now, its process had this pid while the command was read.
        let is_alive = is_this_process || self.store.is_alive(member).unwrap_or(false);
        Holder {
            path: self.array.as_ref().map(|(path, _)| path.clone()),
            kind: None,
            is_waiting: false,
            range: 0..0,
            slice: None,
            member,
            is_alive,
            pid,
            command: command.filter(|_| is_alive),
            is_this_process,
            is_this_thread,
            since: None,
        }
    }
}

/// A process that an error named.
#[derive(Clone)]
struct Known {
    /// Device and inode of the lock file of the store, the member, and the number of its process.
    key: ((u64, u64), u64, u32),
    pid: Option<u32>,
    command: Option<String>,
    read_at: Instant,
}

impl Known {
    /// The process of a member, as it was read within the last second. A member keeps its process,
    /// so this is never another one.
    fn of(store: &Member, member: u64, number: u32) -> Self {
        static LAST: fork::Mutex<Vec<Known>> = fork::Mutex::new(Vec::new());
        let key = (store.inode(), member, number);
        let now = Instant::now();
        let is_fresh = |known: &Known| now.saturating_duration_since(known.read_at) < KNOWN_FOR;
        let mut last = LAST.lock();
        last.retain(is_fresh);
        if let Some(known) = last.iter().find(|known| known.key == key) {
            return known.clone();
        }
        drop(last);
        let pid = process::pid_of(number).filter(|&pid| pid != 0);
        let known = Self {
            key,
            pid,
            command: pid.and_then(process::command_of),
            read_at: now,
        };
        let mut last = LAST.lock();
        if last.len() >= MOST {
            last.remove(0);
        }
        last.push(known.clone());
        known
    }
}
