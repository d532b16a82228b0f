//! The `musher` command.

use std::process::ExitCode;

/// musl's allocator takes one lock for every thread; under a burst of
/// deliveries that was a third of all processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    musher::cli::main()
}
