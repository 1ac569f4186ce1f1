//! Any text as a handle: a text that parses prints the same, and the handle goes through serde
//! unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ndshm::Handle;

fuzz_target!(|text: &str| {
    let Ok(handle) = text.parse::<Handle>() else {
        return;
    };
    assert_eq!(handle.to_string(), text);
    let json = serde_json::to_string(&handle).unwrap();
    assert_eq!(serde_json::from_str::<Handle>(&json).unwrap(), handle);
    let postcard = postcard::to_allocvec(&handle).unwrap();
    assert_eq!(postcard::from_bytes::<Handle>(&postcard).unwrap(), handle);
});
