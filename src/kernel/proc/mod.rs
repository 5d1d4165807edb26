//! The files of `/proc`: opens and reads them safely, splits them into lines and rows, and
//! extracts facts about processes, mounts and socket counts.

pub mod device;
pub mod file;
pub mod hidepid;
pub mod mounts;
pub mod other_rows;
pub mod process;
pub mod row;
pub mod scan;
pub mod sockstat;
