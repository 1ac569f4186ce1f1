//! Any bytes as a serialized handle, JSON or postcard by the first byte. A valid handle has a text
//! that parses back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ndshm::Handle;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, bytes)) = data.split_first() else {
        return;
    };
    let handle = if mode & 1 == 1 {
        serde_json::from_slice::<Handle>(bytes).ok()
    } else {
        postcard::from_bytes(bytes).ok()
    };
    let Some(handle) = handle else { return };
    assert_eq!(handle.to_string().parse::<Handle>().unwrap(), handle);
    let json = serde_json::to_vec(&handle).unwrap();
    assert_eq!(serde_json::from_slice::<Handle>(&json).unwrap(), handle);
    let postcard = postcard::to_allocvec(&handle).unwrap();
    assert_eq!(postcard::from_bytes::<Handle>(&postcard).unwrap(), handle);
});
