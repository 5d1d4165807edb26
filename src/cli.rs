//! The command line as types: what was typed becomes what is meant, and what
//! cannot be meant becomes a usage error.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::listener::{Family, Protocol};
use crate::output::Format;
use crate::port::Filter;
use crate::report::Verbosity;
use crate::source::SourceChoice;
use crate::watch::WatchOptions;

/// What `lntu --help` prints.
pub const HELP: &str = "\
lntu: which TCP ports are listening and which UDP ports are bound

Usage:
  lntu [watch] [OPTIONS] [PORT]...   print the listeners, then every change
  lntu list    [OPTIONS] [PORT]...   print the listeners once

PORT is [ADDRESS:]PORT[-PORT][/PROTO] and leaves out every other listener:
  8080   8080/tcp   53/udp   3000-3999   127.0.0.1:8080   [::1]:8080/tcp

What to print:
  -t, --tcp            only TCP
  -u, --udp            only UDP
  -4, --ipv4           only IPv4
  -6, --ipv6           only IPv6
      --changes-only   watch: not the listeners that are there at the start
      --full           watch: the whole table on every change

How to print it:
      --json           JSON Lines instead of ss-format
      --timestamps     start each line with the UTC time
  -H, --no-header      leave out the header line

Where to look, and when:
  -i, --interval D     watch: time between polls, 5s by default (500ms, 1m, ...)
      --source NAME    auto (ss, and where that fails /proc; default), ss, proc
      --proc DIR       read DIR/net/tcp and the rest instead of /proc/net
      --pid PID        look into the network namespace of this process

  -v, --verbose        say why a source was passed over or a row skipped
  -q, --quiet          say nothing on stderr but what ends the program
  -h, --help           print this help
  -V, --version        print the version

Exit status: 0 done, 2 could not tell (bad usage, or no source could be read),
128 + signal when the watcher is ended by SIGINT or SIGTERM.
";

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the listeners, then every change.
    Watch(SourceOptions, WatchOptions),
    /// Print the listeners once.
    List(SourceOptions, Format),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// Which listeners are asked for, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// Which sources may answer.
    pub choice: SourceChoice,
    /// Which listeners are of interest.
    pub filter: Filter,
    /// What is said on stderr.
    pub verbosity: Verbosity,
}

/// A command line that means nothing: what is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (try 'lntu --help')", self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> UsageError {
        UsageError(error.to_string())
    }
}

/// What was typed, before it is known which command it is for.
#[derive(Default)]
struct Typed {
    command: Option<Name>,
    source: Option<SourceName>,
    proc_root: Option<PathBuf>,
    pid: Option<u32>,
    protocols: [bool; 2],
    families: [bool; 2],
    /// An option that only the watcher has.
    watch_only: Option<&'static str>,
    options: WatchOptions,
    filter: Filter,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Watch,
    List,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceName {
    Auto,
    Ss,
    Proc,
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// When they are not what [`HELP`] describes.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut typed = Typed::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Short('t') | Long("tcp") => typed.protocols[0] = true,
            Short('u') | Long("udp") => typed.protocols[1] = true,
            Short('4') | Long("ipv4") => typed.families[0] = true,
            Short('6') | Long("ipv6") => typed.families[1] = true,
            Short('i') | Long("interval") => {
                typed.watch_only = Some("--interval");
                typed.options.interval = parse_value("--interval", parser.value()?)?;
            }
            Long("changes-only") => {
                typed.watch_only = Some("--changes-only");
                typed.options.changes_only = true;
            }
            Long("full") => {
                typed.watch_only = Some("--full");
                typed.options.full = true;
            }
            Long("json") => typed.options.format.json = true,
            Long("timestamps") => typed.options.format.timestamps = true,
            Short('H') | Long("no-header") => typed.options.format.no_header = true,
            Long("source") => typed.source = Some(parse_source(parser.value()?)?),
            Long("proc") => typed.proc_root = Some(parser.value()?.into()),
            Long("pid") => typed.pid = Some(parse_pid(parser.value()?)?),
            Short('v') | Long("verbose") => typed.options.verbosity = Verbosity::Verbose,
            Short('q') | Long("quiet") => typed.options.verbosity = Verbosity::Quiet,
            Value(value) => typed.take_operand(value)?,
            option @ (Short(_) | Long(_)) => return Err(option.unexpected().into()),
        }
    }
    typed.meaning()
}

