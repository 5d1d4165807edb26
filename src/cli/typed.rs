//! Turns all arguments together into a command, or reports contradictions between them.

use std::path::PathBuf;
use std::time::Duration;

use super::command_line::{Command, CommandLine, OutputOptions};
use super::description::{CommandName, OptionSpec};
use super::values::{SourceName, refused};
use crate::command::entrypoint::Application;
use crate::command::pace::Interval;
use crate::command::probe::{Question, Wanted};
use crate::command::wait::WaitOptions;
use crate::command::watch::WatchOptions;
use crate::error::UsageError;
use crate::listener::{Family, Protocol, SocketTable};
use crate::port::{Effect, Filter, PortSpec, RequiredPort, UnixSocket};
use crate::report::Verbosity;
use crate::source::{SourceChoice, SourceOptions};

/// Why a command does not accept a Unix socket.
pub const ONLY_PROBES: &str =
    "only check and wait look at Unix sockets (under the name ss, ss -lx lists them)";

/// The arguments, before it is known which command they are for.
#[derive(Default)]
pub struct Typed {
    /// Whether the first operand is `help`.
    pub asks_for_help: bool,
    pub command: Option<CommandName>,
    pub options: Vec<&'static OptionSpec>,
    /// Whether `--tcp` and `--udp` were given.
    pub protocols: [bool; 2],
    /// Whether `--ipv4` and `--ipv6` were given.
    pub families: [bool; 2],
    pub excluded: Vec<PortSpec>,
    pub excludes_loopback: bool,
    pub excludes_ephemeral: Vec<Protocol>,
    pub of: Option<u32>,
    pub exclude_of: Option<u32>,
    pub excluded_holders: Vec<Vec<u8>>,
    pub pids: bool,
    /// Each PORT, and its text for messages.
    pub ports: Vec<(String, PortSpec)>,
    pub unix: Vec<UnixSocket>,
    pub source: Option<SourceName>,
    pub proc_root: Option<PathBuf>,
    pub pid: Option<u32>,
    pub verbosity: Verbosity,
    pub interval: Option<Interval>,
    pub timeout: Option<Duration>,
    pub any: bool,
    pub closed: bool,
    pub only: bool,
    pub max_queued: Option<u32>,
    pub changes_only: bool,
    pub full: bool,
    pub notify: bool,
    pub settle: Option<Duration>,
    pub output: OutputOptions,
    pub application: Option<Application>,
    /// Where `install` copies the program to.
    pub destination: Option<PathBuf>,
}

impl Typed {
    pub fn asking_for(&self, command: Command) -> CommandLine {
        CommandLine {
            command,
            verbosity: self.verbosity,
        }
    }

    /// Turns all arguments into a command. Moves their values out of `self`.
    pub fn command_line(&mut self) -> Result<CommandLine, UsageError> {
        let name = match self.asks_for_help {
            true => CommandName::Help,
            false => self.command.unwrap_or_default(),
        };
        self.refuse_options_of_others(name)?;
        self.refuse_what_pids_lack()?;
        self.refuse_what_unix_lacks(name)?;
        let mut source = Box::new(self.source_options()?);
        if matches!(name, CommandName::Watch | CommandName::List) {
            source.filter.ports = chosen_ports(self.ports.drain(..), &source.filter)?;
        }
        let output = std::mem::take(&mut self.output);
        let application = self.application.take();
        let command = match name {
            CommandName::Help => match self.ports.first() {
                Some((text, _)) => return Err(refused("help", text, &"not a command")),
                None => Command::Help(self.command),
            },
            CommandName::Install => match self.destination.take() {
                Some(destination) => Command::Install(destination),
                None => return Err(UsageError::lntu("install: needs a DEST")),
            },
            CommandName::Watch => {
                let notify = self.notify.then(|| notification(&source));
                if matches!(&notify, Some((_, question)) if question.ports.is_empty()) {
                    return Err(UsageError::lntu("--notify: needs a PORT"));
                }
                Command::Watch {
                    source,
                    options: self.watch_options(output.format.by_port, notify),
                    output,
                    application,
                }
            }
            CommandName::List => Command::List {
                source,
                output,
                pids: self.pids,
            },
            CommandName::Check => Command::Check {
                question: self.question(name, &mut source)?,
                source,
                format: output.format,
            },
            CommandName::Wait => Command::Wait {
                question: self.question(name, &mut source)?,
                source,
                format: output.format,
                options: self.wait_options(),
                application,
            },
        };
        Ok(self.asking_for(command))
    }

