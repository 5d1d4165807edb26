//! Translates numbers to the names that are shown, and typed names to numbers.

pub mod protocols;
pub mod services;
