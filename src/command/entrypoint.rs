//! The entrypoint helper: become the application, and run the watcher beside it.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::Command;

use crate::Error;
use crate::report::Verbosity;
use crate::sys::{self, Forked, Leader};

/// A program to become, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Looked for in `PATH` unless it has a slash.
    pub program: OsString,
    /// What follows it.
    pub arguments: Vec<OsString>,
}

impl Application {
    /// Becomes the application, which keeps this process's id, environment,
    /// descriptors, working directory, signal mask and dispositions. Returns
    /// only the error that prevented it.
    pub fn exec(self) -> Error {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let error = sys::exec(&mut command);
        Error::Exec(self.program, error)
    }

    /// The same with a watcher beside it, in which this returns, with the
    /// process that the watcher must not outlive. Nothing that goes wrong with
    /// the watcher may keep the application from starting, so that is only said.
    ///
    /// # Errors
    /// [`Error::Exec`] in the process that should have become the application.
    pub fn exec_beside_watcher(
        self,
        keeps_stdout: bool,
        verbosity: Verbosity,
    ) -> Result<Leader, Error> {
        match sys::fork_follower(keeps_stdout) {
            Ok(Forked::Follower(leader)) => Ok(leader),
            Ok(Forked::Leader(mut follower)) => {
                let error = self.exec();
                // No one is left to watch for.
                let _ = follower.write_all(&[0]);
                Err(error)
            }
            Err(error) => {
                verbosity.warn(format_args!(
                    "starting the watcher: {error}; the command runs without it"
                ));
                Err(self.exec())
            }
        }
    }
}
