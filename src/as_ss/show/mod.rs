//! Writes the rows of the table. [`rows`] turns the properties of a socket into cells, and
//! [`table`] arranges the cells in columns. [`names`], [`numbers`] and [`users`] produce the
//! contents of cells, and [`text`] is the buffer that contains them.

pub mod names;
pub mod numbers;
pub mod rows;
pub mod table;
pub mod text;
pub mod users;
