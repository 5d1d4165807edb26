//! Parses the command line of ss: [`options`] and [`filter`] read the arguments, and the
//! result is a [`request`].

pub mod filter;
pub mod help;
pub mod options;
pub mod request;
pub mod selection;
