//! Parses the command line of ss into a [`Request`], and refuses what is not supported.

use std::ffi::OsString;

use lexopt::Arg::{Long, Short, Value};

use super::filter::parser::{self, CgroupConditions};
use super::request::{Request, Show};
use super::selection::{AddressFamily, Kinds, Selection, States};
use crate::as_ss::error::Error;
use crate::as_ss::names::services::Services;
use crate::as_ss::paths;
use crate::error::{UsageError, lexopt_reason};

/// The long options of ss, each with the short option that has the same meaning. `\0` means
/// that there is no short option.
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
/// The options of ss without a value that this program refuses.
const REFUSED: &[char] = &['b', 'E', 'K', 'r', 'z', 'Z'];
/// The options of ss with a value that this program refuses.
const REFUSED_WITH_VALUE: &[char] = &['D', 'F'];

/// The action that the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Show these sockets, or the number of sockets.
    Show(Request),
    /// Print [`super::help::HELP`].
    Help,
    /// Print [`super::help::VERSION`].
    Version,
}

/// Parses the arguments that follow the name of the program. As in ss, `-N` enters the network
/// namespace at once, so that later arguments can refer to interfaces of that namespace.
///
/// # Errors
/// Fails if the command line is invalid or not supported, or if the network namespace cannot be
/// entered.
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

/// The arguments that have been read so far.
#[derive(Default)]
struct Options {
    selection: Selection,
    states: States,
    show: Show,
    no_header: bool,
    processes: bool,
    threads: bool,
    summary: bool,
    /// Whether `-A` was used.
    has_query: bool,
    /// The first option that is not supported. It is refused only at the end, because a later
    /// option may ask for help.
    refused: Option<String>,
    /// The arguments that are not options: states, followed by a filter.
    words: Vec<String>,
}

impl Options {
    /// Adds an option. Returns a command if the option asks for something other than a table.
    fn add(&mut self, name: String, option: char, value: &str) -> Result<Option<Command>, Error> {
        match option {
            'h' => return Ok(Some(Command::Help)),
            'V' | 'v' => return Ok(Some(Command::Version)),
            'f' if value == "help" => return Ok(Some(Command::Help)),
            'f' => self.family(&name, value)?,
            'A' => self.query(&name, value)?,
            'N' => {
                paths::enter_network(value)?;
                self.show.in_other_network = true;
            }
            _ if self.add_family(&name, option) || self.add_flag(&name, option) => {}
            _ => self.refuse(name, option)?,
        }
        Ok(None)
    }

    /// Adds the family that an option such as `-4` or `--vsock` selects. False if the option
    /// does not select a family.
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

