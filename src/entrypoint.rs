//! The entrypoint helper: become the application, and run the watcher beside it.

use std::process::Command;

use crate::Error;
use crate::cli::Application;
use crate::report::Verbosity;
use crate::sys::{self, Forked};

/// Becomes `application`, which keeps this process's id, environment,
/// descriptors, working directory, signal mask and dispositions. Returns only
/// the error that prevented it.
pub fn become_application(application: Application) -> Error {
    let mut command = Command::new(&application.program);
    command.args(&application.arguments);
    let error = sys::exec(&mut command);
    Error::Exec(application.program, error)
}

/// Starts the watcher: `Some` in the new process, with the id of the one that
/// it must not outlive, and `None` in this one. Nothing that goes wrong here
/// may keep the application from starting, so that is only said.
pub fn start_watcher(keeps_stdout: bool, verbosity: Verbosity) -> Option<u32> {
    match sys::fork_follower(keeps_stdout) {
        Ok(Forked::Leader) => None,
        Ok(Forked::Follower(leader)) => Some(leader),
        Err(error) => {
            verbosity.warn(format_args!(
                "starting the watcher: {error}; the command runs without it"
            ));
            None
        }
    }
}
