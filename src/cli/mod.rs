//! The command line: what was typed becomes what is meant, and what makes no sense
//! becomes a usage error.
//!
//! - [`command_line`] is what is meant. The rest of the program sees these types, never
//!   an option.
//! - [`description`] is the one table of commands and options.
//! - [`parser`] reads the arguments by that table, one by one, and [`values`] reads the
//!   value of one. [`variables`] expands the environment variables in a PORT.
//! - [`beside`] finds the COMMAND of a watcher before there is memory for more.
//! - [`typed`] puts together what was typed, or finds that it contradicts itself.
//! - [`help`](mod@help) writes what `--help` prints, from the same table.

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
    fn ports_that_a_command_cannot_do_without_or_with_are_refused() {
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
    fn values_that_are_out_of_reach_are_refused() {
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
    fn excluded_ports_add_up_and_words_are_none_of_them() {
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

    /// The tables of which the source of a check is asked for listeners.
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
    fn a_probe_asks_for_no_more_tables_than_its_ports_need() {
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
    fn holders_are_asked_for_with_p_only() {
        for (arguments, asked) in [(&["-p"][..], true), (&["--processes"], true), (&[], false)] {
            assert_eq!(watch(arguments).0.holders, asked, "{arguments:?}");
        }
    }

    #[test]
    fn a_change_settles_at_once_if_nothing_else_was_asked_for() {
        assert_eq!(watch(&[]).2.settle, Duration::ZERO);
        assert_eq!(watch(&["--settle", "2s"]).2.settle, Duration::from_secs(2));
    }
}
