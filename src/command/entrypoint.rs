//! The entrypoint helper: execs the application, and leaves a watcher running beside it.

use std::ffi::OsString;
use std::io::Write as _;

use crate::error::Error;
use crate::report;
use crate::sys::{self, ChildStdout, Forked, Parent};

/// The program to exec, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The program. It is searched for in `PATH` unless its name contains a slash.
    pub program: OsString,
    /// The number of arguments at the end of lntu's command line that are the program and its
    /// own arguments.
    pub words: usize,
}

impl Application {
    /// Execs the application. It keeps this process's id, environment, descriptors,
    /// working directory, signal mask, signal dispositions and pending signals.
    /// Returns only if exec fails, with the error.
    pub fn exec(self) -> Error {
        let error = sys::exec(self.words);
        // If memory runs out from now on, another exec would fail like this one.
        sys::end_if_exhausted();
        Error::Exec(self.program, error)
    }

    /// Forks a child that becomes the watcher, and execs the application in this process.
    /// Returns only in the child. The result is the parent of the child, which the watcher
    /// must not outlive.
    ///
    /// If the child cannot be started, only a warning is printed, because the application must
    /// start even without a watcher.
    ///
    /// # Errors
    /// [`Error::Exec`], in the process that should have become the application.
    pub fn exec_beside_watcher(self, stdout: ChildStdout) -> Result<Parent, Error> {
        match sys::fork_child(stdout) {
            Ok(Forked::Child(parent)) => Ok(parent),
            Ok(Forked::Parent(mut child)) => {
                let error = self.exec();
                // Without an application, there is nothing to watch. Writing a byte ends the
                // child, and so does the end of this process.
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
