//! The grammar of a filter: conditions, and how they are joined.

use super::values::{self, Values, refusal};
use super::words::{Comparison, Word, unexpected, words};
use super::{Condition, End, Filter, Join};
use crate::as_ss::ask::selection::Selection;
use crate::as_ss::names::services::Services;
use crate::error::UsageError;
use crate::kernel::cgroups;

/// Parentheses and `not`s nest no deeper than this.
const MOST_NESTED: usize = 100;

/// Reads the arguments that follow the options; none make no filter.
/// `selection` is what the options ask for. A condition on a family narrows
/// it. `has_cgroups` says whether control groups can be found.
///
/// # Errors
/// When it is no filter, or one that is not covered.
pub fn parse(
    arguments: &[String],
    selection: &mut Selection,
    services: &Services,
    has_cgroups: bool,
) -> Result<Option<Filter>, UsageError> {
    let words: Vec<String> = arguments.iter().flat_map(|text| words(text)).collect();
    if words.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser {
        words: &words,
        nested: 0,
        has_cgroups,
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
    words: &'a [String],
    nested: usize,
    has_cgroups: bool,
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

    /// What a condition compares with. ss takes no word of its language for that.
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
                // Conditions that follow each other must all hold.
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
            Some(Word::Cgroup) if !self.has_cgroups => Err(UsageError::ss(
                "with -N, no control group can be compared with",
            )),
            Some(Word::Cgroup) => self.equal_or_not(cgroups::number, Condition::InCgroup),
            Some(Word::AutoBound) => {
                let ports = self.values.services.ephemeral().clone();
                Ok(Condition::AutoBound(ports))
            }
            Some(Word::Close | Word::And | Word::Or) | None => Err(unexpected(text)),
        }
    }

    /// Reads what is in parentheses, or is denied.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, UsageError>,
    ) -> Result<T, UsageError> {
        self.nested += 1;
        if self.nested > MOST_NESTED {
            return Err(UsageError::ss("the filter is nested too deeply"));
        }
        let inner = read(self)?;
        self.nested -= 1;
        Ok(inner)
    }

    /// What stands before a value; nothing is `=`.
    fn comparison(&mut self) -> Comparison {
        let word = self.words.first().map(String::as_str);
        let comparison = word.and_then(Comparison::parse);
        if comparison.is_some() {
            self.words = &self.words[1..];
        }
        comparison.unwrap_or(Comparison::Equal)
    }

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
    use super::super::{Facts, Place};
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

    /// Parsed where `80/tcp` and `53/udp` have names, and a filter with them.
    fn parsed(text: &str, selection: &mut Selection) -> Result<Filter, UsageError> {
        let directory = tempfile::TempDir::new().unwrap();
        selection.add_kinds(Kinds::named("inet").unwrap());
        let services = services(&directory);
        super::parse(&[text.to_string()], selection, &services, true).map(Option::unwrap)
    }

    fn accepts(text: &str, facts: &Facts<'_>) -> bool {
        let filter = parsed(text, &mut Selection::default());
        filter.unwrap().accepts(facts)
    }

    fn facts(family: AddressFamily, local: Place<'_>) -> Facts<'_> {
        Facts::new(family, local, Place::default())
    }

    fn passes(text: &str, socket: &str) -> bool {
        let (address, port) = socket.rsplit_once(':').unwrap();
        let address: IpAddr = address.trim_matches(['[', ']']).parse().unwrap();
        let family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let port = port.parse().unwrap();
        let place = Place::of_ip(Endpoint { address, port });
        accepts(text, &facts(family, place))
    }

    /// Which of some sockets pass.
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

    /// Whether a Unix socket of this name passes.
    fn passes_by_name(text: &str, name: &str) -> bool {
        let name = (!name.is_empty()).then_some(name.as_bytes());
        let place = Place {
            name,
            ..Place::default()
        };
        accepts(text, &facts(AddressFamily::Unix, place))
    }

    fn refusal(text: &str) -> String {
        let refusal = parsed(text, &mut Selection::default()).unwrap_err();
        let refusal = refusal.to_string();
        refusal.strip_suffix(" (try 'ss --help')").unwrap().into()
    }

    #[test]
    fn ports_are_compared() {
        let of_80 = ["127.0.0.1:80", "[::]:80"];
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
            assert_eq!(passing(text), of_80, "{text}");
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
    fn addresses_are_compared_by_their_first_bits() {
        let of_v4 = ["127.0.0.1:80", "[::ffff:127.0.0.1]:1"];
        for text in [
            "src 127.0.0.1",
            "src = 127.0.0.0/8",
            "src 127/8",
            "src 127.0.0.1/31",
        ] {
            assert_eq!(passing(text), of_v4, "{text}");
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
    fn bits_are_compared_whatever_the_family() {
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
    fn names_of_unix_sockets_are_compared() {
        assert!(passes_by_name("src unix:/run/*.sock", "/run/a.sock"));
        assert!(!passes_by_name("src unix:/run/*.sock", "/run/a.socket"));
        assert!(passes_by_name("src unix:*", "") && !passes_by_name("src unix:?*", ""));
        assert!(passes_by_name("src 0.0.0.0/0", "a") && !passes_by_name("src 0.0.0.0/8", "a"));
        assert!(passes_by_name("autobound", "@0af3c") && !passes_by_name("autobound", "@xyzab"));
    }

    #[test]
    fn marks_and_interfaces_are_compared() {
        let marked = Facts {
            mark: 0x13,
            interface: 7,
            ..facts(AddressFamily::Inet, Place::default())
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
        let of_80 = ["127.0.0.1:80", "[::]:80"];
        assert_eq!(passing("sport 80 or sport 443 and sport 80"), of_80);
        assert_eq!(passing("sport 80 || ( sport 443 && sport 80 )"), of_80);
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
        assert_eq!(passing("\\( sport 8\\0 \\)"), of_80);
    }

    #[test]
    fn a_family_before_a_value_narrows_what_is_shown() {
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
    fn what_is_no_filter_or_not_covered_is_refused() {
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
        for word in ["or", "&&", "(", "= ge", "src", "autobound"] {
            let refused = word.trim_start_matches("= ");
            let why =
                format!("'{refused}' in the filter: not a filter, or not supported by lntu as ss");
            assert_eq!(refusal(&format!("src unix:a or dst {word}")), why);
        }
        let deep = "( ".repeat(MOST_NESTED + 1);
        assert_eq!(refusal(&deep), "the filter is nested too deeply");
    }
}
