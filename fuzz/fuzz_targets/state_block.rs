//! The state block of a real array, overwritten by a hostile writer before and between operations
//! on the array.
//!
//! Nothing crashes and no call outlasts its deadline. A call that waits for ever by contract ends
//! when the block is repaired. A guard shows the array's elements, and only elements under a write
//! guard change: not the head of the file, not the array beside. The hostile writer never freezes
//! an array that is being written.
//!
//! The input is a sequence of steps. The first byte chooses the step, the next ones are its
//! arguments; zeros follow the end of the input.
#![no_main]

mod state_block {
    pub mod block;
    pub mod session;
}

use libfuzzer_sys::fuzz_target;
use state_block::session::Session;

/// Steps of one input. Each may wait for 50 ms.
const STEPS: usize = 20;

fuzz_target!(|data: &[u8]| {
    let mut session = Session::new(data);
    for _ in 0..STEPS {
        if !session.step() {
            break;
        }
    }
    session.end();
});
