//! Passwords: `[password]`.

/// `[password]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Password {
    /// Fewest characters.
    pub min_length: usize,
    /// Most characters.
    pub max_length: usize,
}
