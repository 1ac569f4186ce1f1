//! Types that the derive macro refuses, with the message of the compiler: one file in
//! `tests/refused` for each, with the message beside it.
//!
//! Runs on demand, because it builds the library once more and the messages are those of one
//! compiler: `cargo test -p ndshm-checks --test refused -- --ignored`. After a change of messages
//! run it with `TRYBUILD=overwrite` and read the difference.

#[test]
#[ignore = "builds the library once more"]
fn what_cannot_be_an_element_does_not_compile_and_says_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
