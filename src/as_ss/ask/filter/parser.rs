//! Parses a filter: its conditions, and the words that join them.

use super::values::{self, Values, refusal};
use super::words::{Comparison, Word, unexpected, words};
use super::{Condition, End, Filter, Join};
use crate::as_ss::ask::selection::Selection;
use crate::as_ss::names::services::Services;
use crate::error::UsageError;
use crate::kernel::cgroups;

/// The maximum depth to which parentheses and `not` can be nested.
const LARGEST_DEPTH: usize = 100;

/// Whether conditions of a filter can refer to control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupConditions {
    /// Control groups cannot be found, so a condition about a control group is refused.
    Refused,
    /// Control groups can be found, so a condition about a control group is accepted.
    Allowed,
}

/// Parses the arguments that follow the options. The result is `None` if there are no
/// arguments. `selection` contains the sockets that the options select. If a condition
/// specifies a family, the selection is narrowed to that family.
///
/// # Errors
/// Fails if the arguments are not a filter, or are a filter that is not supported.
pub fn parse(
    arguments: &[String],
    selection: &mut Selection,
    services: &Services,
    cgroup_conditions: CgroupConditions,
) -> Result<Option<Filter>, UsageError> {
    let words: Vec<String> = arguments.iter().flat_map(|text| words(text)).collect();
    if words.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser {
        words: &words,
        nested: 0,
        cgroup_conditions,
        values: Values {
            selection,
            services,
        },
    };
    let filter = parser.filter()?;
    match parser.words.first() {
        None => Ok(Some(filter)),
        Some(word) => Err(unexpected(word)),
    }
}

