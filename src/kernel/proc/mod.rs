//! The files of `/proc`: reading them safely, splitting them into lines and rows, and the facts
//! about processes, mounts and socket counts in them.

pub mod device;
pub mod file;
pub mod hidepid;
pub mod mounts;
pub mod other_rows;
pub mod process;
pub mod row;
pub mod scan;
pub mod sockstat;
