//! The command line: what was typed becomes what is meant, and what makes no sense
//! becomes a usage error.
//!
//! - [`parse`] reads the arguments, by the [`description`] of all commands and
//!   options.
//! - [`help()`] writes what `--help` prints, from the same description.
//! - `variables` expands the environment variables in a PORT.
//!
//! The rest of the program sees the types that `parse` returns, never an option.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::Arg;

use crate::command::entrypoint::Application;
use crate::command::pace::{Interval, parse_duration};
use crate::command::probe::{Question, Wanted};
use crate::command::wait::WaitOptions;
use crate::command::watch::WatchOptions;
use crate::listener::{Family, Protocol, SocketTable};
use crate::output::Format;
use crate::port::{Filter, PortSpec, RequiredPort};
use crate::report::Verbosity;
use crate::source::{SourceChoice, SourceOptions};

pub mod description;
mod help;
mod variables;

pub use crate::error::UsageError;
use description::{Action, COMMANDS, CommandName, Flag, OptionSpec, SOURCES, Setting};
pub use help::{help, port_meaning};

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
        source: SourceOptions,
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
        source: SourceOptions,
        /// Where lines go.
        output: OutputOptions,
        /// Print one line for each protocol and port.
        by_port: bool,
    },
    /// Say whether ports are listening.
    Check {
        /// Where to look.
        source: SourceOptions,
        /// What is asked.
        question: Question,
        /// How to write what is found, if one of the ports is enough.
        format: Format,
    },
    /// Wait until ports are as wanted.
    Wait {
        /// Where to look.
        source: SourceOptions,
        /// What is asked.
        question: Question,
        /// How to write what is found, if one of the ports is enough.
        format: Format,
        /// How to wait.
        options: WaitOptions,
        /// What to become then.
        application: Option<Application>,
    },
    /// Print [`help()`]: that of this command, or of all.
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

/// Looks up a variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceName {
    Auto,
    Ss,
    Proc,
    Netlink,
}

/// What was typed, before it is known which command it is for.
#[derive(Default)]
struct Typed {
    /// `help` stands before the command.
    asks_for_help: bool,
    command: Option<CommandName>,
    options: Vec<&'static OptionSpec>,
    protocols: [bool; 2],
    families: [bool; 2],
    excluded: Vec<PortSpec>,
    excludes_loopback: bool,
    excludes_ephemeral: Vec<Protocol>,
    of: Option<u32>,
    excluded_holders: Vec<Vec<u8>>,
    by_port: bool,
    /// With the text of each, for messages.
    ports: Vec<(String, PortSpec)>,
    source: Option<SourceName>,
    proc_root: Option<PathBuf>,
    pid: Option<u32>,
    verbosity: Verbosity,
    interval: Option<Interval>,
    timeout: Option<Duration>,
    any: bool,
    closed: bool,
    max_queued: Option<u32>,
    changes_only: bool,
    full: bool,
    settle: Duration,
    output: OutputOptions,
    application: Option<Application>,
}

