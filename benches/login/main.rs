//! How logins behave where it matters, measured on the built program:
//!
//! - `cargo bench --bench login -- flood`: twice as many logins as can be hashed
//! - `cargo bench --bench login -- timing`: whether the time of an answer tells who has an account

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod flood;
mod support;
mod timing;

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all = wanted.is_empty();
    if all || wanted.iter().any(|word| word == "flood") {
        flood::run().await;
    }
    if all || wanted.iter().any(|word| word == "timing") {
        timing::run().await;
    }
}
