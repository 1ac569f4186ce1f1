//! The command-line tool, as a person or a script uses it.
fn main() {}
