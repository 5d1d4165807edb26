//! The table of commands and options. The parser looks up commands and options in this table,
//! and `--help`, the man page and the completions are generated from it.

use std::ffi::OsStr;

use super::values::{EXCLUDED, SOURCES, words};
use crate::exit_status::GivenBy;

/// The name of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandName {
    /// `watch`, which is the default.
    #[default]
    Watch,
    /// `list`.
    List,
    /// `check`.
    Check,
    /// `wait`.
    Wait,
    /// `install`.
    Install,
    /// `help`.
    Help,
}

impl CommandName {
    /// The command with this name.
    pub fn of(text: &OsStr) -> Option<CommandName> {
        let mut names = COMMANDS.iter().map(|command| command.name);
        names.find(|name| text == name.text())
    }

    /// The name of the command, as typed.
    pub fn text(self) -> &'static str {
        match self {
            CommandName::Watch => "watch",
            CommandName::List => "list",
            CommandName::Check => "check",
            CommandName::Wait => "wait",
            CommandName::Install => "install",
            CommandName::Help => "help",
        }
    }

    /// Whether the operands of the command are PORTs.
    pub(super) fn takes_ports(self) -> bool {
        !matches!(self, CommandName::Install | CommandName::Help)
    }

    pub(super) fn takes_application(self) -> bool {
        let accepts = |command: &CommandSpec| command.name == self && command.takes_application;
        COMMANDS.iter().any(accepts)
    }
}

/// The description of a command.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// The name of the command.
    pub name: CommandName,
    /// The synopsis of the command.
    pub usage: &'static str,
    /// What the command does, as a phrase.
    pub summary: &'static str,
    /// An example of a common command line.
    pub example: &'static str,
    takes_application: bool,
}

impl CommandSpec {
    /// Whether the command accepts `-- COMMAND`.
    pub fn takes_application(&self) -> bool {
        self.takes_application
    }

    /// Whether the command is one of those in `given_by`.
    pub(super) fn can_end_with(&self, given_by: GivenBy) -> bool {
        match given_by {
            GivenBy::All => true,
            GivenBy::Questions => !matches!(
                self.name,
                CommandName::Watch | CommandName::Install | CommandName::Help
            ),
            GivenBy::Wait => self.name == CommandName::Wait,
            GivenBy::Starters => self.takes_application,
        }
    }
}

/// All commands.
pub static COMMANDS: [CommandSpec; 6] = [
    CommandSpec {
        name: CommandName::Watch,
        usage: "lntu [watch] [OPTIONS] [PORT]... [-- COMMAND [ARG]...]",
        summary: "print the listeners, then every change; with COMMAND, run it alongside",
        example: "lntu --json",
        takes_application: true,
    },
    CommandSpec {
        name: CommandName::List,
        usage: "lntu list [OPTIONS] [PORT]...",
        summary: "print the listeners once",
        example: "lntu list -p 8080",
        takes_application: false,
    },
    CommandSpec {
        name: CommandName::Check,
        usage: "lntu check [OPTIONS] PORT...",
        summary: "exit with 0 if all PORTs are listening, and with 1 if not",
        example: "lntu check '*:8080'",
        takes_application: false,
    },
    CommandSpec {
        name: CommandName::Wait,
        usage: "lntu wait [OPTIONS] PORT... [-- COMMAND [ARG]...]",
        summary: "wait until all PORTs are listening, then exec COMMAND, if given",
        example: "lntu wait --timeout 60s 5432 -- /app",
        takes_application: true,
    },
    CommandSpec {
        name: CommandName::Install,
        usage: "lntu install DEST",
        summary: "copy this program to DEST, a directory or a file name",
        example: "lntu install /shared",
        takes_application: false,
    },
    CommandSpec {
        name: CommandName::Help,
        usage: "lntu help [COMMAND]",
        summary: "print this help, or the options of a command",
        example: "lntu help check",
        takes_application: false,
    },
];

/// A group of options that belong together in the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The heading of the group.
    pub title: &'static str,
    /// The commands that accept the options of the group, unless an option says otherwise.
    pub commands: &'static [CommandName],
    /// The options, in the order in which they are documented.
    pub options: &'static [OptionSpec],
}

impl Group {
    /// Whether the options of the group are for every command that has options.
    pub fn is_for_all(&self) -> bool {
        self.commands == ALL
    }
}