struct Parser<'a> {
    /// The words that are not parsed yet.
    words: &'a [String],
    /// The current depth of parentheses and `not`.
    nested: usize,
    cgroup_conditions: CgroupConditions,
    values: Values<'a>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<&'a str, UsageError> {
        let (word, rest) = self
            .words
            .split_first()
            .ok_or_else(|| UsageError::ss("the filter ends too early"))?;
        self.words = rest;
        Ok(word)
    }

    /// Parses the value that a condition compares with. As in ss, the value cannot be a word
    /// that has a meaning in the filter language.
    fn value(&mut self) -> Result<&'a str, UsageError> {
        let word = self.next()?;
        match Comparison::parse(word).is_some() || Word::parse(word).is_some() {
            true => Err(unexpected(word)),
            false => Ok(word),
        }
    }

    fn filter(&mut self) -> Result<Filter, UsageError> {
        let first = self.condition()?;
        let mut rest = Vec::new();
        while let Some(word) = self.words.first() {
            let join = match Word::parse(word) {
                Some(Word::Close) => break,
                Some(Word::Or) => Some(Join::Or),
                Some(Word::And) => Some(Join::And),
                // Both conditions must hold if there is no word between them.
                _ => None,
            };
            if join.is_some() {
                self.next()?;
            }
            rest.push((join.unwrap_or(Join::And), self.condition()?));
        }
        Ok(Filter { first, rest })
    }

    fn condition(&mut self) -> Result<Condition, UsageError> {
        let text = self.next()?;
        match Word::parse(text) {
            Some(Word::Open) => {
                let filter = self.nested(Parser::filter)?;
                match self.next()? {
                    ")" => Ok(Condition::All(Box::new(filter))),
                    other => Err(unexpected(other)),
                }
            }
            Some(Word::Not) => {
                let condition = self.nested(Parser::condition)?;
                Ok(Condition::Not(Box::new(condition)))
            }
            Some(Word::Address(end)) => self.address(end),
            Some(Word::Port(end)) => {
                let comparison = self.comparison();
                let value = self.value()?;
                self.values.port(end, comparison, value)
            }
            Some(Word::Device) => self.equal_or_not(values::interface, Condition::OnInterface),
            Some(Word::Mark) => self.equal_or_not(values::mark, |(mark, mask)| Condition::Marked {
                mark,
                mask,
            }),
            Some(Word::Cgroup) if self.cgroup_conditions == CgroupConditions::Refused => Err(
                UsageError::ss("with -N, no control group can be compared with"),
            ),
            Some(Word::Cgroup) => self.equal_or_not(cgroups::number, Condition::InCgroup),
            Some(Word::AutoBound) => {
                let ports = self.values.services.ephemeral().clone();
                Ok(Condition::AutoBound(ports))
            }
            Some(Word::Close | Word::And | Word::Or) | None => Err(unexpected(text)),
        }
    }

    /// Parses the inside of parentheses or the operand of `not`, by calling `read`. Fails if
    /// they are nested too deeply.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, UsageError>,
    ) -> Result<T, UsageError> {
        self.nested += 1;
        if self.nested > LARGEST_DEPTH {
            return Err(UsageError::ss("the filter is nested too deeply"));
        }
        let inner = read(self)?;
        self.nested -= 1;
        Ok(inner)
    }

    /// Takes the comparison before a value from the words. If there is none, the comparison is
    /// `=`.
    fn comparison(&mut self) -> Comparison {
        let word = self.words.first().map(String::as_str);
        let comparison = word.and_then(Comparison::parse);
        if comparison.is_some() {
            self.words = &self.words[1..];
        }
        comparison.unwrap_or(Comparison::Equal)
    }

    /// Parses a condition that supports only the comparisons `=` and `!=`. `read` reads the
    /// value, and `condition` turns the value into a condition.
    fn equal_or_not<T>(
        &mut self,
        read: impl Fn(&str) -> Option<T>,
        condition: impl Fn(T) -> Condition,
    ) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.value()?;
        let value = read(text).ok_or_else(|| refusal(text, "no such interface, mark or cgroup"))?;
        match comparison {
            Comparison::Equal => Ok(condition(value)),
            Comparison::NotEqual => Ok(Condition::Not(Box::new(condition(value)))),
            _ => Err(refusal(text, "can only be compared with = and !=")),
        }
    }

    fn address(&mut self, end: End) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.value()?;
        match comparison {
            Comparison::Equal => self.values.address(end, text),
            _ => Err(refusal(text, "an address can only be compared with =")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, SocketEnd};
    use super::*;
    use crate::as_ss::ask::selection::{AddressFamily, Kinds};
    use crate::listener::Endpoint;
    use std::fs;
    use std::net::IpAddr;

    fn services(directory: &tempfile::TempDir) -> Services {
        let file = directory.path().join("services");
        let names = "http 80/tcp www\ndomain 53/udp\nodd 1/tcp\nodd 2/udp\n";
        fs::write(&file, names).unwrap();
        Services::new(file, "/nonexistent".into())
    }

    /// Parses a filter, with the names of ports from [`services`].
    fn parsed(text: &str, selection: &mut Selection) -> Result<Filter, UsageError> {
        let directory = tempfile::TempDir::new().unwrap();
        selection.add_kinds(Kinds::named("inet").unwrap());
        let services = services(&directory);
        let arguments = [text.to_string()];
        super::parse(&arguments, selection, &services, CgroupConditions::Allowed)
            .map(Option::unwrap)
    }

    fn accepts(text: &str, facts: &Facts<'_>) -> bool {
        let filter = parsed(text, &mut Selection::default());
        filter.unwrap().accepts(facts)
    }

    /// The facts about a socket with this local end and no peer.
    fn facts(family: AddressFamily, local: SocketEnd<'_>) -> Facts<'_> {
        Facts::new(family, local, SocketEnd::default())
    }

    /// Whether an IP socket with this local address and port passes the filter.
    fn passes(text: &str, socket: &str) -> bool {
        let (address, port) = socket.rsplit_once(':').unwrap();
        let address: IpAddr = address.trim_matches(['[', ']']).parse().unwrap();
        let family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let port = port.parse().unwrap();
        let local = SocketEnd::ip(Endpoint { address, port });
        accepts(text, &facts(family, local))
    }

    /// Applies the filter to a list of five sockets, and returns the sockets that pass.
    fn passing(text: &str) -> Vec<&'static str> {
        let sockets = [
            "127.0.0.1:80",
            "0.0.0.0:8080",
            "[::]:80",
            "[::1]:443",
            "[::ffff:127.0.0.1]:1",
        ];
        let passes = |socket: &&str| passes(text, socket);
        sockets.into_iter().filter(passes).collect()
    }

    /// Whether a Unix socket with this name passes the filter. If `name` is empty, the socket
    /// has no name.
    fn name_passes(text: &str, name: &str) -> bool {
        let name = (!name.is_empty()).then_some(name.as_bytes());
        let local = SocketEnd {
            name,
            ..SocketEnd::default()
        };
        accepts(text, &facts(AddressFamily::Unix, local))
    }

    fn refusal(text: &str) -> String {
        let refusal = parsed(text, &mut Selection::default()).unwrap_err();
        let refusal = refusal.to_string();
        refusal.strip_suffix(" (try 'ss --help')").unwrap().into()
    }

    #[test]
    fn port_conditions_compare_the_port() {
        let port_80 = ["127.0.0.1:80", "[::]:80"];
        for text in [
            "sport = :80",
            "sport = 80",
            "sport eq 80",
            "sport == :80",
            "sport :80",
            "sport http",
            "sport = :www",
            "sport = 0x50",
            "sport = 0120",
            "src :80",
            "src *:80",
            "sport >= 80 sport le 80",
            "sport > 79 and sport lt 81",
            "not sport neq 80",
        ] {
            assert_eq!(passing(text), port_80, "{text}");
        }
        assert_eq!(passing("sport != 80").len(), 3);
        assert_eq!(passing("sport geq :443"), ["0.0.0.0:8080", "[::1]:443"]);
        assert_eq!(passing("sport < 80"), ["[::ffff:127.0.0.1]:1"]);
        for all in [
            "sport = *",
            "sport = :*",
            "src *",
            "src *:*",
            "dport = 0",
            "dport lt 1",
        ] {
            assert_eq!(passing(all).len(), 5, "{all}");
        }
        assert_eq!(passing("dport = 80"), [""; 0]);
    }

    #[test]
    fn address_conditions_compare_the_prefix() {
        let loopback_v4 = ["127.0.0.1:80", "[::ffff:127.0.0.1]:1"];
        for text in [
            "src 127.0.0.1",
            "src = 127.0.0.0/8",
            "src 127/8",
            "src 127.0.0.1/31",
        ] {
            assert_eq!(passing(text), loopback_v4, "{text}");
        }
        assert_eq!(passing("src 127.0.0.1:80"), ["127.0.0.1:80"]);
        assert_eq!(passing("src [::1]"), ["[::1]:443"]);
        assert_eq!(passing("src [::1]:443"), ["[::1]:443"]);
        assert_eq!(passing("src ::1/128"), ["[::1]:443"]);
        assert_eq!(passing("src [::1/128]:443"), ["[::1]:443"]);
        assert_eq!(passing("src ::1/128:80"), [""; 0]);
        assert_eq!(passing("dst any").len(), 5);
    }

    #[test]
    fn address_conditions_ignore_the_family() {
        for (text, socket) in [
            ("src 0.0.0.0", "[::]:1"),
            ("src 0.0.0.0/8", "[::1]:1"),
            ("src [::]", "0.0.0.0:1"),
            ("src ::/0", "127.0.0.1:1"),
            ("src 0.0.0.0/0", "[2001:db8::1]:1"),
        ] {
            assert!(passes(text, socket), "{text}");
        }
    }

    #[test]
    fn conditions_match_names_of_unix_sockets() {
        assert!(name_passes("src unix:/run/*.sock", "/run/a.sock"));
        assert!(!name_passes("src unix:/run/*.sock", "/run/a.socket"));
        assert!(name_passes("src unix:*", "") && !name_passes("src unix:?*", ""));
        assert!(name_passes("src 0.0.0.0/0", "a") && !name_passes("src 0.0.0.0/8", "a"));
        assert!(name_passes("autobound", "@0af3c") && !name_passes("autobound", "@xyzab"));
    }

    #[test]
    fn conditions_match_the_mark_and_the_interface() {
        let marked = Facts {
            mark: 0x13,
            interface: 7,
            ..facts(AddressFamily::Inet, SocketEnd::default())
        };
        for (text, passes) in [
            ("fwmark 0x13", true),
            ("fwmark = 3/0xf", true),
            ("fwmark != 19", false),
            ("fwmark 1/0xf", false),
            ("dev 7", true),
            ("dev != if7", false),
            ("dev 8", false),
        ] {
            assert_eq!(accepts(text, &marked), passes, "{text}");
        }
    }

    #[test]
    fn conditions_are_joined_from_left_to_right() {
        let port_80 = ["127.0.0.1:80", "[::]:80"];
        assert_eq!(passing("sport 80 or sport 443 and sport 80"), port_80);
        assert_eq!(passing("sport 80 || ( sport 443 && sport 80 )"), port_80);
        assert_eq!(passing("sport 443 | sport 80 & sport 443"), ["[::1]:443"]);
        assert_eq!(
            passing("sport 443 or ( sport 80 and sport 443 )"),
            ["[::1]:443"]
        );
        assert_eq!(
            passing("! sport 80 sport lt 1000 not src 127.0.0.1"),
            ["[::1]:443"]
        );
        assert_eq!(passing("not ( sport 80 or sport ge 443 )").len(), 1);
        assert_eq!(passing("\\( sport 8\\0 \\)"), port_80);
    }

    #[test]
    fn a_family_before_a_value_narrows_the_selection() {
        let mut selection = Selection::default();
        parsed("sport = inet:80", &mut selection).unwrap();
        assert_eq!(selection.last_family, Some(AddressFamily::Inet));
        assert!(!selection.families.has(AddressFamily::Inet6));
        parsed("src inet6:[::1]:80", &mut selection).unwrap();
        assert!(!selection.families.has(AddressFamily::Inet));
        assert!(selection.families.has(AddressFamily::Inet6));
        let error = parsed("src 127.0.0.1", &mut selection).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("127.0.0.1: not of the family asked for")
        );
    }

    #[test]
    fn invalid_filters_are_refused_with_a_reason() {
        for (text, why) in [
            ("sport", "the filter ends too early"),
            ("sport = 80 or", "the filter ends too early"),
            ("( sport = 80", "the filter ends too early"),
            (
                "sport = 80 )",
                "')' in the filter: not a filter, or not supported by lntu as ss",
            ),
            (
                "sport = 80 81",
                "'81' in the filter: not a filter, or not supported by lntu as ss",
            ),
            (
                "dev nonexistent",
                "nonexistent: no such interface, mark or cgroup",
            ),
            ("dev > lo", "lo: can only be compared with = and !="),
            ("fwmark 1/", "1/: no such interface, mark or cgroup"),
            (
                "cgroup /nonexistent",
                "/nonexistent: no such interface, mark or cgroup",
            ),
            ("sport = 4294967295", "4294967295: not a port"),
            (
                "sport = 080",
                "080: neither a port nor a service of /etc/services",
            ),
            ("sport = odd", "odd: not the same port for UDP as for TCP"),
            (
                "src != 127.0.0.1",
                "127.0.0.1: an address can only be compared with =",
            ),
            (
                "src localhost",
                "localhost: not an address or a network (write IPv6 in brackets)",
            ),
            (
                "src 1.2.3.4.5",
                "1.2.3.4.5: not an address or a network (write IPv6 in brackets)",
            ),
            (
                "src 256.0.0.1",
                "256.0.0.1: not an address or a network (write IPv6 in brackets)",
            ),
            (
                "src 127.0.0.1/33",
                "127.0.0.1/33: not an address or a network (write IPv6 in brackets)",
            ),
            (
                "src [::1/129]",
                "::1/129: not an address or a network (write IPv6 in brackets)",
            ),
            ("src [::1", "[::1: no ] follows the address"),
            (
                "src unix:[[:alpha:]]",
                "unix:[[:alpha:]]: named character classes are not supported",
            ),
            ("src vsock:x", "vsock:x: no such address"),
            ("src netlink:rtnl:x", "netlink:rtnl:x: no such port"),
        ] {
            assert_eq!(refusal(text), why, "{text}");
        }
        let deep = "( ".repeat(LARGEST_DEPTH + 1);
        assert_eq!(refusal(&deep), "the filter is nested too deeply");
    }

    #[test]
    fn keywords_are_refused_as_values() {
        for word in ["or", "&&", "(", "= ge", "src", "autobound"] {
            let refused = word.trim_start_matches("= ");
            let reason =
                format!("'{refused}' in the filter: not a filter, or not supported by lntu as ss");
            assert_eq!(refusal(&format!("src unix:a or dst {word}")), reason);
        }
    }
}
