//! The command line of ss: what of it is covered becomes a [`Request`], and what is not
//! is refused.

use std::ffi::OsString;

use lexopt::Arg::{Long, Short, Value};

use super::filter::parser;
use super::request::{Request, Show};
use super::selection::{AddressFamily, Kinds, Selection, States};
use crate::as_ss::error::Error;
use crate::as_ss::names::services::Services;
use crate::as_ss::paths;
use crate::error::{UsageError, lexopt_reason};

/// The long options of ss and the short ones that they stand for; `\0` where
/// there is none.
const LONG_OPTIONS: [(&str, char); 43] = [
    ("all", 'a'),
    ("bpf", 'b'),
    ("cgroup", '\0'),
    ("context", 'Z'),
    ("contexts", 'z'),
    ("dccp", 'd'),
    ("diag", 'D'),
    ("events", 'E'),
    ("extended", 'e'),
    ("family", 'f'),
    ("filter", 'F'),
    ("help", 'h'),
    ("inet-sockopt", '\0'),
    ("info", 'i'),
    ("ipv4", '4'),
    ("ipv6", '6'),
    ("kill", 'K'),
    ("listening", 'l'),
    ("memory", 'm'),
    ("mptcp", 'M'),
    ("net", 'N'),
    ("no-header", 'H'),
    ("numeric", 'n'),
    ("oneline", 'O'),
    ("options", 'o'),
    ("packet", '0'),
    ("processes", 'p'),
    ("query", 'A'),
    ("raw", 'w'),
    ("resolve", 'r'),
    ("sctp", 'S'),
    ("socket", 'A'),
    ("summary", 's'),
    ("tcp", 't'),
    ("threads", 'T'),
    ("tipc", '\0'),
    ("tipcinfo", '\0'),
    ("tos", '\0'),
    ("udp", 'u'),
    ("unix", 'x'),
    ("version", 'V'),
    ("vsock", '\0'),
    ("xdp", '\0'),
];
/// The short options that ss has and this program refuses. Those in the second
/// list take a value.
const REFUSED: &[char] = &['b', 'E', 'K', 'r', 'z', 'Z'];
const REFUSED_WITH_VALUE: &[char] = &['D', 'F'];

/// What a command line asks for.
#[derive(Debug)]
pub enum Command {
    /// The table of these sockets.
    Show(Request),
    /// The text of [`super::help::HELP`].
    Help,
    /// The text of [`super::help::VERSION`].
    Version,
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// When they ask for anything but what [`super::help::HELP`] describes, or for a network
/// namespace that cannot be entered. It is entered at once, as by ss: what follows it may
/// name interfaces.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    services: &Services,
) -> Result<Command, Error> {
    let mut arguments = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    let refused = |error| UsageError::ss(lexopt_reason(&error));
    while let Some(argument) = arguments.next().map_err(refused)? {
        let (name, option) = match argument {
            Short(option) => (format!("-{option}"), option),
            Long(name) => long_option(name)?,
            Value(value) => {
                options.words.push(value.to_string_lossy().into_owned());
                continue;
            }
        };
        let takes_value = matches!(option, 'f' | 'A' | 'N') || REFUSED_WITH_VALUE.contains(&option);
        let value = match takes_value {
            true => arguments.value().map_err(refused)?,
            false => OsString::new(),
        };
        if let Some(command) = options.add(name, option, &value.to_string_lossy())? {
            return Ok(command);
        }
    }
    Ok(Command::Show(options.request(services)?))
}

/// What was read of a command line.
#[derive(Default)]
struct Options {
    selection: Selection,
    states: States,
    show: Show,
    no_header: bool,
    processes: bool,
    threads: bool,
    summary: bool,
    /// Whether `-A` was there.
    is_query: bool,
    /// The first option that is not covered. Those that follow it may still ask for help.
    refused: Option<String>,
    /// What is no option: states, then a filter.
    words: Vec<String>,
}