/// The description of an option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The letter of the option, if it has one.
    pub short: Option<char>,
    /// The long name of the option, without the dashes.
    pub long: &'static str,
    /// The commands that accept the option.
    pub commands: &'static [CommandName],
    /// What the option does, as a phrase.
    pub help: &'static str,
    /// Whether the option may be given more than once, with a different value each time.
    pub is_repeatable: bool,
    is_about_printing: bool,
    /// What to use instead of the option with a command that does not accept it.
    pub(super) instead: &'static str,
    pub(super) action: Action,
}

impl OptionSpec {
    /// Whether `command` accepts the option only with `--any`: `check` and `wait` print
    /// listeners only with `--any`.
    pub(super) fn needs_any(&self, command: CommandName) -> bool {
        self.is_about_printing && PROBES.contains(&command)
    }

    const fn repeatable(mut self) -> OptionSpec {
        self.is_repeatable = true;
        self
    }

    /// Returns the option, changed so that `check` and `wait` accept it only with `--any`.
    const fn with_any(mut self) -> OptionSpec {
        self.is_about_printing = true;
        self
    }

    const fn instead(mut self, instead: &'static str) -> OptionSpec {
        self.instead = instead;
        self
    }

    /// The value that the option takes, if any.
    pub fn value(&self) -> Option<&ValueSpec> {
        match &self.action {
            Action::Take(_, value) => Some(*value),
            Action::Help | Action::Version | Action::Set(_) => None,
        }
    }
}

/// The value of an option.
#[derive(Clone, Copy, Debug)]
pub struct ValueSpec {
    /// The placeholder for the value in help.
    pub name: &'static str,
    /// What a shell can complete as the value.
    pub kind: ValueKind,
}

/// What a shell can complete as the value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A value that cannot be completed.
    Any,
    /// One of these words, among other values.
    Words(&'static [&'static str]),
    /// The path of a file.
    File,
    /// The path of a directory.
    Directory,
}

/// What the parser does when it reads an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Help,
    Version,
    Set(Flag),
    Take(Setting, &'static ValueSpec),
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
    Notify,
    Any,
    Only,
    ByPort,
    Closed,
    AllNamespaces,
    Processes,
    Pids,
    Json,
    Timestamps,
    NoHeader,
    /// An option of ss that changes nothing here.
    NoEffect,
    Verbose,
    Quiet,
}

/// An option with a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Setting {
    Exclude,
    ExcludeHolder,
    Of,
    ExcludeOf,
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
const WATCH_LIST_WAIT: &[CommandName] = &[CommandName::Watch, CommandName::List, CommandName::Wait];
const PROBES: &[CommandName] = &[CommandName::Check, CommandName::Wait];
const CHECK: &[CommandName] = &[CommandName::Check];
const LIST: &[CommandName] = &[CommandName::List];
const WATCH: &[CommandName] = &[CommandName::Watch];
const WAIT: &[CommandName] = &[CommandName::Wait];

const fn value(name: &'static str, kind: ValueKind) -> ValueSpec {
    ValueSpec { name, kind }
}

static DIRECTORY: ValueSpec = value("DIR", ValueKind::Directory);
static DURATION: ValueSpec = value("D", ValueKind::Any);
static FILE: ValueSpec = value("FILE", ValueKind::File);
static NUMBER: ValueSpec = value("N", ValueKind::Any);
static PID: ValueSpec = value("PID", ValueKind::Any);
static PORT_OR_WORD: ValueSpec = value("PORT", ValueKind::Words(&words(&EXCLUDED)));
static PROCESS_NAME: ValueSpec = value("NAME", ValueKind::Any);
static SOURCE: ValueSpec = value("NAME", ValueKind::Words(&words(&SOURCES)));

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
        is_repeatable: false,
        is_about_printing: false,
        instead: "",
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
    value: &'static ValueSpec,
    commands: &'static [CommandName],
    help: &'static str,
    setting: Setting,
) -> OptionSpec {
    option(short, long, commands, help, Action::Take(setting, value))
}

/// Makes [`GROUPS`] and [`DETAILS`] from one table. Each row is an option, and after `=>`,
/// its details for the manual. The two are separate so that the text of the manual does not
/// end up in the program.
macro_rules! option_table {
    ($($title:literal, $commands:ident { $($option:expr $(=> $details:literal)?;)* })*) => {
        /// All options.
        pub static GROUPS: [Group; 4] = [$(
            Group { title: $title, commands: $commands, options: &[$($option),*] },
        )*];

        /// The details of each option of each group, in the order of [`GROUPS`]. Only the
        /// manual contains the details.
        pub static DETAILS: [&[&str]; GROUPS.len()] = [$(
            &[$(concat!($($details)?)),*],
        )*];
    };
}

