//! Translates numbers to the names that are printed, and names on the command line to numbers.

pub mod protocols;
pub mod services;
