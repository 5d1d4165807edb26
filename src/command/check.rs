//! `lntu check`: are these ports listening? And the question itself, which
//! `lntu wait` asks again and again. Nothing is ever connected to.

use std::path::Path;
use std::time::Duration;

use crate::Error;
use crate::port::RequiredPort;
use crate::report::Verbosity;
use crate::snapshot::Snapshot;
use crate::source::Source;

/// The state in which ports are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Someone listens.
    Listening,
    /// No one does.
    Closed,
}

/// Ports, and where to look for them.
#[derive(Debug)]
pub struct Check {
    source: Source,
    ports: Vec<RequiredPort>,
    snapshot: Snapshot,
}

impl Check {
    /// A check that has not looked yet.
    pub fn new(source: Source, ports: Vec<RequiredPort>) -> Check {
        Check {
            source,
            ports,
            snapshot: Snapshot::default(),
        }
    }

    /// Takes a snapshot; with `confirm`, a port that is not there is looked for
    /// again, since the kernel can pass over a row.
    ///
    /// # Errors
    /// When the source has no complete answer.
    pub fn look(&mut self, confirm: bool) -> Result<(), Error> {
        self.source.poll(None, &mut self.snapshot)?;
        if confirm {
            let ports = &self.ports;
            let missing =
                |snapshot: &Snapshot| ports.iter().filter(|p| !is_listening(snapshot, p)).count();
            self.source.look_again(&mut self.snapshot, missing)?;
        }
        Ok(())
    }

    /// What looking has cost since this was last asked; see [`Source::take_cost`].
    pub fn take_cost(&mut self) -> Duration {
        self.source.take_cost()
    }

    /// The ports that are certainly not as wanted, after a look.
    pub fn unmet(&self, wanted: Wanted) -> Vec<&RequiredPort> {
        let opposite = match wanted {
            Wanted::Listening => State::Closed,
            Wanted::Closed => State::Listening,
        };
        let is_unmet = |port: &&RequiredPort| self.state(port) == opposite;
        self.ports.iter().filter(is_unmet).collect()
    }

    /// Fails unless it is known of every port whether it listens, after a look.
    ///
    /// # Errors
    /// [`Error::Unknown`] if one was not found, and a file that may hold it
    /// could not be read.
    pub fn require_known(&self) -> Result<(), Error> {
        for port in &self.ports {
            if let State::Unknown(file) = self.state(port) {
                return Err(Error::Unknown(port.clone(), file.to_path_buf()));
            }
        }
        Ok(())
    }

    fn state(&self, port: &RequiredPort) -> State<'_> {
        match self.source.left_out(port) {
            _ if is_listening(&self.snapshot, port) => State::Listening,
            Some(file) => State::Unknown(file),
            None => State::Closed,
        }
    }
}

fn is_listening(snapshot: &Snapshot, port: &RequiredPort) -> bool {
    let mut listeners = snapshot.listeners().iter();
    listeners.any(|listener| port.is_met_by(listener))
}

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State<'a> {
    Listening,
    Closed,
    /// It was not found, but this file, which may hold it, could not be read.
    Unknown(&'a Path),
}

/// Ports as a message names them.
pub fn names(ports: &[&RequiredPort]) -> String {
    let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Looks once. True if all are listening; if not, the missing ones are named
/// on stderr.
///
/// # Errors
/// When it cannot be told.
pub fn run(mut check: Check, verbosity: Verbosity) -> Result<bool, Error> {
    check.look(true)?;
    let missing = check.unmet(Wanted::Listening);
    if missing.is_empty() {
        return check.require_known().map(|()| true);
    }
    verbosity.warn(format_args!("{}: not listening", names(&missing)));
    Ok(false)
}
