//! Circles of waits: threads that wait for each other's guards for ever.
//!
//! # What a search sees
//!
//! Every guard and every wait is a lane, in this process or another one, so the lanes of the stores
//! that this process has joined are the whole graph. A store counts once, at whatever paths and by
//! however many memberships the process joined it. A wait leads to the guards that exclude it, and
//! a reader's wait also to the waiting writers before it, but for those that wait for a guard of
//! the reader's thread: a set of guards goes before them. A guard leads to the wait of its
//! thread, if that thread waits. A guard that another thread may give back names no thread, and a
//! wait with a time-out ends by itself: neither leads anywhere.
//!
//! # No false alarm
//!
//! Lanes change while they are copied. So a circle is believed only if a second look, which begins
//! after the first one is complete, finds all of its lanes in the same use: the same tag and bytes,
//! and the same number in the word `turn`. Then all of these guards were held and all of these
//! waits were under way at the moment between the two looks. Each thread of the circle sleeps until
//! another one gives its guard back, which sleeps too, so the circle is one for ever.
//!
//! # One victim
//!
//! The youngest wait of a circle gives up, and the others go on. All of its threads compute the
//! same one, because the time and the place of a wait stand in its lane.

use crate::{
    layout::span::Span,
    state::lanes::{
        Conflicts, FLAGS, Lane, Lanes, Mode, OF_ARRAYS, is_in, is_waiting, member_of, turns,
        wanted_by,
    },
    store::{lane_pool::LanePool, member::Member},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Acquire},
};
use uuid::Uuid;

/// One use of a lane, as it was copied.
struct Use {
    pool: usize,
    index: u32,
    tag: u64,
    turn: u64,
    key: u64,
    span: Span,
    /// Process and thread; `None` if any thread may give the guard back.
    thread: Option<(u32, u32)>,
    since: u32,
}

impl Use {
    fn copy(pool: usize, index: u32, lane: &Lane) -> Option<Self> {
        let tag = lane.tag.load(Acquire);
        if !is_in(tag, OF_ARRAYS) || Mode::Poisoned.is(tag) {
            return None;
        }
        let turn = lane.turn.load(Acquire);
        let thread = lane.thread.load(Acquire);
        Some(Self {
            pool,
            index,
            tag: tag & !FLAGS,
            turn,
            key: lane.key.load(Acquire),
            span: lane.hold(tag),
            thread: (thread != 0).then(|| (lane.process.load(Acquire), thread)),
            since: lane.since.load(Acquire),
        })
    }

    fn is_unchanged(&self, lane: &Lane) -> bool {
        let number = |turn: u64| turn & !(turns::NUMBER - 1);
        let tag = lane.tag.load(Acquire);
        tag & !FLAGS == self.tag
            && number(lane.turn.load(Acquire)) == number(self.turn)
            && lane.hold(tag) == self.span
    }

    fn is_wait(&self) -> bool {
        is_waiting(self.tag)
    }

    /// Whether this wait cannot end while the other guard is held, or the other wait under way.
    fn is_kept_by(&self, other: &Use) -> bool {
        let is_same_array = (self.pool, self.key) == (other.pool, other.key);
        if !is_same_array || !self.span.overlaps(&other.span) {
            return false;
        }
        let wanted = wanted_by(self.tag);
        if other.is_wait() {
            // Only a writer keeps readers out while it waits, and only those that came later.
            let is_older = (other.turn as u32).wrapping_sub(self.turn as u32) > u32::MAX / 2;
            return wanted != Mode::Write && Mode::WriteWait.is(other.tag) && is_older;
        }
        Conflicts::of(wanted).has(other.tag)
    }
}

/// Whether the wait in a lane of this store belongs to a circle of waits and is its youngest.
pub(crate) fn is_victim(member: &Member, lane: u32) -> bool {
    let Some((stores, own)) = stores_beside(member) else {
        return false;
    };
    for store in &stores {
        // Lanes that this process cannot reach are missing from the graph, which hides circles and
        // makes none up.
        let _ = store.reach_lanes();
    }
    let pools: Vec<_> = stores.iter().map(|store| store.lanes().clone()).collect();
    let ids: Vec<_> = stores.iter().map(|store| store.page().uuid()).collect();
    let uses = copy_all(&pools);
    let Some(start) = uses
        .iter()
        .position(|one| (one.pool, one.index) == (own, lane) && one.is_wait())
    else {
        return false;
    };
    let Some(circle) = circle_from(start, &uses) else {
        return false;
    };
    let is_real = circle.iter().all(|&at| {
        let found = &uses[at];
        pools[found.pool]
            .lane(found.index)
            .is_some_and(|lane| found.is_unchanged(lane))
            // The guards of a dead member are no obstacle for long.
            && stores[found.pool]
                .is_alive(member_of(found.tag))
                .unwrap_or(false)
    });
    is_real && youngest(&circle, &uses, &ids) == Some(start)
}

