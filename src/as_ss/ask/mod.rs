//! What was asked: the options, the filter on the command line, and the sockets that
//! both select.

pub mod bytecode;
pub mod filter;
pub mod options;
pub mod selection;
