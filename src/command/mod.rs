//! The commands, one file for each, and what they share.
//!
//! - [`watch`], [`list`], [`check`], [`wait`] and [`install`] are the commands.
//! - [`probe`] is the question that `check` asks once and `wait` asks repeatedly, and
//!   [`explanation`] says why the answer is no.
//! - [`settle`] holds back changes that may not last, for `watch` and `wait`.
//! - [`notify`] tells a service manager when the ports are listening.
//! - [`pace`] decides when the next poll is due.
//! - [`entrypoint`] execs an application, after a wait or with a watcher beside it.
//!
//! A command asks a source and writes to an output. It knows neither how a
//! snapshot is made nor how a line is written.

pub mod check;
pub mod entrypoint;
pub mod explanation;
pub mod install;
pub mod list;
pub mod notify;
pub mod pace;
pub mod probe;
pub mod settle;
pub mod wait;
pub mod watch;