option_table! {
    "Which listeners", PRINTING {
        flag(Some('t'), "tcp", PRINTING, "show only TCP", Flag::Tcp)
            .instead("put the protocol in PORT: 80/tcp (for a timeout, --timeout D)");
        flag(Some('u'), "udp", PRINTING, "show only UDP", Flag::Udp)
            .instead("put the protocol in PORT: 53/udp");
        flag(Some('l'), "listening", PRINTING, "no effect; lntu shows only listeners",
            Flag::NoEffect);
        flag(Some('4'), "ipv4", PRINTING, "show only IPv4", Flag::Ipv4)
            .instead("put the address in PORT: 127.0.0.1:80 or [::1]:80");
        flag(Some('6'), "ipv6", PRINTING, "show only IPv6", Flag::Ipv6)
            .instead("put the address in PORT: 127.0.0.1:80 or [::1]:80");
        setting(None, "exclude", &PORT_OR_WORD, ALL,
            "leave out PORT, or one of loopback, ephemeral, ephemeral/tcp, ephemeral/udp; may be repeated",
            Setting::Exclude).repeatable()
            => "The word loopback leaves out loopback addresses, which only the container \
                itself can reach. ephemeral, ephemeral/tcp and ephemeral/udp leave out the \
                ports that the kernel assigns automatically, for example to DNS look-ups. The \
                range is the one set in the network namespace in which lntu runs, even with \
                --pid and --all-namespaces. With wait --any, use --exclude to skip ports that do not \
                belong to the server, such as a debugger's.";
        setting(None, "of", &PID, ALL,
            "only sockets held by this process or its descendants", Setting::Of)
            => "Workers that inherit a socket are included. Daemons are not, because they are no \
                longer descendants. When the process exits, wait exits at once, with status 3 \
                (with --closed: 0). watch exits with 0 once the process has exited and \
                neither it nor its descendants have a listener left. --of needs permission to \
                read their descriptors (see SECURITY).";
        setting(None, "exclude-of", &PID, WATCH_LIST_WAIT,
            "leave out sockets held by this process or its descendants", Setting::ExcludeOf)
            => "wait accepts it only with --closed. A program that runs lntu can use it to hide \
                its own listeners. With wait, --exclude-of ignores a socket that the server will inherit. \
                A socket that the process holds is left out even if other processes hold it, \
                too, and stays left out until it closes, even if the process exits first. \
                Sockets opened after the process has exited are shown. A listener whose holder cannot be read is still shown: \
                list then exits with 2, \"ready\" has an error member, and wait prints a \
                warning.";
        setting(None, "exclude-holder", &PROCESS_NAME, PRINTING,
            "leave out sockets held only by processes with this name; may be repeated",
            Setting::ExcludeHolder).repeatable()
            => "NAME is the name in /proc/PID/comm, at most 15 bytes. Sockets whose holders \
                cannot be read are still shown, and list then exits with 2.";
        flag(None, "by-port", PRINTING,
            "print one line for each protocol and port",
            Flag::ByPort)
            => "A port gets one line however many addresses it listens on. The line shows a \
                wildcard address if there is one, otherwise an IPv4 address if there is one, \
                otherwise an IPv6 address. watch keeps showing the \
                same listener until it closes. If another listener is on the port then, watch \
                prints a CLOSED line for the first and, right after it, a line for the other; in \
                JSON, both have the same timestamp. So the last line of an open port always \
                names a current listener. With --settle, both lines are delayed until the other \
                listener has lasted for D.";
        flag(None, "changes-only", WATCH,
            "skip the listeners that are already there", Flag::ChangesOnly);
        flag(None, "full", WATCH, "print the whole table on every change", Flag::Full)
            => "Each table has a header; with --no-header, an empty line follows each table.";
        flag(None, "notify", WATCH,
            "tell systemd or Podman once the PORTs are listening",
            Flag::Notify)
            => "Once each PORT has listened for at least 50 ms, and for D with --settle, the \
                watcher sends READY=1 to the socket that the environment variable \
                NOTIFY_SOCKET names, a path or an abstract name (@NAME). A PORT is listening if \
                wait would say so: a server on 0.0.0.0:80 listens on 127.0.0.1:80, and 80 is \
                80/tcp unless --udp is given. For a range, one port is enough. Listeners that \
                watch does not show, for example because of --exclude-holder, are included. The \
                watcher sends only READY=1, once, and never MAINPID or WATCHDOG, because \
                a listening socket does not show that the application works. If sending \
                fails, the watcher prints a warning once and tries again at each poll. \
                Without NOTIFY_SOCKET, nothing is sent. COMMAND may use the socket, too.";
        setting(None, "settle", &DURATION, POLLING,
            "act on a change only after it has lasted for D",
            Setting::Settle)
            => "watch reports a change after it has lasted for D, and also prints its first lines \
                only after D. wait requires that the PORTs have been listening for D without a \
                break. Some programs bind a port for a few milliseconds to see whether it is \
                free. So even without --settle, wait requires that two polls at least 50 ms \
                apart find the listener. If the first is just before the timeout, the second \
                comes after the timeout. A break that is shorter than the interval may not be \
                noticed.";
        flag(None, "any", PROBES,
            "one of the PORTs is enough, and ranges are allowed; print what is listening",
            Flag::Any)
            => "With -- COMMAND, wait prints nothing and execs COMMAND.";
        flag(None, "only", CHECK,
            "also fail if anything else is listening, TCP or UDP", Flag::Only)
            => "For this, an ADDRESS means exactly that address, as for list: 127.0.0.1:8080 does \
                not allow a listener on 0.0.0.0. Unlike with list, a PORT without PROTO is only \
                TCP: 53 does not allow a listener on UDP. Listeners that --exclude or --of leaves out are ignored. In a \
                container with its own network, Docker's DNS resolver listens, too: add \
                --exclude loopback.";
        setting(None, "max-queued", &NUMBER, CHECK,
            "also fail if more than N connections are waiting to be accepted", Setting::MaxQueued)
            => "If several sockets share a port, the longest queue counts. gVisor always reports \
                0.";
        flag(None, "closed", WAIT,
            "wait until no listener occupies the PORTs",
            Flag::Closed)
            => "Every listener that overlaps a PORT is in the way. For an address, that includes a \
                wildcard listener that accepts its family. For 0.0.0.0, it includes a listener on \
                any IPv4 address, and for [::], a listener on any address of either family, even \
                if your server will accept only IPv6. /proc does not say whether a listener on :: \
                accepts IPv4: if such a listener may be in the way of an IPv4 address, the \
                answer is \"could not tell\". The interface makes no difference. PORTs may be \
                ranges. LIMITS lists what else can keep a server from binding.";
    }
    "How to print them", PRINTING {
        flag(Some('p'), "processes", ALL,
            "show which processes hold each socket", Flag::Processes).with_any();
        flag(None, "pids", LIST,
            "print only the ids of the listening processes; exit with 1 if nothing is listening", Flag::Pids)
            => "Each process that holds one of the sockets is printed once, and none is left \
                out, however many there are. Processes that are only connected to a port are \
                not printed. If no process is found for some listener, because you may not \
                read the descriptors of other users' processes, the exit status is 2. A socket \
                may also be held by a process that you lack permission to read. With socket \
                activation, systemd (process 1) holds the socket, too, so check the list before \
                you pass it to kill.";
        flag(Some('n'), "numeric", PRINTING, "no effect; lntu never resolves host or service names",
            Flag::NoEffect);
        flag(None, "json", ALL, "print JSON Lines instead of a table", Flag::Json).with_any()
            => "check and wait accept --json, --no-header and --processes only with --any.";
        flag(None, "timestamps", PRINTING,
            "start each line with the UTC time", Flag::Timestamps);
        flag(Some('H'), "no-header", ALL, "leave out the header line", Flag::NoHeader).with_any();
        setting(Some('o'), "output", &FILE, PRINTING,
            "append to FILE, which can be a FIFO, instead of printing", Setting::Output)
            => "/dev/stderr works, and - is standard output. If FILE is a FIFO, list waits for a \
                reader. watch keeps its lines until there is one, and checks at each poll.";
    }
    "Where to look, and when", ALL {
        setting(Some('i'), "interval", &DURATION, POLLING,
            "poll at this interval (500ms, 5s, 1m30s)",
            Setting::Interval)
            => "By default, the interval is 100 ms to 1 s for watch and 10 ms to 100 ms for wait, \
                depending on what a poll costs. The shortest interval is 10 ms. See PACE.";
        setting(None, "timeout", &DURATION, WAIT,
            "give up after D", Setting::Timeout)
            .instead("to wait for a PORT, use wait --timeout D");
        setting(None, "source", &SOURCE, ALL,
            "where to read listeners from: auto, ss, netlink or proc",
            Setting::Source)
            => "With auto, watch and list run ss, and use netlink if that fails. check and wait start \
                with netlink. If netlink fails, lntu reads /proc. netlink asks the kernel as ss does, but only for \
                listeners. See SOURCES.";
        setting(None, "proc", &DIRECTORY, ALL,
            "read DIR instead of /proc", Setting::Proc)
            => "lntu reads DIR/net/tcp and the other tables. If DIR is a whole /proc that is \
                mounted elsewhere (the host's, in a container), it reads DIR/1/net, because DIR/net \
                would be that of lntu itself.";
        setting(None, "pid", &PID, ALL,
            "search the network namespace of this process", Setting::Pid)
            => "It shows all listeners there; to show only those of the process, use --of. It needs permission to read /proc/PID/net. Nothing has to be installed in the \
                container of that process.";
        flag(Some('A'), "all-namespaces", PRINTING,
            "show the listeners of every network namespace",
            Flag::AllNamespaces)
            => "lntu finds the namespaces of all processes that /proc shows, including those of \
                other containers if it is the host's /proc. Namespaces that are mounted, as by ip \
                netns, need no process. PORT, --exclude, --settle and --by-port apply to each \
                namespace separately. See SOURCES and SECURITY.";
    }
    "Other", ALL {
        flag(Some('v'), "verbose", ALL,
            "also report failed sources and skipped rows",
            Flag::Verbose);
        flag(Some('q'), "quiet", ALL,
            "print no warnings, and no reason if the answer is no", Flag::Quiet)
            => "If both --verbose and --quiet are given, the last one wins.";
        option(Some('h'), "help", ALL, "print this help", Action::Help)
            => "After a command, it prints the options of that command, like \"lntu help check\".";
        option(Some('V'), "version", ALL, "print the version", Action::Version);
    }
}