impl Options {
    /// Adds an option. A command is what it asks for in place of a table.
    fn add(&mut self, name: String, option: char, value: &str) -> Result<Option<Command>, Error> {
        match option {
            'h' => return Ok(Some(Command::Help)),
            'V' | 'v' => return Ok(Some(Command::Version)),
            'f' if value == "help" => return Ok(Some(Command::Help)),
            'f' => self.family(&name, value)?,
            'A' => self.query(&name, value)?,
            'N' => {
                paths::enter_network(value)?;
                self.show.is_elsewhere = true;
            }
            _ if self.add_family(&name, option) || self.add_flag(&name, option) => {}
            _ => self.refuse(name, option)?,
        }
        Ok(None)
    }

    /// Adds the family that an option itself names. False if it names none.
    fn add_family(&mut self, name: &str, option: char) -> bool {
        let family = match option {
            '4' => Some(AddressFamily::Inet),
            '6' => Some(AddressFamily::Inet6),
            'x' => Some(AddressFamily::Unix),
            '0' => Some(AddressFamily::Packet),
            _ => AddressFamily::named(name.trim_start_matches('-')),
        };
        if let Some(family) = family {
            self.selection.add_family(family);
        }
        family.is_some()
    }

    /// Adds what an option without a value says. False if it is none of those.
    fn add_flag(&mut self, name: &str, option: char) -> bool {
        let (selection, show) = (&mut self.selection, &mut self.show);
        match option {
            // Of these two, the last one counts.
            'a' => self.states = States::ALL,
            'l' => self.states = States::LISTENING,
            't' => selection.add_kinds(named("tcp")),
            'u' => selection.add_kinds(named("udp")),
            'w' => selection.add_kinds(named("raw")),
            'd' => selection.add_kinds(named("dccp")),
            'S' => selection.add_kinds(named("sctp")),
            'M' => selection.add_kinds(named("mptcp")),
            'n' => show.numeric = true,
            'o' => show.timers = true,
            'e' => (show.timers, show.details) = (true, true),
            'm' => show.memory = true,
            'i' => show.info = true,
            'O' => show.one_line = true,
            'p' => self.processes = true,
            'T' => self.threads = true,
            's' => self.summary = true,
            'H' => self.no_header = true,
            _ => match name {
                "--tos" => show.tos = true,
                "--cgroup" => show.cgroup = true,
                "--inet-sockopt" => show.socket_options = true,
                // It adds to rows of TIPC, of which there are none.
                "--tipcinfo" => {}
                _ => return false,
            },
        }
        true
    }

    /// Adds the value of `-f`.
    fn family(&mut self, option: &str, value: &str) -> Result<(), UsageError> {
        let family = AddressFamily::named(value).ok_or_else(|| {
            UsageError::ss(format!(
                "{option}: {value} is not a family, or is not supported by lntu as ss"
            ))
        })?;
        self.selection.add_family(family);
        Ok(())
    }

    /// Adds the value of `-A`: names of kinds, of which those behind `!` are left out.
    /// The first `-A` replaces the kinds before it.
    fn query(&mut self, option: &str, value: &str) -> Result<(), UsageError> {
        if !self.is_query {
            self.selection.clear_kinds();
            self.is_query = true;
            if self.states.is_empty() {
                self.states = States::CONNECTIONS;
            }
        }
        for item in value.split(',') {
            let (name, is_wanted) = match item.strip_prefix('!') {
                Some(name) => (name, false),
                None => (item, true),
            };
            let kinds = Kinds::named(name).ok_or_else(|| {
                UsageError::ss(format!(
                    "{option}: {name} is not a table, or is not supported by lntu as ss"
                ))
            })?;
            match is_wanted {
                true => self.selection.add_kinds(kinds),
                false => self.selection.remove_kinds(kinds),
            }
        }
        Ok(())
    }

    /// Notes an option that is not covered.
    fn refuse(&mut self, name: String, option: char) -> Result<(), UsageError> {
        let lists = [REFUSED, REFUSED_WITH_VALUE, &['\0']];
        if !lists.iter().any(|list| list.contains(&option)) {
            return Err(UsageError::ss(format!("{name}: not an option of ss")));
        }
        self.refused.get_or_insert(name);
        Ok(())
    }