    /// Adds an option without a value. False if there is no such option.
    fn add_flag(&mut self, name: &str, option: char) -> bool {
        let (selection, show) = (&mut self.selection, &mut self.show);
        match option {
            // If both -a and -l are given, the last one wins.
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
                // This option only adds details to the rows of TIPC sockets, which are never
                // shown.
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

    /// Adds the value of `-A`, which is a list of kinds of sockets. `!` before a name removes
    /// the kind. The first `-A` replaces all kinds that were selected before it.
    fn query(&mut self, option: &str, value: &str) -> Result<(), UsageError> {
        if !self.has_query {
            self.selection.clear_kinds();
            self.has_query = true;
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

    /// Remembers an option of ss that this program does not support.
    ///
    /// # Errors
    /// Fails if ss does not have this option.
    fn refuse(&mut self, name: String, option: char) -> Result<(), UsageError> {
        let lists = [REFUSED, REFUSED_WITH_VALUE, &['\0']];
        if !lists.iter().any(|list| list.contains(&option)) {
            return Err(UsageError::ss(format!("{name}: not an option of ss")));
        }
        self.refused.get_or_insert(name);
        Ok(())
    }

    /// Creates the request from all options and words.
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
            false => {
                let cgroup_conditions = match self.show.in_other_network {
                    true => CgroupConditions::Refused,
                    false => CgroupConditions::Allowed,
                };
                parser::parse(expression, selection, services, cgroup_conditions)?
            }
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

/// The kinds with this name, which must be a name that `-A` accepts.
fn named(name: &str) -> Kinds {
    Kinds::named(name).unwrap_or_default()
}

/// Applies each `state STATE` and `exclude STATE` at the start of the filter, and returns the
/// remaining words. The first of them replaces the states that the options selected.
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

/// The long option with this name or unambiguous abbreviation. Returns the whole name with
/// `--`, and the letter of the corresponding short option.
fn long_option(text: &str) -> Result<(String, char), UsageError> {
    let options = || LONG_OPTIONS.into_iter();
    let whole = |(name, option)| (format!("--{name}"), option);
    if let Some(exact) = options().find(|(name, _)| *name == text) {
        return Ok(whole(exact));
    }
    let mut matches = options().filter(|(name, _)| name.starts_with(text));
    match (matches.next(), matches.next()) {
        (Some(option), None) => Ok(whole(option)),
        (Some((first, _)), Some((second, _))) => Err(UsageError::ss(format!(
            "--{text}: could be --{first} or --{second}"
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
    fn abbreviated_long_options_are_accepted() {
        let request = request(&["--list", "--tc", "--num", "--no", "--proc", "--fam=inet6"]);
        assert!(request.selection.kinds.has(Kind::Tcp) && request.selection.kinds.is_one());
        assert_eq!(request.selection.last_family, Some(AddressFamily::Inet6));
        assert!(request.show.numeric && !request.has_header && request.processes);
    }

    #[test]
    fn an_ambiguous_abbreviation_is_refused() {
        assert_eq!(refusal(&["--ipv"]), "--ipv: could be --ipv4 or --ipv6");
    }

    fn states(arguments: &[&str]) -> States {
        request(arguments).selection.states
    }

    #[test]
    fn the_last_of_options_a_and_l_wins() {
        assert_eq!(states(&["-tal"]), States::LISTENING);
        assert_eq!(states(&["-lta"]), States::ALL);
    }

    #[test]
    fn states_default_to_those_of_the_selected_kinds() {
        assert_eq!(states(&["-t"]), States::CONNECTIONS);
        assert_eq!(states(&[]), States::CONNECTIONS);
        let established = States::named("established").unwrap();
        assert_eq!(states(&["-u"]), established);
        assert_eq!(states(&["-u", "-A", "tcp"]), States::CONNECTIONS);
    }

    #[test]
    fn states_in_the_filter_replace_states_of_options() {
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
    }

    fn kinds(arguments: &[&str]) -> Kinds {
        request(arguments).selection.kinds
    }

    #[test]
    fn the_first_query_replaces_the_kinds_before_it() {
        assert_eq!(kinds(&["-u", "-A", "tcp"]), named("tcp"));
        assert_eq!(kinds(&["-A", "tcp", "-u"]), kinds(&["-tu"]));
        assert_eq!(kinds(&["-A", "inet,!udp", "-A", "!raw"]), kinds(&["-tMdS"]));
        assert!(kinds(&["-A", "!tcp"]).is_empty());
    }

    #[test]
    fn a_family_selects_its_kinds() {
        assert_eq!(kinds(&["-x"]), named("unix"));
        assert_eq!(kinds(&["-4"]), named("inet"));
    }

    #[test]
    fn kinds_default_to_all_except_tipc() {
        assert_eq!(kinds(&[]), named("all"));
        assert!(!kinds(&["-A", "all"]).has(Kind::Tipc));
    }

    #[test]
    fn unsupported_options_of_ss_are_refused() {
        let refused = |name: &str| format!("{name}: not supported by lntu as ss");
        for option in REFUSED {
            let option = format!("-{option}");
            assert_eq!(refusal(&["-lnt", &option]), refused(&option));
        }
        for option in ["-D", "-F"] {
            assert_eq!(refusal(&[option, "inet", "-lt"]), refused(option));
        }
        for option in ["--kill", "--bpf"] {
            assert_eq!(refusal(&["-lnt", option]), refused(option));
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(refusal(&["--lists"]), "--lists: not an option of ss");
        assert_eq!(refusal(&["-lnt", "-q"]), "-q: not an option of ss");
        assert_eq!(
            refusal(&["-A", "tcp,atm"]),
            "-A: atm is not a table, or is not supported by lntu as ss"
        );
        assert_eq!(
            refusal(&["-lntf", "atm"]),
            "-f: atm is not a family, or is not supported by lntu as ss"
        );
        assert_eq!(refusal(&["excl", "open"]), "open: not a state");
    }

    #[test]
    fn a_missing_state_is_an_error() {
        assert_eq!(refusal(&["state"]), "state: which state?");
    }

    #[test]
    fn help_is_printed_despite_unsupported_options() {
        for arguments in [&["-h"][..], &["-Kh"], &["-lnt", "--help"], &["-fhelp"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Help)));
        }
    }

    #[test]
    fn version_is_printed_despite_unsupported_options() {
        for arguments in [&["-V"][..], &["-v"], &["-b", "--vers"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Version)));
        }
    }

    #[test]
    fn each_long_option_is_either_supported_or_refused() {
        let supported: Vec<char> = "aehilmnoptuwdSMTsHOVAfN46x0".chars().collect();
        for (name, option) in LONG_OPTIONS {
            let lists = [&supported, REFUSED, REFUSED_WITH_VALUE];
            let known = lists.iter().filter(|list| list.contains(&option)).count();
            assert_eq!(known, usize::from(option != '\0'), "{name}");
        }
    }
}
