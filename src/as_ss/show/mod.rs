//! Writes rows: [`rows`] turns the properties of a socket into cells, and [`table`] turns
//! cells into columns. [`names`], [`numbers`] and [`users`] make the contents of cells, and
//! [`text`] is the buffer that holds them.

pub mod names;
pub mod numbers;
pub mod rows;
pub mod table;
pub mod text;
pub mod users;
