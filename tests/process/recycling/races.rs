//! Others that open and list arrays while their files are used again.

use super::{
    common::{self, Peer, Root},
    recycling,
};
use ndarray::Ix1;
use ndshm::{Error, Handle, Manager, SharedArray1};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

/// Openers against a recycler: an opener gets the array of the handle, whole, or the error that it
/// was released.
#[test]
fn an_opening_while_files_are_used_again_gives_the_right_array_or_an_error() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let mut peers: Vec<_> = (0..3)
        .map(|_| Peer::start(child_opens_what_it_is_told, &[""]))
        .collect();
    let mut last: Option<SharedArray1<u64>> = None;
    for round in 0..2000u64 {
        let xs = manager.from_elem(600, round).unwrap();
        let peer = &mut peers[(round % 3) as usize];
        peer.tell(&format!("{round} {}", xs.handle()));
        // The one before is dropped while it is being opened.
        last = Some(xs);
    }
    drop(last);
    let mut outcomes = [0; 2];
    for mut peer in peers {
        peer.tell("end");
        let [opened, refused] = [peer.hear("opened "), peer.hear("refused ")]
            .map(|count| count.parse::<u64>().unwrap());
        (outcomes[0], outcomes[1]) = (outcomes[0] + opened, outcomes[1] + refused);
        peer.finish();
    }
    assert_eq!(outcomes[0] + outcomes[1], 2000);
    assert!(outcomes[1] > 0, "nothing was refused: {outcomes:?}");
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_what_it_is_told() {
    common::arguments();
    let (mut opened, mut refused) = (0, 0);
    for line in std::io::stdin()
        .lines()
        .map(Result::unwrap)
        .take_while(|line| line != "end")
    {
        let (round, handle) = line.split_once(' ').unwrap();
        match handle.parse::<Handle>().unwrap().open::<u64, Ix1>() {
            Ok(xs) => {
                let round: u64 = round.parse().unwrap();
                assert!(
                    xs.read().unwrap().iter().all(|&x| x == round),
                    "{round}: another array's elements"
                );
                opened += 1;
            }
            Err(Error::Released { .. }) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    println!("opened {opened}\nrefused {refused}");
    let _ = std::io::stdin().lines().count();
    common::done();
}

/// The arrays have other lengths and headers in one file. A look without opening and an opening, in
/// the process that uses the file again and in another one, give the array of the handle, or the
/// error that it is gone. They used to report a half-written header, and one that did not fit to
/// the length.
#[test]
fn a_look_while_files_are_used_again_never_reports_a_wrong_header() {
    let root = Root::new();
    let manager = recycling(&root, 1 << 30);
    let current = Mutex::new(manager.from_elem(600, 0u64).unwrap().handle());
    let is_over = AtomicBool::new(false);
    let mut peer = Peer::start(child_lists, &[manager.path()]);
    peer.hear("listing");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    manager.list().unwrap();
                    let handle = current.lock().unwrap().clone();
                    match handle.info() {
                        Ok(info) => assert_eq!(info.id, handle.id()),
                        Err(Error::Released { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    match handle.open::<u64, Ix1>() {
                        Ok(xs) => {
                            let elements = xs.read().unwrap();
                            assert!(
                                elements.iter().all(|&x| x == elements.len() as u64),
                                "{elements:?}"
                            );
                        }
                        Err(Error::Released { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
        for round in 0..4000 {
            let len = 600 + round % 9;
            let labelled = manager
                .options()
                .axis_names(["a label that is longer than others"]);
            let options = if round % 4 == 0 {
                labelled
            } else {
                manager.options()
            };
            let xs = options.from_elem(len, len as u64).unwrap();
            *current.lock().unwrap() = xs.handle();
        }
        is_over.store(true, SeqCst);
    });
    peer.tell("end");
    peer.hear("listed");
    peer.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_lists() {
    let manager = Manager::open(&common::arguments()[0]).unwrap();
    let is_over = AtomicBool::new(false);
    println!("listing");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                for info in manager.list().unwrap() {
                    match SharedArray1::<u64>::open_path(&info.path) {
                        Ok(xs) => assert_eq!(xs.id(), info.id),
                        Err(Error::Released { .. } | Error::NotFound { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        });
        let _ = std::io::stdin().lines().next();
        is_over.store(true, SeqCst);
    });
    println!("listed");
    let _ = std::io::stdin().lines().count();
    common::done();
}
