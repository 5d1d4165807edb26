//! Numbers and their names, in both directions: the names that are typed, and those that
//! are shown.

pub mod protocols;
pub mod services;
