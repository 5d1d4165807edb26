//! The meaning of a command line.

use std::path::PathBuf;

use super::description::CommandName;
use crate::command::entrypoint::Application;
use crate::command::probe::Question;
use crate::command::wait::WaitOptions;
use crate::command::watch::WatchOptions;
use crate::output::Format;
use crate::report::Verbosity;
use crate::source::SourceOptions;

/// A whole command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// What the program is asked to do.
    pub command: Command,
    /// How much the program prints to stderr.
    pub verbosity: Verbosity,
}

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the listeners, then every change.
    Watch {
        /// Which listeners to look for, and where.
        source: Box<SourceOptions>,
        /// Where lines go.
        output: OutputOptions,
        /// What is written, and when.
        options: WatchOptions,
        /// The program to run beside the watcher. It starts even if the watcher fails.
        application: Option<Application>,
    },
    /// Print the listeners once.
    List {
        /// Which listeners to look for, and where.
        source: Box<SourceOptions>,
        /// Where lines go.
        output: OutputOptions,
        /// Whether to print only the ids of the processes that hold the listeners.
        pids: bool,
    },
    /// Say whether ports are listening.
    Check {
        /// Where to look.
        source: Box<SourceOptions>,
        /// The question to answer.
        question: Question,
        /// How to print listeners with `--any`.
        format: Format,
    },
    /// Wait until ports are as wanted.
    Wait {
        /// Where to look.
        source: Box<SourceOptions>,
        /// The question to answer.
        question: Question,
        /// How to print listeners with `--any`.
        format: Format,
        /// How long and how often to look.
        options: WaitOptions,
        /// The program to exec after the wait.
        application: Option<Application>,
    },
    /// Copy this program to this file or directory.
    Install(PathBuf),
    /// Print the help of this command, or of the program.
    Help(Option<CommandName>),
    /// Print the version.
    Version,
}

/// Where lines go, and in which format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// The format of the lines.
    pub format: Format,
    /// The file to append to; `None` for stdout.
    pub path: Option<PathBuf>,
}
