//! ss's filters: `sport = :8080 and not src 127.0.0.0/8`.
//!
//! The language is that of ss's manual page, ss(8), as far as it speaks of
//! ports and addresses. Conditions are joined from left to right; `and` does
//! not bind more tightly than `or`.

use std::net::{IpAddr, Ipv4Addr};

use super::selection::Selection;
use super::services::Services;
use crate::cli::UsageError;
use crate::listener::{Endpoint, Family, Listener, Protocol};

/// Conditions and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    first: Condition,
    rest: Vec<(Join, Condition)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    And,
    Or,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Is(End, Option<u16>, Option<Network>),
    AtLeast(End, u16),
    AtMost(End, u16),
    Not(Box<Condition>),
    All(Box<Filter>),
}

/// Which end of a socket is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Local,
    Peer,
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// `None` is either.
    family: Option<Family>,
    octets: [u8; 16],
    bits: usize,
}

/// Who applies a filter. On netlink the kernel does first, and then ss does again.
/// On what is read from `/proc` only ss does. They differ where a network is of
/// another family than the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppliedBy {
    /// The kernel: it compares addresses of one family.
    Kernel,
    /// ss: it compares bits, whatever their family.
    Ss,
}

/// Parentheses and `not`s nest no deeper than this.
const MOST_NESTED: usize = 100;

impl Filter {
    /// Reads the arguments that follow the options; none make no filter.
    /// `selection` is what the options ask for, which `inet:` and `inet6:`
    /// narrow.
    ///
    /// # Errors
    /// When it is no filter, or one that speaks of more than ports and
    /// addresses.
    pub fn parse(
        arguments: &[String],
        selection: &mut Selection,
        services: &Services,
    ) -> Result<Option<Filter>, UsageError> {
        let words: Vec<String> = arguments.iter().flat_map(|text| words(text)).collect();
        if words.is_empty() {
            return Ok(None);
        }
        let mut parser = Parser {
            words: &words,
            nested: 0,
            selection,
            services,
        };
        let filter = parser.filter()?;
        match parser.words.first() {
            None => Ok(Some(filter)),
            Some(word) => Err(unexpected(word)),
        }
    }

    /// Whether `listener` passes the filter, as it is applied `by` one of them.
    pub fn accepts(&self, listener: &Listener, by: AppliedBy) -> bool {
        let first = self.first.holds(listener, by);
        self.rest
            .iter()
            .fold(first, |so_far, (join, condition)| match join {
                Join::And => so_far && condition.holds(listener, by),
                Join::Or => so_far || condition.holds(listener, by),
            })
    }
}

impl Condition {
    fn holds(&self, listener: &Listener, by: AppliedBy) -> bool {
        match self {
            Condition::Is(end, port, network) => {
                let Endpoint {
                    port: its_port,
                    address,
                } = end.of(listener);
                port.is_none_or(|port| port == its_port)
                    && network.is_none_or(|network| network.holds(address, by))
            }
            Condition::AtLeast(end, port) => end.of(listener).port >= *port,
            Condition::AtMost(end, port) => end.of(listener).port <= *port,
            Condition::Not(condition) => !condition.holds(listener, by),
            Condition::All(filter) => filter.accepts(listener, by),
        }
    }
}

impl End {
    fn of(self, listener: &Listener) -> Endpoint {
        match self {
            End::Local => listener.endpoint,
            End::Peer => listener.peer,
        }
    }
}

impl Network {
    fn holds(&self, address: IpAddr, by: AppliedBy) -> bool {
        let mapped = match address {
            IpAddr::V6(address) if self.family == Some(Family::V4) => address.to_ipv4_mapped(),
            _ => None,
        };
        let is_mapped_in = || mapped.is_some_and(|address| self.begins(address.into()));
        let is_other_family = self
            .family
            .is_some_and(|family| family != Family::of(address));
        match by {
            AppliedBy::Kernel if is_other_family => is_mapped_in(),
            AppliedBy::Kernel => self.begins(address),
            AppliedBy::Ss => self.begins(address) || is_mapped_in(),
        }
    }

    fn begins(&self, address: IpAddr) -> bool {
        let difference = u128::from_be_bytes(self.octets) ^ u128::from_be_bytes(octets(address));
        difference.leading_zeros() as usize >= self.bits
    }
}

