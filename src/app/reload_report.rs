//! What a reload changed, for the log and for whoever asked for it.

use std::fmt;

use serde_json::{Value, json};

use crate::gateway::policy::Change;

/// Decisions that are shown; of the others only their number is.
const SHOWN: usize = 20;

/// The report of a reload that succeeded.
#[derive(Debug, Clone, Default)]
pub struct ReloadReport {
    /// Sections in force anew.
    pub applied: Vec<&'static str>,
    /// Sections as they were.
    pub unchanged: Vec<&'static str>,
    /// Keys that changed and count after a restart.
    pub restart_required: Vec<&'static str>,
    /// Environment variables that stand above what the file says.
    pub overridden: Vec<String>,
    /// What is worth a look.
    pub warnings: String,
    /// Requests of late that were put to the new rules.
    pub asked: usize,
    /// What the new rules decide otherwise.
    pub decisions: Vec<Change>,
}

impl ReloadReport {
    /// As `POST /reload` answers it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "applied": self.applied,
            "unchanged": self.unchanged,
            "restartRequired": self.restart_required,
            "overriddenByEnvironment": self.overridden,
            "warnings": self.warnings,
            "decisions": {
                "requests": self.asked,
                "changed": self.decisions.len(),
                "shown": self.decisions.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>(),
            },
        })
    }
}

/// In the words of the log.
impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[&'static str]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        write!(f, "settings reloaded; applied: {}", list(&self.applied))?;
        if !self.restart_required.is_empty() {
            write!(f, "; restart required: {}", list(&self.restart_required))?;
        }
        if !self.overridden.is_empty() {
            write!(f, "; the environment stands above the file with {}", self.overridden.join(", "))?;
        }
        if self.decisions.is_empty() {
            return Ok(());
        }
        write!(f, "\nof {} requests of late, these are decided otherwise now:", self.asked)?;
        for change in self.decisions.iter().take(SHOWN) {
            write!(f, "\n  {change}")?;
        }
        if self.decisions.len() > SHOWN {
            write!(f, "\n  and {} more", self.decisions.len() - SHOWN)?;
        }
        Ok(())
    }
}