/// Reads the arguments that follow the program's name. `variable` looks up a variable
/// of the environment.
///
/// # Errors
/// If they are not what [`help()`] describes.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<CommandLine, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut typed = Typed::default();
    loop {
        let is_in_cluster = parser.try_raw_args().is_none();
        // lexopt consumes `--` and does not tell where it was.
        if let Some(mut rest) = parser.try_raw_args()
            && rest.peek() == Some("--".as_ref())
        {
            rest.next();
            let program = rest.next().filter(|program| !program.is_empty());
            let program = program.ok_or_else(|| UsageError::of_lntu("--: needs a COMMAND"))?;
            let arguments = rest.collect();
            typed.application = Some(Application { program, arguments });
            return typed.into_command_line();
        }
        let Some(argument) = parser.next().map_err(UsageError::of_lntu)? else {
            return typed.into_command_line();
        };
        let is_it = |option: &&OptionSpec| match argument {
            Arg::Short(letter) => option.short == Some(letter),
            Arg::Long(name) => option.long == name,
            Arg::Value(_) => false,
        };
        let is_digit = matches!(argument, Arg::Short('0'..='9'));
        // Behind `p` a digit is hardly meant for `-4` or `-6`.
        let last = typed.options.last();
        let is_port = is_digit && is_in_cluster && last.is_some_and(|last| last.short == Some('p'));
        let option = description::options().find(is_it);
        let Some(option) = option.filter(|_| !is_port) else {
            let Arg::Value(value) = argument else {
                let error = UsageError::of_lntu(argument.unexpected());
                return Err(match (is_digit, typed.command) {
                    (true, Some(CommandName::Wait)) => {
                        error.with("; a PORT is a word of its own, and a timeout is --timeout D")
                    }
                    (true, _) => error.with("; a PORT is a word of its own"),
                    (false, _) => error,
                });
            };
            typed.take_operand(value, &variable)?;
            continue;
        };
        let is_given = typed
            .options
            .iter()
            .any(|given| std::ptr::eq(*given, option));
        typed.options.push(option);
        match option.action {
            Action::Help => {
                let next = || CommandName::of(parser.try_raw_args()?.next()?.as_os_str());
                let of = typed.command.or_else(next);
                return Ok(typed.asking_for(Command::Help(of)));
            }
            Action::Version => return Ok(typed.asking_for(Command::Version)),
            Action::Set(flag) => typed.set(flag),
            Action::Take(setting, _) => {
                let name = format!("--{}", option.long);
                let value = parser.value().map_err(UsageError::of_lntu)?;
                if is_given && !matches!(setting, Setting::Exclude | Setting::ExcludeHolder) {
                    let value = value.to_string_lossy();
                    return Err(UsageError::of_lntu(format!(
                        "{name}: given twice ('{value}')"
                    )));
                }
                typed.take(setting, &name, value, &variable)?;
            }
        }
    }
}

impl Typed {
    fn set(&mut self, flag: Flag) {
        match flag {
            Flag::Tcp => self.protocols[0] = true,
            Flag::Udp => self.protocols[1] = true,
            Flag::Ipv4 => self.families[0] = true,
            Flag::Ipv6 => self.families[1] = true,
            Flag::ChangesOnly => self.changes_only = true,
            Flag::Full => self.full = true,
            Flag::Any => self.any = true,
            Flag::Closed => self.closed = true,
            Flag::AllNamespaces => self.output.format.namespaces = true,
            Flag::Processes => self.output.format.holders = true,
            Flag::ByPort => self.by_port = true,
            Flag::Json => self.output.format.json = true,
            Flag::Timestamps => self.output.format.timestamps = true,
            Flag::NoHeader => self.output.format.no_header = true,
            Flag::Habit => {}
            Flag::Verbose => self.verbosity = Verbosity::Verbose,
            Flag::Quiet => self.verbosity = Verbosity::Quiet,
        }
    }

    /// `name` is the option as messages name it.
    fn take(
        &mut self,
        setting: Setting,
        name: &str,
        value: OsString,
        variable: Variable<'_>,
    ) -> Result<(), UsageError> {
        match setting {
            Setting::Exclude => self.exclude(name, &value, variable)?,
            Setting::ExcludeHolder => self.excluded_holders.push(parse_holder(name, value)?),
            Setting::Of => self.of = Some(parse_pid(name, &value)?),
            Setting::Settle => self.settle = duration(name, &value)?,
            Setting::MaxQueued => self.max_queued = Some(parse_max_queued(name, &value)?),
            Setting::Output if value.is_empty() => {
                return Err(refused(name, "", "not a file"));
            }
            Setting::Output => {
                let names = ["-", "/dev/stdout", "/dev/fd/1"];
                let is_stdout = names.iter().any(|name| value == *name);
                self.output.path = (!is_stdout).then(|| value.into());
            }
            Setting::Interval => self.interval = Some(parse_value(name, value)?),
            Setting::Timeout => self.timeout = Some(duration(name, &value)?),
            Setting::Source => self.source = Some(parse_source(name, &value)?),
            Setting::Proc if value.is_empty() => {
                return Err(refused(name, "", "not a directory"));
            }
            Setting::Proc => self.proc_root = Some(value.into()),
            Setting::Pid => self.pid = Some(parse_pid(name, &value)?),
        }
        Ok(())
    }