    fn source_options(&mut self) -> Result<SourceOptions, UsageError> {
        Ok(SourceOptions {
            choice: self.source_choice()?,
            filter: Filter {
                protocol: only_one(self.protocols, [Protocol::Tcp, Protocol::Udp]),
                family: only_one(self.families, [Family::V4, Family::V6]),
                ports: Vec::new(),
                excluded: std::mem::take(&mut self.excluded),
                excludes_loopback: self.excludes_loopback,
                excludes_ephemeral: std::mem::take(&mut self.excludes_ephemeral),
            },
            holders: self.output.format.holders,
            pids: self.pids,
            root: self.of,
            excluded_root: self.exclude_of,
            owners: self.output.format.json,
            excluded_holders: std::mem::take(&mut self.excluded_holders),
        })
    }

    fn watch_options(
        &self,
        by_port: bool,
        notify: Option<(SourceOptions, Question)>,
    ) -> WatchOptions {
        WatchOptions {
            interval: self.interval.unwrap_or(Interval::OF_WATCH),
            changes_only: self.changes_only,
            full: self.full,
            settle: self.settle.unwrap_or_default(),
            by_port,
            notify,
        }
    }

    fn wait_options(&self) -> WaitOptions {
        WaitOptions {
            interval: self.interval.unwrap_or(Interval::OF_WAIT),
            timeout: self.timeout,
            settle: self.settle,
        }
    }

    /// The question of `check` or `wait`. Narrows `source` to the listeners that the answer
    /// needs.
    fn question(
        &mut self,
        name: CommandName,
        source: &mut SourceOptions,
    ) -> Result<Question, UsageError> {
        let wanted = match (self.any, self.closed) {
            (false, false) => Wanted::All,
            (true, false) => Wanted::Any,
            (false, true) => Wanted::None,
            (true, true) => {
                return Err(UsageError::lntu("--any: not together with --closed"));
            }
        };
        if wanted == Wanted::None && self.settle.is_some() {
            return Err(UsageError::lntu("--settle: not together with --closed"));
        }
        if wanted != Wanted::Any {
            let needs_any = |option: &&&OptionSpec| option.needs_any(name);
            if let Some(option) = self.options.iter().find(needs_any) {
                let (option, name) = (option.long, name.text());
                return Err(UsageError::lntu(format!(
                    "--{option}: {name} prints listeners only with --any"
                )));
            }
        }
        if self.exclude_of.is_some() && wanted != Wanted::None {
            return Err(UsageError::lntu(
                "--exclude-of: wait requires --closed with it",
            ));
        }
        let ports = std::mem::take(&mut self.ports);
        let allowed = ports.iter().map(|(_, spec)| spec.clone());
        let allowed = self.only.then(|| allowed.collect());
        let mut filter = source.filter.clone();
        if ports.is_empty() && self.unix.is_empty() {
            let name = name.text();
            return Err(UsageError::lntu(format!("{name}: needs a PORT")));
        }
        let ports = required_ports(name, ports, &mut filter, wanted)?;
        // With --only, a listener that is not allowed can be in any table.
        if !self.only {
            source.filter = filter;
        }
        let is_udp = |port: &&RequiredPort| port.protocol() == Protocol::Udp;
        if self.max_queued.is_some()
            && let Some(port) = ports.iter().find(is_udp)
        {
            return Err(UsageError::lntu(format!(
                "--max-queued: {port} has no connections to accept"
            )));
        }
        source.choice = std::mem::take(&mut source.choice).for_probe();
        Ok(Question {
            ports,
            unix: std::mem::take(&mut self.unix),
            wanted,
            allowed,
            max_queued: self.max_queued,
        })
    }

