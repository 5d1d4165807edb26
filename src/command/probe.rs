//! The question that `check` and `wait` answer: are these ports listening? The answer comes
//! from a snapshot. Nothing ever connects to a port.

use std::ffi::{OsStr, OsString};
use std::time::Instant;

use super::explanation::{self, Found};
use super::list;
use super::settle::Settling;
use crate::error::{Error, Unknown};
use crate::kernel::netlink::route;
use crate::listener::{Listener, Protocol, SocketTable};
use crate::output::{Format, Output};
use crate::port::{Effect, PortSpec, RequiredPort, Serves, UnixSocket};
use crate::report;
use crate::snapshot::Snapshot;
use crate::source::tree::TreeError;
use crate::source::unix::{Sought, UnixSockets, UnixState};
use crate::source::{self, Answer, Expected, Known, Source, SourceError, SourceOptions};

/// What `check` or `wait` was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The ports that are asked about: at least one, unless there is a Unix socket.
    pub ports: Vec<RequiredPort>,
    /// Unix sockets that must all listen. Only with [`Wanted::All`].
    pub unix: Vec<UnixSocket>,
    /// Which of the ports must listen.
    pub wanted: Wanted,
    /// With `--only`: the ports that may listen.
    pub allowed: Option<Vec<PortSpec>>,
    /// A listener with more connections than this in its accept queue does not count.
    pub max_queued: Option<u32>,
}

/// Which ports must listen so that the answer is yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All ports must listen.
    All,
    /// One listening port is enough.
    Any,
    /// No port may listen.
    None,
}

/// How often a probe looks before it knows the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Once. A later poll can correct the answer.
    Once,
    /// If ports are missing, again before they count as closed.
    Twice,
}

/// A question, and where to look for the answer.
#[derive(Debug)]
pub struct Probe {
    source: Source,
    options: SourceOptions,
    path: OsString,
    question: Question,
    snapshot: Snapshot,
    unix: UnixSockets,
    /// What the last poll found out besides the listeners.
    answer: Answer,
    has_looked: bool,
    /// Whether a warning said that listeners of the excluded process may count.
    said_exclusion: bool,
}

/// What a snapshot says about a port.
#[derive(Debug)]
enum State<'a> {
    Listening,
    /// The port listens, but more connections wait to be accepted than are allowed.
    Queued(&'a Listener),
    Closed,
    Unknown(Unknown),
}

impl Question {
    /// Whether `listener` serves this port. With [`Wanted::None`], whether it keeps the port
    /// from being bound.
    fn counts(&self, port: &RequiredPort, listener: &Listener) -> Serves {
        match self.wanted {
            Wanted::None => port.is_blocked_by(listener),
            Wanted::All | Wanted::Any => port.is_served_by(listener),
        }
    }

    /// The listeners that `--only` does not allow.
    fn others<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Listener> {
        snapshot.listeners().iter().filter(|l| !self.allows(l))
    }