    /// The first operand may name the command; all others are PORTs.
    fn take_operand(&mut self, value: OsString, variable: Variable<'_>) -> Result<(), UsageError> {
        let is_first = self.command.is_none() && self.ports.is_empty();
        let is_of_port = |byte: &u8| byte.is_ascii_digit() || *byte == b'$';
        match CommandName::of(&value) {
            Some(CommandName::Help) if is_first => {
                self.asks_for_help = true;
                // What stands before is about another command.
                self.options.clear();
            }
            Some(name) if is_first => self.command = Some(name),
            // Without a digit or a variable it was hardly meant as a port.
            _ if is_first && !value.as_encoded_bytes().iter().any(is_of_port) => {
                let text = value.to_string_lossy();
                let names = COMMANDS.map(|command| command.name.text()).join(", ");
                let why = format!("neither a command ({names}) nor a PORT");
                return Err(UsageError::of_lntu(format!("'{text}': {why}")));
            }
            _ => {
                let spec = parse_port("PORT", &value, variable).map_err(|error| {
                    let first = value.as_encoded_bytes().first();
                    let is_word = first
                        .is_some_and(|byte| byte.is_ascii_alphabetic() || b"./".contains(byte));
                    match self.command.unwrap_or_default() {
                        CommandName::Watch | CommandName::Wait
                            if is_word && !self.ports.is_empty() =>
                        {
                            error.with("; put -- before a COMMAND")
                        }
                        _ => error,
                    }
                })?;
                self.ports
                    .push((value.to_string_lossy().into_owned(), spec));
            }
        }
        Ok(())
    }

    fn exclude(
        &mut self,
        name: &str,
        value: &OsStr,
        variable: Variable<'_>,
    ) -> Result<(), UsageError> {
        match value.to_ascii_lowercase().to_str() {
            Some("loopback") => self.excludes_loopback = true,
            Some("ephemeral") => self
                .excludes_ephemeral
                .extend([Protocol::Tcp, Protocol::Udp]),
            Some("ephemeral/tcp") => self.excludes_ephemeral.push(Protocol::Tcp),
            Some("ephemeral/udp") => self.excludes_ephemeral.push(Protocol::Udp),
            _ => self.excluded.push(parse_port(name, value, variable)?),
        }
        Ok(())
    }

    fn asking_for(self, command: Command) -> CommandLine {
        CommandLine {
            command,
            verbosity: self.verbosity,
        }
    }

    fn into_command_line(mut self) -> Result<CommandLine, UsageError> {
        let name = match self.asks_for_help {
            true => CommandName::Help,
            false => self.command.unwrap_or_default(),
        };
        self.refuse_options_of_others(name)?;
        let mut source = SourceOptions {
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
            of: self.of,
            excluded_holders: std::mem::take(&mut self.excluded_holders),
        };
        let ports = std::mem::take(&mut self.ports);
        let specs =
            |ports: Vec<(String, PortSpec)>| ports.into_iter().map(|(_, spec)| spec).collect();
        let output = std::mem::take(&mut self.output);
        let application = self.application.take();
        let command = match name {
            CommandName::Help => match ports.first() {
                Some((text, _)) => return Err(refused("help", text, "not a command")),
                None => Command::Help(self.command),
            },
            CommandName::Watch => {
                source.filter.ports = specs(ports);
                Command::Watch {
                    source,
                    output,
                    options: WatchOptions {
                        interval: self.interval.unwrap_or(Interval::OF_WATCH),
                        changes_only: self.changes_only,
                        full: self.full,
                        settle: self.settle,
                        by_port: self.by_port,
                    },
                    application,
                }
            }
            CommandName::List => {
                source.filter.ports = specs(ports);
                Command::List {
                    source,
                    output,
                    by_port: self.by_port,
                }
            }
            CommandName::Check => Command::Check {
                question: self.question(name, ports, &mut source)?,
                source,
                format: output.format,
            },
            CommandName::Wait => {
                let question = self.question(name, ports, &mut source)?;
                Command::Wait {
                    source,
                    question,
                    format: output.format,
                    options: WaitOptions {
                        interval: self.interval.unwrap_or(Interval::OF_WAIT),
                        timeout: self.timeout,
                    },
                    application,
                }
            }
        };
        Ok(self.asking_for(command))
    }

