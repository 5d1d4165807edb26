//! The question of `check` and `wait`: are these ports listening? It is answered
//! from a snapshot. Nothing ever connects to a port.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::{explanation, list};
use crate::error::{Error, Unknown};
use crate::listener::{Listener, SocketTable};
use crate::output::{Format, Output};
use crate::port::{Filter, RequiredPort, Serves};
use crate::snapshot::Snapshot;
use crate::source::{Known, Source, SourceOptions};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// At least one port.
    pub ports: Vec<RequiredPort>,
    /// Which of them must listen.
    pub wanted: Wanted,
    /// A listener with more connections in its accept queue than this does not
    /// count as listening.
    pub max_queued: Option<u32>,
}

/// Which ports must listen for the answer yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    All,
    /// One is enough.
    Any,
    /// None of them may.
    None,
}

/// A question, and where to look for the answer.
#[derive(Debug)]
pub struct Probe {
    source: Source,
    options: SourceOptions,
    path: OsString,
    question: Question,
    snapshot: Snapshot,
}

/// What is known about a port.
#[derive(Debug)]
enum State<'a> {
    Listening,
    /// It listens, but so many connections wait to be accepted.
    Queued(&'a Listener),
    Closed,
    Unknown(Unknown),
}

impl Probe {
    /// A probe that has not looked yet. `path` is the value of `PATH`, in which ss
    /// is looked for.
    pub fn new(options: SourceOptions, path: &OsStr, question: Question) -> Probe {
        Probe {
            source: Source::new(options.clone(), path),
            options,
            path: path.to_os_string(),
            question,
            snapshot: Snapshot::default(),
        }
    }

    /// Looks once, and returns the time that it took. If `is_final`, the answer is
    /// not asked for again, so the source looks again for ports that are missing.
    ///
    /// # Errors
    /// If the source has no complete answer.
    pub fn look(&mut self, is_final: bool) -> Result<Duration, Error> {
        let Question { ports, wanted, .. } = &self.question;
        let missing = |snapshot: &Snapshot| {
            let is_missing = |port: &&RequiredPort| !is_served(snapshot, port);
            let missing = ports.iter().filter(is_missing).count();
            match wanted {
                Wanted::Any if missing < ports.len() => 0,
                _ => missing,
            }
        };
        let known = Known {
            listeners: None,
            missing: is_final.then_some(&missing),
        };
        let poll = self.source.poll(known, &mut self.snapshot);
        poll.result?;
        Ok(poll.cost)
    }

    /// Which ports must listen.
    pub fn wanted(&self) -> Wanted {
        self.question.wanted
    }

    /// Whether the ports are as wanted, after a look. What is certainly not so is a
    /// no, whatever else is unknown.
    ///
    /// # Errors
    /// [`Error::Unknown`] if it depends on something that the source does not tell.
    pub fn is_met(&self) -> Result<bool, Error> {
        let mut unknown = None;
        for port in &self.question.ports {
            let is_listening = match self.state(port) {
                State::Listening => true,
                State::Queued(_) | State::Closed => false,
                State::Unknown(reason) => {
                    unknown.get_or_insert(Error::Unknown(port.clone(), reason));
                    continue;
                }
            };
            match (self.question.wanted, is_listening) {
                (Wanted::Any, true) => return Ok(true),
                (Wanted::All, false) | (Wanted::None, true) => return Ok(false),
                _ => {}
            }
        }
        match unknown {
            Some(error) => Err(error),
            None => Ok(self.question.wanted != Wanted::Any),
        }
    }

    /// Checks that the state of every port is known, after a look.
    ///
    /// # Errors
    /// [`Error::Unknown`] for the first port of which it is not.
    pub fn require_known(&self) -> Result<(), Error> {
        for port in &self.question.ports {
            if let State::Unknown(reason) = self.state(port) {
                return Err(Error::Unknown(port.clone(), reason));
            }
        }
        Ok(())
    }

    /// The ports that are certainly not as wanted, after a look, as a message names
    /// them.
    pub fn unmet_names(&self) -> String {
        names(&self.unmet())
    }

