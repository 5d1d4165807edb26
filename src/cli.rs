//! The command line as types: what was typed becomes what is meant, and what
//! cannot be meant becomes a usage error.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::check::Wanted;
use crate::entrypoint::Application;
use crate::interval::{Interval, parse_duration};
use crate::listener::{Family, Protocol};
use crate::output::Format;
use crate::port::{Filter, PortSpec, RequiredPort};
use crate::report::Verbosity;
use crate::source::{SourceChoice, SourceOptions};
use crate::wait::WaitOptions;
use crate::watch::WatchOptions;

/// What `lntu --help` prints.
pub const HELP: &str = "\
lntu: which TCP ports are listening and which UDP ports are bound

Usage:
  lntu [watch] [OPTIONS] [PORT]... [-- COMMAND [ARG]...]
                       print the listeners, then every change; with COMMAND,
                       do so beside it, and become it
  lntu list [OPTIONS] [PORT]...
                       print the listeners once
  lntu check [OPTIONS] PORT...
                       exit with 0 if all are listening, else with 1
  lntu wait [OPTIONS] PORT... [-- COMMAND [ARG]...]
                       wait until all are listening; then become COMMAND

PORT is [ADDRESS:]PORT[-PORT][/PROTO]:
  8080   8080/tcp   53/udp   3000-3999   127.0.0.1:8080   [::1]:8080/tcp
For watch and list, PORTs leave out every other listener. For check and wait,
PROTO is tcp if not given, there are no ranges, and a wildcard listener of its
family serves an ADDRESS too.

Which listeners:
  -t, --tcp            only TCP
  -u, --udp            only UDP
  -4, --ipv4           only IPv4
  -6, --ipv6           only IPv6
      --changes-only   watch: not those that are there at the start
      --full           watch: the whole table on every change
      --closed         wait: until none of the PORTs is listening

How to print them (watch, list):
      --json           JSON Lines instead of ss-format
      --timestamps     start each line with the UTC time
  -H, --no-header      leave out the header line
  -o, --output FILE    append to FILE, which may be a FIFO, instead of stdout

Where to look, and when:
  -i, --interval D     time between polls (500ms, 5s, 1m; a bare number is
                       seconds): 5s for watch, 100ms for wait
      --timeout D      wait: give up after D
      --source NAME    auto (ss, and where that fails /proc; default), ss, proc
      --proc DIR       read DIR/net/tcp and the rest instead of /proc/net
      --pid PID        look into the network namespace of this process

  -v, --verbose        say why a source was passed over or a row skipped
  -q, --quiet          say nothing on stderr but what ends the program
  -h, --help           print this help
  -V, --version        print the version

Exit status: 0 yes or done, 1 no (not listening, or timed out), 2 could not
tell (bad usage, or no source could be read); 128 + signal when SIGINT or
SIGTERM ends it. With COMMAND its own, 126 if it cannot be executed, 127 if it
is not found.
";

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the listeners, then every change; beside the application, if
    /// there is one, which is then started in any case.
    Watch(
        SourceOptions,
        OutputOptions,
        WatchOptions,
        Option<Application>,
    ),
    /// Print the listeners once.
    List(SourceOptions, OutputOptions),
    /// Say whether all of these are listening.
    Check(SourceOptions, Vec<RequiredPort>),
    /// Wait for these, then become the application, if there is one.
    Wait(
        SourceOptions,
        Vec<RequiredPort>,
        WaitOptions,
        Option<Application>,
    ),
    /// Print [`HELP`].
    Help,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Watch,
    List,
    Check,
    Wait,
}

impl Name {
    fn parse(text: &str) -> Option<Name> {
        [Name::Watch, Name::List, Name::Check, Name::Wait]
            .into_iter()
            .find(|name| name.text() == text)
    }