    /// What all of them ask for.
    fn request(mut self, services: &Services) -> Result<Request, UsageError> {
        if let Some(name) = self.refused {
            return Err(UsageError::ss(format!(
                "{name}: not supported by lntu as ss"
            )));
        }
        let selection = &mut self.selection;
        let has_table = !self.summary || selection.is_named || !self.words.is_empty();
        let expression = states_in(&self.words, &mut self.states)?;
        if !selection.is_named {
            selection.add_kinds(named("all"));
            if self.states.is_empty() {
                self.states = States::CONNECTIONS;
            }
        }
        if !self.states.is_empty() {
            selection.states = self.states;
        }
        selection.complete();
        // ss reads a filter only if there is something to show.
        let filter = match selection.kinds.is_empty() {
            true => None,
            false => parser::parse(expression, selection, services, !self.show.is_elsewhere)?,
        };
        Ok(Request {
            summary: self.summary,
            has_table,
            filter,
            selection: self.selection,
            show: self.show,
            has_header: !self.no_header,
            processes: self.processes || self.threads,
            threads: self.threads,
        })
    }
}

/// The kinds of one of the names that `-A` knows.
fn named(name: &str) -> Kinds {
    Kinds::named(name).unwrap_or_default()
}

/// Takes `state STATE` and `exclude STATE` off the front of a filter. The first of
/// them puts an end to what options said of states.
fn states_in<'a>(words: &'a [String], states: &mut States) -> Result<&'a [String], UsageError> {
    let mut rest = words;
    let mut is_first = true;
    while let [word, more @ ..] = rest
        && let "state" | "exclude" | "excl" = word.as_str()
    {
        let [name, more @ ..] = more else {
            return Err(UsageError::ss(format!("{word}: which state?")));
        };
        let named =
            States::named(name).ok_or_else(|| UsageError::ss(format!("{name}: not a state")))?;
        let before = match (is_first, word.as_str()) {
            (false, _) => *states,
            (true, "state") => States::default(),
            (true, _) => States::ALL,
        };
        *states = match word.as_str() {
            "state" => before.with(named),
            _ => before.without(named),
        };
        is_first = false;
        rest = more;
    }
    Ok(rest)
}

