//! The `nauth` binary: arguments in, exit code out.

use std::process::ExitCode;

// Small allocations come and go with every request; glibc gives their memory back and fetches it again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    nauth::cli::main()
}
