//! The PORT argument, which is `[ADDRESS:]NUMBER[-NUMBER][/PROTO]` or a Unix socket, and the
//! filter that combines PORTs with the options for families and protocols.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use crate::kernel::netlink::route;
use crate::kernel::proc::file::read_some;
use crate::listener::{Family, Interface, Listener, Protocol, SocketTable, SsAddress};

/// A parsed PORT argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    address: Option<AddressSpec>,
    ports: RangeInclusive<u16>,
    /// Whether the argument is written as a range. A range can consist of one port.
    is_range: bool,
    protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressSpec {
    /// `*`: the wildcard address of IPv4 or IPv6. The output uses the same sign.
    Wildcard,
    /// `localhost`: any address in [`LOCALHOST`].
    Localhost,
    /// An IPv4 or IPv6 address.
    Exactly(IpAddr),
}

/// The addresses of `localhost`. We do not resolve the name to one of them, because programs
/// disagree on which address they try first.
const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
const LOCALHOST_NAME: &str = "localhost";

/// Why a PORT argument was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSpecError {
    /// The address is not an IPv4 address, a bracketed IPv6 address, `*` or `localhost`.
    Address,
    /// The argument contains a host name instead of an address.
    Name,
    /// There is no address before the colon.
    NoAddress,
    /// There is an address or a protocol, but no port.
    NoPort,
    /// There are several ports, separated by commas.
    Commas,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The range ends before it starts.
    Range,
    /// There is a range, but only a single port is allowed.
    RangeNotAllowed,
    /// The protocol is neither `tcp` nor `udp`.
    Protocol,
    /// The Unix socket is neither an absolute path nor an abstract name.
    Unix,
}

impl fmt::Display for PortSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortSpecError::Address => {
                "the address must be IPv4 (127.0.0.1:80), bracketed IPv6 ([::1]:80) or * (*:80)"
            }
            PortSpecError::Name => "host names are not accepted: lntu looks only at addresses of this network namespace",
            PortSpecError::NoAddress => "an address is missing, as in 127.0.0.1:80 or *:80",
            PortSpecError::NoPort => "a port is missing, as in 127.0.0.1:80 or 53/udp (for all of them, list has --tcp and --udp)",
            PortSpecError::Commas => "give PORTs separately: 80 443 (or --exclude 80 --exclude 443)",
            PortSpecError::Port => "a port is a number from 1 to 65535, as in 80 or 53/udp",
            PortSpecError::Range => "the range ends before it starts",
            PortSpecError::RangeNotAllowed => "a range requires --any (one of its ports is then enough)",
            PortSpecError::Protocol => "the protocol must be tcp or udp",
            PortSpecError::Unix => "a Unix socket is unix:/PATH or unix:@NAME",
        })
    }
}

impl std::error::Error for PortSpecError {}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<PortSpec, PortSpecError> {
        if text.contains(',') {
            return Err(PortSpecError::Commas);
        }
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, None),
            Some((rest, name)) => (rest, Some(parse_protocol(name)?)),
        };
        let (address, ports) = match rest.rsplit_once(':') {
            _ if parse_address(rest).is_ok() || parse_protocol(rest).is_ok() => {
                return Err(PortSpecError::NoPort);
            }
            None => (None, rest),
            Some((address, ports)) => (Some(parse_address(address)?), ports),
        };
        let ends = ports.split_once('-');
        let (first, last) = ends.unwrap_or((ports, ports));
        let ports = parse_port(first)?..=parse_port(last)?;
        if ports.is_empty() {
            return Err(PortSpecError::Range);
        }
        Ok(PortSpec {
            address,
            ports,
            is_range: ends.is_some(),
            protocol,
        })
    }
}

/// Parses a protocol in upper or lower case, as Docker's `EXPOSE` does.
fn parse_protocol(name: &str) -> Result<Protocol, PortSpecError> {
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .find(|protocol| name.eq_ignore_ascii_case(protocol.name()))
        .ok_or(PortSpecError::Protocol)
}

