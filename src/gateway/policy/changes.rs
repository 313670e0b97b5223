//! Two sets of rules, put to the same requests: which decisions change?

use std::collections::HashMap;
use std::fmt;

use crate::config::settings::Described;
use crate::domain::clock::Time;
use crate::domain::outcome::{self, Outcome, Persona};
use crate::gateway::policy::Policy;

/// People named beside one change; of the others only their number is told.
const NAMED: usize = 3;

/// Requests whose decision changes in the same way.
#[derive(Debug, Clone)]
pub struct Change {
    /// What they ask for.
    pub request: Described,
    /// Who asks.
    pub personas: Vec<Option<Persona>>,
    /// What came of it.
    pub before: Outcome,
    /// What comes of it.
    pub after: Outcome,
    /// Which route decided, with its line in the old files.
    pub decided_before: String,
    /// Which route decides.
    pub decides_after: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> =
            self.personas.iter().take(NAMED).map(|persona| outcome::named(persona.as_ref())).collect();
        write!(f, "{} as {}", self.request, named.join(" | "))?;
        if self.personas.len() > NAMED {
            write!(f, " and {} more", self.personas.len() - NAMED)?;
        }
        write!(f, ": {} → {}, by {}", self.before, self.after, self.decides_after)
    }
}

/// The changes from `old` to `new`, in the order in which the requests show them.
#[must_use]
pub fn changes(
    old: &Policy,
    new: &Policy,
    requests: impl IntoIterator<Item = (Described, Option<Persona>)>,
    now: Time,
) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut known: HashMap<(String, Outcome, Outcome), usize> = HashMap::new();
    for (request, persona) in requests {
        let before = old.evaluate(&request, persona.as_ref(), now);
        let after = new.evaluate(&request, persona.as_ref(), now);
        if before.outcome == after.outcome {
            continue;
        }
        let at = *known.entry((request.to_string(), before.outcome, after.outcome)).or_insert_with(|| {
            changes.push(Change {
                request,
                personas: Vec::new(),
                before: before.outcome,
                after: after.outcome,
                decided_before: before.decided_by(),
                decides_after: after.decided_by(),
            });
            changes.len() - 1
        });
        changes[at].personas.push(persona);
    }
    changes
}
