//! How listeners become lines, and how the lines get out whole.
//!
//! - [`table`] writes ss-format, [`json`] writes JSON Lines, and [`timestamp`] the
//!   time in either.
//! - [`Renderer`] makes lines in the [`Format`] that was asked for.
//! - [`Output`] writes them to stdout or a file.
//!
//! Which lines to write is decided by the commands, not here.

pub mod json;
mod renderer;
mod stream;
pub mod table;
pub mod timestamp;

pub use renderer::{Event, Format, Renderer, Status};
pub use stream::{Output, OutputError};
