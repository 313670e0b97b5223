//! `[[tests]]`, put to the rules they stand beside: before a start, before a reload, and by `nauth check`.

use std::time::{Duration, Instant};

use crate::config::{Loaded, Report};
use crate::domain::clock::Clock;
use crate::domain::outcome;
use crate::gateway::policy::Policy;

/// Longest time for all of them. They touch nothing, so only their number can make them slow.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the tests of a configuration.
///
/// # Errors
/// Every test that fails, with its line, what it expects, what comes of it, and which route says so.
pub fn prove(loaded: &Loaded) -> Result<(), Report> {
    let policy = Policy::new(&loaded.settings);
    let (began, now) = (Instant::now(), Clock::system().now());
    let mut failures = Vec::new();
    for test in &loaded.settings.tests {
        if began.elapsed() > PATIENCE {
            let message = format!("the tests take longer than {}s", PATIENCE.as_secs());
            failures.push((test.origin.clone(), message, "this one was not run any more; leave some out".to_owned()));
            break;
        }
        let verdict = policy.evaluate(&test.request, test.persona.as_ref(), now);
        if verdict.outcome != test.expect {
            let (expected, got) = (test.expect, verdict.outcome);
            let message = format!("test `{}` fails: `{expected}` is expected, it gets `{got}`", test.request);
            let hint = format!("{} decides, for {}", verdict.decided_by(), outcome::named(test.persona.as_ref()));
            failures.push((test.origin.clone(), message, hint));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(loaded.warnings.failing(failures)) }
}