    fn text(self) -> &'static str {
        match self {
            Name::Watch => "watch",
            Name::List => "list",
            Name::Check => "check",
            Name::Wait => "wait",
        }
    }

    /// Whether the command has this option. Those that are not named here
    /// every command has.
    fn takes(self, option: &str) -> bool {
        match option {
            "--changes-only" | "--full" => self == Name::Watch,
            "--closed" | "--timeout" => self == Name::Wait,
            "--interval" | "-- COMMAND" => matches!(self, Name::Watch | Name::Wait),
            "--json" | "--timestamps" | "--no-header" | "--output" => {
                matches!(self, Name::Watch | Name::List)
            }
            _ => true,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SourceName {
    Auto,
    Ss,
    Proc,
}

/// What was typed, before it is known which command it is for.
#[derive(Default)]
struct Typed {
    command: Option<Name>,
    /// The options that not every command has, by their long names.
    options: Vec<&'static str>,
    protocols: [bool; 2],
    families: [bool; 2],
    ports: Vec<PortSpec>,
    source: Option<SourceName>,
    proc_root: Option<PathBuf>,
    pid: Option<u32>,
    verbosity: Verbosity,
    interval: Option<Interval>,
    timeout: Option<Duration>,
    output: OutputOptions,
    application: Option<Application>,
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// When they are not what [`HELP`] describes.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut typed = Typed::default();
    loop {
        // lexopt takes `--` for itself and does not tell where it stood.
        if let Some(mut rest) = parser.try_raw_args()
            && rest.peek() == Some("--".as_ref())
        {
            rest.next();
            let program = rest.next();
            let program = program.ok_or_else(|| UsageError("--: needs a COMMAND".into()))?;
            let arguments = rest.collect();
            typed.options.push("-- COMMAND");
            typed.application = Some(Application { program, arguments });
            return typed.meaning();
        }
        let Some(argument) = parser.next()? else {
            return typed.meaning();
        };
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Short('t') | Long("tcp") => typed.protocols[0] = true,
            Short('u') | Long("udp") => typed.protocols[1] = true,
            Short('4') | Long("ipv4") => typed.families[0] = true,
            Short('6') | Long("ipv6") => typed.families[1] = true,
            Long("changes-only") => typed.options.push("--changes-only"),
            Long("full") => typed.options.push("--full"),
            Long("closed") => typed.options.push("--closed"),
            Long("json") => {
                typed.options.push("--json");
                typed.output.format.json = true;
            }
            Long("timestamps") => {
                typed.options.push("--timestamps");
                typed.output.format.timestamps = true;
            }
            Short('H') | Long("no-header") => {
                typed.options.push("--no-header");
                typed.output.format.no_header = true;
            }
            Short('o') | Long("output") => {
                typed.options.push("--output");
                let path = PathBuf::from(parser.value()?);
                typed.output.path = (path.as_os_str() != "/dev/stdout").then_some(path);
            }
            Short('i') | Long("interval") => {
                typed.options.push("--interval");
                typed.interval = Some(parse_value("--interval", parser.value()?)?);
            }
            Long("timeout") => {
                typed.options.push("--timeout");
                let text = parser.value()?.to_string_lossy().into_owned();
                let timeout = parse_duration(&text);
                typed.timeout = Some(timeout.map_err(|error| refused("--timeout", &text, error))?);
            }
            Long("source") => typed.source = Some(parse_source(parser.value()?)?),
            Long("proc") => {
                let root = PathBuf::from(parser.value()?);
                if root.as_os_str().is_empty() {
                    return Err(refused("--proc", "", "not a directory"));
                }
                typed.proc_root = Some(root);
            }
            Long("pid") => typed.pid = Some(parse_pid(parser.value()?)?),
            Short('v') | Long("verbose") => typed.verbosity = Verbosity::Verbose,
            Short('q') | Long("quiet") => typed.verbosity = Verbosity::Quiet,
            Value(value) => typed.take_operand(value)?,
            option @ (Short(_) | Long(_)) => return Err(option.unexpected().into()),
        }
    }
}

impl Typed {
    /// The first operand may name the command; all others are PORTs.
    fn take_operand(&mut self, value: OsString) -> Result<(), UsageError> {
        let is_first = self.command.is_none() && self.ports.is_empty();
        match value.to_str().and_then(Name::parse) {
            Some(name) if is_first => self.command = Some(name),
            // What has no digit was hardly meant as a port.
            _ if is_first && !value.as_encoded_bytes().iter().any(u8::is_ascii_digit) => {
                let text = value.to_string_lossy();
                let why = "neither a command (watch, list, check, wait) nor a PORT";
                return Err(UsageError(format!("'{text}': {why}")));
            }
            _ => self.ports.push(parse_value("PORT", value)?),
        }
        Ok(())
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    fn meaning(self) -> Result<Command, UsageError> {
        let name = self.command.unwrap_or_default();
        if let Some(option) = self.options.iter().find(|option| !name.takes(option)) {
            let name = name.text();
            return Err(UsageError(format!("{option}: not an option of {name}")));
        }
        let mut source = SourceOptions {
            choice: self.source_choice()?,
            filter: Filter {
                protocol: only_one(self.protocols, [Protocol::Tcp, Protocol::Udp]),
                family: only_one(self.families, [Family::V4, Family::V6]),
                ..Filter::default()
            },
            processes: false,
            verbosity: self.verbosity,
        };
        let watch_options = WatchOptions {
            interval: self.interval.unwrap_or(Interval::OF_WATCH),
            format: self.output.format,
            changes_only: self.has("--changes-only"),
            full: self.has("--full"),
            settle: 1,
            verbosity: self.verbosity,
            second_look: true,
        };
        let wait_options = WaitOptions {
            interval: self.interval.unwrap_or(Interval::OF_WAIT),
            timeout: self.timeout,
            wanted: match self.has("--closed") {
                true => Wanted::Closed,
                false => Wanted::Listening,
            },
            verbosity: self.verbosity,
        };
        match name {
            Name::Watch | Name::List => source.filter.ports = self.ports,
            Name::Check | Name::Wait => {
                let ports = required_ports(name, self.ports, &source.filter)?;
                // Tables of the other protocol need not be read.
                let first = ports[0].protocol();
                if ports.iter().all(|port| port.protocol() == first) {
                    source.filter.protocol = Some(first);
                }
                return Ok(match name {
                    Name::Check => Command::Check(source, ports),
                    _ => Command::Wait(source, ports, wait_options, self.application),
                });
            }
        }
        Ok(match name {
            Name::List => Command::List(source, self.output),
            _ => Command::Watch(source, self.output, watch_options, self.application),
        })
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

/// What was asked for, where only one of two was: both is the same as neither.
fn only_one<T>(asked: [bool; 2], [first, second]: [T; 2]) -> Option<T> {
    match asked {
        [true, false] => Some(first),
        [false, true] => Some(second),
        _ => None,
    }
}

/// The PORTs of a command that needs some. One that `filter` leaves out could
/// never be found listening, so it is refused.
fn required_ports(
    name: Name,
    specs: Vec<PortSpec>,
    filter: &Filter,
) -> Result<Vec<RequiredPort>, UsageError> {
    if specs.is_empty() {
        return Err(UsageError(format!("{}: needs a PORT", name.text())));
    }
    let protocol = filter.protocol.unwrap_or(Protocol::Tcp);
    let required = |spec: PortSpec| {
        let text = spec.to_string();
        let port = RequiredPort::new(spec, protocol).map_err(|e| refused("PORT", &text, e))?;
        if port.may_pass(filter) {
            Ok(port)
        } else {
            Err(refused("PORT", &text, "contradicts -t, -u, -4 or -6"))
        }
    };
    specs.into_iter().map(required).collect()
}

fn refused(what: &str, value: &str, why: impl fmt::Display) -> UsageError {
    UsageError(format!("{what} '{value}': {why}"))
}

/// Reads the value that was given for `what`, and says which it was if it is no good.
fn parse_value<T: std::str::FromStr<Err: fmt::Display>>(
    what: &str,
    value: OsString,
) -> Result<T, UsageError> {
    let text = value.to_string_lossy();
    text.parse().map_err(|error| refused(what, &text, error))
}

fn parse_source(value: OsString) -> Result<SourceName, UsageError> {
    match value.to_str() {
        Some("auto") => Ok(SourceName::Auto),
        Some("ss") => Ok(SourceName::Ss),
        Some("proc") => Ok(SourceName::Proc),
        _ => {
            let text = value.to_string_lossy();
            Err(refused("--source", &text, "must be auto, ss or proc"))
        }
    }
}

fn parse_pid(value: OsString) -> Result<u32, UsageError> {
    let text = value.to_string_lossy();
    text.parse()
        .ok()
        .filter(|&pid| pid > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| refused("--pid", &text, "not a process id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let error = parse(arguments.iter().map(OsString::from)).unwrap_err();
        let text = error.to_string();
        text.strip_suffix(" (try 'lntu --help')").unwrap().into()
    }

    #[test]
    fn ports_that_a_command_cannot_do_without_or_with_are_refused() {
        assert_eq!(refusal(&["check"]), "check: needs a PORT");
        assert_eq!(refusal(&["wait", "--", "app"]), "wait: needs a PORT");
        assert_eq!(
            refusal(&["check", "80-81"]),
            "PORT '80-81': a single port is needed here, not a range"
        );
        for arguments in [["check", "-u", "80/tcp"], ["wait", "-4", "[::1]:80"]] {
            let port = arguments[2];
            let why = "contradicts -t, -u, -4 or -6";
            assert_eq!(refusal(&arguments), format!("PORT '{port}': {why}"));
        }
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
        for port in ["localhost:80", "::1:80", "[127.0.0.1]:80"] {
            assert_eq!(refusal(&[port]), format!("PORT '{port}': {address}"));
        }
    }
}
