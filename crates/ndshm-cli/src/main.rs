//! The program `ndshm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ndshm_cli::main()
}