    fn allows(&self, listener: &Listener) -> bool {
        let allows = |spec: &PortSpec| spec.allows(listener);
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.iter().any(allows))
    }

    fn has_listener(&self, port: &RequiredPort, snapshot: &Snapshot) -> bool {
        let mut listeners = snapshot.listeners().iter();
        listeners.any(|listener| self.counts(port, listener) == Serves::Yes)
    }

    /// The state of a port, or the best state in a range of ports. `listeners` are all
    /// listeners, and must be sorted.
    fn state_of<'a>(&self, port: &RequiredPort, listeners: &'a [Listener]) -> State<'a> {
        let mut best = State::Closed;
        let numbers = listeners.chunk_by(|a, b| a.port_identity() == b.port_identity());
        for sockets in numbers {
            best = match (self.state_of_number(port, sockets), best) {
                (State::Listening, _) => return State::Listening,
                (state, State::Closed) => state,
                (state @ State::Unknown(_), State::Queued(_)) => state,
                (_, best) => best,
            };
        }
        best
    }

    /// The state of a port that has these `sockets`, which all have the same number. If one
    /// of several sockets has too long a queue, some clients end up in it, so the port does
    /// not count as listening.
    fn state_of_number<'a>(&self, port: &RequiredPort, sockets: &'a [Listener]) -> State<'a> {
        let mut state = State::Closed;
        let mut longest: Option<&Listener> = None;
        for listener in sockets {
            let unknown = match self.counts(port, listener) {
                Serves::No => continue,
                Serves::Yes => None,
                Serves::IfNotV6Only => Some(Unknown::V6Only(listener.endpoint)),
                Serves::IfOnInterface => listener.interface.map(Unknown::Interface),
            };
            state = match (unknown, state) {
                (None, _) => State::Listening,
                (Some(unknown), State::Closed) => State::Unknown(unknown),
                (_, state) => state,
            };
            let queue = |socket: Option<&Listener>| socket.map(|socket| socket.recv_q);
            if self.max_queued.is_some_and(|most| listener.recv_q > most)
                && queue(Some(listener)) >= queue(longest)
            {
                longest = Some(listener);
            }
        }
        longest.map_or(state, State::Queued)
    }
}

impl Expected for Question {
    /// Adds one entry for each missing port. A port has no namespace, so the namespace id in
    /// the entry is 0.
    fn find_missing(&self, snapshot: &Snapshot, lists: &mut Vec<(u64, Protocol)>) {
        let is_missing = |port: &&RequiredPort| !self.has_listener(port, snapshot);
        let missing = self.ports.iter().filter(is_missing).count();
        if self.wanted != Wanted::Any || missing == self.ports.len() {
            lists.resize(missing, (0, Protocol::Tcp));
        }
        // The first look may have missed a listener that is not allowed.
        if self.allowed.is_some() && self.others(snapshot).next().is_none() {
            lists.push((0, Protocol::Tcp));
        }
    }
}

impl Probe {
    /// A probe that has not looked yet. `path` is the value of `PATH`, in which ss is searched
    /// for.
    ///
    /// # Errors
    /// The errors of [`Source::new`].
    pub fn new(options: SourceOptions, path: &OsStr, question: Question) -> Result<Probe, Error> {
        let source = Source::new(options.clone(), path);
        Ok(Probe {
            source: match question.wanted {
                // A process that has exited holds no port, so the answer is yes. It does not
                // matter whether it exits before or after this call.
                Wanted::None => source.or_else(Source::ended)?,
                Wanted::All | Wanted::Any => source?,
            },
            options,
            path: path.to_os_string(),
            unix: UnixSockets::new(&question.unix),
            question,
            snapshot: Snapshot::default(),
            answer: Answer::default(),
            has_looked: false,
            said_exclusion: false,
        })
    }

    /// Looks at the listeners and the Unix sockets.
    ///
    /// # Errors
    /// If the source has no complete answer. At the first look, [`Error::NotOwn`] if an
    /// address in the question cannot have a listener.
    pub fn look(&mut self, looks: Looks) -> Result<(), Error> {
        self.unix.look();
        if self.question.ports.is_empty() && self.question.allowed.is_none() {
            return Ok(());
        }
        let expected: Option<&dyn Expected> = match looks {
            Looks::Once => None,
            Looks::Twice => Some(&self.question),
        };
        let known = Known {
            expected,
            ..Known::default()
        };
        self.answer = self.source.poll(known, &mut self.snapshot)?;
        self.judge_answer()
    }

    /// Warns once if the last answer may include listeners of an excluded process, and checks
    /// that the answer can be used.
    fn judge_answer(&mut self) -> Result<(), Error> {
        let gaps = &self.answer.gaps;
        if gaps.exclusion.is_some()
            && !std::mem::replace(&mut self.said_exclusion, true)
            && let Some(message) = gaps.message()
        {
            report::warn(format_args!("{message}"));
        }
        if !std::mem::replace(&mut self.has_looked, true) {
            self.require_own_addresses()?;
        }
        match self.answer.ended_root {
            // With `--closed`, a process that has exited is success: it holds no port.
            Some(pid) if self.question.wanted != Wanted::None => {
                Err(SourceError::Tree(TreeError::Ended(pid)).into())
            }
            _ => Ok(()),
        }
    }

