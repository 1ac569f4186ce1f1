//! The events that a subscriber of `tracing` receives.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::Root;
use ndarray::Ix1;
use ndshm::{Handle, Manager, Scope, SharedArray1};
use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber,
};

/// Writes down the messages of the library's events in one thread: other tests run beside it.
#[derive(Clone)]
struct Listener {
    thread: ThreadId,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "ndshm"
    }

    fn event(&self, event: &Event<'_>) {
        if thread::current().id() != self.thread {
            return;
        }
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.messages.lock().unwrap().push(message.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_receives_the_events_of_arrays() {
    let root = Root::new();
    let listener = Listener {
        thread: thread::current().id(),
        messages: Arc::default(),
    };
    let heard = || std::mem::take(&mut *listener.messages.lock().unwrap());
    subscriber::set_global_default(listener.clone()).unwrap();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 30)
        .create()
        .unwrap();
    heard();
    let xs = manager
        .options()
        .scope(Scope::Remote)
        .ones::<f64, _>(10)
        .unwrap();
    assert_eq!(heard(), ["created an array"]);
    let handle: Handle = xs.handle();
    let claimed: SharedArray1<f64> = handle.open().unwrap();
    assert_eq!(heard(), ["claimed an array"]);
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = claimed.write().unwrap();
        panic!("on purpose");
    }));
    assert!(panics.is_err() && claimed.read().is_err());
    assert_eq!(
        heard(),
        ["a panic poisoned what was being written", "found poison"]
    );
    drop((xs, claimed));
    assert_eq!(
        heard(),
        [
            "dropped an array that this process owned",
            "kept a file to use it again"
        ]
    );
    let named = manager
        .options()
        .name("xs")
        .ones::<f64, _>(100_000)
        .unwrap();
    named.release().unwrap();
    assert_eq!(heard(), ["created an array", "released an array"]);
    drop(manager.options().name("ys").ones::<f64, _>(10).unwrap());
    heard();
    assert_eq!(manager.array::<f64, Ix1>("ys").unwrap().len(), 10);
    assert_eq!(heard(), ["opened an array"]);
    drop(manager.zeros::<u8, _>(4 << 20).unwrap());
    assert!(heard().iter().any(|message| message.contains("huge pages")));
    manager.sweep().unwrap();
    assert_eq!(heard(), ["swept"]);
}