    /// What `check` or `wait` asks. It narrows `source` to what the answer needs.
    fn question(
        &self,
        name: CommandName,
        ports: Vec<(String, PortSpec)>,
        source: &mut SourceOptions,
    ) -> Result<Question, UsageError> {
        let wanted = match (self.any, self.closed) {
            (false, false) => Wanted::All,
            (true, false) => Wanted::Any,
            (false, true) => Wanted::None,
            (true, true) => {
                return Err(UsageError::of_lntu("--any: not together with --closed"));
            }
        };
        if wanted != Wanted::Any {
            let is_of_found = |option: &&&OptionSpec| option.is_for_found();
            if let Some(option) = self.options.iter().find(is_of_found) {
                let (option, name) = (option.long, name.text());
                return Err(UsageError::of_lntu(format!(
                    "--{option}: {name} prints listeners only with --any"
                )));
            }
        }
        let ports = required_ports(name, ports, &mut source.filter, wanted)?;
        let is_udp = |port: &&RequiredPort| port.protocol() == Protocol::Udp;
        if self.max_queued.is_some()
            && let Some(port) = ports.iter().find(is_udp)
        {
            return Err(UsageError::of_lntu(format!(
                "--max-queued: {port} has no connections to accept"
            )));
        }
        // A probe executes nothing unless it is told to.
        if source.choice == SourceChoice::Auto {
            source.choice = SourceChoice::NetlinkOrProc;
        }
        Ok(Question {
            ports,
            wanted,
            max_queued: self.max_queued,
        })
    }

    /// Refuses an option that `name` does not take.
    fn refuse_options_of_others(&self, name: CommandName) -> Result<(), UsageError> {
        let mut takers = COMMANDS
            .iter()
            .filter(|command| command.takes_application());
        let is_of_others = |option: &&&OptionSpec| !option.commands.contains(&name);
        let what = match self.options.iter().find(is_of_others) {
            Some(option) => format!("--{}", option.long),
            None if self.application.is_none() || takers.any(|taker| taker.name == name) => {
                return Ok(());
            }
            None => "-- COMMAND".to_string(),
        };
        let instead = match what.as_str() {
            _ if name == CommandName::Help => "",
            "--tcp" => "; the PORT says it: 80/tcp (and a timeout is --timeout D)",
            "--udp" => "; the PORT says it: 53/udp",
            "--ipv4" | "--ipv6" => "; the PORT says it: 127.0.0.1:80 or [::1]:80",
            "-- COMMAND" => "; wait takes one, and a shell's && runs one after check",
            _ => "",
        };
        Err(UsageError::of_lntu(format!(
            "{what}: not an option of {}{instead}",
            name.text()
        )))
    }

