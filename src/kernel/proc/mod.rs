//! Files below `/proc`: their lines, their rows, and facts about processes.

pub mod device;
pub mod file;
pub mod hidepid;
pub mod mounts;
pub mod other_rows;
pub mod process;
pub mod row;
pub mod scan;
pub mod sockstat;
