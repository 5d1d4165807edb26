//! Reads the arguments one by one: options, which it looks up in the description, and
//! operands.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

use super::command_line::{Command, CommandLine};
use super::description::{self, Action, COMMANDS, CommandName, Flag, OptionSpec, Setting};
use super::typed::{ONLY_PROBES, Typed};
use super::values::{self, Excluded, Variable};
use crate::command::entrypoint::Application;
use crate::error::{UsageError, lexopt_reason};
use crate::port::PortArgument;
use crate::report::Verbosity;

/// Parses the arguments after the program's name. `variable` looks up an environment
/// variable.
///
/// # Errors
/// If the arguments are not valid, with the reason.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<CommandLine, UsageError> {
    let mut parser = Parser {
        arguments: lexopt::Parser::from_args(arguments),
        variable: &variable,
        typed: Typed::default(),
    };
    while !parser.takes_application()? {
        match parser.next()? {
            None => break,
            Some(Argument::Operand(value)) => parser.operand(&value)?,
            Some(Argument::Option(option)) => match option.action {
                Action::Help => {
                    let command = parser.typed.command.or_else(|| parser.next_command());
                    return Ok(parser.typed.asking_for(Command::Help(command)));
                }
                Action::Version => return Ok(parser.typed.asking_for(Command::Version)),
                Action::Set(flag) => parser.set(option, flag),
                Action::Take(setting, _) => parser.take(option, setting)?,
            },
        }
    }
    parser.typed.command_line()
}

struct Parser<'a> {
    arguments: lexopt::Parser,
    variable: Variable<'a>,
    typed: Typed,
}