    /// `--proc` and `--pid` name a place that only the `/proc` source can look at.
    fn source_choice(&self) -> Result<SourceChoice, UsageError> {
        if self.output.format.namespaces {
            return self.all_namespaces();
        }
        let (option, root) = match (&self.proc_root, self.pid) {
            (Some(_), Some(_)) => {
                return Err(UsageError::of_lntu("--pid: not together with --proc"));
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

    /// The source of `--all-namespaces`, which other options would contradict.
    fn all_namespaces(&self) -> Result<SourceChoice, UsageError> {
        let option = "--all-namespaces";
        let others = [
            ("--proc DIR", self.proc_root.is_some()),
            ("--pid PID", self.pid.is_some()),
            ("--of PID", self.of.is_some()),
        ];
        if let Some((other, _)) = others.iter().find(|(_, is_given)| *is_given) {
            return Err(UsageError::of_lntu(format!(
                "{option}: not together with {other}, which looks into one network namespace"
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
    let why = "which looks at its own network namespace";
    UsageError::of_lntu(format!(
        "{option}: not together with --source {source}, {why}"
    ))
}

/// The one of two that was asked for. To ask for both is to ask for neither.
fn only_one<T>(asked: [bool; 2], [first, second]: [T; 2]) -> Option<T> {
    match asked {
        [true, false] => Some(first),
        [false, true] => Some(second),
        _ => None,
    }
}

/// The PORTs of a command that needs some. `filter` then leaves out what no PORT
/// needs: a protocol, or IPv4.
fn required_ports(
    name: CommandName,
    specs: Vec<(String, PortSpec)>,
    filter: &mut Filter,
    wanted: Wanted,
) -> Result<Vec<RequiredPort>, UsageError> {
    if specs.is_empty() {
        return Err(UsageError::of_lntu(format!(
            "{}: needs a PORT",
            name.text()
        )));
    }
    let required = |(text, spec): (String, PortSpec)| {
        match wanted {
            Wanted::Any | Wanted::None => Ok(RequiredPort::one_of(spec)),
            Wanted::All => RequiredPort::new(spec),
        }
        .map_err(|error| {
            let error = refused("PORT", &text, error);
            match name {
                CommandName::Wait => error.with(" or --closed (none may listen)"),
                _ => error,
            }
        })
    };
    let ports: Vec<RequiredPort> = specs.into_iter().map(required).collect::<Result<_, _>>()?;
    let first = ports[0].protocol();
    if ports.iter().all(|port| port.protocol() == first) {
        filter.protocol = Some(first);
    }
    let to_bind = wanted == Wanted::None;
    let is_needed = |table: &SocketTable| ports.iter().any(|port| port.can_be_in(*table, to_bind));
    let mut tables = SocketTable::ALL.into_iter().filter(is_needed);
    if tables.all(|table| table.family == Family::V6) {
        filter.family = Some(Family::V6);
    }
    Ok(ports)
}

fn refused(what: &str, value: &str, why: impl fmt::Display) -> UsageError {
    UsageError::of_lntu(format!("{what} '{value}': {why}"))
}

/// Reads the value that was given for `what`.
fn parse_value<T: std::str::FromStr<Err: fmt::Display>>(
    what: &str,
    value: OsString,
) -> Result<T, UsageError> {
    let text = value.to_string_lossy();
    text.parse().map_err(|error| refused(what, &text, error))
}

fn parse_source(name: &str, value: &OsStr) -> Result<SourceName, UsageError> {
    match value.to_str() {
        Some("auto") => Ok(SourceName::Auto),
        Some("ss") => Ok(SourceName::Ss),
        Some("proc") => Ok(SourceName::Proc),
        Some("netlink") => Ok(SourceName::Netlink),
        _ => {
            let [others @ .., last] = SOURCES;
            let why = format!("must be {} or {last}", others.join(", "));
            Err(refused(name, &value.to_string_lossy(), why))
        }
    }
}

fn parse_pid(name: &str, value: &OsStr) -> Result<u32, UsageError> {
    let why = match value == "0" {
        true => "not a process id (Docker says 0 of a container that does not run)",
        false => "not a process id",
    };
    parse_number(name, value, 1..=u32::MAX, why)
}

/// Reads the name of a process, as `/proc/PID/comm` has it.
fn parse_holder(name: &str, value: OsString) -> Result<Vec<u8>, UsageError> {
    // The kernel's TASK_COMM_LEN less its terminating zero.
    const LONGEST: usize = 15;
    let bytes = value.as_encoded_bytes();
    match bytes.get(..LONGEST) {
        Some(cut) if bytes.len() > LONGEST => {
            let cut = String::from_utf8_lossy(cut);
            let why = format!("the kernel keeps {LONGEST} bytes of a name: '{cut}'");
            Err(refused(name, &value.to_string_lossy(), why))
        }
        _ if bytes.is_empty() => Err(refused(name, "", "not a name")),
        _ => Ok(bytes.to_vec()),
    }
}

fn parse_max_queued(name: &str, value: &OsStr) -> Result<u32, UsageError> {
    parse_number(name, value, 0..=u32::MAX, "not a number of connections")
}

fn duration(name: &str, value: &OsStr) -> Result<Duration, UsageError> {
    let text = value.to_string_lossy();
    parse_duration(&text).map_err(|error| refused(name, &text, error))
}

/// Reads a PORT, in which environment variables are expanded.
fn parse_port(name: &str, value: &OsStr, variable: Variable<'_>) -> Result<PortSpec, UsageError> {
    let text = value.to_string_lossy();
    let expanded = variables::expand(&text, variable);
    let expanded = expanded.map_err(|error| refused(name, &text, error))?;
    let is_expanded = expanded != text;
    expanded.parse().map_err(|error| match is_expanded {
        true => refused(name, &text, format_args!("'{expanded}': {error}")),
        false => refused(name, &text, error),
    })
}

/// Digits only: `u32::from_str` would also take a sign.
fn parse_number(
    name: &str,
    value: &OsStr,
    range: RangeInclusive<u32>,
    why: &str,
) -> Result<u32, UsageError> {
    let text = value.to_string_lossy();
    text.parse()
        .ok()
        .filter(|number| range.contains(number) && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| refused(name, &text, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let error = parse(arguments.iter().map(OsString::from), |_| None).unwrap_err();
        let text = error.to_string();
        text.strip_suffix(" (try 'lntu --help')").unwrap().into()
    }

    #[test]
    fn ports_that_a_command_cannot_do_without_or_with_are_refused() {
        assert_eq!(refusal(&["check"]), "check: needs a PORT");
        assert_eq!(refusal(&["wait", "--", "app"]), "wait: needs a PORT");
        assert_eq!(
            refusal(&["check", "80-81"]),
            "PORT '80-81': a range needs --any (one of its ports is then enough)"
        );
        let hint = "--tcp: not an option of wait; the PORT says it: 80/tcp (and a timeout is \
                    --timeout D)";
        assert_eq!(refusal(&["wait", "8080", "-t", "5"]), hint);
    }

    #[test]
    fn values_that_are_out_of_reach_are_refused() {
        let long = "99999999999999h";
        assert_eq!(
            refusal(&["wait", "--timeout", long, "80"]),
            format!("--timeout '{long}': too long")
        );
        let address =
            "the address must be IPv4 (127.0.0.1:80), bracketed IPv6 ([::1]:80) or * (*:80)";
        for port in ["1.2.3:80", "::1:80", "[127.0.0.1]:80"] {
            assert_eq!(refusal(&[port]), format!("PORT '{port}': {address}"));
        }
    }

    fn watch(arguments: &[&str]) -> (SourceOptions, OutputOptions, WatchOptions) {
        match parse(arguments.iter().map(OsString::from), |_| None)
            .unwrap()
            .command
        {
            Command::Watch {
                source,
                output,
                options,
                application: None,
            } => (source, output, options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn excluded_ports_add_up_and_words_are_none_of_them() {
        let filter = |arguments: &[&str]| {
            let arguments = arguments.iter().map(|value| format!("--exclude={value}"));
            let arguments: Vec<String> = arguments.collect();
            watch(&Vec::from_iter(arguments.iter().map(String::as_str)))
                .0
                .filter
        };
        let all = filter(&["ephemeral", "22", "loopback", "53/udp"]);
        assert_eq!(
            all.excluded,
            ["22", "53/udp"].map(|port| port.parse().unwrap())
        );
        assert_eq!(all.excludes_ephemeral, [Protocol::Tcp, Protocol::Udp]);
        assert!(all.excludes_loopback);
        assert_eq!(
            filter(&["ephemeral/tcp"]).excludes_ephemeral,
            [Protocol::Tcp]
        );
        assert_eq!(
            filter(&["ephemeral/udp"]).excludes_ephemeral,
            [Protocol::Udp]
        );
        assert_eq!(filter(&[]), Filter::default());
    }

    /// The tables of which the source of a check is asked for listeners.
    fn tables_of_check(ports: &[&str]) -> Vec<&'static str> {
        let arguments = [&["check"], ports].concat();
        let Command::Check { source, .. } = parse(arguments.iter().map(OsString::from), |_| None)
            .unwrap()
            .command
        else {
            panic!("not a check");
        };
        let tables = SocketTable::ALL.into_iter();
        tables
            .filter(|t| source.filter.wants(*t))
            .map(SocketTable::name)
            .collect()
    }

    #[test]
    fn a_probe_asks_for_no_more_tables_than_its_ports_need() {
        assert_eq!(tables_of_check(&["80"]), ["tcp", "tcp6"]);
        assert_eq!(tables_of_check(&["127.0.0.1:80"]), ["tcp", "tcp6"]);
        assert_eq!(tables_of_check(&["[::1]:80"]), ["tcp6"]);
        assert_eq!(
            tables_of_check(&["53/udp", "[::1]:53/udp"]),
            ["udp", "udp6"]
        );
        assert_eq!(
            tables_of_check(&["[::1]:53/udp", "[::1]:53"]),
            ["tcp6", "udp6"]
        );
        assert_eq!(
            tables_of_check(&["53/udp", "53"]),
            ["tcp", "tcp6", "udp", "udp6"]
        );
    }

    #[test]
    fn holders_are_asked_for_with_p_only() {
        for (arguments, asked) in [(&["-p"][..], true), (&["--processes"], true), (&[], false)] {
            assert_eq!(watch(arguments).0.holders, asked, "{arguments:?}");
        }
    }

    #[test]
    fn a_change_settles_at_once_if_nothing_else_was_asked_for() {
        assert_eq!(watch(&[]).2.settle, Duration::ZERO);
        assert_eq!(watch(&["--settle", "2s"]).2.settle, Duration::from_secs(2));
    }
}