    /// Says why the answer is no: which ports are not as wanted, and what listens
    /// instead. `after` follows the words `not listening`. It may look once more,
    /// at all ports: whoever asks has the answer already.
    pub fn explain(&self, after: &str) -> String {
        let unmet = self.unmet();
        if self.question.wanted == Wanted::None {
            return format!("{}: still listening{after}", names(&unmet));
        }
        let mut reasons = Vec::new();
        let mut closed = Vec::new();
        for port in unmet {
            match self.state(port) {
                State::Queued(listener) => reasons.push(queued(port, listener)),
                _ => closed.push(port),
            }
        }
        if !closed.is_empty() {
            let everything = SourceOptions {
                filter: Filter::default(),
                holders: false,
                ..self.options.clone()
            };
            let mut snapshot = Snapshot::default();
            let poll = Source::new(everything, &self.path).poll(Known::default(), &mut snapshot);
            if poll.result.is_err() {
                snapshot.clear();
            }
            reasons.push(explanation::of(&closed, snapshot.listeners(), after));
        }
        reasons.join("; ")
    }

    /// If any one of the ports was enough, writes the listeners that serve one to
    /// stdout, as `lntu list` does.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn write_found(&mut self, format: Format) -> Result<(), Error> {
        if self.question.wanted != Wanted::Any {
            return Ok(());
        }
        let ports = &self.question.ports;
        let is_found = |listener: &Listener| {
            let mut ports = ports.iter();
            ports.any(|port| port.is_served_by(listener) == Serves::Yes)
        };
        self.snapshot.retain(is_found);
        let output = Output::open(None, true)?;
        list::write(&mut self.source, &mut self.snapshot, format, output)
    }

    fn unmet(&self) -> Vec<&RequiredPort> {
        let is_unmet = |port: &&RequiredPort| match self.state(port) {
            State::Listening => self.question.wanted == Wanted::None,
            State::Queued(_) | State::Closed => self.question.wanted != Wanted::None,
            State::Unknown(_) => false,
        };
        self.question.ports.iter().filter(is_unmet).collect()
    }

    fn state(&self, port: &RequiredPort) -> State<'_> {
        let max_queued = self.question.max_queued.unwrap_or(u32::MAX);
        let mut state = State::Closed;
        for listener in self.snapshot.listeners() {
            match port.is_served_by(listener) {
                Serves::No => {}
                // Of several sockets, one that accepts nothing is one too many.
                Serves::Yes if listener.recv_q > max_queued => return State::Queued(listener),
                Serves::Yes => state = State::Listening,
                Serves::IfNotV6Only if matches!(state, State::Closed) => {
                    state = State::Unknown(Unknown::V6Only(listener.endpoint));
                }
                Serves::IfNotV6Only => {}
            }
        }
        if matches!(state, State::Closed) {
            let tables = SocketTable::ALL.into_iter();
            let mut tables = tables.filter(|table| port.can_be_in(*table));
            if let Some(file) = tables.find_map(|table| self.source.forbidden_file(table)) {
                return State::Unknown(Unknown::File(file.to_path_buf()));
            }
        }
        state
    }
}

fn is_served(snapshot: &Snapshot, port: &RequiredPort) -> bool {
    let mut listeners = snapshot.listeners().iter();
    listeners.any(|listener| port.is_served_by(listener) == Serves::Yes)
}

/// Of a listener whose accept queue is too long.
fn queued(port: &RequiredPort, listener: &Listener) -> String {
    let Listener { recv_q, send_q, .. } = listener;
    let backlog = match send_q {
        0 => String::new(),
        backlog => format!(" (backlog {backlog})"),
    };
    let (s, verb) = if *recv_q == 1 { ("", "s") } else { ("s", "") };
    format!("{port}: {recv_q} connection{s} wait{verb} to be accepted{backlog}")
}

fn names(ports: &[&RequiredPort]) -> String {
    let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
    names.join(", ")
}
