//! The entrypoint helper: become the application, and leave a watcher beside it.

use std::ffi::OsString;
use std::io::Write as _;

use crate::error::Error;
use crate::report;
use crate::sys::{self, Forked, Parent};

/// A program to become, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The program. It is looked for in `PATH` unless it has a slash.
    pub program: OsString,
    /// How many of the last arguments of lntu are the program and its own arguments.
    pub words: usize,
}

impl Application {
    /// Becomes the application. It keeps this process's id, environment,
    /// descriptors, working directory, signal mask, signal dispositions and pending
    /// signals.
    /// Returns only if that fails, with the error.
    pub fn exec(self) -> Error {
        let error = sys::exec(self.words);
        // It would fail again.
        sys::end_if_exhausted();
        Error::Exec(self.program, error)
    }

    /// Becomes the application, and leaves a child that is to be the watcher. In
    /// that child this returns: with its parent, which it must not outlive.
    ///
    /// Nothing that goes wrong with the watcher may keep the application from
    /// starting, so such an error is only a warning.
    ///
    /// # Errors
    /// [`Error::Exec`], in the process that should have become the application.
    pub fn exec_beside_watcher(self, keeps_stdout: bool) -> Result<Parent, Error> {
        match sys::fork_child(keeps_stdout) {
            Ok(Forked::Child(parent)) => Ok(parent),
            Ok(Forked::Parent(mut child)) => {
                let error = self.exec();
                // There is nothing to watch for. This ends the child, as the end of this
                // process does.
                let _ = child.write(&[0]);
                Err(error)
            }
            Err(error) => {
                report::warn(format_args!(
                    "cannot start the watcher: {error}; COMMAND runs without it"
                ));
                Err(self.exec())
            }
        }
    }
}