    /// Refuses options that the command `name` does not accept. Also refuses `-- COMMAND` if
    /// the command does not accept that.
    fn refuse_options_of_others(&self, name: CommandName) -> Result<(), UsageError> {
        let is_of_others = |option: &&&OptionSpec| !option.commands.contains(&name);
        let (what, instead) = match self.options.iter().find(is_of_others) {
            Some(option) => (format!("--{}", option.long), option.instead),
            None if self.application.is_none() || name.takes_application() => return Ok(()),
            None => (
                "-- COMMAND".to_string(),
                "wait takes one, and a shell's && runs one after check",
            ),
        };
        let name_text = name.text();
        let error = UsageError::lntu(format!("{what}: not an option of {name_text}"));
        Err(match instead {
            "" => error,
            _ if !name.takes_ports() => error,
            _ => error.with_hint("; ").with_hint(instead),
        })
    }

    /// With `--pids`, refuses options that would change the lines of listeners, because only
    /// process ids are printed.
    fn refuse_what_pids_lack(&self) -> Result<(), UsageError> {
        let about_lines = ["processes", "json", "timestamps", "by-port"];
        let is_about_lines = |option: &&&OptionSpec| about_lines.contains(&option.long);
        match self.options.iter().find(is_about_lines) {
            Some(option) if self.pids => Err(UsageError::lntu(format!(
                "--pids: not together with --{}, because it prints only ids",
                option.long
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses options that do not apply to Unix sockets.
    fn refuse_what_unix_lacks(&self, name: CommandName) -> Result<(), UsageError> {
        let Some(socket) = self.unix.first() else {
            return Ok(());
        };
        if !matches!(name, CommandName::Check | CommandName::Wait) {
            return Err(refused("PORT", &socket.to_string(), &ONLY_PROBES));
        }
        let others = ["any", "closed", "of", "pid", "proc"];
        let is_other = |option: &&&OptionSpec| others.contains(&option.long);
        let option = self.options.iter().find(is_other).map(|option| option.long);
        let source = (self.source == Some(SourceName::Proc)).then_some("source proc");
        match option.or(source) {
            Some(option) => Err(UsageError::lntu(format!(
                "--{option}: not together with {socket}"
            ))),
            None => Ok(()),
        }
    }

    /// The sources that may answer. Only the `/proc` source supports `--proc` and `--pid`.
    fn source_choice(&self) -> Result<SourceChoice, UsageError> {
        if self.output.format.namespaces {
            return self.all_namespaces();
        }
        let (option, root) = match (&self.proc_root, self.pid) {
            (Some(_), Some(_)) => {
                return Err(UsageError::lntu("--pid: not together with --proc"));
            }
            (Some(root), None) => ("--proc", Some(root.clone())),
            (None, Some(pid)) => ("--pid", Some(PathBuf::from(format!("/proc/{pid}")))),
            (None, None) => ("", None),
        };
        match (self.source, root) {
            (Some(SourceName::Ss), Some(_)) => Err(sees_its_own_only(option, "ss")),
            (Some(SourceName::Netlink), Some(_)) => Err(sees_its_own_only(option, "netlink")),
            (_, Some(root)) => Ok(SourceChoice::Proc(root)),
            (Some(SourceName::Proc), None) => Ok(SourceChoice::Proc("/proc".into())),
            (Some(SourceName::Ss), None) => Ok(SourceChoice::Ss),
            (Some(SourceName::Netlink), None) => Ok(SourceChoice::Netlink),
            (Some(SourceName::Auto) | None, None) => Ok(SourceChoice::Auto),
        }
    }

    /// The source of `--all-namespaces`. Refuses options that contradict it.
    fn all_namespaces(&self) -> Result<SourceChoice, UsageError> {
        let option = "--all-namespaces";
        let others = [
            ("--proc DIR", self.proc_root.is_some()),
            ("--pid PID", self.pid.is_some()),
            ("--of PID", self.of.is_some()),
            ("--notify", self.notify),
        ];
        if let Some((other, _)) = others.iter().find(|(_, is_given)| *is_given) {
            return Err(UsageError::lntu(format!(
                "{option}: not together with {other}, which reads one network namespace"
            )));
        }
        match self.source {
            Some(SourceName::Ss) => Err(sees_its_own_only(option, "ss")),
            source => Ok(SourceChoice::AllNamespaces {
                asks_netlink: source != Some(SourceName::Proc),
            }),
        }
    }
}

fn sees_its_own_only(option: &str, source: &str) -> UsageError {
    let why = "which reads its own network namespace";
    UsageError::lntu(format!(
        "{option}: not together with --source {source}, {why}"
    ))
}

/// The selected one of two values. `None` if both are selected, because that restricts
/// nothing, or if neither is.
fn only_one<T>(asked: [bool; 2], [first, second]: [T; 2]) -> Option<T> {
    match asked {
        [true, false] => Some(first),
        [false, true] => Some(second),
        _ => None,
    }
}

/// The PORTs of a command that prints listeners. Refuses a PORT if `filter` would hide all
/// its listeners.
fn chosen_ports(
    specs: impl Iterator<Item = (String, PortSpec)>,
    filter: &Filter,
) -> Result<Vec<PortSpec>, UsageError> {
    let mut chosen = Vec::new();
    for (text, spec) in specs {
        let option = if let (Some(only), Some(named)) = (filter.protocol, spec.protocol())
            && only != named
        {
            only.name()
        } else if let (Some(only), Some(named)) = (filter.family, spec.family())
            && only != named
        {
            match only {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            }
        } else {
            chosen.push(spec);
            continue;
        };
        let why = format!("not together with --{option}");
        return Err(refused("PORT", &text, &why));
    }
    Ok(chosen)
}

/// The question that `--notify` asks: whether the PORTs of `source` are listening. Also
/// returns where to look.
fn notification(source: &SourceOptions) -> (SourceOptions, Question) {
    let filter = &source.filter;
    let required =
        |spec: &PortSpec| RequiredPort::one_of(spec.with_default_protocol(filter.protocol));
    let question = Question {
        ports: filter.ports.iter().map(required).collect(),
        unix: Vec::new(),
        wanted: Wanted::All,
        allowed: None,
        max_queued: None,
    };
    let source = SourceOptions {
        choice: source.choice.clone().for_probe(),
        filter: Filter {
            protocol: filter.protocol,
            family: filter.family,
            ..Filter::default()
        },
        root: source.root,
        ..SourceOptions::default()
    };
    (source, question)
}

/// The PORTs of a command that asks whether they are listening. Narrows `filter` to one
/// protocol if all PORTs have the same protocol, and to IPv6 if no PORT needs IPv4 listeners.
fn required_ports(
    name: CommandName,
    specs: Vec<(String, PortSpec)>,
    filter: &mut Filter,
    wanted: Wanted,
) -> Result<Vec<RequiredPort>, UsageError> {
    let required = |(text, spec): (String, PortSpec)| {
        match wanted {
            Wanted::Any | Wanted::None => Ok(RequiredPort::one_of(spec)),
            Wanted::All => RequiredPort::new(spec),
        }
        .map_err(|error| {
            let error = refused("PORT", &text, &error);
            match name {
                CommandName::Wait => error.with_hint(" or --closed (none must be listening)"),
                _ => error,
            }
        })
    };
    let mut ports = Vec::new();
    for named in specs {
        ports.push(required(named)?);
    }
    if let Some(first) = ports.first().map(RequiredPort::protocol)
        && ports.iter().all(|port| port.protocol() == first)
    {
        filter.protocol = Some(first);
    }
    let effect = match wanted {
        Wanted::None => Effect::Blocks,
        Wanted::All | Wanted::Any => Effect::Serves,
    };
    let is_needed = |table: &SocketTable| ports.iter().any(|port| port.can_be_in(*table, effect));
    let mut tables = SocketTable::ALL.into_iter().filter(is_needed);
    if tables.all(|table| table.family == Family::V6) {
        filter.family = Some(Family::V6);
    }
    Ok(ports)
}
