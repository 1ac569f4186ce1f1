//! The state block of a real array, overwritten by a hostile hand before and between operations on
//! the array.
//!
//! Nothing crashes and nothing waits longer than it said; what waits for ever by contract ends when
//! the block is made good. Whatever a guard shows is where the array has it, and nothing changes
//! but the elements that a guard was given for: not the head of the file, not the array beside. The
//! one thing that the hand does not do is to freeze an array that is being written.
//!
//! The input: steps. The first byte says which, those that follow are its arguments, zeros where
//! the input ends.
#![no_main]

mod state_block {
    pub mod block;
    pub mod play;
}

use libfuzzer_sys::fuzz_target;
use state_block::play::Play;

/// Steps of one input: each may have to wait for 50 ms.
const STEPS: usize = 20;

fuzz_target!(|data: &[u8]| {
    let mut play = Play::new(data);
    for _ in 0..STEPS {
        if !play.step() {
            break;
        }
    }
    play.end();
});
