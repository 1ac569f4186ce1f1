//! The list of guards: their holders, and the waits for them.

use super::rows::Line;
use crate::commands::locks;
use ndshm::LockState;
use std::time::SystemTime;

/// A line for each guard and each wait; each lock comes with the name of its store.
pub(super) fn lines(locks: &[(String, LockState)]) -> Vec<Line> {
    let lines = locks.iter().enumerate();
    lines
        .map(|(at, (store, lock))| line(at, store, lock))
        .collect()
}

fn line(at: usize, store: &str, lock: &LockState) -> Line {
    let holder = &lock.holder;
    let waited = holder.since.unwrap_or_default();
    let state = match (holder.is_waiting, holder.is_alive) {
        (true, _) => format!("waits for {:.1} s", waited.as_secs_f64()),
        (false, true) => "held".into(),
        (false, false) => "held by the dead".into(),
    };
    let view = locks::view(holder);
    Line {
        cells: vec![
            view.clone(),
            store.into(),
            locks::kind(holder).into(),
            state,
            match holder.pid {
                Some(pid) => pid.to_string(),
                None => format!("member {}", holder.member),
            },
            holder.command.clone().unwrap_or_default(),
        ],
        is_bad: !holder.is_alive,
        victim: None,
        key: format!("{view} {} {} {at}", holder.member, holder.is_waiting),
        group: 0,
        name: view,
        bytes: (holder.range.end - holder.range.start) as u64,
        created: SystemTime::now() - waited,
        guards: usize::from(holder.is_waiting),
        rate: 0.0,
    }
}
