//! Any bytes as the head of a file. The first byte chooses the form of the input and the
//! corrections before parsing:
//!
//! - bit 0: the rest is a whole head; otherwise it is the length of a prefix (one byte), the
//!   prefix, and a header map;
//! - bit 1: correct the checksum of a whole head, or the prefix and payload length of a map.
#![no_main]

#[path = "../../tests/common/forge.rs"]
mod forge;

use forge::Forge;
use libfuzzer_sys::fuzz_target;
use ndshm::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else {
        return;
    };
    if mode & 1 == 1 {
        let mut head = rest.to_vec();
        if mode & 2 == 2 {
            forge::mend(&mut head);
        }
        let data_len = head.get(34..42).map_or(0, |_| forge::number(&head, 34, 8));
        fuzzing::check_header(&head, (head.len() as u64).wrapping_add(data_len as u64));
        return;
    }
    let Some((&len, rest)) = rest.split_first() else {
        return;
    };
    let Some((prefix, map)) = rest.split_at_checked(len.into()) else {
        return;
    };
    if map.len() > 64 * 1024 {
        return;
    }
    let mut forge = Forge {
        state: vec![0; 2112],
        map: map.to_vec(),
        prefix: prefix.to_vec(),
        payload: Vec::new(),
        data_len: 48,
    };
    let right = if mode & 2 == 2 {
        fuzzing::prefix_of(map)
    } else {
        None
    };
    if let Some((prefix, data_len)) = right {
        (forge.prefix, forge.data_len) = (prefix, data_len);
    }
    let head = forge.head();
    fuzzing::check_header(&head, (head.len() as u64).wrapping_add(forge.data_len));
});
