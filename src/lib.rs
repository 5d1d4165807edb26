//! The parts of the program `lntu`: which TCP ports are listening and which UDP
//! ports are bound, and what changes.
//!
//! ```text
//! command line ─► command ─► source ──► snapshot ──► changes ──► output ─► stdout
//!   cli/           watch      ├ ss        sorted set    opened /    ss lines
//!                  list       ├ procnet   of listeners  closed      or JSON
//!                  check      └ netlink
//!                  wait
//! ```
//!
//! One thread and one loop: poll a source, compare with the last snapshot, write
//! what changed, pause. A source gives a complete snapshot or an error. What
//! follows is the same code whichever source answered.
//!
//! From the top down; no file imports one above it:
//!
//! - [`manual`] makes the man page and the completions. The program does not use it.
//! - [`as_ss`] is another program on the same sources, for callers of `ss`.
//! - [`cli`] turns arguments into a command.
//! - [`command`] does what was asked: watch, list, check, wait, the entrypoint.
//! - [`error`] is why a command ended without an answer.
//! - [`output`] makes lines of listeners and writes them.
//! - [`source`] takes a snapshot: from `ss`, `/proc/net` or netlink.
//! - [`snapshot`] is the listeners of one moment, and the changes between two.
//! - [`port`] is the PORT argument, and the filters made of it.
//! - [`listener`] is what all of the above speak about.
//! - [`report`] writes to stderr. [`sys`] is the only unsafe code.
//! - [`exit_status`] lists the exit statuses.
//!
//! This library is for the program and its own tests. It promises nothing to
//! others, and changes without notice.

pub mod as_ss;
pub mod cli;
pub mod command;
pub mod error;
pub mod exit_status;
pub mod kernel;
pub mod listener;
pub mod manual;
pub mod output;
pub mod port;
pub mod report;
pub mod snapshot;
pub mod source;
pub mod sys;
