//! The command line of ss: what of it is covered, as types, and what is refused.

use std::ffi::OsString;

use lexopt::Arg::{Long, Short, Value};

use super::filter::Filter;
use super::selection::{AddressFamily, Kinds, Selection, States};
use crate::as_ss::show::printer::Show;
use crate::as_ss::show::services::Services;
use crate::cli::UsageError;

/// What `-h` prints.
pub const HELP: &str = "\
Usage: ss [ OPTIONS ]
       ss [ OPTIONS ] [ FILTER ]
   -h, --help          this message
   -V, --version       output version information
   -n, --numeric       don't resolve service names
   -a, --all           display all sockets
   -l, --listening     display listening sockets
   -o, --options       show timer information
   -e, --extended      show detailed socket information
   -m, --memory        show socket memory usage
   -p, --processes     show process using socket
   -T, --threads       show thread using socket
   -i, --info          show internal TCP information
   -s, --summary       show socket usage summary

   -4, --ipv4          display only IP version 4 sockets
   -6, --ipv6          display only IP version 6 sockets
   -0, --packet        display PACKET sockets
   -t, --tcp           display only TCP sockets
   -M, --mptcp         display only MPTCP sockets
   -S, --sctp          display only SCTP sockets
   -u, --udp           display only UDP sockets
   -d, --dccp          display only DCCP sockets
   -w, --raw           display only RAW sockets
   -x, --unix          display only Unix domain sockets
       --vsock         display only vsock sockets
       --xdp           display only XDP sockets
   -f, --family=FAMILY display sockets of type FAMILY
       FAMILY := {inet|inet6|link|unix|netlink|vsock|xdp|help}
   -A, --query=QUERY, --socket=QUERY
       QUERY := {all|inet|tcp|mptcp|udp|raw|unix|unix_dgram|unix_stream|unix_seqpacket|
                 packet|packet_raw|packet_dgram|netlink|dccp|sctp|vsock_stream|vsock_dgram|
                 xdp}[,QUERY]

   -H, --no-header     Suppress header line
   -O, --oneline       socket's data printed on a single line

   FILTER := [ state STATE | exclude STATE ]... [ EXPRESSION ]
   STATE := {all|connected|synchronized|bucket|big|established|syn-sent|syn-recv|
             fin-wait-{1,2}|time-wait|closed|close-wait|last-ack|listening|closing}
   EXPRESSION := {sport|dport} [OPERATOR] [:]PORT | {src|dst} [=] ADDRESS[/BITS][:PORT] |
                 {dev|fwmark|cgroup} [= | !=] VALUE | autobound
                 joined by and, or, not, ( and )
   OPERATOR := {= eq | != neq | > gt | < lt | >= ge | <= le}

This is lntu under the name ss. It prints what ss of iproute2 6.1 prints, or refuses.
";

/// What `-V` prints. Scripts compare the version of iproute2, so it is that of the
/// ss whose bytes are printed.
pub const VERSION: &str = concat!(
    "ss utility, iproute2-6.1.0 (lntu-",
    env!("CARGO_PKG_VERSION"),
    ")\n"
);

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
const REFUSED_WITH_VALUE: &[char] = &['D', 'F', 'N'];

/// What a command line asks for.
#[derive(Debug)]
pub enum Command {
    /// The table of these sockets.
    Show(Request),
    /// [`HELP`].
    Help,
    /// [`VERSION`].
    Version,
}

/// Which sockets are asked for, and how they are shown.
#[derive(Debug)]
pub struct Request {
    /// Before them, how many there are.
    pub summary: bool,
    /// Whether there is a table at all.
    pub has_table: bool,
    /// By kind, family and state.
    pub selection: Selection,
    /// Of those, the ones that it accepts.
    pub filter: Option<Filter>,
    /// What of them.
    pub show: Show,
    /// A first line of headings.
    pub has_header: bool,
    /// Who holds a socket.
    pub processes: bool,
    /// Also each thread.
    pub threads: bool,
}