/// Those of an IPv4 address come first, and zeros follow.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The words of an argument. A backslash makes part of a word of whatever
/// follows it.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' if word.is_empty() => {}
            ' ' | '\t' => words.push(std::mem::take(&mut word)),
            '\\' => word.extend(characters.next()),
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// How a port is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
}

impl Comparison {
    fn parse(word: &str) -> Option<Comparison> {
        Some(match word {
            "=" | "==" | "eq" => Comparison::Equal,
            "!=" | "ne" | "neq" => Comparison::NotEqual,
            ">=" | "ge" | "geq" => Comparison::AtLeast,
            "<=" | "le" | "leq" => Comparison::AtMost,
            ">" | "gt" => Comparison::More,
            "<" | "lt" => Comparison::Less,
            _ => return None,
        })
    }
}

struct Parser<'a> {
    words: &'a [String],
    nested: usize,
    selection: &'a mut Selection,
    services: &'a Services,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<&'a str, UsageError> {
        let (word, rest) = self
            .words
            .split_first()
            .ok_or_else(|| UsageError::of_ss("the filter ends too early"))?;
        self.words = rest;
        Ok(word)
    }

    fn filter(&mut self) -> Result<Filter, UsageError> {
        let first = self.condition()?;
        let mut rest = Vec::new();
        loop {
            let join = match self.words.first().map(String::as_str) {
                None | Some(")") => return Ok(Filter { first, rest }),
                Some("|" | "||" | "or") => Some(Join::Or),
                Some("&" | "&&" | "and") => Some(Join::And),
                // Conditions that follow each other must all hold.
                Some(_) => None,
            };
            if join.is_some() {
                self.next()?;
            }
            rest.push((join.unwrap_or(Join::And), self.condition()?));
        }
    }

    fn condition(&mut self) -> Result<Condition, UsageError> {
        match self.next()? {
            "(" => {
                self.nest()?;
                let filter = self.filter()?;
                self.nested -= 1;
                match self.next()? {
                    ")" => Ok(Condition::All(Box::new(filter))),
                    other => Err(unexpected(other)),
                }
            }
            "!" | "not" => {
                self.nest()?;
                let condition = self.condition()?;
                self.nested -= 1;
                Ok(Condition::Not(Box::new(condition)))
            }
            "src" => self.address(End::Local),
            "dst" => self.address(End::Peer),
            "sport" => self.port(End::Local),
            "dport" => self.port(End::Peer),
            other => Err(unexpected(other)),
        }
    }

    fn nest(&mut self) -> Result<(), UsageError> {
        self.nested += 1;
        match self.nested > MOST_NESTED {
            true => Err(UsageError::of_ss("the filter is nested too deeply")),
            false => Ok(()),
        }
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

    fn address(&mut self, end: End) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.next()?;
        if comparison != Comparison::Equal {
            let why = format!("{text}: an address can only be compared with =");
            return Err(UsageError::of_ss(why));
        }
        let value = self.narrow(text)?;
        let (host, port) = split_port(value)
            .ok_or_else(|| UsageError::of_ss(format!("{text}: no ] follows the address")))?;
        let network = match host.starts_with('*') || host.is_empty() {
            true => None,
            false => Some(self.network(host)?),
        };
        Ok(Condition::Is(end, self.number(port)?, network))
    }

    fn port(&mut self, end: End) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.next()?;
        let value = self.narrow(text)?;
        let port = self.number(value)?;
        let equal = Condition::Is(end, port, None);
        let number =
            || port.ok_or_else(|| UsageError::of_ss(format!("{text}: must be a port here")));
        let not = |condition| Condition::Not(Box::new(condition));
        Ok(match comparison {
            Comparison::Equal => equal,
            Comparison::NotEqual => not(equal),
            Comparison::AtLeast => Condition::AtLeast(end, number()?),
            Comparison::AtMost => Condition::AtMost(end, number()?),
            Comparison::More => not(Condition::AtMost(end, number()?)),
            Comparison::Less => not(Condition::AtLeast(end, number()?)),
        })
    }

    /// Takes off the family that may stand before a value. ss then shows only
    /// that family, and where options name several, only the last of them.
    fn narrow(&mut self, text: &'a str) -> Result<&'a str, UsageError> {
        let families = [("inet:", Family::V4), ("inet6:", Family::V6)];
        let named = families
            .into_iter()
            .find_map(|(prefix, family)| Some((text.strip_prefix(prefix)?, family)));
        let (value, family) = match named {
            Some((value, family)) => (value, Some(family)),
            None => (text, self.selection.last_family),
        };
        for other in ["unix:", "link:", "netlink:", "vsock:"] {
            if text.starts_with(other) {
                return Err(UsageError::of_ss(format!(
                    "{text}: not a kind of address that is covered"
                )));
            }
        }
        if let Some(family) = family {
            self.selection.only_family(family);
        }
        Ok(value)
    }

    /// `PORT` or `:PORT`; nothing or `*` is any.
    fn number(&self, text: &str) -> Result<Option<u16>, UsageError> {
        let text = text.strip_prefix(':').unwrap_or(text);
        if text.is_empty() || text.starts_with('*') {
            return Ok(None);
        }
        let refuse = |why| Err(UsageError::of_ss(format!("{text}: {why}")));
        if let Some(number) = integer(text) {
            return match u16::try_from(number) {
                Ok(port) => Ok(Some(port)),
                Err(_) => refuse("not a port"),
            };
        }
        let named = |protocol| {
            let is_wanted = self.selection.protocols.contains(&protocol);
            let port = || self.services.port(text, protocol);
            is_wanted.then(port).flatten()
        };
        match (named(Protocol::Udp), named(Protocol::Tcp)) {
            (Some(udp), Some(tcp)) if udp != tcp => refuse("another port for UDP than for TCP"),
            (Some(port), _) | (None, Some(port)) => Ok(Some(port)),
            (None, None) => refuse("neither a port nor a service of /etc/services"),
        }
    }

    /// `ADDRESS` or `ADDRESS/BITS`.
    fn network(&self, text: &str) -> Result<Network, UsageError> {
        let family = self.selection.last_family;
        if let "any" | "all" | "default" = text {
            let octets = [0; 16];
            let bits = 0;
            return Ok(Network {
                family,
                octets,
                bits,
            });
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let why = "not an address or a network (one of IPv6 stands in brackets)";
        let refuse = || UsageError::of_ss(format!("{text}: {why}"));
        let address: IpAddr = match address.contains(':') {
            true => IpAddr::V6(address.parse().map_err(|_| refuse())?),
            false => IpAddr::V4(parse_v4(address).ok_or_else(refuse)?),
        };
        let its_family = Family::of(address);
        if family.is_some_and(|family| family != its_family) {
            return Err(UsageError::of_ss(format!(
                "{text}: not of the family asked for"
            )));
        }
        let most = match its_family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let bits = match bits {
            None => most,
            Some(bits) => match integer(bits) {
                Some(bits) if bits <= most => bits,
                _ => return Err(refuse()),
            },
        };
        Ok(Network {
            family: Some(its_family),
            octets: octets(address),
            bits: bits as usize,
        })
    }
}

fn unexpected(word: &str) -> UsageError {
    UsageError::of_ss(format!(
        "'{word}' in the filter: not covered, or not a filter"
    ))
}

/// The address and the port of `ADDRESS`, `ADDRESS:PORT` and `[ADDRESS]:PORT`.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']');
    }
    if text.starts_with('*') {
        return Some(text.split_at(1));
    }
    // In an IPv6 network without brackets the port can only follow the bits.
    let from = text.find('/').unwrap_or(0);
    let colon = text[from..].rfind(':').map_or(text.len(), |at| from + at);
    Some(text.split_at(colon))
}

