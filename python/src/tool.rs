//! The command-line tool `ndshm`, as the package carries it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ndshm_cli::main()
}