fn parse_address(text: &str) -> Result<AddressSpec, PortSpecError> {
    if text == "*" {
        return Ok(AddressSpec::Wildcard);
    }
    if text.eq_ignore_ascii_case(LOCALHOST_NAME) {
        return Ok(AddressSpec::Localhost);
    }
    let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = match bracketed {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    address
        .map(AddressSpec::Exactly)
        .ok_or(match text.as_bytes().first() {
            None => PortSpecError::NoAddress,
            Some(first) if first.is_ascii_alphabetic() && text.bytes().all(is_in_names) => {
                PortSpecError::Name
            }
            Some(_) => PortSpecError::Address,
        })
}

/// Parses a port. Accepts only digits, although `u16::from_str` would accept a sign.
fn parse_port(text: &str) -> Result<u16, PortSpecError> {
    text.parse()
        .ok()
        .filter(|&port| port != 0 && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or(PortSpecError::Port)
}

/// Reads a range of ports from `file`, which contains the first and the last port, as
/// `/proc/sys/net/ipv4/ip_local_port_range` does. `None` if the file cannot be read.
pub fn read_range(file: &Path) -> Option<RangeInclusive<u16>> {
    let text = String::from_utf8(read_some(file).ok()?).ok()?;
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

impl PortSpec {
    /// Creates a PORT for these ports of `protocol` on any address.
    pub fn range(ports: RangeInclusive<u16>, protocol: Protocol) -> PortSpec {
        PortSpec {
            address: None,
            ports,
            is_range: true,
            protocol: Some(protocol),
        }
    }

    /// Returns a copy of this PORT. If this PORT has no protocol, the copy has `protocol`.
    pub fn with_default_protocol(&self, protocol: Option<Protocol>) -> PortSpec {
        PortSpec {
            protocol: self.protocol.or(protocol),
            ..self.clone()
        }
    }

    /// The protocol of this PORT. `None` if the PORT does not specify one.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The family of the address. `None` if this PORT has no address, or if its address is `*`
    /// or `localhost`.
    pub fn family(&self) -> Option<Family> {
        match self.address? {
            AddressSpec::Wildcard | AddressSpec::Localhost => None,
            AddressSpec::Exactly(address) => Some(Family::of_address(address)),
        }
    }

    /// Whether `listener` is on one of these ports. If this PORT specifies an address or a
    /// protocol, the listener must have exactly that address or protocol, too.
    pub fn matches(&self, listener: &Listener) -> bool {
        let address = listener.endpoint.address;
        self.ports.contains(&listener.endpoint.port)
            && self.protocol.is_none_or(|p| p == listener.protocol)
            && match self.address {
                None => true,
                Some(AddressSpec::Wildcard) => address.is_unspecified(),
                Some(AddressSpec::Localhost) => LOCALHOST.contains(&address),
                Some(AddressSpec::Exactly(wanted)) => address == wanted,
            }
    }

    /// Whether `listener` matches as in [`PortSpec::matches`]. A PORT without a protocol
    /// matches only TCP here.
    pub fn allows(&self, listener: &Listener) -> bool {
        self.matches(listener) && (self.protocol.is_some() || listener.protocol == Protocol::Tcp)
    }

    /// Whether `table` can contain a listener for which [`PortSpec::matches`] returns true.
    fn can_be_in(&self, table: SocketTable) -> bool {
        self.family().is_none_or(|family| family == table.family)
            && self.protocol.is_none_or(|p| p == table.protocol)
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => {}
            Some(AddressSpec::Wildcard) => f.write_str("*:")?,
            Some(AddressSpec::Localhost) => write!(f, "{LOCALHOST_NAME}:")?,
            Some(AddressSpec::Exactly(address)) => write!(f, "{}:", SsAddress(address))?,
        }
        let (first, last) = (self.ports.start(), self.ports.end());
        write!(f, "{first}")?;
        if self.is_range {
            write!(f, "-{last}")?;
        }
        match self.protocol {
            None => Ok(()),
            Some(protocol) => write!(f, "/{}", protocol.name()),
        }
    }
}

/// A PORT that a command asks about, with its protocol. If it is a range, one port of the range
/// is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredPort {
    address: Option<AddressSpec>,
    ports: RangeInclusive<u16>,
    protocol: Protocol,
}

/// An effect that a listener can have on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The listener accepts connections or datagrams to the port.
    Serves,
    /// The listener prevents a server from binding the port.
    Blocks,
}