    /// Checks that each address in the question can have a listener. An address that already
    /// has a listener passes, whatever the routes say (`IP_FREEBIND`).
    fn require_own_addresses(&self) -> Result<(), Error> {
        // The routes of this namespace say nothing about another one.
        if self.source.is_elsewhere() {
            return Ok(());
        }
        let to_bind = self.question.wanted == Wanted::None;
        for port in &self.question.ports {
            let Some(address) = port.address() else {
                continue;
            };
            let mut listeners = self.snapshot.listeners().iter();
            let is_bound =
                |l: &Listener| l.endpoint.address.to_canonical() == address && port.is_on(l);
            if !(listeners.any(is_bound)
                || to_bind && route::binds_any(address)
                || route::is_own(address, port.protocol()))
            {
                return Err(Error::NotOwn(address));
            }
        }
        Ok(())
    }

    /// Which ports must listen.
    pub fn wanted(&self) -> Wanted {
        self.question.wanted
    }

    /// The answer after a look: whether the ports are as wanted. Unless one port is enough, a
    /// single port that certainly is not as wanted makes the answer no, even if other ports
    /// are unknown.
    ///
    /// # Errors
    /// [`Error::Unknown`] if the answer depends on something that the source does not know.
    pub fn is_met(&self) -> Result<bool, Error> {
        let mut unknown = None;
        let mut is_any = false;
        for sought in self.unix.all() {
            match &sought.state {
                UnixState::Listening if !self.is_queue_too_long(sought) => {}
                UnixState::Listening | UnixState::Closed(_) => return Ok(false),
                UnixState::Unknown(reason) => unknown = Some(unknown_unix(sought, reason)),
            }
        }
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
                (Wanted::Any, true) => {
                    is_any = true;
                    break;
                }
                (Wanted::All, false) | (Wanted::None, true) => return Ok(false),
                _ => {}
            }
        }
        if self.question.others(&self.snapshot).next().is_some() {
            return Ok(false);
        }
        match (unknown, list::missing(&self.answer.gaps)) {
            (Some(error), _) if !is_any => Err(error),
            (_, Some(what)) if self.question.allowed.is_some() => Err(Error::Partial(what)),
            _ => Ok(is_any || self.question.wanted != Wanted::Any),
        }
    }

    /// Checks that waiting can help, because no port will stay unknown.
    ///
    /// # Errors
    /// [`Error::Unknown`] for the first port that will stay unknown, with two exceptions. With
    /// [`Wanted::Any`], another port may still open. With [`Wanted::None`], it may be unknown
    /// whether an IPv6 listener blocks the port, but that listener may still close.
    pub fn require_knowable(&self) -> Result<(), Error> {
        for sought in self.unix.all() {
            if let UnixState::Unknown(reason) = &sought.state
                && sought.is_final
            {
                return Err(unknown_unix(sought, reason));
            }
        }
        if self.question.wanted == Wanted::Any || self.answer.may_know_more {
            return Ok(());
        }
        for port in &self.question.ports {
            match self.state(port) {
                State::Unknown(Unknown::V6Only(_)) if self.question.wanted == Wanted::None => {}
                State::Unknown(reason) => return Err(Error::Unknown(port.clone(), reason)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the ports are as wanted if only those listeners count that `settling` has seen
    /// for long enough. The last look was from `start` to `end`. If the answer is yes, the
    /// other listeners are removed from the snapshot.
    pub fn settle(&mut self, settling: &mut Settling, [start, end]: [Instant; 2]) -> bool {
        let question = &self.question;
        let mut settled = self.snapshot.clone();
        settled.retain(&|listener| {
            let counts = |port| question.counts(port, listener) == Serves::Yes;
            question.ports.iter().any(counts)
        });
        settling.hold_back([start, end], &Snapshot::default(), &mut settled);
        let all = std::mem::replace(&mut self.snapshot, settled);
        let is_met =
            matches!(self.is_met(), Ok(true)) && self.unix.have_settled(start, settling.duration());
        if !is_met {
            self.snapshot = all;
        }
        is_met
    }

    /// The ports that are unknown or not as wanted, for a message. If there are none, all
    /// ports.
    pub fn names(&self) -> String {
        let mut unmet = texts(&self.ports_that(|is_met| is_met != Some(true)));
        for sought in self.unix.all() {
            if !matches!(sought.state, UnixState::Listening) {
                unmet.push(sought.socket.to_string());
            }
        }
        if unmet.is_empty() {
            unmet = texts(&Vec::from_iter(&self.question.ports));
            unmet.extend(self.question.unix.iter().map(ToString::to_string));
        }
        explanation::names(unmet)
    }

    /// Why the answer is no: which ports are not as wanted, and what listens instead. `after`
    /// is printed after the words `not listening`. This may read all listeners once more. The
    /// delay does not matter, because the answer is known.
    pub fn explain(&self, after: &str) -> String {
        let mut unmet = self.ports_that(|is_met| is_met == Some(false));
        if self.question.wanted == Wanted::Any && unmet.len() < self.question.ports.len() {
            // One port is enough, so the reason is a listener that is not allowed.
            unmet.clear();
        }
        if self.question.wanted == Wanted::None {
            let blocks_port = |l: &&Listener| {
                let mut ports = unmet.iter();
                ports.any(|port| port.is_blocked_by(l) == Serves::Yes)
            };
            let mut snapshot = self.snapshot.clone();
            source::name_holders(&self.options.choice, &mut snapshot);
            let listeners = snapshot.listeners().iter().filter(blocks_port);
            let (found, _) = explanation::found(&Vec::from_iter(listeners));
            return format!(
                "{}: still taken{after} by {found}",
                explanation::names(texts(&unmet))
            );
        }
        let mut reasons = Vec::new();
        for sought in self.unix.all() {
            let (socket, queues) = (&sought.socket, sought.queues);
            match sought.state {
                UnixState::Closed(why) => reasons.push(format!("{socket}: {why}{after}")),
                UnixState::Listening if self.is_queue_too_long(sought) => {
                    let backlog = Some(queues.udiag_wqueue);
                    reasons.push(queued(&socket.to_string(), queues.udiag_rqueue, backlog));
                }
                _ => {}
            }
        }
        let mut closed = Vec::new();
        for port in unmet {
            match self.state(port) {
                State::Queued(Listener { recv_q, send_q, .. }) => {
                    reasons.push(queued(&port.to_string(), *recv_q, *send_q));
                }
                _ => closed.push(port),
            }
        }
        if !closed.is_empty() {
            let (root, choice) = (self.options.root, &self.options.choice);
            let all = |root| {
                let options = SourceOptions {
                    choice: choice.clone(),
                    root,
                    ..SourceOptions::default()
                };
                let mut snapshot = Snapshot::default();
                let poll = Source::new(options, &self.path)
                    .map(|mut source| source.poll(Known::default(), &mut snapshot));
                match poll {
                    Ok(Ok(_)) => source::name_holders(choice, &mut snapshot),
                    _ => snapshot.clear(),
                }
                snapshot
            };
            // The source printed its warnings at the first look.
            let (mut found, everything) = report::silently(|| (all(root), root.map(|_| all(None))));
            // The listeners that are not allowed are named below.
            found.retain(&|listener| self.question.allows(listener));
            let found = Found {
                listeners: found.listeners(),
                of_process: root.zip(everything.as_ref().map(Snapshot::listeners)),
                filter: self.source.filter(),
            };
            reasons.push(explanation::why_closed(&closed, &found, after));
        }
        reasons.extend(self.explain_others());
        reasons.join("; ")
    }

    /// Names the listeners that are not allowed, for a message.
    fn explain_others(&self) -> Option<String> {
        let mut others = Snapshot::default();
        let found = others.refill(|listeners| {
            listeners.extend(self.question.others(&self.snapshot).cloned());
            match listeners.is_empty() {
                true => Err(()),
                false => Ok(()),
            }
        });
        found.ok()?;
        source::name_holders(&self.options.choice, &mut others);
        let (found, verb) = explanation::found(&Vec::from_iter(others.listeners()));
        let names = explanation::names(texts(&Vec::from_iter(&self.question.ports)));
        let besides = if names.is_empty() { "" } else { " besides " };
        Some(format!("{found} {verb} listening{besides}{names}"))
    }

    /// With [`Wanted::Any`], prints the listeners that serve a port to stdout, as `lntu list`
    /// does.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn write_found(&mut self, format: Format) -> Result<(), Error> {
        if self.question.wanted != Wanted::Any {
            return Ok(());
        }
        let question = &self.question;
        let all = self.snapshot.clone();
        self.snapshot.retain(&|listener| {
            let sockets = all.on_port(listener.port_identity());
            let state = |port| question.state_of_number(port, sockets);
            question.ports.iter().any(|port| {
                question.counts(port, listener) == Serves::Yes
                    && matches!(state(port), State::Listening)
            })
        });
        let output = Output::open(None, true)?;
        list::write(&mut self.source, &mut self.snapshot, format, output).map(|_| ())
    }

    fn is_queue_too_long(&self, sought: &Sought) -> bool {
        let most = self.question.max_queued;
        most.is_some_and(|most| sought.queues.udiag_rqueue > most)
    }

    /// The ports of which `is_chosen` is true. Its argument says whether a port is as
    /// wanted, or `None` if that is unknown.
    fn ports_that(&self, is_chosen: fn(Option<bool>) -> bool) -> Vec<&RequiredPort> {
        let is_chosen = |port: &&RequiredPort| {
            is_chosen(match self.state(port) {
                State::Listening => Some(self.question.wanted != Wanted::None),
                State::Queued(_) | State::Closed => Some(self.question.wanted == Wanted::None),
                State::Unknown(_) => None,
            })
        };
        self.question.ports.iter().filter(is_chosen).collect()
    }

    fn state(&self, port: &RequiredPort) -> State<'_> {
        let to_bind = self.question.wanted == Wanted::None;
        let state = (self.question).state_of(port, self.snapshot.listeners());
        if !matches!(state, State::Closed) {
            return state;
        }
        let may_count = |listener: &Listener| self.question.counts(port, listener) != Serves::No;
        if let Some(reason) = self.answer.gaps.doubt.reason_for(may_count) {
            return State::Unknown(Unknown::Holder(reason.into()));
        }
        let tables = SocketTable::ALL.into_iter();
        let effect = match to_bind {
            true => Effect::Blocks,
            false => Effect::Serves,
        };
        let mut tables = tables.filter(|table| port.can_be_in(*table, effect));
        match tables.find_map(|table| self.answer.gaps.reason_for(table)) {
            Some(reason) => State::Unknown(Unknown::Table(reason.into())),
            None => State::Closed,
        }
    }
}

fn unknown_unix(sought: &Sought, reason: &str) -> Error {
    Error::UnknownUnix(sought.socket.clone(), reason.into())
}

fn texts(ports: &[&RequiredPort]) -> Vec<String> {
    ports.iter().map(ToString::to_string).collect()
}

/// The reason for a listener whose accept queue is too long.
fn queued(port: &str, recv_q: u32, send_q: Option<u32>) -> String {
    let backlog = match send_q {
        None => String::new(),
        Some(backlog) => format!(" (backlog {backlog})"),
    };
    let connections = match recv_q {
        1 => "connection is",
        _ => "connections are",
    };
    format!("{port}: {recv_q} {connections} waiting to be accepted{backlog}")
}
