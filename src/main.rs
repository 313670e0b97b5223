//! The `nauth` binary: arguments in, exit code out.

use std::process::ExitCode;

// Small allocations come and go with every request; glibc gives their memory back and fetches it again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // An idle connection holds little, but scattered: with huge pages that is ten times the memory.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    nauth::cli::main()
}
