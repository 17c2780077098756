//! Questions and answers as text: metrics with options, times, JSON, CSV.
//!
//! What the command line and the web have in common. Knows the contract only.

pub mod ask;
pub mod json;
pub mod sheet;

/// Something that cannot be done together with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    hint: String,
}

impl Failure {
    /// A failure with a message and a hint, both lowercase and without a full stop.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}