/// All options, in the order of their groups.
pub fn options() -> impl Iterator<Item = &'static OptionSpec> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// What the program does, as a phrase.
pub const ABOUT: &str = "which TCP ports are listening and which UDP ports are bound";

/// The syntax of a PORT.
pub const PORT_FORM: &str = "[ADDRESS:]NUMBER[-NUMBER][/PROTO]";

/// One example of each kind of PORT.
pub const PORT_EXAMPLES: &[&str] = &[
    "8080",
    "53/udp",
    "3000-3999",
    "127.0.0.1:8080",
    "localhost:8080",
    "[::1]:8080/tcp",
];

/// Sentences that say what a PORT means. Each has the commands that it applies to, the words
/// that come first if it has to name these commands, and its text.
pub const PORT_MEANING: &[(&[CommandName], &str, &str)] = &[
    (
        PRINTING,
        "For watch and list, ",
        "PORTs select listeners; without PROTO, TCP and UDP both match.",
    ),
    (
        PROBES,
        "For check and wait, ",
        "PROTO defaults to tcp, a range requires --any, and a listener on 0.0.0.0 also satisfies \
         127.0.0.1:8080. unix:/PATH is a Unix socket, unix:@NAME an abstract one.",
    ),
    (
        ALL,
        "",
        "localhost is 127.0.0.1 or ::1. PORT may contain variables: $NAME, ${NAME}, \
         ${NAME:-DEFAULT}.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_shows_command_where_it_is_accepted() {
        for command in &COMMANDS {
            let is_shown = command.usage.ends_with(" [-- COMMAND [ARG]...]");
            assert_eq!(is_shown, command.takes_application, "{}", command.usage);
        }
    }

    #[test]
    fn help_says_which_options_may_be_repeated() {
        for option in options() {
            let is_said = option.help.ends_with("may be repeated");
            assert_eq!(is_said, option.is_repeatable, "--{}", option.long);
        }
    }

    #[test]
    fn help_names_every_word_of_an_option() {
        for option in options() {
            let Some(ValueKind::Words(known)) = option.value().map(|value| value.kind) else {
                continue;
            };
            let is_separator = |c: char| !c.is_ascii_alphabetic() && c != '/';
            let named: Vec<&str> = option.help.split(is_separator).collect();
            for word in known {
                assert!(named.contains(word), "--{}: {word}", option.long);
            }
        }
    }
}
