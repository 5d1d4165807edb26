//! How rows are written: cells, columns, names and the processes that hold sockets.

pub mod printer;
pub mod table;
pub mod users;
