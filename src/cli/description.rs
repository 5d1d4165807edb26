//! The one description of the command line: the parser looks commands and
//! options up here, and `--help`, the man page and the completions are written
//! from it.

use std::ffi::OsStr;

use crate::exit_status::GivenBy;

/// A command, as it is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandName {
    /// `watch`, which is also meant where none is typed.
    #[default]
    Watch,
    /// `list`.
    List,
    /// `check`.
    Check,
    /// `wait`.
    Wait,
    /// `help`.
    Help,
}

impl CommandName {
    /// The command that is typed so.
    pub fn of(text: &OsStr) -> Option<CommandName> {
        let mut names = COMMANDS.iter().map(|command| command.name);
        names.find(|name| text == name.text())
    }

    /// What is typed for it.
    pub fn text(self) -> &'static str {
        match self {
            CommandName::Watch => "watch",
            CommandName::List => "list",
            CommandName::Check => "check",
            CommandName::Wait => "wait",
            CommandName::Help => "help",
        }
    }
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// What it is called.
    pub name: CommandName,
    /// How it is typed.
    pub usage: &'static str,
    /// What it does, in less than a sentence.
    pub summary: &'static str,
}

impl CommandSpec {
    /// Whether `-- COMMAND` may follow: whether it can become an application.
    pub fn takes_application(&self) -> bool {
        self.usage.ends_with(" [-- COMMAND [ARG]...]")
    }

    /// Whether it can end with an exit status that these commands give.
    pub(super) fn can_end_with(&self, given_by: GivenBy) -> bool {
        match given_by {
            GivenBy::All => true,
            GivenBy::Starters => self.takes_application(),
        }
    }
}

/// All commands.
pub static COMMANDS: [CommandSpec; 5] = [
    CommandSpec {
        name: CommandName::Watch,
        usage: "lntu [watch] [OPTIONS] [PORT]... [-- COMMAND [ARG]...]",
        summary: "print the listeners, then every change; with COMMAND, do so beside it, \
                  and become it",
    },
    CommandSpec {
        name: CommandName::List,
        usage: "lntu list [OPTIONS] [PORT]...",
        summary: "print the listeners once",
    },
    CommandSpec {
        name: CommandName::Check,
        usage: "lntu check [OPTIONS] PORT...",
        summary: "exit with 0 if all are listening, else with 1",
    },
    CommandSpec {
        name: CommandName::Wait,
        usage: "lntu wait [OPTIONS] PORT... [-- COMMAND [ARG]...]",
        summary: "wait until all are listening; then become COMMAND",
    },
    CommandSpec {
        name: CommandName::Help,
        usage: "lntu help [COMMAND]",
        summary: "print this help, or that of one command",
    },
];

/// Options that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// The commands that its options are for, but where they say otherwise.
    pub commands: &'static [CommandName],
    /// The options, in the order in which they are explained.
    pub options: &'static [OptionSpec],
}

impl Group {
    /// Whether its options are for every command that takes any.
    pub fn is_for_all(&self) -> bool {
        self.commands == ALL
    }
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// Its long name, without the dashes.
    pub long: &'static str,
    /// The commands that take it.
    pub commands: &'static [CommandName],
    /// What it does, in less than a sentence.
    pub help: &'static str,
    pub(super) action: Action,
}

impl OptionSpec {
    /// Whether it is about listeners that are printed, which `check` and `wait` do
    /// only with `--any`.
    pub fn is_for_found(&self) -> bool {
        matches!(
            self.action,
            Action::Set(Flag::Processes | Flag::Json | Flag::NoHeader)
        )
    }

    /// The value that it takes, if it does.
    pub fn value(&self) -> Option<&ValueSpec> {
        match &self.action {
            Action::Take(_, value) => Some(value),
            Action::Help | Action::Version | Action::Set(_) => None,
        }
    }
}

/// The value of an option.
#[derive(Clone, Copy, Debug)]
pub struct ValueSpec {
    /// What stands for it in help.
    pub name: &'static str,
    /// What can be known of it.
    pub kind: ValueKind,
}

/// What can be known of a value before it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Nothing.
    Any,
    /// It is one of these, or something else that cannot be known.
    Words(&'static [&'static str]),
    /// It is a file.
    File,
    /// It is a directory.
    Directory,
}

