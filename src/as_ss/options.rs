//! The command line of ss: what of it is covered, as types, and what is refused.

use std::ffi::OsString;

use lexopt::Arg::{Long, Short, Value};

use super::filter::Filter;
use super::selection::Selection;
use super::services::Services;
use crate::cli::UsageError;
use crate::listener::{Family, Protocol};

/// What `-h` prints.
pub const HELP: &str = "\
Usage: ss -l {-t|-u} [ OPTIONS ] [ FILTER ]
   -h, --help          this message
   -V, --version       output version information
   -l, --listening     display listening sockets: needed here
   -t, --tcp           display TCP sockets: this, -u or both are needed here
   -u, --udp           display UDP sockets
   -n, --numeric       don't resolve service names
   -p, --processes     show process using socket
   -4, --ipv4          display only IP version 4 sockets
   -6, --ipv6          display only IP version 6 sockets
   -f, --family=FAMILY display sockets of type FAMILY
       FAMILY := {inet|inet6}
   -H, --no-header     Suppress header line
   -O, --oneline       socket's data printed on a single line

   FILTER := {sport|dport} [OPERATOR] [:]PORT | {src|dst} [=] ADDRESS[/BITS][:PORT]
             joined by and, or, not, ( and )
   OPERATOR := {= eq | != neq | > gt | < lt | >= ge | <= le}

This is lntu under the name ss. It prints what ss prints, or refuses.
";

/// What `-V` prints.
pub const VERSION: &str = concat!("ss utility, lntu-", env!("CARGO_PKG_VERSION"), "\n");

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
const REFUSED: &str = "abdeEiKmMorsSTwxzZ0";
const REFUSED_WITH_VALUE: &str = "ADFN";

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
    /// By protocol and family.
    pub selection: Selection,
    /// Of those, the ones that it accepts.
    pub filter: Option<Filter>,
    /// Ports as numbers.
    pub numeric: bool,
    /// A first line of headings.
    pub has_header: bool,
    /// Who holds a socket.
    pub processes: bool,
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
    let (mut tcp, mut udp, mut listening) = (false, false, false);
    let (mut numeric, mut has_header, mut processes) = (false, true, false);
    let mut filter = Vec::new();
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
                filter.push(value.to_string_lossy().into_owned());
                continue;
            }
        };
        match option {
            'h' => return Ok(Command::Help),
            'V' | 'v' => return Ok(Command::Version),
            'l' => listening = true,
            't' => tcp = true,
            'u' => udp = true,
            'n' => numeric = true,
            'p' => processes = true,
            '4' => selection.add_family(Family::V4),
            '6' => selection.add_family(Family::V6),
            'H' => has_header = false,
            // What is shown here never takes more than a line.
            'O' => {}
            'f' => match parser.value().map_err(UsageError::of_ss)?.to_str() {
                Some("inet") => selection.add_family(Family::V4),
                Some("inet6") => selection.add_family(Family::V6),
                _ => {
                    return Err(UsageError::of_ss(format!(
                        "{name}: only inet and inet6 are covered"
                    )));
                }
            },
            _ => {
                if REFUSED_WITH_VALUE.contains(option) {
                    parser.value().map_err(UsageError::of_ss)?;
                } else if option != '\0' && !REFUSED.contains(option) {
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
    if !listening {
        let why = "only listening sockets are covered, so -l is needed";
        return Err(UsageError::of_ss(why));
    }
    if !tcp && !udp {
        let why = "only TCP and UDP sockets are covered, so -t, -u or both are needed";
        return Err(UsageError::of_ss(why));
    }
    let protocols = [(udp, Protocol::Udp), (tcp, Protocol::Tcp)];
    let asked = protocols.into_iter().filter(|(is_asked, _)| *is_asked);
    selection.protocols = asked.map(|(_, protocol)| protocol).collect();
    if let Some(word @ ("state" | "exclude" | "excl")) = filter.first().map(String::as_str) {
        return Err(UsageError::of_ss(format!("{word}: states are not covered")));
    }
    Ok(Command::Show(Request {
        filter: Filter::parse(&filter, &mut selection, services)?,
        selection,
        numeric,
        has_header,
        processes,
    }))
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
        assert_eq!(request.selection.protocols, [Protocol::Tcp]);
        assert_eq!(request.selection.last_family, Some(Family::V6));
        assert!(request.numeric && !request.has_header && request.processes);
        assert_eq!(refusal(&["--ipv"]), "--ipv: could be --ipv4 or --ipv6");
        assert_eq!(refusal(&["--lists"]), "--lists: not an option of ss");
    }

    #[test]
    fn udp_comes_first_whatever_was_asked_for_first() {
        let both = [Protocol::Udp, Protocol::Tcp];
        assert_eq!(request(&["-ltu"]).selection.protocols, both);
    }

    #[test]
    fn what_is_not_covered_is_refused() {
        let not_covered = |name: &str| format!("{name}: not covered by lntu as ss");
        for option in REFUSED.chars() {
            let option = format!("-{option}");
            assert_eq!(refusal(&["-lnt", &option]), not_covered(&option));
        }
        for option in ["-A", "-D", "-F", "-N"] {
            assert_eq!(refusal(&[option, "inet", "-lt"]), not_covered(option));
        }
        for option in ["--tos", "--cgroup", "--inet-sockopt", "--tipc", "--kill"] {
            assert_eq!(refusal(&["-lnt", option]), not_covered(option));
        }
        assert_eq!(refusal(&["-lnt", "-q"]), "-q: not an option of ss");
        let only = "only inet and inet6 are covered";
        assert_eq!(refusal(&["-lntf", "unix"]), format!("-f: {only}"));
        assert_eq!(
            refusal(&["-nt"]),
            "only listening sockets are covered, so -l is needed"
        );
        assert_eq!(
            refusal(&["-ln4"]),
            "only TCP and UDP sockets are covered, so -t, -u or both are needed"
        );
        for word in ["state", "exclude", "excl"] {
            assert_eq!(
                refusal(&["-lnt", word, "listening"]),
                format!("{word}: states are not covered")
            );
        }
    }

    #[test]
    fn help_and_version_are_given_even_behind_what_is_refused() {
        for arguments in [&["-h"][..], &["-ah"], &["-lnt", "--help"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Help)));
        }
        for arguments in [&["-V"][..], &["-v"], &["-s", "--vers"]] {
            assert!(matches!(parsed(arguments), Ok(Command::Version)));
        }
    }

    #[test]
    fn the_short_options_of_long_ones_are_known() {
        let taken = "hVltunp46fHO";
        for (name, option) in LONG_OPTIONS {
            let lists = [taken, REFUSED, REFUSED_WITH_VALUE];
            let known = lists.iter().filter(|list| list.contains(option)).count();
            assert_eq!(known, usize::from(option != '\0'), "{name}");
        }
    }
}