/// Reads the arguments that follow the program's name.
///
/// # Errors
/// When they ask for anything but what [`HELP`] describes.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    services: &Services,
) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut selection = Selection::default();
    let mut states = States::default();
    let mut show = Show::default();
    let (mut has_header, mut processes, mut threads) = (true, false, false);
    let (mut summary, mut is_query) = (false, false);
    let mut words = Vec::new();
    // What follows may still ask for help.
    let mut refused = None;
    while let Some(argument) = parser.next().map_err(UsageError::of_ss)? {
        let (name, option) = match argument {
            Short(option) => (format!("-{option}"), option),
            Long(name) => {
                let (name, option) = long_option(name)?;
                (format!("--{name}"), option)
            }
            Value(value) => {
                words.push(value.to_string_lossy().into_owned());
                continue;
            }
        };
        let family = match option {
            '4' => Some(AddressFamily::Inet),
            '6' => Some(AddressFamily::Inet6),
            'x' => Some(AddressFamily::Unix),
            '0' => Some(AddressFamily::Packet),
            _ => AddressFamily::named(name.trim_start_matches('-')),
        };
        if let Some(family) = family {
            selection.add_family(family);
            continue;
        }
        match option {
            'h' => return Ok(Command::Help),
            'V' | 'v' => return Ok(Command::Version),
            // Of these two, the last one counts.
            'a' => states = States::ALL,
            'l' => states = States::LISTENING,
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
            'p' => processes = true,
            'T' => threads = true,
            's' => summary = true,
            'H' => has_header = false,
            'f' => {
                let value = parser.value().map_err(UsageError::of_ss)?;
                let value = value.to_string_lossy();
                match AddressFamily::named(&value) {
                    Some(family) => selection.add_family(family),
                    None if value == "help" => return Ok(Command::Help),
                    None => {
                        let why = format!("{name}: {value} is no family, or not covered");
                        return Err(UsageError::of_ss(why));
                    }
                }
            }
            'A' => {
                let value = parser.value().map_err(UsageError::of_ss)?;
                if !is_query {
                    selection.clear_kinds();
                    is_query = true;
                    if states.is_empty() {
                        states = States::CONNECTIONS;
                    }
                }
                query(&name, &value.to_string_lossy(), &mut selection)?;
            }
            _ => {
                if REFUSED_WITH_VALUE.contains(&option) {
                    parser.value().map_err(UsageError::of_ss)?;
                } else if option != '\0' && !REFUSED.contains(&option) {
                    return Err(UsageError::of_ss(format!("{name}: not an option of ss")));
                }
                refused.get_or_insert(name);
            }
        }
    }
    if let Some(name) = refused {
        return Err(UsageError::of_ss(format!(
            "{name}: not covered by lntu as ss"
        )));
    }
    let has_table = !summary || selection.is_named || !words.is_empty();
    let expression = states_in(&words, &mut states)?;
    if !selection.is_named {
        selection.add_kinds(named("all"));
        if states.is_empty() {
            states = States::CONNECTIONS;
        }
    }
    if !states.is_empty() {
        selection.states = states;
    }
    selection.complete();
    for (is_empty, what) in [
        (selection.kinds.is_empty(), "kinds"),
        (selection.states.is_empty(), "states"),
    ] {
        if is_empty {
            let why = format!("no {what} of sockets are left to show");
            return Err(UsageError::of_ss(why));
        }
    }
    Ok(Command::Show(Request {
        summary,
        has_table,
        filter: Filter::parse(expression, &mut selection, services)?,
        selection,
        show,
        has_header,
        processes: processes || threads,
        threads,
    }))
}

/// The kinds of one of the names that `-A` knows.
fn named(name: &str) -> Kinds {
    Kinds::named(name).unwrap_or_default()
}

/// The value of `-A`: names of kinds, of which those behind `!` are left out.
fn query(option: &str, value: &str, selection: &mut Selection) -> Result<(), UsageError> {
    for item in value.split(',') {
        let (name, is_wanted) = match item.strip_prefix('!') {
            Some(name) => (name, false),
            None => (item, true),
        };
        let kinds = Kinds::named(name).ok_or_else(|| {
            UsageError::of_ss(format!("{option}: {name} is no table, or not covered"))
        })?;
        match is_wanted {
            true => selection.add_kinds(kinds),
            false => selection.remove_kinds(kinds),
        }
    }
    Ok(())
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
            return Err(UsageError::of_ss(format!("{word}: which state?")));
        };
        let named =
            States::named(name).ok_or_else(|| UsageError::of_ss(format!("{name}: not a state")))?;
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

/// The option of this name, which may be cut short as long as only one begins so.
fn long_option(text: &str) -> Result<(&'static str, char), UsageError> {
    let options = || LONG_OPTIONS.into_iter();
    if let Some(exact) = options().find(|(name, _)| *name == text) {
        return Ok(exact);
    }
    let mut meant = options().filter(|(name, _)| name.starts_with(text));
    match (meant.next(), meant.next()) {
        (Some(option), None) => Ok(option),
        (Some((one, _)), Some((other, _))) => Err(UsageError::of_ss(format!(
            "--{text}: could be --{one} or --{other}"
        ))),
        (None, _) => Err(UsageError::of_ss(format!("--{text}: not an option of ss"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::selection::Kind;

    fn parsed(arguments: &[&str]) -> Result<Command, UsageError> {
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
            refusal(&["-A", "tcp,tipc"]),
            "-A: tipc is no table, or not covered"
        );
        assert_eq!(
            refusal(&["-A", "!tcp"]),
            "no kinds of sockets are left to show"
        );
    }

    #[test]
    fn what_is_not_covered_is_refused() {
        let not_covered = |name: &str| format!("{name}: not covered by lntu as ss");
        for option in REFUSED {
            let option = format!("-{option}");
            assert_eq!(refusal(&["-lnt", &option]), not_covered(&option));
        }
        for option in ["-D", "-F", "-N"] {
            assert_eq!(refusal(&[option, "inet", "-lt"]), not_covered(option));
        }
        for option in ["--tos", "--cgroup", "--inet-sockopt", "--tipc", "--kill"] {
            assert_eq!(refusal(&["-lnt", option]), not_covered(option));
        }
        assert_eq!(refusal(&["-lnt", "-q"]), "-q: not an option of ss");
        assert_eq!(
            refusal(&["-lntf", "tipc"]),
            "-f: tipc is no family, or not covered"
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
        let taken: Vec<char> = "aehilmnoptuwdSMTsHOVAf46x0".chars().collect();
        for (name, option) in LONG_OPTIONS {
            let lists = [&taken, REFUSED, REFUSED_WITH_VALUE];
            let known = lists.iter().filter(|list| list.contains(&option)).count();
            assert_eq!(known, usize::from(option != '\0'), "{name}");
        }
    }
}
