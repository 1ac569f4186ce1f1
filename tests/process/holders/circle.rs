//! Threads that would wait for themselves, or in a circle.

use super::*;
use crate::common::{elsewhere, words};

#[test]
fn the_own_thread_and_the_own_process_are_called_so() {
    let root = Root::new();
    let manager = root.manager();
    let xs: SharedArray2<u64> = manager.options().name("xs").zeros((4, 4)).unwrap();
    let row = xs.slice(s![1, ..]).unwrap();
    let held = row.write().unwrap();
    for error in [
        xs.try_read().map(drop).unwrap_err(),
        xs.read().map(drop).unwrap_err(),
        xs.recover().map(drop).unwrap_err(),
        ndshm::lock((xs.reading(), manager.zeros::<u8, _>(1).unwrap().reading()))
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::WouldDeadlock { .. }), "{error}");
        let holder = only(&error);
        assert!(
            holder.is_this_thread && holder.is_this_process,
            "{holder:?}"
        );
        assert_eq!(
            (holder.pid, holder.slice.as_deref(), holder.kind),
            (
                Some(std::process::id()),
                Some("[1]"),
                Some(GuardKind::Write)
            )
        );
        let text = error.to_string();
        let words = ": this thread holds xs[1] to write and would wait for itself: drop its";
        assert!(text.contains(words), "{text}");
    }
    let error = elsewhere(|| xs.try_read().map(drop)).unwrap_err();
    let holder = only(&error);
    assert!(
        holder.is_this_process && !holder.is_this_thread && holder.is_alive,
        "{holder:?}"
    );
    assert_eq!(
        holder.command.as_deref(),
        Some(command_of(std::process::id()).as_str())
    );
    assert!(
        error
            .to_string()
            .contains(": this process holds xs[1] to write; "),
        "{error}"
    );
    drop(held);

    // Two views of one call that share bytes: no guard is held.
    let twice = ndshm::lock((xs.reading(), row.writing()))
        .map(drop)
        .unwrap_err();
    assert!(matches!(twice, Error::WouldDeadlock { .. }) && twice.holders().is_empty());

    // A reader that reads again what a writer waits for: the writer, and the own guard.
    let held = row.read().unwrap();
    let mut writer = peer();
    writer.tell(&format!("waits {}", xs.handle()));
    writer.hear("tries");
    while words::waits(xs.path()) == 0 {
        std::thread::yield_now();
    }
    let error = xs.read().map(drop).unwrap_err();
    assert!(matches!(error, Error::WouldDeadlock { .. }), "{error}");
    let [waiting, own] = error.holders() else {
        panic!("{error}")
    };
    assert_eq!(
        (waiting.pid, waiting.is_waiting),
        (Some(pid_of(&writer)), true)
    );
    assert!(own.is_this_thread && own.place() == "xs[1]", "{error}");
    drop(held);
    writer.hear("has it");
    writer.finish();
}

#[test]
fn the_others_of_a_circle_are_all_named() {
    for count in [2, 3] {
        let root = Root::new();
        let manager = root.manager();
        let xs: Vec<SharedArray2<u64>> = (0..count)
            .map(|i| {
                manager
                    .options()
                    .name(format!("xs{i}"))
                    .zeros((4, 4))
                    .unwrap()
            })
            .collect();
        let mut peers: Vec<_> = (0..count).map(|_| peer()).collect();
        for (peer, x) in peers.iter_mut().zip(&xs) {
            takes(peer, "write", &x.slice(s![1, ..]).unwrap().handle());
        }
        // Each waits for the next one's, one after the other: the last wait is the youngest. The
        // last one waits for the array of the first, whose file it has not opened.
        for (i, peer) in peers.iter_mut().enumerate() {
            let next = (i + 1) % count;
            peer.tell(&format!(
                "waits {}",
                xs[next].slice(s![.., 2]).unwrap().handle()
            ));
            peer.hear("tries");
            if i + 1 < count {
                while words::waits(xs[next].path()) == 0 {
                    std::thread::yield_now();
                }
                // The waits' times are whole milliseconds.
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        let expected: Vec<_> = (0..count - 1)
            .flat_map(|i| {
                let (pid, next) = (pid_of(&peers[i]), i + 1);
                [
                    format!("{pid}:Some(Write):false:xs{i}[1]"),
                    format!("{pid}:Some(Write):true:xs{next}[:,_2]"),
                ]
            })
            .collect();
        assert_eq!(peers[count - 1].hear("told "), expected.join(" "));
        // Each one's end lets the one before it go on.
        for mut peer in peers.into_iter().rev() {
            peer.hear("has it");
            peer.finish();
        }
    }
}
