//! How rows are written: [`rows`] makes cells of what is known of a socket, [`table`]
//! columns of the cells, in a [`text`]. [`names`], [`numbers`] and [`users`] are what the cells show.

pub mod names;
pub mod numbers;
pub mod rows;
pub mod table;
pub mod text;
pub mod users;
