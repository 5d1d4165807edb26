//! The error of a command line that makes no sense, for both parsers: that of
//! `lntu` and that of the program under the name `ss`.

use std::fmt;

/// A command line that makes no sense: what is wrong, and where help is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    program: &'static str,
    reason: String,
}

impl UsageError {
    /// A command line of `lntu` makes no sense, for this reason.
    pub fn of_lntu(reason: impl ToString) -> UsageError {
        UsageError {
            program: "lntu",
            reason: reason.to_string(),
        }
    }

    /// A command line of the program under the name `ss` makes no sense, or is not
    /// covered, for this reason.
    pub fn of_ss(reason: impl ToString) -> UsageError {
        UsageError {
            program: "ss",
            reason: reason.to_string(),
        }
    }

    /// The same, with this at the end of the reason.
    pub fn with(mut self, hint: &str) -> UsageError {
        self.reason.push_str(hint);
        self
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (try '{} --help')", self.reason, self.program)
    }
}

impl std::error::Error for UsageError {}
