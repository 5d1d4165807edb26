//! ss's filters: `sport = :8080 and not src 127.0.0.0/8`.
//!
//! The language is that of ss's manual page, ss(8). Conditions are joined from left
//! to right; `and` does not bind more tightly than `or`.

use std::net::{IpAddr, Ipv4Addr};

use super::selection::{AddressFamily, Kind, Selection};
use crate::as_ss::show::services::Services;
use crate::as_ss::show::{cgroups, names};
use crate::cli::UsageError;
use crate::kernel::netlink;
use crate::listener::Protocol;

/// Conditions and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first condition.
    pub first: Condition,
    /// Those that follow, and how each is joined to all before it.
    pub rest: Vec<(Join, Condition)>,
}

/// How two conditions are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Both must hold.
    And,
    /// One must hold.
    Or,
}

/// What a filter asks of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// An end has this port, and an address in this network. [`ANY_PORT`] is any.
    Is(End, i32, Option<Network>),
    /// An end has a name like this pattern. For Unix sockets.
    IsLike(End, Vec<u8>),
    /// The port of an end is this or a higher one.
    AtLeast(End, i32),
    /// The port of an end is this or a lower one.
    AtMost(End, i32),
    /// The socket is bound to the interface of this number.
    OnInterface(u32),
    /// The bits of the socket's mark that are in `mask` are `mark`.
    Marked {
        /// What they must be.
        mark: u32,
        /// Which bits.
        mask: u32,
    },
    /// The socket belongs to the control group of this number.
    InCgroup(u64),
    /// The kernel chose the port or the name.
    AutoBound,
    /// This does not hold.
    Not(Box<Condition>),
    /// A filter in parentheses.
    All(Box<Filter>),
}

/// Which end of a socket is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its own.
    Local,
    /// The other one.
    Peer,
}

/// The port in a condition that takes any.
pub const ANY_PORT: i32 = -1;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// `None` is any.
    pub family: Option<AddressFamily>,
    /// The address. Those of an IPv4 address come first, and zeros follow.
    pub octets: [u8; 16],
    /// How many bits of it count.
    pub bits: usize,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The family of both ends.
    pub family: AddressFamily,
    /// The socket's own end.
    pub local: Place<'a>,
    /// The other end.
    pub peer: Place<'a>,
    /// The number of the interface that it is bound to, or 0.
    pub interface: u32,
    /// Its mark, or 0.
    pub mark: u32,
    /// The number of its control group, or 0.
    pub cgroup: u64,
}

/// One end of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// As in a [`Network`].
    pub octets: [u8; 16],
    /// The port, or what ss takes for one.
    pub port: i32,
    /// The name of a Unix socket, if it has one.
    pub name: Option<&'a [u8]>,
}

/// Parentheses and `not`s nest no deeper than this.
const MOST_NESTED: usize = 100;

impl Filter {
    /// Reads the arguments that follow the options; none make no filter.
    /// `selection` is what the options ask for. A condition on a family narrows
    /// it.
    ///
    /// # Errors
    /// When it is no filter, or one that is not covered.
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

    /// Whether a socket passes the filter.
    pub fn accepts(&self, socket: &Facts<'_>, services: &Services) -> bool {
        let first = self.first.holds(socket, services);
        self.rest
            .iter()
            .fold(first, |so_far, (join, condition)| match join {
                Join::And => so_far && condition.holds(socket, services),
                Join::Or => so_far || condition.holds(socket, services),
            })
    }
}

impl Condition {
    fn holds(&self, socket: &Facts<'_>, services: &Services) -> bool {
        match self {
            Condition::Is(end, port, network) => {
                let place = end.of(socket);
                (*port == ANY_PORT || *port == place.port)
                    && network.is_none_or(|network| network.holds(place, socket.family))
            }
            Condition::IsLike(end, pattern) => {
                is_like(end.of(socket).name.unwrap_or_default(), pattern)
            }
            Condition::AtLeast(end, port) => end.of(socket).port >= *port,
            Condition::AtMost(end, port) => end.of(socket).port <= *port,
            Condition::OnInterface(number) => socket.interface == *number,
            Condition::Marked { mark, mask } => socket.mark & mask == *mark,
            Condition::InCgroup(number) => socket.cgroup == *number,
            Condition::AutoBound => is_auto_bound(socket, services),
            Condition::Not(condition) => !condition.holds(socket, services),
            Condition::All(filter) => filter.accepts(socket, services),
        }
    }
}