/// The option of this name, which may be cut short as long as only one begins so: its
/// whole name after `--`, and its letter.
fn long_option(text: &str) -> Result<(String, char), UsageError> {
    let options = || LONG_OPTIONS.into_iter();
    let whole = |(name, option)| (format!("--{name}"), option);
    if let Some(exact) = options().find(|(name, _)| *name == text) {
        return Ok(whole(exact));
    }
    let mut meant = options().filter(|(name, _)| name.starts_with(text));
    match (meant.next(), meant.next()) {
        (Some(option), None) => Ok(whole(option)),
        (Some((one, _)), Some((other, _))) => Err(UsageError::ss(format!(
            "--{text}: could be --{one} or --{other}"
        ))),
        (None, _) => Err(UsageError::ss(format!("--{text}: not an option of ss"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::selection::Kind;

    fn parsed(arguments: &[&str]) -> Result<Command, Error> {
        let services = Services::new("/nonexistent".into(), "/nonexistent".into());
        parse(arguments.iter().map(OsString::from), &services)
    }

    fn request(arguments: &[&str]) -> Request {
        match parsed(arguments) {
            Ok(Command::Show(request)) => request,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn refusal(arguments: &[&str]) -> String {
        let text = parsed(arguments).unwrap_err().to_string();
        text.strip_suffix(" (try 'ss --help')").unwrap().into()
    }

    #[test]
    fn long_options_may_be_cut_short() {
        let request = request(&["--list", "--tc", "--num", "--no", "--proc", "--fam=inet6"]);
        assert!(request.selection.kinds.has(Kind::Tcp) && request.selection.kinds.is_one());
        assert_eq!(request.selection.last_family, Some(AddressFamily::Inet6));
        assert!(request.show.numeric && !request.has_header && request.processes);
        assert_eq!(refusal(&["--ipv"]), "--ipv: could be --ipv4 or --ipv6");
        assert_eq!(refusal(&["--lists"]), "--lists: not an option of ss");
    }

    #[test]
    fn the_last_of_all_and_listening_counts_and_a_state_counts_more() {
        let states = |arguments: &[&str]| request(arguments).selection.states;
        assert_eq!(states(&["-tal"]), States::LISTENING);
        assert_eq!(states(&["-lta"]), States::ALL);
        assert_eq!(states(&["-t"]), States::CONNECTIONS);
        assert_eq!(states(&[]), States::CONNECTIONS);
        let listening = States::named("listening").unwrap();
        assert_eq!(states(&["-ta", "state", "LISTENING"]), listening);
        assert_eq!(
            states(&["-t", "exclude", "listening"]),
            States::ALL.without(listening)
        );
        assert_eq!(
            states(&["state", "all", "excl", "listening", "sport = 1"]),
            States::ALL.without(listening)
        );
        let established = States::named("established").unwrap();
        assert_eq!(states(&["-u"]), established);
        assert_eq!(states(&["-u", "-A", "tcp"]), States::CONNECTIONS);
    }

    #[test]
    fn a_query_replaces_the_kinds_before_it() {
        let kinds = |arguments: &[&str]| request(arguments).selection.kinds;
        assert_eq!(kinds(&["-u", "-A", "tcp"]), named("tcp"));
        assert_eq!(kinds(&["-A", "tcp", "-u"]), kinds(&["-tu"]));
        assert_eq!(kinds(&["-A", "inet,!udp", "-A", "!raw"]), kinds(&["-tMdS"]));
        assert_eq!(kinds(&["-x"]), named("unix"));
        assert_eq!(kinds(&["-4"]), named("inet"));
        assert_eq!(kinds(&[]), named("all"));
        assert_eq!(
            refusal(&["-A", "tcp,atm"]),
            "-A: atm is not a table, or is not supported by lntu as ss"
        );
        assert!(kinds(&["-A", "!tcp"]).is_empty());
        assert!(!kinds(&["-A", "all"]).has(Kind::Tipc));
    }

    #[test]
    fn what_is_not_covered_is_refused() {
        let not_covered = |name: &str| format!("{name}: not supported by lntu as ss");
        for option in REFUSED {
            let option = format!("-{option}");
            assert_eq!(refusal(&["-lnt", &option]), not_covered(&option));
        }
        for option in ["-D", "-F"] {
            assert_eq!(refusal(&[option, "inet", "-lt"]), not_covered(option));
        }
        for option in ["--kill", "--bpf"] {
            assert_eq!(refusal(&["-lnt", option]), not_covered(option));
        }
        assert_eq!(refusal(&["-lnt", "-q"]), "-q: not an option of ss");
        assert_eq!(
            refusal(&["-lntf", "atm"]),
            "-f: atm is not a family, or is not supported by lntu as ss"
        );
        assert_eq!(refusal(&["state"]), "state: which state?");
        assert_eq!(refusal(&["excl", "open"]), "open: not a state");
    }

    #[test]
    fn help_and_version_are_given_even_behind_what_is_refused() {
        for arguments in [&["-h"][..], &["-Kh"], &["-lnt", "--help"], &["-fhelp"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Help)));
        }
        for arguments in [&["-V"][..], &["-v"], &["-b", "--vers"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Version)));
        }
    }

    #[test]
    fn the_short_options_of_long_ones_are_known() {
        let taken: Vec<char> = "aehilmnoptuwdSMTsHOVAfN46x0".chars().collect();
        for (name, option) in LONG_OPTIONS {
            let lists = [&taken, REFUSED, REFUSED_WITH_VALUE];
            let known = lists.iter().filter(|list| list.contains(&option)).count();
            assert_eq!(known, usize::from(option != '\0'), "{name}");
        }
    }
}