/// What the parser does at an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Help,
    Version,
    Set(Flag),
    Take(Setting, ValueSpec),
}

/// An option without a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    Tcp,
    Udp,
    Ipv4,
    Ipv6,
    ChangesOnly,
    Full,
    Any,
    ByPort,
    Closed,
    AllNamespaces,
    Processes,
    Json,
    Timestamps,
    NoHeader,
    /// Changes nothing.
    Habit,
    Verbose,
    Quiet,
}

/// An option with a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Setting {
    Exclude,
    ExcludeHolder,
    Of,
    Settle,
    MaxQueued,
    Output,
    Interval,
    Timeout,
    Source,
    Proc,
    Pid,
}

const ALL: &[CommandName] = &[
    CommandName::Watch,
    CommandName::List,
    CommandName::Check,
    CommandName::Wait,
];
const PRINTING: &[CommandName] = &[CommandName::Watch, CommandName::List];
const POLLING: &[CommandName] = &[CommandName::Watch, CommandName::Wait];
const PROBES: &[CommandName] = &[CommandName::Check, CommandName::Wait];
const CHECK: &[CommandName] = &[CommandName::Check];
const WATCH: &[CommandName] = &[CommandName::Watch];
const WAIT: &[CommandName] = &[CommandName::Wait];

/// What `--source` takes.
pub const SOURCES: [&str; 4] = ["auto", "ss", "proc", "netlink"];

/// What `--exclude` takes besides a PORT.
pub const EXCLUDED: [&str; 4] = ["loopback", "ephemeral", "ephemeral/tcp", "ephemeral/udp"];

const fn option(
    short: Option<char>,
    long: &'static str,
    commands: &'static [CommandName],
    help: &'static str,
    action: Action,
) -> OptionSpec {
    OptionSpec {
        short,
        long,
        commands,
        help,
        action,
    }
}

const fn flag(
    short: Option<char>,
    long: &'static str,
    commands: &'static [CommandName],
    help: &'static str,
    flag: Flag,
) -> OptionSpec {
    option(short, long, commands, help, Action::Set(flag))
}

const fn setting(
    short: Option<char>,
    long: &'static str,
    name: &'static str,
    kind: ValueKind,
    commands: &'static [CommandName],
    help: &'static str,
    setting: Setting,
) -> OptionSpec {
    let action = Action::Take(setting, ValueSpec { name, kind });
    option(short, long, commands, help, action)
}

