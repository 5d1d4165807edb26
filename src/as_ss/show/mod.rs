//! How rows are written: cells, columns, names and the processes that hold sockets.

pub mod cgroups;
pub mod names;
pub mod printer;
pub mod services;
pub mod table;
pub mod users;
