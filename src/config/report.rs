//! What is wrong with a configuration, all of it at once, with a finger on the line.

use std::fmt;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::tree::{self, At, Source};

/// One thing that is wrong or worth a look.
#[derive(Debug, Clone)]
pub struct Problem {
    severity: Severity,
    message: String,
    hint: Option<String>,
    at: Option<At>,
}

/// Whether a problem stops the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not; `nauth check --strict` says otherwise.
    Warning,
}

impl Problem {
    pub(super) fn error(at: Option<At>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), hint: None, at }
    }

    pub(super) fn warning(at: Option<At>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, message: message.into(), hint: None, at }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it stops the program.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Problems together with the texts they point into.
#[derive(Debug, Clone)]
pub struct Report {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(sources: Vec<Source>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at.as_ref().map(|at| (at.file, at.span.start)));
        Self { sources, problems }
    }

    /// The same texts, and what turned out to be wrong with them later: where (`nauth.toml:12`), what, and a hint.
    #[must_use]
    pub fn failing(&self, found: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let problem = |(origin, message, hint): (String, String, String)| {
            Problem::error(tree::locate(&self.sources, &origin), message).hint(hint)
        };
        Self::new(self.sources.clone(), found.into_iter().map(problem).collect())
    }

    /// The problems, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// For a terminal, with colours.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let blocks: Vec<String> = self.problems.iter().map(|problem| self.block(problem, renderer)).collect();
        blocks.join("\n\n")
    }

    fn block(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(problem.message.as_str());
        let hint = problem.hint.as_deref().map(|hint| Level::HELP.with_name("hint").message(hint));
        let Some(at) = &problem.at else {
            return renderer.render(&[Group::with_title(title).elements(hint)]);
        };
        let source = &self.sources[at.file];
        let path = shown(&source.path);
        let snippet = Snippet::source(source.text.as_str())
            .path(path)
            .annotation(AnnotationKind::Primary.span(clamp(at, &source.text)));
        renderer.render(&[title.element(snippet).elements(hint)])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Report {}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A span that surely lies in the text and never spans lines further than a reader wants to see.
fn clamp(at: &At, text: &str) -> std::ops::Range<usize> {
    let start = at.span.start.min(text.len());
    let end = at.span.end.clamp(start, text.len());
    let first_line_end = text[start..end].find('\n').map_or(end, |offset| start + offset);
    start..first_line_end.max(start)
}