/// The stores that this process has joined, each once, and the place of the member's among them.
/// Two memberships of a store that was moved between them have the same lanes.
fn stores_beside(member: &Member) -> Option<(Vec<Arc<Member>>, usize)> {
    let is_own = |store: &Arc<Member>| store.lanes().serial() == member.lanes().serial();
    let mut stores = Member::all();
    // The member's own before others of its store.
    stores.sort_by_key(|store| !is_own(store));
    let mut known = HashSet::new();
    stores.retain(|store| known.insert(store.inode()));
    let own = stores.iter().position(is_own)?;
    Some((stores, own))
}

fn copy_all(pools: &[Arc<LanePool>]) -> Vec<Use> {
    let mut uses = Vec::new();
    for (pool, lanes) in pools.iter().enumerate() {
        for index in 0..lanes.count() {
            uses.extend(
                lanes
                    .lane(index)
                    .and_then(|lane| Use::copy(pool, index, lane)),
            );
        }
    }
    uses
}

/// The waits and guards of a circle that leads from a wait back to its thread.
fn circle_from(start: usize, uses: &[Use]) -> Option<Vec<usize>> {
    let thread = uses[start].thread?;
    let mut of_array: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut waits: HashMap<(u32, u32), usize> = HashMap::new();
    for (at, one) in uses.iter().enumerate() {
        of_array.entry((one.pool, one.key)).or_default().push(at);
        if let (true, Some(thread)) = (one.is_wait(), one.thread) {
            waits.insert(thread, at);
        }
    }
    // Whether a thread holds a guard that another wait waits for.
    let goes_first = |wait: usize, other: usize| {
        let thread = uses[wait].thread;
        of_array[&(uses[wait].pool, uses[wait].key)]
            .iter()
            .map(|&at| &uses[at])
            .any(|held| {
                !held.is_wait()
                    && held.thread == thread
                    && thread.is_some()
                    && uses[other].is_kept_by(held)
            })
    };
    // For each wait that was reached: the wait before it, and the guard in between, if any.
    let mut before: HashMap<usize, (usize, Option<usize>)> = HashMap::new();
    let mut reached = HashSet::from([start]);
    let mut open = vec![start];
    while let Some(wait) = open.pop() {
        if uses[wait].turn & turns::ENDS != 0 {
            continue;
        }
        for &other in &of_array[&(uses[wait].pool, uses[wait].key)] {
            if other == wait || !uses[wait].is_kept_by(&uses[other]) {
                continue;
            }
            if uses[other].is_wait() && goes_first(wait, other) {
                continue;
            }
            if other == start {
                return Some(path_to(wait, None, &before));
            }
            let (next, guard) = if uses[other].is_wait() {
                (Some(other), None)
            } else {
                let holder = uses[other].thread;
                if holder == Some(thread) {
                    return Some(path_to(wait, Some(other), &before));
                }
                (
                    holder.and_then(|holder| waits.get(&holder).copied()),
                    Some(other),
                )
            };
            if let Some(next) = next
                && reached.insert(next)
            {
                before.insert(next, (wait, guard));
                open.push(next);
            }
        }
    }
    None
}

fn path_to(
    last: usize,
    guard: Option<usize>,
    before: &HashMap<usize, (usize, Option<usize>)>,
) -> Vec<usize> {
    let mut path: Vec<_> = guard.into_iter().chain([last]).collect();
    let mut at = last;
    while let Some(&(earlier, guard)) = before.get(&at) {
        path.extend(guard);
        path.push(earlier);
        at = earlier;
    }
    path
}

fn youngest(circle: &[usize], uses: &[Use], ids: &[Uuid]) -> Option<usize> {
    let waits = circle.iter().copied().filter(|&at| uses[at].is_wait());
    waits.reduce(|youngest, other| {
        let (a, b) = (&uses[youngest], &uses[other]);
        let is_younger = match b.since.wrapping_sub(a.since) {
            0 => (ids[b.pool], b.index) > (ids[a.pool], a.index),
            difference => difference < u32::MAX / 2,
        };
        if is_younger { other } else { youngest }
    })
}
