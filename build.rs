//! Tells the program which compiler made it, for `nauth_build_info`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "that is how Cargo says which compiler it uses")]
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).arg("--version").output();
    let told = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // `rustc 1.95.0 (59807616e 2026-04-14)`
    if let Some(version) = told.as_deref().and_then(|line| line.split_whitespace().nth(1)) {
        println!("cargo::rustc-env=NAUTH_RUSTC={version}");
    }
}
