//! Calls that end while a server does not answer. Nothing here ends by a time limit of a request,
//! which is five minutes.

use crate::{
    faults::Place,
    proxy::{Harm, Request},
    settings, store,
};
use ndshm::{Bucket, Error, Manager, Restore};
use std::{
    cell::RefCell,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

thread_local! {
    /// Whether the calls of this thread shall end. The check is that of the whole process.
    static IS_STOPPED: RefCell<Arc<AtomicBool>> = RefCell::default();
}

/// Makes requests that the test chooses hang, and the first of them ends the call of this thread.
fn hang(place: &Place, choice: impl Fn(&Request<'_>) -> bool + Send + Sync + 'static) {
    let is_stopped = Arc::new(AtomicBool::new(false));
    IS_STOPPED.set(is_stopped.clone());
    ndshm::set_interrupt_check(|| IS_STOPPED.with_borrow(|is_stopped| is_stopped.load(SeqCst)));
    place.proxy.plan(move |request| match choice(request) {
        true => {
            is_stopped.store(true, SeqCst);
            Harm::Hang
        }
        false => Harm::None,
    });
}

fn calm(place: &Place) {
    IS_STOPPED.set(Arc::default());
    place.proxy.plan(|_| Harm::None);
}

#[test]
fn an_interrupt_ends_a_checkpoint_whose_request_hangs_and_the_next_one_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let Some(place) = Place::new(&directory, &[]) else {
        return;
    };
    let manager = store();
    let steps = [
        // Of the calling thread, and of those that send chunks.
        (|request| request.number == 0) as fn(&Request<'_>) -> bool,
        |request| request.writes_a_chunk(),
        |request| request.target.ends_with("manifest.json"),
        |request| request.method == "PUT" && request.target.ends_with("latest.json"),
        // Together with the request that deletes the record of the attempt.
        |request| request.writes_a_chunk() || request.method == "DELETE",
    ];
    for (step, choice) in steps.into_iter().enumerate() {
        hang(&place, choice);
        let ended = settings().in_flight(2).write(&manager, &place.bucket);
        assert!(
            matches!(ended, Err(Error::Interrupted { .. })),
            "{step}: {ended:?}"
        );
        calm(&place);
        let written = settings().keep(1).write(&manager, &place.bucket).unwrap();
        let names = place.direct.children("").unwrap();
        assert_eq!(names.len(), 2, "{step}: {names:?}");
        let restored = Restore::new().read(&Manager::new().unwrap(), &place.bucket);
        assert_eq!(restored.unwrap().checkpoint, Some(written.id));
        place.direct.delete_all("").unwrap();
    }
}

#[test]
fn an_interrupt_ends_a_restore_whose_request_hangs_and_makes_no_array() {
    let directory = tempfile::tempdir().unwrap();
    let Some(place) = Place::new(&directory, &[]) else {
        return;
    };
    settings().write(&store(), &place.direct).unwrap();
    let manager = Manager::new().unwrap();
    for wanted in ["latest.json", "/manifest.json", "/c/1"] {
        hang(&place, move |request| request.target.ends_with(wanted));
        let ended = Restore::new().read(&manager, &place.bucket);
        assert!(matches!(ended, Err(Error::Interrupted { .. })), "{ended:?}");
        assert!(manager.list().unwrap().is_empty(), "{wanted}");
    }
    calm(&place);
    Restore::new().read(&manager, &place.bucket).unwrap();
}

/// The first version tried to delete the record of the attempt for three minutes.
#[test]
fn a_server_that_fails_and_then_hangs_does_not_keep_the_call() {
    let directory = tempfile::tempdir().unwrap();
    let Some(place) = Place::new(&directory, &[]) else {
        return;
    };
    place.proxy.plan(|request| match request.method {
        "DELETE" if !request.target.ends_with("trial") => Harm::Hang,
        _ if request.writes_a_chunk() => Harm::Answer("403 Forbidden", "ExpiredToken"),
        _ => Harm::None,
    });
    let refused = settings().write(&store(), &place.bucket);
    let Err(Error::Io { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.kind(), ErrorKind::PermissionDenied, "{source}");
}
