//! Turns listeners into lines, and writes whole lines.
//!
//! - [`table`] formats lines as ss does, [`json`] formats JSON Lines, and [`timestamp`]
//!   formats the time for both.
//! - [`Renderer`] makes lines in the chosen [`Format`].
//! - [`Output`] writes them to stdout or a file.
//!
//! The commands decide which lines to write.

pub mod json;
mod renderer;
mod stream;
pub mod table;
pub mod timestamp;

pub use renderer::{Event, Format, Renderer, Status};
pub use stream::{Output, OutputError};