impl End {
    fn of<'a>(self, socket: &'a Facts<'a>) -> &'a Place<'a> {
        match self {
            End::Local => &socket.local,
            End::Peer => &socket.peer,
        }
    }
}

impl Network {
    /// ss compares bits, whatever their family, and IPv4 networks also with
    /// IPv4-mapped addresses.
    fn holds(&self, place: &Place<'_>, family: AddressFamily) -> bool {
        // ss compares with where it keeps a name in memory.
        if place.name.is_some() {
            return self.bits == 0;
        }
        let is_mapped = self.family == Some(AddressFamily::Inet)
            && family == AddressFamily::Inet6
            && place.octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        self.begins(place.octets)
            || is_mapped && {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&place.octets[12..]);
                self.begins(octets)
            }
    }

    fn begins(&self, octets: [u8; 16]) -> bool {
        let difference = u128::from_be_bytes(self.octets) ^ u128::from_be_bytes(octets);
        difference.leading_zeros() as usize >= self.bits
    }
}

fn is_auto_bound(socket: &Facts<'_>, services: &Services) -> bool {
    let Place { port, name, octets } = &socket.local;
    match socket.family {
        AddressFamily::Unix => name.is_none_or(|name| {
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            name.len() == 6 && name[0] == b'@' && name[1..].iter().all(is_digit)
        }),
        AddressFamily::Packet => *port == 0 && octets[..4] == [0; 4],
        AddressFamily::Netlink => *port < 0,
        AddressFamily::Vsock => *port > 1023,
        _ => services.is_ephemeral(*port),
    }
}

/// Whether `name` is like a pattern of fnmatch(3), in any case of letters.
fn is_like<'a>(mut name: &'a [u8], mut pattern: &'a [u8]) -> bool {
    // What is left of both behind the last `*`, which takes nothing at first.
    let mut behind_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            behind_star = Some((name, pattern));
            continue;
        }
        let Some((&byte, others)) = name.split_first() else {
            return pattern.is_empty();
        };
        if let Some(rest) = behind(byte, pattern) {
            (name, pattern) = (others, rest);
            continue;
        }
        // That `*` takes a byte more. What those before it take does not matter.
        let Some((left, rest)) = behind_star else {
            return false;
        };
        (name, pattern) = (&left[1..], rest);
        behind_star = Some((name, pattern));
    }
}

/// What is left of the pattern behind what stands for `byte` at its start.
fn behind(byte: u8, pattern: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    let byte = byte.to_ascii_lowercase();
    let (is_first, rest) = match (first, rest.split_first()) {
        (b'?', _) => (true, rest),
        (b'[', _) => match in_brackets(byte, rest) {
            Some(result) => result,
            None => (byte == b'[', rest),
        },
        (b'\\', Some((escaped, rest))) => (byte == escaped.to_ascii_lowercase(), rest),
        // A backslash at the end is like nothing.
        (b'\\', None) => return None,
        _ => (byte == first.to_ascii_lowercase(), rest),
    };
    is_first.then_some(rest)
}