/// Whether a listener accepts connections or datagrams to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// The listener accepts them.
    Yes,
    /// The listener does not accept them.
    No,
    /// The listener accepts them unless it is IPv6-only. It is on `::`, and its source does not
    /// report whether it is IPv6-only.
    IfNotV6Only,
    /// The listener is bound to an interface, and accepts them if the address belongs to that
    /// interface. The kernel does not answer whether the address does.
    IfOnInterface,
}

impl RequiredPort {
    /// Creates a required port from `spec`. The default protocol is TCP.
    ///
    /// # Errors
    /// Fails with [`PortSpecError::RangeNotAllowed`] if `spec` is a range.
    pub fn new(spec: PortSpec) -> Result<RequiredPort, PortSpecError> {
        match spec.is_range {
            false => Ok(RequiredPort::one_of(spec)),
            true => Err(PortSpecError::RangeNotAllowed),
        }
    }

    /// Creates a required port that is satisfied by any one of the ports in `spec`. The default
    /// protocol is TCP.
    pub fn one_of(spec: PortSpec) -> RequiredPort {
        RequiredPort {
            address: spec.address,
            ports: spec.ports,
            protocol: spec.protocol.unwrap_or(Protocol::Tcp),
        }
    }

    /// Whether `listener` accepts connections or datagrams that are sent to this port from this
    /// network namespace. The listener must [cover](RequiredPort::is_covered_by) the port. If
    /// the listener is bound to an interface, the address must belong to that interface, so
    /// such a listener never serves a wildcard address.
    pub fn is_served_by(&self, listener: &Listener) -> Serves {
        if self.address == Some(AddressSpec::Localhost) {
            return self.best_on_localhost(|port| port.is_served_by(listener));
        }
        let covers = self.is_covered_by(listener);
        match listener.interface {
            Some(interface) if covers != Serves::No => match self.reaches(&interface) {
                Some(true) => covers,
                Some(false) => Serves::No,
                None => Serves::IfOnInterface,
            },
            _ => covers,
        }
    }

    /// The better of the answers for the two addresses of `localhost`.
    fn best_on_localhost(&self, serves: impl Fn(&RequiredPort) -> Serves) -> Serves {
        let [v4, v6] = LOCALHOST.map(|address| {
            serves(&RequiredPort {
                address: Some(AddressSpec::Exactly(address)),
                ..self.clone()
            })
        });
        match (v4, v6) {
            (Serves::Yes, _) | (_, Serves::Yes) => Serves::Yes,
            (Serves::No, other) | (other, _) => other,
        }
    }

    /// Whether a connection or datagram to this port reaches a socket that is bound to
    /// `interface`. `None` if the kernel does not answer.
    fn reaches(&self, interface: &Interface) -> Option<bool> {
        match (self.address, self.address()) {
            (None, _) => Some(true),
            (_, Some(address)) if !address.is_unspecified() => {
                route::reaches(address, self.protocol, interface.as_str())
            }
            _ => Some(false),
        }
    }

