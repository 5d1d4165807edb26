//! Files below `/proc`: their lines, their rows, and facts about processes.

pub mod process;
pub mod row;
pub mod scan;
pub mod sockstat;