/// All options.
#[rustfmt::skip] // A row each.
pub static GROUPS: [Group; 4] = [
    Group {
        title: "Which listeners",
        commands: PRINTING,
        options: &[
            flag(Some('t'), "tcp", PRINTING, "only TCP", Flag::Tcp),
            flag(Some('u'), "udp", PRINTING, "only UDP", Flag::Udp),
            flag(Some('l'), "listening", PRINTING, "changes nothing: lntu shows no others",
                Flag::Habit),
            flag(Some('4'), "ipv4", PRINTING, "only IPv4", Flag::Ipv4),
            flag(Some('6'), "ipv6", PRINTING, "only IPv6", Flag::Ipv6),
            setting(None, "exclude", "PORT", ValueKind::Words(&EXCLUDED), PRINTING,
                "not this PORT; or loopback (addresses), ephemeral (ports that the kernel \
                 chooses), ephemeral/tcp, ephemeral/udp; may be repeated",
                Setting::Exclude),
            setting(None, "of", "PID", ValueKind::Any, ALL,
                "only sockets held by this process or one that descends from it", Setting::Of),
            setting(None, "exclude-holder", "NAME", ValueKind::Any, PRINTING,
                "not sockets that only processes of this name hold; may be repeated",
                Setting::ExcludeHolder),
            flag(None, "by-port", PRINTING,
                "one line for each protocol and port, however many addresses listen",
                Flag::ByPort),
            flag(None, "changes-only", WATCH,
                "not those that are there at the start", Flag::ChangesOnly),
            flag(None, "full", WATCH, "the whole table on every change", Flag::Full),
            setting(None, "settle", "D", ValueKind::Any, WATCH,
                "report a change once it has lasted for D", Setting::Settle),
            flag(None, "any", PROBES,
                "one of the PORTs is enough, and ranges are allowed; print what listens",
                Flag::Any),
            setting(None, "max-queued", "N", ValueKind::Any, CHECK,
                "also fail if more than N connections wait to be accepted", Setting::MaxQueued),
            flag(None, "closed", WAIT,
                "until nothing listens that would keep one from binding the PORTs",
                Flag::Closed),
        ],
    },
    Group {
        title: "How to print them",
        commands: PRINTING,
        options: &[
            flag(Some('p'), "processes", ALL,
                "say which process holds each socket", Flag::Processes),
            flag(Some('n'), "numeric", PRINTING, "changes nothing: lntu looks up no names",
                Flag::Habit),
            flag(None, "json", ALL, "JSON Lines instead of ss-format", Flag::Json),
            flag(None, "timestamps", PRINTING,
                "start each line with the UTC time", Flag::Timestamps),
            flag(Some('H'), "no-header", ALL, "leave out the header line", Flag::NoHeader),
            setting(Some('o'), "output", "FILE", ValueKind::File, PRINTING,
                "append to FILE, which may be a FIFO, instead of to stdout (-)", Setting::Output),
        ],
    },
    Group {
        title: "Where to look, and when",
        commands: ALL,
        options: &[
            setting(Some('i'), "interval", "D", ValueKind::Any, POLLING,
                "time between polls (500ms, 5s, 1m30s; a bare number is seconds): 1s for watch, \
                 100ms for wait",
                Setting::Interval),
            setting(None, "timeout", "D", ValueKind::Any, WAIT,
                "give up after D", Setting::Timeout),
            setting(None, "source", "NAME", ValueKind::Words(&SOURCES), ALL,
                "auto (default: for watch and list ss, for check and wait netlink; where that \
                 fails, /proc), ss, proc or netlink",
                Setting::Source),
            setting(None, "proc", "DIR", ValueKind::Directory, ALL,
                "read DIR/net/tcp and the rest instead of /proc/net; of a whole /proc that is \
                 mounted at DIR, what its process 1 sees", Setting::Proc),
            setting(None, "pid", "PID", ValueKind::Any, ALL,
                "look into the network namespace of this process", Setting::Pid),
            flag(Some('A'), "all-namespaces", PRINTING,
                "look into every network namespace in which a process runs, and name it",
                Flag::AllNamespaces),
        ],
    },
    Group {
        title: "Other",
        commands: ALL,
        options: &[
            flag(Some('v'), "verbose", ALL,
                "say why a source was passed over or a row skipped",
                Flag::Verbose),
            flag(Some('q'), "quiet", ALL,
                "say nothing on stderr but what ends the program", Flag::Quiet),
            option(Some('h'), "help", ALL, "print this help", Action::Help),
            option(Some('V'), "version", ALL, "print the version", Action::Version),
        ],
    },
];

/// All options, in the order of their groups.
pub fn options() -> impl Iterator<Item = &'static OptionSpec> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// What the program is.
pub const ABOUT: &str = "which TCP ports are listening and which UDP ports are bound";

/// The form of a PORT.
pub const PORT_FORM: &str = "[ADDRESS:]PORT[-PORT][/PROTO]";

/// A PORT of each kind.
pub const PORT_EXAMPLES: &[&str] = &[
    "8080",
    "8080/tcp",
    "53/udp",
    "3000-3999",
    "127.0.0.1:8080",
    "[::1]:8080/tcp",
];

/// What a PORT means: the commands that this is about, where it is not about all, and
/// what is said of them.
pub const PORT_MEANING: &[(&[CommandName], &str, &str)] = &[
    (
        PRINTING,
        "For watch and list, ",
        "PORTs leave out every other listener.",
    ),
    (
        PROBES,
        "For check and wait, ",
        "PROTO is tcp if not given, a range needs --any, and a wildcard that takes its family \
         serves an ADDRESS too.",
    ),
    (
        ALL,
        "",
        "$NAME, ${NAME} and ${NAME:-DEFAULT} in a PORT are environment variables.",
    ),
];