    /// Whether `listener` is on this port, and its address covers the requested address.
    ///
    /// An address is covered by the same address and by the wildcard address of its family. An
    /// IPv4 address is also covered by a `::` that accepts IPv4. IPv4-mapped addresses count as
    /// IPv4. `*` asks for a wildcard address that accepts IPv4, which a published port needs.
    fn is_covered_by(&self, listener: &Listener) -> Serves {
        let address = listener.endpoint.address.to_canonical();
        let is_v6_wildcard = address == Family::V6.wildcard();
        let is_served = self.is_on(listener)
            && match self.address {
                None => true,
                Some(AddressSpec::Localhost) => {
                    return self.best_on_localhost(|port| port.is_covered_by(listener));
                }
                // An unknown `v6_only` counts as false. Most servers on `::` accept IPv4. Where
                // `/proc` is the only source (gVisor), the health checks of all these servers
                // would otherwise fail. Users who want the strict check can ask for `0.0.0.0`.
                Some(AddressSpec::Wildcard) => {
                    address.is_unspecified() && !(is_v6_wildcard && listener.v6_only == Some(true))
                }
                Some(AddressSpec::Exactly(wanted)) => {
                    let wanted = wanted.to_canonical();
                    if wanted.is_ipv4() && is_v6_wildcard {
                        return match listener.v6_only {
                            Some(false) => Serves::Yes,
                            Some(true) => Serves::No,
                            None => Serves::IfNotV6Only,
                        };
                    }
                    address == wanted
                        || address.is_unspecified() && wanted.is_ipv4() == address.is_ipv4()
                }
            };
        if is_served { Serves::Yes } else { Serves::No }
    }

    /// Whether `listener` prevents a server from binding this port.
    ///
    /// It does if it covers this port, or if this port is on a wildcard address that covers
    /// the address of the listener (`inet_rcv_saddr_equal` in the kernel). The server is
    /// assumed not to be bound to an interface, so the interface of the listener does not
    /// matter (`inet_bind_conflict`).
    pub fn is_blocked_by(&self, listener: &Listener) -> Serves {
        let covers = match self.address {
            None | Some(AddressSpec::Localhost) => false,
            Some(AddressSpec::Wildcard) => true,
            Some(AddressSpec::Exactly(wanted)) => {
                let (wanted, address) = (wanted.to_canonical(), listener.endpoint.address);
                wanted.is_unspecified() && (wanted.is_ipv6() || address.to_canonical().is_ipv4())
            }
        };
        match covers && self.is_on(listener) {
            true => Serves::Yes,
            false => self.is_covered_by(listener),
        }
    }

    /// Whether `listener` is on one of these ports, at any address.
    pub fn is_on(&self, listener: &Listener) -> bool {
        self.ports.contains(&listener.endpoint.port) && listener.protocol == self.protocol
    }

    /// The protocol of this port.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The distance from `port` to the nearest of these ports. 0 if `port` is one of them.
    pub fn distance(&self, port: u16) -> u16 {
        let to_start = self.ports.start().saturating_sub(port);
        to_start.max(port.saturating_sub(*self.ports.end()))
    }

    /// Whether only a listener that accepts IPv4 can serve this port. This is so if its address
    /// is `*`, an IPv4 address or an IPv4-mapped address.
    pub fn needs_ipv4(&self) -> bool {
        match self.address() {
            Some(address) => address.is_ipv4(),
            None => self.address == Some(AddressSpec::Wildcard),
        }
    }

    /// The requested address. `None` if any address, `*` or `localhost` was requested.
    pub fn address(&self) -> Option<IpAddr> {
        match self.address? {
            AddressSpec::Wildcard | AddressSpec::Localhost => None,
            AddressSpec::Exactly(address) => Some(address.to_canonical()),
        }
    }

    /// Whether `table` can contain a listener that has this effect on this port.
    ///
    /// Listeners in an IPv6 table can serve IPv4 addresses, too. Listeners in an IPv4 table
    /// cannot serve IPv6 addresses, but can block `::`.
    pub fn can_be_in(&self, table: SocketTable, effect: Effect) -> bool {
        let needs_v6 = self.address().is_some_and(|address| {
            address.is_ipv6() && !(effect == Effect::Blocks && address.is_unspecified())
        });
        table.protocol == self.protocol && !(needs_v6 && table.family == Family::V4)
    }

