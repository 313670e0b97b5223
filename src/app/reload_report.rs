//! What a reload changed, for the log and for whoever asked for it.

use serde_json::{Value, json};
use tracing::{info, warn};

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

    /// Writes it into the log.
    pub fn log(&self) {
        if !self.warnings.is_empty() {
            warn!("{}", self.warnings);
        }
        let applied = if self.applied.is_empty() { "nothing".to_owned() } else { self.applied.join(", ") };
        let overridden = self.overridden.join(", ");
        if self.restart_required.is_empty() {
            info!(applied, overridden, "settings reloaded");
        } else {
            let restart_required = self.restart_required.join(", ");
            warn!(applied, restart_required, overridden, "settings reloaded; some of them count after a restart only");
        }
        if !self.decisions.is_empty() {
            info!("of {} requests of late, these are decided otherwise now:{}", self.asked, self.shown());
        }
    }

    fn shown(&self) -> String {
        let shown = self.decisions.iter().take(SHOWN).map(|change| format!("\n  {change}"));
        let more = self.decisions.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("\n  and {more} more"));
        shown.chain(more).collect()
    }
}
