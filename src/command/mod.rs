//! What the program does, a file for each command.

pub mod check;
pub mod entrypoint;
pub mod list;
pub mod pace;
pub mod settle;
pub mod wait;
pub mod watch;