/// One to four numbers; those that are left out are zero.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (index, number) in text.split('.').enumerate() {
        *octets.get_mut(index)? = u8::try_from(integer(number)?).ok()?;
    }
    Some(octets.into())
}

/// A number as C writes them: decimal, octal behind `0`, hexadecimal behind `0x`.
fn integer(text: &str) -> Option<u32> {
    let (digits, base) = match text.strip_prefix('0') {
        Some("") | None => (text, 10),
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (rest, 8),
        },
    };
    let is_number = digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
    is_number
        .then(|| u32::from_str_radix(digits, base).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Parsed where `80/tcp` and `53/udp` have names, and a filter with them.
    fn parsed(text: &str, selection: &mut Selection) -> Result<Filter, UsageError> {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("services");
        let names = "http 80/tcp www\ndomain 53/udp\nodd 1/tcp\nodd 2/udp\n";
        fs::write(&file, names).unwrap();
        let services = Services::new(file, "/nonexistent".into());
        selection.protocols = vec![Protocol::Udp, Protocol::Tcp];
        Filter::parse(&[text.to_string()], selection, &services).map(Option::unwrap)
    }

    fn accepts(text: &str, socket: &str, by: AppliedBy) -> bool {
        let (address, port) = socket.rsplit_once(':').unwrap();
        let address = address.trim_matches(['[', ']']).parse().unwrap();
        let port = port.parse().unwrap();
        let listener = Listener::new(Protocol::Tcp, Endpoint { port, address });
        let filter = parsed(text, &mut Selection::default());
        filter.unwrap().accepts(&listener, by)
    }

    /// Which of some sockets pass, the same whoever applies it.
    fn passing(text: &str) -> Vec<&'static str> {
        let sockets = [
            "127.0.0.1:80",
            "0.0.0.0:8080",
            "[::]:80",
            "[::1]:443",
            "[::ffff:127.0.0.1]:1",
        ];
        let pass = |by| {
            let passes = |socket: &&str| accepts(text, socket, by);
            sockets.into_iter().filter(passes).collect::<Vec<_>>()
        };
        assert_eq!(pass(AppliedBy::Kernel), pass(AppliedBy::Ss), "{text}");
        pass(AppliedBy::Ss)
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
    fn only_the_kernel_tells_families_apart() {
        let pass = |text, socket, by| accepts(text, socket, by);
        for (text, socket) in [
            ("src 0.0.0.0", "[::]:1"),
            ("src 0.0.0.0/8", "[::1]:1"),
            ("src [::]", "0.0.0.0:1"),
            ("src ::/0", "127.0.0.1:1"),
            ("src 0.0.0.0/0", "[2001:db8::1]:1"),
        ] {
            assert!(pass(text, socket, AppliedBy::Ss), "{text}");
            assert!(!pass(text, socket, AppliedBy::Kernel), "{text}");
        }
        assert!(pass(
            "src 0.0.0.0/0",
            "[::ffff:1.2.3.4]:1",
            AppliedBy::Kernel
        ));
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
        assert_eq!(selection.last_family, Some(Family::V4));
        assert!(!selection.wants_of_proc(Family::V6));
        parsed("src inet6:[::1]:80", &mut selection).unwrap();
        assert!(!selection.wants_of_proc(Family::V4));
        assert!(selection.wants_of_proc(Family::V6));
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
                "')' in the filter: not covered, or not a filter",
            ),
            (
                "sport = 80 81",
                "'81' in the filter: not covered, or not a filter",
            ),
            (
                "dev eth0",
                "'dev' in the filter: not covered, or not a filter",
            ),
            (
                "autobound",
                "'autobound' in the filter: not covered, or not a filter",
            ),
            ("sport = 65536", "65536: not a port"),
            (
                "sport = 080",
                "080: neither a port nor a service of /etc/services",
            ),
            (
                "sport = -1",
                "-1: neither a port nor a service of /etc/services",
            ),
            ("sport = odd", "odd: another port for UDP than for TCP"),
            ("sport ge *", "*: must be a port here"),
            (
                "src != 127.0.0.1",
                "127.0.0.1: an address can only be compared with =",
            ),
            (
                "src localhost",
                "localhost: not an address or a network (one of IPv6 stands in brackets)",
            ),
            (
                "src 1.2.3.4.5",
                "1.2.3.4.5: not an address or a network (one of IPv6 stands in brackets)",
            ),
            (
                "src 256.0.0.1",
                "256.0.0.1: not an address or a network (one of IPv6 stands in brackets)",
            ),
            (
                "src 127.0.0.1/33",
                "127.0.0.1/33: not an address or a network (one of IPv6 stands in brackets)",
            ),
            (
                "src [::1/129]",
                "::1/129: not an address or a network (one of IPv6 stands in brackets)",
            ),
            ("src [::1", "[::1: no ] follows the address"),
            (
                "src unix:/a",
                "unix:/a: not a kind of address that is covered",
            ),
        ] {
            assert_eq!(refusal(text), why, "{text}");
        }
        let deep = "( ".repeat(MOST_NESTED + 1);
        assert_eq!(refusal(&deep), "the filter is nested too deeply");
    }
}