/// Whether `byte` is one of those in brackets, and what follows the brackets.
/// `None` if they are never closed.
fn in_brackets(byte: u8, pattern: &[u8]) -> Option<(bool, &[u8])> {
    let is_negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut rest = &pattern[usize::from(is_negated)..];
    let mut is_in = false;
    let mut is_first = true;
    loop {
        let (&next, mut after) = rest.split_first()?;
        if next == b']' && !is_first {
            return Some((is_in != is_negated, after));
        }
        is_first = false;
        let mut from = next;
        if next == b'\\' {
            (from, after) = after.split_first().map(|(byte, after)| (*byte, after))?;
        }
        let mut to = from;
        if let [b'-', end, behind @ ..] = after
            && *end != b']'
        {
            (to, after) = (*end, behind);
        }
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        is_in |= (from..=to).contains(&byte);
        rest = after;
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

/// A word of the language that is no comparison.
enum Word {
    Open,
    Close,
    Not,
    And,
    Or,
    Address(End),
    Port(End),
    Device,
    Mark,
    Cgroup,
    AutoBound,
}

impl Word {
    fn parse(word: &str) -> Option<Word> {
        Some(match word {
            "(" => Word::Open,
            ")" => Word::Close,
            "!" | "not" => Word::Not,
            "&" | "&&" | "and" => Word::And,
            "|" | "||" | "or" => Word::Or,
            "src" => Word::Address(End::Local),
            "dst" => Word::Address(End::Peer),
            "sport" => Word::Port(End::Local),
            "dport" => Word::Port(End::Peer),
            "dev" => Word::Device,
            "fwmark" => Word::Mark,
            "cgroup" => Word::Cgroup,
            "autobound" => Word::AutoBound,
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
                self.nest()?;
                let filter = self.filter()?;
                self.nested -= 1;
                match self.next()? {
                    ")" => Ok(Condition::All(Box::new(filter))),
                    other => Err(unexpected(other)),
                }
            }
            Some(Word::Not) => {
                self.nest()?;
                let condition = self.condition()?;
                self.nested -= 1;
                Ok(Condition::Not(Box::new(condition)))
            }
            Some(Word::Address(end)) => self.address(end),
            Some(Word::Port(end)) => self.port(end),
            Some(Word::Device) => self.equal_or_not(
                |word| netlink::interface_index(word).or_else(|| integer(word)?.try_into().ok()),
                Condition::OnInterface,
            ),
            Some(Word::Mark) => {
                self.equal_or_not(mark, |(mark, mask)| Condition::Marked { mark, mask })
            }
            Some(Word::Cgroup) => self.equal_or_not(cgroups::number, Condition::InCgroup),
            Some(Word::AutoBound) => Ok(Condition::AutoBound),
            Some(Word::Close | Word::And | Word::Or) | None => Err(unexpected(text)),
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

    fn equal_or_not<T>(
        &mut self,
        read: impl Fn(&str) -> Option<T>,
        condition: impl Fn(T) -> Condition,
    ) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.value()?;
        let refuse = |why| UsageError::of_ss(format!("{text}: {why}"));
        let value = read(text).ok_or_else(|| refuse("there is none such"))?;
        match comparison {
            Comparison::Equal => Ok(condition(value)),
            Comparison::NotEqual => Ok(Condition::Not(Box::new(condition(value)))),
            _ => Err(refuse("can only be compared with = and !=")),
        }
    }

    fn address(&mut self, end: End) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.value()?;
        if comparison != Comparison::Equal {
            let why = format!("{text}: an address can only be compared with =");
            return Err(UsageError::of_ss(why));
        }
        let (value, family) = self.narrow(text)?;
        let not_covered = || UsageError::of_ss(format!("{text}: no such address"));
        let split = || {
            let (address, port) = value.split_once(':').unwrap_or((value, ""));
            (
                Some(address).filter(|address| !matches!(*address, "" | "*")),
                port,
            )
        };
        // A number in the order of the machine, as ss keeps it in place of octets.
        let network = |number: Option<u32>| {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&number.unwrap_or(0).to_ne_bytes());
            Network {
                family,
                octets,
                bits: if number.is_some() { 32 } else { 0 },
            }
        };
        let number = |read: fn(&str) -> Option<u32>| {
            let (text, port) = split();
            let number = match text.map(read) {
                None => None,
                Some(number) => Some(number.ok_or_else(not_covered)?),
            };
            Ok((port, Some(network(number))))
        };
        match family {
            Some(AddressFamily::Unix) => like(end, text, value),
            Some(AddressFamily::Packet | AddressFamily::Netlink | AddressFamily::Vsock) => {
                let (port, network) = number(match family {
                    Some(AddressFamily::Packet) => names::link_protocol_number,
                    Some(AddressFamily::Netlink) => names::netlink_number,
                    _ => |text| integer(text)?.try_into().ok(),
                })?;
                let port = other_port(text, port, family)?;
                Ok(Condition::Is(end, port, network))
            }
            Some(AddressFamily::Xdp) => Err(not_covered()),
            None | Some(AddressFamily::Inet | AddressFamily::Inet6) => {
                let (host, port) = split_port(value).ok_or_else(|| {
                    UsageError::of_ss(format!("{text}: no ] follows the address"))
                })?;
                let network = match host.starts_with('*') || host.is_empty() {
                    true => None,
                    false => Some(self.network(host)?),
                };
                Ok(Condition::Is(end, self.number(port)?, network))
            }
        }
    }

    fn port(&mut self, end: End) -> Result<Condition, UsageError> {
        let comparison = self.comparison();
        let text = self.value()?;
        let (value, family) = self.narrow(text)?;
        let equal = match family {
            Some(AddressFamily::Unix) => like(end, text, value)?,
            None | Some(AddressFamily::Inet | AddressFamily::Inet6) => {
                Condition::Is(end, self.number(value)?, None)
            }
            _ => {
                let port = value.strip_prefix(':').unwrap_or(value);
                let any = Network {
                    family,
                    octets: [0; 16],
                    bits: 0,
                };
                Condition::Is(end, other_port(text, port, family)?, Some(any))
            }
        };
        let port = match equal {
            Condition::Is(_, port, _) => port,
            _ => ANY_PORT,
        };
        let not = |condition| Condition::Not(Box::new(condition));
        Ok(match comparison {
            Comparison::Equal => equal,
            Comparison::NotEqual => not(equal),
            Comparison::AtLeast => Condition::AtLeast(end, port),
            Comparison::AtMost => Condition::AtMost(end, port),
            Comparison::More => not(Condition::AtMost(end, port)),
            Comparison::Less => not(Condition::AtLeast(end, port)),
        })
    }

    /// Takes off the family that may stand before a value. ss then shows only
    /// that family, and where options name several, only the last of them.
    fn narrow(&mut self, text: &'a str) -> Result<(&'a str, Option<AddressFamily>), UsageError> {
        let named = text
            .split_once(':')
            .and_then(|(name, value)| Some((value, AddressFamily::named(name)?)));
        let (value, family) = match named {
            Some((_, AddressFamily::Xdp)) | None => (text, self.selection.last_family),
            Some((value, family)) => (value, Some(family)),
        };
        if let Some(family) = family {
            self.selection.only_family(family);
        }
        Ok((value, family))
    }

    /// `PORT` or `:PORT`; nothing or `*` is any.
    fn number(&self, text: &str) -> Result<i32, UsageError> {
        let text = text.strip_prefix(':').unwrap_or(text);
        if text.is_empty() || text.starts_with('*') {
            return Ok(ANY_PORT);
        }
        let refuse = |why| Err(UsageError::of_ss(format!("{text}: {why}")));
        if let Some(number) = integer(text) {
            return match i32::try_from(number) {
                Ok(port) => Ok(port),
                Err(_) => refuse("not a port"),
            };
        }
        let named = |kind, protocol| {
            let port = || self.services.port(text, protocol);
            self.selection.kinds.has(kind).then(port).flatten()
        };
        let udp = named(Kind::Udp, Protocol::Udp);
        match (udp, named(Kind::Tcp, Protocol::Tcp)) {
            (Some(udp), Some(tcp)) if udp != tcp => refuse("another port for UDP than for TCP"),
            (Some(port), _) | (None, Some(port)) => Ok(i32::from(port)),
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
        let (its_family, most) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        if family.is_some_and(|family| family != its_family) {
            return Err(UsageError::of_ss(format!(
                "{text}: not of the family asked for"
            )));
        }
        let bits = match bits {
            None => most,
            Some(bits) => match integer(bits) {
                Some(bits @ 0..) if bits <= most => bits,
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

/// A pattern for the name of a Unix socket. Sets of characters by name are left to
/// others.
fn like(end: End, text: &str, pattern: &str) -> Result<Condition, UsageError> {
    let is_set = |pair: &[u8]| matches!(pair, [b'[', b':' | b'.' | b'=']);
    if pattern.as_bytes().windows(2).any(is_set) {
        let why = format!("{text}: sets of characters by name are not covered");
        return Err(UsageError::of_ss(why));
    }
    Ok(Condition::IsLike(end, pattern.into()))
}

/// What stands for a port in families that have none: an interface, a process, a
/// number.
fn other_port(text: &str, port: &str, family: Option<AddressFamily>) -> Result<i32, UsageError> {
    if matches!(port, "" | "*") {
        return Ok(ANY_PORT);
    }
    let number = integer(port).and_then(|number| i32::try_from(number).ok());
    let named = || match family {
        Some(AddressFamily::Packet) => netlink::interface_index(port)?.try_into().ok(),
        Some(AddressFamily::Netlink) if port == "kernel" => Some(0),
        _ => None,
    };
    let why = || UsageError::of_ss(format!("{text}: no such port"));
    number.or_else(named).ok_or_else(why)
}

/// `MARK` or `MARK/MASK`.
fn mark(text: &str) -> Option<(u32, u32)> {
    let number = |text| integer(text).map(|number| number as u32);
    match text.split_once('/') {
        None => Some((number(text)?, u32::MAX)),
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
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

/// A number as C writes them: decimal, octal behind `0`, hexadecimal behind `0x`,
/// and all of them behind a sign.
fn integer(text: &str) -> Option<i64> {
    let (is_negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, base) = match text.strip_prefix('0') {
        Some("") | None => (text, 10),
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (rest, 8),
        },
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i64::from(u32::from_str_radix(digits, base).ok()?);
    Some(if is_negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::as_ss::ask::selection::Kinds;
    use std::fs;

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
        Filter::parse(&[text.to_string()], selection, &services).map(Option::unwrap)
    }

    fn accepts(text: &str, facts: &Facts<'_>) -> bool {
        let directory = tempfile::TempDir::new().unwrap();
        let filter = parsed(text, &mut Selection::default());
        filter.unwrap().accepts(facts, &services(&directory))
    }

    fn facts(family: AddressFamily, local: Place<'_>) -> Facts<'_> {
        Facts {
            family,
            local,
            peer: Place::default(),
            interface: 0,
            mark: 0,
            cgroup: 0,
        }
    }

    fn passes(text: &str, socket: &str) -> bool {
        let (address, port) = socket.rsplit_once(':').unwrap();
        let address: IpAddr = address.trim_matches(['[', ']']).parse().unwrap();
        let family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let place = Place {
            octets: octets(address),
            port: port.parse().unwrap(),
            name: None,
        };
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
    fn names_of_unix_sockets_are_compared_as_a_shell_does() {
        for (pattern, like, unlike) in [
            ("/run/*.sock", "/RUN/a/b.sock", "/run/a.socket"),
            ("@?b", "@ab", "@b"),
            ("[a-c]*", "b", "d"),
            ("[!a]", "b", "A"),
            ("[]a]", "]", "b"),
            ("a[", "a[", "ab"),
            ("*", "anything", "\0"),
        ] {
            let text = format!("src unix:{pattern}");
            assert!(passes_by_name(&text, like), "{pattern}");
            assert_eq!(passes_by_name(&text, unlike), pattern == "*", "{pattern}");
        }
        // Neither takes for ever, nor more of the stack than there is.
        let stars = "*".repeat(120_000);
        for (end, is_like) in [("b", true), ("$", false)] {
            let text = format!("src unix:a{stars}{end}");
            assert_eq!(passes_by_name(&text, "aab/aaab"), is_like, "{end}");
            let text = format!("src unix:{}{end}", "*a".repeat(40));
            assert_eq!(
                passes_by_name(&text, &("a".repeat(60) + "b")),
                is_like,
                "{end}"
            );
        }
        assert!(passes_by_name("src unix:*ab*[!a]", "aab/aaab"));
        assert!(!passes_by_name("src unix:*ab?b*", "aab/aaab"));
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
                "')' in the filter: not covered, or not a filter",
            ),
            (
                "sport = 80 81",
                "'81' in the filter: not covered, or not a filter",
            ),
            ("dev nonexistent", "nonexistent: there is none such"),
            ("dev > lo", "lo: can only be compared with = and !="),
            ("fwmark 1/", "1/: there is none such"),
            ("cgroup /nonexistent", "/nonexistent: there is none such"),
            ("sport = 4294967295", "4294967295: not a port"),
            (
                "sport = 080",
                "080: neither a port nor a service of /etc/services",
            ),
            ("sport = odd", "odd: another port for UDP than for TCP"),
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
                "src unix:[[:alpha:]]",
                "unix:[[:alpha:]]: sets of characters by name are not covered",
            ),
            ("src vsock:x", "vsock:x: no such address"),
            ("src netlink:rtnl:x", "netlink:rtnl:x: no such port"),
        ] {
            assert_eq!(refusal(text), why, "{text}");
        }
        for word in ["or", "&&", "(", "= ge", "src", "autobound"] {
            let refused = word.trim_start_matches("= ");
            let why = format!("'{refused}' in the filter: not covered, or not a filter");
            assert_eq!(refusal(&format!("src unix:a or dst {word}")), why);
        }
        let deep = "( ".repeat(MOST_NESTED + 1);
        assert_eq!(refusal(&deep), "the filter is nested too deeply");
    }
}
