//! The command line: turns arguments into a [`CommandLine`] or a usage error.
//!
//! - [`command_line`] has the types that the rest of the program sees, instead of options.
//! - [`description`] is the table of all commands and options.
//! - [`parser`] reads the arguments one by one, using the table of [`description`]. [`values`]
//!   parses the value of an option, and [`variables`] expands the environment variables in a
//!   PORT.
//! - [`typed`] collects what the parser read, and finds contradictions.
//! - [`beside`] finds the COMMAND of a watcher without allocating memory.
//! - [`help`](mod@help) writes the text of `--help` from the same table.

mod command_line;
pub mod description;
mod early;
mod help;
mod parser;
mod typed;
mod values;
mod variables;

pub use command_line::{Command, CommandLine, OutputOptions};
pub use early::{Beside, beside};
pub use help::{help, port_meaning};
pub use parser::parse;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;
    use crate::command::watch::WatchOptions;
    use crate::listener::{Protocol, SocketTable};
    use crate::port::Filter;
    use crate::source::SourceOptions;

    fn refusal(arguments: &[&str]) -> String {
        let error = parse(arguments.iter().map(OsString::from), |_| None).unwrap_err();
        let text = error.to_string();
        text.strip_suffix(" (try 'lntu --help')").unwrap().into()
    }

    #[test]
    fn missing_and_unsuitable_ports_are_refused() {
        assert_eq!(refusal(&["check"]), "check: needs a PORT");
        assert_eq!(refusal(&["wait", "--", "app"]), "wait: needs a PORT");
        assert_eq!(
            refusal(&["check", "80-81"]),
            "PORT '80-81': a range requires --any (one of its ports is then enough)"
        );
        let hint = "--tcp: not an option of wait; put the protocol in PORT: 80/tcp (for a timeout, --timeout D)";
        assert_eq!(refusal(&["wait", "8080", "-t", "5"]), hint);
    }

    #[test]
    fn impossible_durations_and_addresses_are_refused() {
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
            } => (*source, output, options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn repeated_exclude_options_add_up() {
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

    /// The names of the tables that the source of a check reads.
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
    fn a_probe_reads_only_the_tables_that_its_ports_need() {
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
    fn the_processes_option_asks_for_holders() {
        for (arguments, asked) in [(&["-p"][..], true), (&["--processes"], true), (&[], false)] {
            assert_eq!(watch(arguments).0.holders, asked, "{arguments:?}");
        }
    }

    #[test]
    fn by_default_a_change_settles_at_once() {
        assert_eq!(watch(&[]).2.settle, Duration::ZERO);
        assert_eq!(watch(&["--settle", "2s"]).2.settle, Duration::from_secs(2));
    }
}
