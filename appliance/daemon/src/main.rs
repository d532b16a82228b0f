//! The `musher` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    musher::cli::main()
}