impl Typed {
    /// The first operand may name the command; all others are PORTs.
    fn take_operand(&mut self, value: OsString) -> Result<(), UsageError> {
        let command = match value.to_str() {
            Some("watch") => Some(Name::Watch),
            Some("list") => Some(Name::List),
            _ => None,
        };
        if command.is_some() && self.command.is_none() && self.filter.ports.is_empty() {
            self.command = command;
        } else {
            self.filter.ports.push(parse_value("PORT", value)?);
        }
        Ok(())
    }

    fn meaning(mut self) -> Result<Command, UsageError> {
        self.filter.protocol = match self.protocols {
            [true, false] => Some(Protocol::Tcp),
            [false, true] => Some(Protocol::Udp),
            _ => None,
        };
        self.filter.family = match self.families {
            [true, false] => Some(Family::V4),
            [false, true] => Some(Family::V6),
            _ => None,
        };
        let source = SourceOptions {
            choice: self.source_choice()?,
            filter: self.filter,
            verbosity: self.options.verbosity,
        };
        match (self.command, self.watch_only) {
            (None | Some(Name::Watch), _) => Ok(Command::Watch(source, self.options)),
            (Some(Name::List), None) => Ok(Command::List(source, self.options.format)),
            (Some(Name::List), Some(option)) => {
                Err(UsageError(format!("{option}: not an option of list")))
            }
        }
    }

    /// `--proc` and `--pid` name a place that only the `/proc` source can look at.
    fn source_choice(&self) -> Result<SourceChoice, UsageError> {
        let (option, root) = match (&self.proc_root, self.pid) {
            (Some(_), Some(_)) => {
                return Err(UsageError("--pid: not together with --proc".into()));
            }
            (Some(root), None) => ("--proc", Some(root.clone())),
            (None, Some(pid)) => ("--pid", Some(PathBuf::from(format!("/proc/{pid}")))),
            (None, None) => ("", None),
        };
        match (self.source, root) {
            (Some(SourceName::Ss), Some(_)) => Err(UsageError(format!(
                "{option}: not together with --source ss, which looks at its own network namespace"
            ))),
            (_, Some(root)) => Ok(SourceChoice::Proc(root)),
            (Some(SourceName::Proc), None) => Ok(SourceChoice::Proc("/proc".into())),
            (Some(SourceName::Ss), None) => Ok(SourceChoice::Ss),
            (Some(SourceName::Auto) | None, None) => Ok(SourceChoice::Auto),
        }
    }
}

/// Reads the value that was given for `what`, and says which it was if it is no good.
fn parse_value<T: std::str::FromStr<Err: fmt::Display>>(
    what: &str,
    value: OsString,
) -> Result<T, UsageError> {
    let text = value.to_string_lossy();
    text.parse()
        .map_err(|error| UsageError(format!("{what} '{text}': {error}")))
}

fn parse_source(value: OsString) -> Result<SourceName, UsageError> {
    match value.to_str() {
        Some("auto") => Ok(SourceName::Auto),
        Some("ss") => Ok(SourceName::Ss),
        Some("proc") => Ok(SourceName::Proc),
        _ => Err(UsageError(format!(
            "--source '{}': must be auto, ss or proc",
            value.to_string_lossy()
        ))),
    }
}

fn parse_pid(value: OsString) -> Result<u32, UsageError> {
    let text = value.to_string_lossy();
    text.parse()
        .ok()
        .filter(|&pid| pid > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| UsageError(format!("--pid '{text}': not a process id")))
}
