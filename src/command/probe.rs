//! The question of `check` and `wait`: are these ports listening? It is answered
//! from a snapshot. Nothing ever connects to a port.

use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::listener::SocketTable;
use crate::port::RequiredPort;
use crate::snapshot::Snapshot;
use crate::source::{Known, Source};

/// The state in which ports are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Something listens on it.
    Listening,
    /// Nothing does.
    Closed,
}

/// Some ports, the state in which they are wanted, and where to look for them.
#[derive(Debug)]
pub struct Probe {
    source: Source,
    ports: Vec<RequiredPort>,
    wanted: Wanted,
    snapshot: Snapshot,
}

/// What is known about a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State<'a> {
    Listening,
    Closed,
    /// It was not found, but this file may hold it and could not be read.
    Unknown(&'a Path),
}

impl Probe {
    /// A probe that has not looked yet.
    pub fn new(source: Source, ports: Vec<RequiredPort>, wanted: Wanted) -> Probe {
        Probe {
            source,
            ports,
            wanted,
            snapshot: Snapshot::default(),
        }
    }

    /// Looks once, and returns the time that it took. If `is_final`, the answer is
    /// not asked for again, so the source looks again for ports that are missing.
    ///
    /// # Errors
    /// If the source has no complete answer.
    pub fn look(&mut self, is_final: bool) -> Result<Duration, Error> {
        let ports = &self.ports;
        let missing =
            |snapshot: &Snapshot| ports.iter().filter(|p| !is_listening(snapshot, p)).count();
        let known = Known {
            listeners: None,
            missing: is_final.then_some(&missing),
        };
        let poll = self.source.poll(known, &mut self.snapshot);
        poll.result?;
        Ok(poll.cost)
    }

    /// The state in which the ports are wanted.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The ports that are certainly not as wanted, after a look.
    pub fn unmet(&self) -> Vec<&RequiredPort> {
        let opposite = match self.wanted {
            Wanted::Listening => State::Closed,
            Wanted::Closed => State::Listening,
        };
        let is_unmet = |port: &&RequiredPort| self.state(port) == opposite;
        self.ports.iter().filter(is_unmet).collect()
    }

    /// Checks that the state of every port is known, after a look.
    ///
    /// # Errors
    /// [`Error::Unknown`] if a port was not found and a file that may hold it
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
        if is_listening(&self.snapshot, port) {
            return State::Listening;
        }
        let tables = SocketTable::ALL.into_iter();
        let mut tables = tables.filter(|table| port.can_be_in(*table));
        match tables.find_map(|table| self.source.forbidden_file(table)) {
            Some(file) => State::Unknown(file),
            None => State::Closed,
        }
    }
}

fn is_listening(snapshot: &Snapshot, port: &RequiredPort) -> bool {
    let mut listeners = snapshot.listeners().iter();
    listeners.any(|listener| port.is_served_by(listener))
}

/// The ports as a message names them.
pub fn names(ports: &[&RequiredPort]) -> String {
    let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
    names.join(", ")
}