/// The next argument on the command line.
enum Argument {
    Operand(OsString),
    /// An option. If it takes a value, the value has not been read yet.
    Option(&'static OptionSpec),
}

impl Parser<'_> {
    /// If the next argument is `--`, reads it and the application that follows. Returns
    /// whether the next argument was `--`.
    fn takes_application(&mut self) -> Result<bool, UsageError> {
        // lexopt consumes `--` and does not report where it was, so look at the raw arguments.
        let Some(mut rest) = self.arguments.try_raw_args() else {
            return Ok(false);
        };
        if rest.peek() != Some("--".as_ref()) {
            return Ok(false);
        }
        rest.next();
        let program = rest.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| UsageError::lntu("--: needs a COMMAND"))?;
        let words = 1 + rest.as_slice().len();
        self.typed.application = Some(Application { program, words });
        Ok(true)
    }

    /// The command that the next argument names, if it names one.
    fn next_command(&mut self) -> Option<CommandName> {
        CommandName::of(self.arguments.try_raw_args()?.next()?.as_os_str())
    }

    fn next(&mut self) -> Result<Option<Argument>, UsageError> {
        let is_in_cluster = self.arguments.try_raw_args().is_none();
        let Some(argument) = self.arguments.next().map_err(refused)? else {
            return Ok(None);
        };
        let matches = |option: &&OptionSpec| match argument {
            Arg::Short(letter) => option.short == Some(letter),
            Arg::Long(name) => option.long == name,
            Arg::Value(_) => false,
        };
        let is_digit = matches!(argument, Arg::Short('0'..='9'));
        // `-p4` is more likely a mistyped port than `-p -4`.
        let last = self.typed.options.last();
        let is_port = is_digit && is_in_cluster && last.is_some_and(|last| last.short == Some('p'));
        match (description::options().find(matches), argument) {
            (Some(option), _) if !is_port => Ok(Some(Argument::Option(option))),
            (_, Arg::Value(value)) => Ok(Some(Argument::Operand(value))),
            (_, unknown) => {
                let error = refused(unknown.unexpected());
                Err(match (is_digit, self.typed.command) {
                    (true, Some(CommandName::Wait)) => error.with_hint(
                        "; PORT must be a separate argument (for a timeout, --timeout D)",
                    ),
                    (true, _) => error.with_hint("; PORT must be a separate argument"),
                    (false, _) => error,
                })
            }
        }
    }

    fn set(&mut self, option: &'static OptionSpec, flag: Flag) {
        let typed = &mut self.typed;
        typed.options.push(option);
        match flag {
            Flag::Tcp => typed.protocols[0] = true,
            Flag::Udp => typed.protocols[1] = true,
            Flag::Ipv4 => typed.families[0] = true,
            Flag::Ipv6 => typed.families[1] = true,
            Flag::ChangesOnly => typed.changes_only = true,
            Flag::Full => typed.full = true,
            Flag::Notify => typed.notify = true,
            Flag::Any => typed.any = true,
            Flag::Only => typed.only = true,
            Flag::Closed => typed.closed = true,
            Flag::AllNamespaces => typed.output.format.namespaces = true,
            Flag::Processes => typed.output.format.holders = true,
            Flag::Pids => typed.pids = true,
            Flag::ByPort => typed.output.format.by_port = true,
            Flag::Json => typed.output.format.json = true,
            Flag::Timestamps => typed.output.format.timestamps = true,
            Flag::NoHeader => typed.output.format.no_header = true,
            Flag::NoEffect => {}
            Flag::Verbose => typed.verbosity = Verbosity::Verbose,
            Flag::Quiet => typed.verbosity = Verbosity::Quiet,
        }
    }

    fn take(&mut self, option: &'static OptionSpec, setting: Setting) -> Result<(), UsageError> {
        let typed = &mut self.typed;
        let is_same = |given: &&OptionSpec| std::ptr::eq(*given, option);
        let is_given = typed.options.iter().any(is_same);
        typed.options.push(option);
        let name = &*format!("--{}", option.long);
        let value = self.arguments.value().map_err(refused)?;
        let text = &*value.to_string_lossy();
        if is_given && !option.is_repeatable {
            return Err(UsageError::lntu(format!("{name}: given twice ('{text}')")));
        }
        match setting {
            Setting::Exclude => match values::excluded_word(text) {
                Some(Excluded::Loopback) => typed.excludes_loopback = true,
                Some(Excluded::Ephemeral(protocols)) => {
                    typed.excludes_ephemeral.extend(protocols);
                }
                None => match values::parse_port(name, text, self.variable)? {
                    PortArgument::Port(port) => typed.excluded.push(port),
                    PortArgument::Unix(_) => return Err(values::refused(name, text, &ONLY_PROBES)),
                },
            },
            Setting::ExcludeHolder => {
                typed
                    .excluded_holders
                    .push(values::parse_holder(name, &value)?);
            }
            Setting::Of => typed.of = Some(values::parse_pid(name, text)?),
            Setting::ExcludeOf => typed.exclude_of = Some(values::parse_pid(name, text)?),
            Setting::Settle => typed.settle = Some(values::parse_duration(name, text)?),
            Setting::MaxQueued => typed.max_queued = Some(values::parse_max_queued(name, text)?),
            Setting::Output => typed.output.path = values::parse_output(name, &value)?,
            Setting::Interval => typed.interval = Some(values::parse_interval(name, text)?),
            Setting::Timeout => typed.timeout = Some(values::parse_duration(name, text)?),
            Setting::Source => typed.source = Some(values::parse_source(name, text)?),
            Setting::Proc => typed.proc_root = Some(values::parse_directory(name, &value)?),
            Setting::Pid => typed.pid = Some(values::parse_pid(name, text)?),
        }
        Ok(())
    }

    /// The first operand may name the command; all others are PORTs.
    fn operand(&mut self, value: &OsStr) -> Result<(), UsageError> {
        let typed = &mut self.typed;
        let is_first = typed.command.is_none() && typed.ports.is_empty();
        let is_of_port = |byte: &u8| byte.is_ascii_digit() || *byte == b'$';
        let bytes = value.as_encoded_bytes();
        let may_be_port = bytes.iter().any(is_of_port) || bytes.starts_with(b"unix:");
        match CommandName::of(value) {
            Some(CommandName::Help) if is_first => {
                typed.asks_for_help = true;
                // Options before `help` belong to another command.
                typed.options.clear();
            }
            Some(name) if is_first => typed.command = Some(name),
            // Any other word is more likely a mistyped command than a PORT.
            _ if is_first && !may_be_port => {
                let text = value.to_string_lossy();
                let names = COMMANDS.map(|command| command.name.text()).join(", ");
                let why = format!("neither a command ({names}) nor a PORT");
                return Err(UsageError::lntu(format!("'{text}': {why}")));
            }
            _ if typed.command == Some(CommandName::Install) && !typed.asks_for_help => {
                values::parse_destination(&mut typed.destination, value)?;
            }
            _ => self.port(value)?,
        }
        Ok(())
    }

    fn port(&mut self, value: &OsStr) -> Result<(), UsageError> {
        let typed = &mut self.typed;
        let text = value.to_string_lossy();
        let argument = values::parse_port("PORT", &text, self.variable).map_err(|error| {
            let first = text.as_bytes().first();
            let is_word =
                first.is_some_and(|byte| byte.is_ascii_alphabetic() || b"./".contains(byte));
            let command = typed.command.unwrap_or_default();
            match is_word && !typed.ports.is_empty() && command.takes_application() {
                true => error.with_hint("; write -- before COMMAND"),
                false => error,
            }
        })?;
        match argument {
            PortArgument::Port(spec) => typed.ports.push((text.into_owned(), spec)),
            PortArgument::Unix(socket) => typed.unix.push(socket),
        }
        Ok(())
    }
}

fn refused(error: lexopt::Error) -> UsageError {
    UsageError::lntu(lexopt_reason(&error))
}