    /// Returns these ports with a less strict address: `*` if a wildcard address was requested,
    /// and otherwise any address. A listener on `::` can serve the result even if it may be
    /// IPv6-only.
    pub fn relaxed(&self) -> RequiredPort {
        let is_wildcard = self
            .address()
            .is_some_and(|address| address.is_unspecified());
        RequiredPort {
            address: is_wildcard.then_some(AddressSpec::Wildcard),
            ..self.clone()
        }
    }
}

impl fmt::Display for RequiredPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = PortSpec {
            address: self.address,
            ports: self.ports.clone(),
            is_range: self.ports.start() != self.ports.end(),
            protocol: Some(self.protocol),
        };
        spec.fmt(f)
    }
}

const UNIX: &str = "unix:";

/// A PORT that is a Unix socket: `unix:/PATH`, or `unix:@NAME` with an abstract name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket(String);

/// A PORT argument.
pub enum PortArgument {
    /// A port, or a range of ports.
    Port(PortSpec),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl UnixSocket {
    /// The absolute path, or `@` followed by the abstract name.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The abstract name without the `@`. `None` if the socket has a path.
    pub fn abstract_name(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }
}

impl FromStr for PortArgument {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<PortArgument, PortSpecError> {
        match text.strip_prefix(UNIX) {
            None => text.parse().map(PortArgument::Port),
            Some(name) => match name.as_bytes() {
                [b'/' | b'@', _, ..] => Ok(PortArgument::Unix(UnixSocket(name.into()))),
                _ => Err(PortSpecError::Unix),
            },
        }
    }
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNIX}{}", self.0)
    }
}

/// A filter for listeners. The default accepts all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The protocol that the filter accepts. `None` accepts both.
    pub protocol: Option<Protocol>,
    /// The family that the filter accepts. `None` accepts both.
    pub family: Option<Family>,
    /// A listener must match one of these PORTs. If there are none, every port is accepted.
    pub ports: Vec<PortSpec>,
    /// A listener must not match any of these PORTs.
    pub excluded: Vec<PortSpec>,
    /// Whether listeners on a loopback address are excluded.
    pub excludes_loopback: bool,
    /// The protocols whose ephemeral ports are excluded. Ephemeral ports are those that the
    /// kernel chooses itself. The source reads the range of these ports and adds it to
    /// `excluded`.
    pub excludes_ephemeral: Vec<Protocol>,
}

impl Filter {
    /// Whether the filter accepts `listener`.
    pub fn matches(&self, listener: &Listener) -> bool {
        let is_matched = |spec: &PortSpec| spec.matches(listener);
        let address = listener.endpoint.address.to_canonical();
        self.wants(listener.table())
            && !(self.excludes_loopback && address.is_loopback())
            && (self.ports.is_empty() || self.ports.iter().any(is_matched))
            && !self.excluded.iter().any(is_matched)
    }

