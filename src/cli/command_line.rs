//! What a command line means.

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
    /// How much it says on stderr.
    pub verbosity: Verbosity,
}

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the listeners, then every change.
    Watch {
        /// Which listeners, from where.
        source: Box<SourceOptions>,
        /// Where lines go.
        output: OutputOptions,
        /// What is written, and when.
        options: WatchOptions,
        /// Runs beside the watcher. It starts whatever becomes of the watcher.
        application: Option<Application>,
    },
    /// Print the listeners once.
    List {
        /// Which listeners, from where.
        source: Box<SourceOptions>,
        /// Where lines go.
        output: OutputOptions,
        /// Print only the ids of the processes that hold them.
        pids: bool,
    },
    /// Say whether ports are listening.
    Check {
        /// Where to look.
        source: Box<SourceOptions>,
        /// What is asked.
        question: Question,
        /// How to write what is found, if one of the ports is enough.
        format: Format,
    },
    /// Wait until ports are as wanted.
    Wait {
        /// Where to look.
        source: Box<SourceOptions>,
        /// What is asked.
        question: Question,
        /// How to write what is found, if one of the ports is enough.
        format: Format,
        /// How to wait.
        options: WaitOptions,
        /// What to become then.
        application: Option<Application>,
    },
    /// Copy this program to this file or directory.
    Install(PathBuf),
    /// Print help: that of this command, or of all.
    Help(Option<CommandName>),
    /// Print the version.
    Version,
}

/// Where lines go, and how they look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputOptions {
    /// How they look.
    pub format: Format,
    /// The file to append to; `None` for stdout.
    pub path: Option<PathBuf>,
}
