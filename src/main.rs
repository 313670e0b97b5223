//! The `nauth` binary.

fn main() {}