    /// Whether the filter can accept a listener of `table`.
    pub fn wants(&self, table: SocketTable) -> bool {
        self.protocol.is_none_or(|p| p == table.protocol)
            && self.family.is_none_or(|f| f == table.family)
            && (self.ports.is_empty() || self.ports.iter().any(|spec| spec.can_be_in(table)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Endpoint;

    fn spec(text: &str) -> PortSpec {
        text.parse().unwrap()
    }

    fn listener(protocol: Protocol, address: &str, port: u16) -> Listener {
        let address = address.parse().unwrap();
        Listener::new(protocol, Endpoint { port, address })
    }

    #[test]
    fn every_form_of_port_is_displayed_as_written() {
        for text in [
            "8080",
            "8080/tcp",
            "53/udp",
            "3000-3999",
            "127.0.0.1:8080",
            "[::1]:8080/tcp",
            "*:1-65535/udp",
            "localhost:8080",
            "80-80",
        ] {
            assert_eq!(spec(text).to_string(), text);
        }
        assert_eq!(spec("80/TCP"), spec("80/tcp"));
        assert_eq!(spec("Localhost:80"), spec("localhost:80"));
        assert_ne!(spec("80-80"), spec("80"), "it is a range");
        assert_eq!(spec("[0:0::1]:80"), spec("[::1]:80"));
    }

    #[test]
    fn each_invalid_port_has_its_own_error() {
        let error = |text: &str| text.parse::<PortSpec>().unwrap_err();
        for text in [
            "", "0", "65536", "-1", "+80", "80-", "-80", "http", " 80", "8080x", "0-80", "1-0",
        ] {
            assert_eq!(error(text), PortSpecError::Port, "{text:?}");
        }
        assert_eq!(error("80-79"), PortSpecError::Range);
        assert_eq!(error("80/sctp"), PortSpecError::Protocol);
        assert_eq!(error("80/"), PortSpecError::Protocol);
        for text in [
            "fe80::1:80",
            "::1:80",
            "[127.0.0.1]:80",
            "[::1:80",
            "1.2.3:80",
        ] {
            assert_eq!(error(text), PortSpecError::Address, "{text:?}");
        }
        for text in ["localhost.:80", "db-1.svc_a:80"] {
            assert_eq!(error(text), PortSpecError::Name, "{text:?}");
        }
        assert_eq!(error(":80"), PortSpecError::NoAddress);
        for text in [
            "127.0.0.1",
            "[::1]",
            "*",
            "localhost",
            "tcp",
            "UDP",
            "[::]/tcp",
        ] {
            assert_eq!(error(text), PortSpecError::NoPort, "{text:?}");
        }
        assert_eq!(error("80,443"), PortSpecError::Commas);
        assert_eq!(error("127.0.0.1:"), PortSpecError::Port);
    }

    #[test]
    fn ports_match_by_number_protocol_and_address() {
        let web = listener(Protocol::Tcp, "127.0.0.1", 8080);
        for text in [
            "8080",
            "8000-8080",
            "8080/tcp",
            "127.0.0.1:8080",
            "localhost:8080",
        ] {
            assert!(spec(text).matches(&web), "{text}");
        }
        for text in [
            "80",
            "8081-9000",
            "8080/udp",
            "127.0.0.2:8080",
            "*:8080",
            "[::1]:8080",
        ] {
            assert!(!spec(text).matches(&web), "{text}");
        }
        assert!(spec("*:53").matches(&listener(Protocol::Udp, "::", 53)));
        assert!(spec("0.0.0.0:53").matches(&listener(Protocol::Udp, "0.0.0.0", 53)));
        assert!(!spec("0.0.0.0:53").matches(&listener(Protocol::Udp, "::", 53)));
        let is_localhost =
            |address: &str| spec("localhost:53").matches(&listener(Protocol::Udp, address, 53));
        assert!(is_localhost("::1") && !is_localhost("127.0.0.2") && !is_localhost("::"));
    }

    fn required(text: &str) -> RequiredPort {
        RequiredPort::new(spec(text)).unwrap()
    }

    #[test]
    fn a_port_is_served_by_its_address_or_a_wildcard() {
        let serves = |text: &str, address: &str| {
            required(text).is_served_by(&listener(Protocol::Tcp, address, 80)) == Serves::Yes
        };
        for address in ["127.0.0.1", "0.0.0.0", "::1", "::", "10.0.0.1"] {
            assert!(serves("80", address), "{address}");
        }
        for (text, yes, no) in [
            (
                "127.0.0.1:80",
                &["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"][..],
                &["127.0.0.2", "::1"][..],
            ),
            ("[::1]:80", &["::1", "::"], &["::2", "0.0.0.0", "127.0.0.1"]),
            ("[::ffff:127.0.0.1]:80", &["127.0.0.1", "0.0.0.0"], &["::1"]),
            ("0.0.0.0:80", &["0.0.0.0"], &["127.0.0.1", "::1"]),
            ("*:80", &["0.0.0.0", "::"], &["127.0.0.1", "::1"]),
        ] {
            for address in yes {
                assert!(serves(text, address), "{text} {address}");
            }
            for address in no {
                assert!(!serves(text, address), "{text} {address}");
            }
        }
    }

    #[test]
    fn listeners_on_other_ports_do_not_serve_a_port() {
        let serves = |protocol, text| required(text).is_served_by(&listener(protocol, "::", 80));
        assert_eq!(serves(Protocol::Tcp, "81"), Serves::No);
        assert_eq!(serves(Protocol::Udp, "80"), Serves::No);
        assert_eq!(serves(Protocol::Udp, "80/udp"), Serves::Yes);
    }

    #[test]
    fn the_ipv6_wildcard_serves_ipv4_unless_it_is_v6only() {
        let wildcard = |v6_only| Listener {
            v6_only,
            ..listener(Protocol::Tcp, "::", 80)
        };
        for text in ["127.0.0.1:80", "0.0.0.0:80", "[::ffff:10.0.0.1]:80"] {
            let serves = |v6_only| required(text).is_served_by(&wildcard(v6_only));
            assert_eq!(serves(Some(false)), Serves::Yes, "{text}");
            assert_eq!(serves(Some(true)), Serves::No, "{text}");
            assert_eq!(serves(None), Serves::IfNotV6Only, "{text}");
        }
        for text in ["80", "[::]:80", "[::1]:80"] {
            for v6_only in [Some(false), Some(true), None] {
                assert_eq!(
                    required(text).is_served_by(&wildcard(v6_only)),
                    Serves::Yes,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_star_is_served_by_wildcards_that_accept_ipv4() {
        for (address, v6_only, expected) in [
            ("0.0.0.0", None, Serves::Yes),
            ("::ffff:0.0.0.0", Some(true), Serves::Yes),
            ("::", Some(false), Serves::Yes),
            ("::", None, Serves::Yes),
            ("::", Some(true), Serves::No),
            ("127.0.0.1", None, Serves::No),
        ] {
            let listener = Listener {
                v6_only,
                ..listener(Protocol::Tcp, address, 80)
            };
            let serves = required("*:80").is_served_by(&listener);
            assert_eq!(serves, expected, "{listener:?}");
        }
    }

    #[test]
    fn a_star_matches_every_wildcard_address() {
        for (address, is_wildcard) in ADDRESSES {
            let listener = listener(Protocol::Tcp, address, 80);
            assert_eq!(spec("*:80").matches(&listener), is_wildcard, "{address}");
        }
    }

    #[test]
    fn a_star_is_blocked_by_every_listener_on_the_port() {
        for (address, _) in ADDRESSES {
            for v6_only in [None, Some(false), Some(true)] {
                let listener = Listener {
                    v6_only,
                    ..listener(Protocol::Tcp, address, 80)
                };
                let blocks = required("*:80").is_blocked_by(&listener);
                assert_eq!(blocks, Serves::Yes, "{listener:?}");
            }
        }
    }

    /// Addresses, with whether each is a wildcard address.
    const ADDRESSES: [(&str, bool); 4] = [
        ("0.0.0.0", true),
        ("::ffff:0.0.0.0", false),
        ("::", true),
        ("127.0.0.1", false),
    ];

    #[test]
    fn a_range_is_served_by_any_of_its_ports() {
        let range = RequiredPort::one_of(spec("80-90"));
        for (port, is_inside) in [
            (1, false),
            (79, false),
            (80, true),
            (85, true),
            (90, true),
            (95, false),
        ] {
            let serves = range.is_served_by(&listener(Protocol::Tcp, "::1", port));
            assert_eq!(serves == Serves::Yes, is_inside, "{port}");
        }
    }

    #[test]
    fn distance_is_measured_to_the_nearer_end() {
        let range = RequiredPort::one_of(spec("80-90"));
        for (port, distance) in [(1, 79), (79, 1), (80, 0), (85, 0), (90, 0), (95, 5)] {
            assert_eq!(range.distance(port), distance, "{port}");
        }
    }

    #[test]
    fn required_ports_display_their_protocol() {
        let range = RequiredPort::one_of(spec("80-90"));
        assert_eq!(range.to_string(), "80-90/tcp");
        assert_eq!(required("127.0.0.1:80").to_string(), "127.0.0.1:80/tcp");
    }

    #[test]
    fn a_required_port_cannot_be_a_range() {
        for text in ["80-81", "80-80"] {
            let range = RequiredPort::new(spec(text));
            assert_eq!(range, Err(PortSpecError::RangeNotAllowed));
        }
    }

    #[test]
    fn can_be_in_rejects_tables_that_cannot_serve() {
        let tables = |text: &str| {
            let port = required(text);
            let tables = SocketTable::ALL
                .into_iter()
                .filter(|t| port.can_be_in(*t, Effect::Serves));
            Vec::from_iter(tables.map(SocketTable::name))
        };
        assert_eq!(tables("80"), ["tcp", "tcp6"]);
        assert_eq!(tables("127.0.0.1:80"), ["tcp", "tcp6"]);
        assert_eq!(tables("[::1]:80"), ["tcp6"]);
        assert_eq!(tables("80/udp"), ["udp", "udp6"]);
    }

    #[test]
    fn ipv4_listeners_block_no_ipv6_address_but_wildcard() {
        let can_be_blocked = |text: &str| {
            let port = RequiredPort::one_of(spec(text));
            SocketTable::ALL
                .into_iter()
                .any(|t| t.family == Family::V4 && port.can_be_in(t, Effect::Blocks))
        };
        assert!(can_be_blocked("[::]:80") && !can_be_blocked("[::1]:80"));
    }

    #[test]
    fn filters_need_a_port_and_every_other_condition() {
        let web = listener(Protocol::Tcp, "::1", 80);
        let filter = |protocol, family, ports: &[&str]| Filter {
            protocol,
            family,
            ports: ports.iter().map(|text| spec(text)).collect(),
            ..Filter::default()
        };
        assert!(Filter::default().matches(&web));
        assert!(filter(None, None, &["443", "80"]).matches(&web));
        assert!(!filter(None, None, &["443"]).matches(&web));
        assert!(!filter(Some(Protocol::Udp), None, &["80"]).matches(&web));
        assert!(!filter(None, Some(Family::V4), &["80"]).matches(&web));
        assert!(filter(Some(Protocol::Tcp), Some(Family::V6), &[]).matches(&web));
    }

    #[test]
    fn loopback_addresses_of_all_kinds_are_excluded() {
        let filter = Filter {
            excludes_loopback: true,
            ..Filter::default()
        };
        for (address, is_loopback) in [
            ("127.0.0.1", true),
            ("127.0.0.11", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
            ("fe80::1", false),
        ] {
            let listener = listener(Protocol::Udp, address, 53);
            assert_eq!(filter.matches(&listener), !is_loopback, "{address}");
        }
    }

    #[test]
    fn excluded_ports_override_requested_ports() {
        let matches = |protocol, port| {
            let filter = Filter {
                ports: vec![spec("80-90")],
                excluded: vec![spec("80/udp"), spec("85-86"), spec("[::2]:88")],
                ..Filter::default()
            };
            filter.matches(&listener(protocol, "::1", port))
        };
        for (port, tcp, udp) in [
            (79, false, false),
            (80, true, false),
            (86, false, false),
            (88, true, true),
        ] {
            assert_eq!(matches(Protocol::Tcp, port), tcp, "{port}");
            assert_eq!(matches(Protocol::Udp, port), udp, "{port}");
        }
    }
}
