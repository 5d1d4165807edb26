//! What was asked: [`options`] and [`filter`] read it, a [`request`] is the result.

pub mod filter;
pub mod help;
pub mod options;
pub mod request;
pub mod selection;
