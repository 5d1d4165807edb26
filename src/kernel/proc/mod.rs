//! Files below `/proc`: their lines, their rows, and facts about processes.

pub mod other_rows;
pub mod process;
pub mod row;
pub mod scan;
pub mod sockstat;
