//! The PORT argument, `[ADDRESS:]PORT[-PORT][/PROTO]`, and the filter that
//! PORTs and the family and protocol options make.

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
    /// Written as a range, even if of one port.
    is_range: bool,
    protocol: Option<Protocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressSpec {
    /// `*`: the wildcard of either family, as output spells it.
    Wildcard,
    /// `localhost`: one of [`LOCALHOST`].
    Localhost,
    Exactly(IpAddr),
}

/// What `localhost` stands for. Programs disagree on which of the two comes first.
const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
const LOCALHOST_NAME: &str = "localhost";

/// Why a PORT argument was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSpecError {
    /// The address is no IPv4 address, bracketed IPv6 address, `*` or `localhost`.
    Address,
    /// A name instead of an address.
    Name,
    /// A colon without an address before it.
    NoAddress,
    /// An address or a protocol without a port.
    NoPort,
    /// Several ports, with commas between them.
    Commas,
    /// The port is no number from 1 to 65535.
    Port,
    /// The range ends before it starts.
    Range,
    /// A range, where only a single port is taken.
    RangeNotAllowed,
    /// The protocol is neither `tcp` nor `udp`.
    Protocol,
    /// A Unix socket without an absolute path or an abstract name.
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

/// In either case, as Docker's `EXPOSE` takes it.
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
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    address
        .map(AddressSpec::Exactly)
        .ok_or(match text.as_bytes().first() {
            None => PortSpecError::NoAddress,
            Some(first) if first.is_ascii_alphabetic() && text.bytes().all(is_of_name) => {
                PortSpecError::Name
            }
            Some(_) => PortSpecError::Address,
        })
}

/// Digits only: `u16::from_str` would also take a sign.
fn parse_port(text: &str) -> Result<u16, PortSpecError> {
    text.parse()
        .ok()
        .filter(|&port| port != 0 && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or(PortSpecError::Port)
}

/// The two ports that stand in `file`, as in the kernel's
/// `sys/net/ipv4/ip_local_port_range`.
pub fn read_range(file: &Path) -> Option<RangeInclusive<u16>> {
    let text = String::from_utf8(read_some(file).ok()?).ok()?;
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

impl PortSpec {
    /// These ports of `protocol`, on any address.
    pub fn range(ports: RangeInclusive<u16>, protocol: Protocol) -> PortSpec {
        PortSpec {
            address: None,
            ports,
            is_range: true,
            protocol: Some(protocol),
        }
    }

    /// The same, but of `protocol` if it names none.
    pub fn with_default_protocol(&self, protocol: Option<Protocol>) -> PortSpec {
        PortSpec {
            protocol: self.protocol.or(protocol),
            ..self.clone()
        }
    }

    /// Its protocol, if it names one.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The family of its address, if it has one that is not `*` or `localhost`.
    pub fn family(&self) -> Option<Family> {
        match self.address? {
            AddressSpec::Wildcard | AddressSpec::Localhost => None,
            AddressSpec::Exactly(address) => Some(Family::of_address(address)),
        }
    }

    /// Whether `listener` stands on exactly this port or range, on this
    /// address and protocol where they were given.
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

    /// Whether `listener` is on exactly this PORT, of TCP if it names no protocol.
    pub fn allows(&self, listener: &Listener) -> bool {
        self.matches(listener) && (self.protocol.is_some() || listener.protocol == Protocol::Tcp)
    }

    /// Whether `table` can hold a listener that this names.
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

/// A PORT that is asked about, with its protocol: a single port, or one of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredPort {
    address: Option<AddressSpec>,
    ports: RangeInclusive<u16>,
    protocol: Protocol,
}

/// What a listener that is looked for does to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It accepts what is sent to the port.
    Serves,
    /// It keeps a server from binding the port.
    Blocks,
}

/// Whether a listener takes what is sent to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It does if it takes IPv4 on `::`, which its source does not tell.
    IfNotV6Only,
    /// It does if the address belongs to the interface that it is bound to, which the
    /// kernel does not tell.
    IfOnInterface,
}

impl RequiredPort {
    /// The port that `spec` names, of TCP if it names no protocol.
    ///
    /// # Errors
    /// [`PortSpecError::RangeNotAllowed`] if it is a range.
    pub fn new(spec: PortSpec) -> Result<RequiredPort, PortSpecError> {
        match spec.is_range {
            false => Ok(RequiredPort::one_of(spec)),
            true => Err(PortSpecError::RangeNotAllowed),
        }
    }

    /// The ports that `spec` names, of TCP if it names no protocol.
    pub fn one_of(spec: PortSpec) -> RequiredPort {
        RequiredPort {
            address: spec.address,
            ports: spec.ports,
            protocol: spec.protocol.unwrap_or(Protocol::Tcp),
        }
    }

    /// Whether `listener` accepts what is sent to this port from this network namespace:
    /// it [covers](RequiredPort::is_covered_by) the port, and if it is bound to an
    /// interface, the address asked for belongs to that. So it never serves a wildcard.
    pub fn is_served_by(&self, listener: &Listener) -> Serves {
        if self.address == Some(AddressSpec::Localhost) {
            return self.best_of_localhost(|port| port.is_served_by(listener));
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

    /// The best answer for one of the addresses of `localhost`.
    fn best_of_localhost(&self, serves: impl Fn(&RequiredPort) -> Serves) -> Serves {
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

    /// Whether what is sent to this port reaches a socket that is bound to `interface`.
    /// `None` if the kernel does not tell.
    fn reaches(&self, interface: &Interface) -> Option<bool> {
        match (self.address, self.address()) {
            (None, _) => Some(true),
            (_, Some(address)) if !address.is_unspecified() => {
                route::reaches(address, self.protocol, interface.as_str())
            }
            _ => Some(false),
        }
    }

    /// Whether the address of `listener` is the one asked for, or the wildcard of that
    /// family, or `::` if it accepts IPv4 too. An IPv4-mapped address is an IPv4 one. `*`
    /// asks for a wildcard that accepts IPv4, as a published port needs it.
    fn is_covered_by(&self, listener: &Listener) -> Serves {
        let address = listener.endpoint.address.to_canonical();
        let is_v6_wildcard = address == Family::V6.wildcard();
        let is_served = self.is_on(listener)
            && match self.address {
                None => true,
                Some(AddressSpec::Localhost) => {
                    return self.best_of_localhost(|port| port.is_covered_by(listener));
                }
                // Not `IfNotV6Only` where the source does not say: most servers on `::`
                // accept IPv4, and where `/proc` is all there is (gVisor), each of them
                // would be unhealthy. `0.0.0.0` is the strict form.
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

    /// Whether `listener` keeps a server from binding this port. It does if it covers the
    /// port, and also if the port is on a wildcard that covers the address of the listener
    /// (`inet_rcv_saddr_equal` in the kernel). The server is taken for one that is bound to
    /// no interface: it collides with a listener on any (`inet_bind_conflict`).
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

    /// Whether `listener` is on one of these ports, whatever its address.
    pub fn is_on(&self, listener: &Listener) -> bool {
        self.ports.contains(&listener.endpoint.port) && listener.protocol == self.protocol
    }

    /// Its protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How far `port` is from it. 0 if it is this port, or in its range.
    pub fn distance(&self, port: u16) -> u16 {
        let below = self.ports.start().saturating_sub(port);
        below.max(port.saturating_sub(*self.ports.end()))
    }

    /// Whether only a listener that accepts IPv4 serves it: it asks for an IPv4 address,
    /// mapped or not, or for `*`.
    pub fn needs_ipv4(&self) -> bool {
        match self.address() {
            Some(address) => address.is_ipv4(),
            None => self.address == Some(AddressSpec::Wildcard),
        }
    }

    /// The address that it asks for, but `*` and `localhost`.
    pub fn address(&self) -> Option<IpAddr> {
        match self.address? {
            AddressSpec::Wildcard | AddressSpec::Localhost => None,
            AddressSpec::Exactly(address) => Some(address.to_canonical()),
        }
    }

    /// Whether `table` can hold a listener that serves it, or with `to_bind` keeps it. A
    /// listener in an IPv6 table can serve an IPv4 address too, and one in an IPv4 table
    /// can keep one from binding `::`.
    pub fn can_be_in(&self, table: SocketTable, effect: Effect) -> bool {
        let needs_v6 = self.address().is_some_and(|address| {
            address.is_ipv6() && !(effect == Effect::Blocks && address.is_unspecified())
        });
        table.protocol == self.protocol && !(needs_v6 && table.family == Family::V4)
    }

    /// The same ports, but served also by a `::` that may be v6only: on any address, or
    /// on `*` if it asks for a wildcard.
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

/// A PORT that is a Unix socket: `unix:/PATH`, or `unix:@NAME` for an abstract name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket(String);

/// A PORT argument.
pub enum PortArgument {
    /// A port, or a range of them.
    Port(PortSpec),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl UnixSocket {
    /// Its absolute path, or its abstract name after an `@`.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its abstract name, if that is what it has.
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

/// Which listeners are asked for. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The only protocol, if one was named.
    pub protocol: Option<Protocol>,
    /// The only family, if one was named.
    pub family: Option<Family>,
    /// The PORTs of which one must name the listener; empty for all ports.
    pub ports: Vec<PortSpec>,
    /// The PORTs of which none may name it.
    pub excluded: Vec<PortSpec>,
    /// Leave out listeners on a loopback address.
    pub excludes_loopback: bool,
    /// Leave out listeners of these protocols on ports that the kernel chooses by
    /// itself. The source knows these ports and moves them into `excluded`.
    pub excludes_ephemeral: Vec<Protocol>,
}

impl Filter {
    /// Whether `listener` is asked for.
    pub fn matches(&self, listener: &Listener) -> bool {
        let is_named = |spec: &PortSpec| spec.matches(listener);
        let address = listener.endpoint.address.to_canonical();
        self.wants(listener.table())
            && !(self.excludes_loopback && address.is_loopback())
            && (self.ports.is_empty() || self.ports.iter().any(is_named))
            && !self.excluded.iter().any(is_named)
    }

    /// Whether it accepts any listener of `table`.
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
    fn every_form_is_read_and_written_back() {
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
    fn everything_else_is_refused_with_a_reason() {
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
    fn a_spec_names_listeners_by_port_protocol_and_address() {
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
    fn a_required_port_is_served_by_its_address_and_by_the_wildcard_of_its_family() {
        let meets = |text: &str, address: &str| {
            required(text).is_served_by(&listener(Protocol::Tcp, address, 80)) == Serves::Yes
        };
        for address in ["127.0.0.1", "0.0.0.0", "::1", "::", "10.0.0.1"] {
            assert!(meets("80", address), "{address}");
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
                assert!(meets(text, address), "{text} {address}");
            }
            for address in no {
                assert!(!meets(text, address), "{text} {address}");
            }
        }
        let serves = |protocol, text| required(text).is_served_by(&listener(protocol, "::", 80));
        assert_eq!(serves(Protocol::Tcp, "81"), Serves::No);
        assert_eq!(serves(Protocol::Udp, "80"), Serves::No);
        assert_eq!(serves(Protocol::Udp, "80/udp"), Serves::Yes);
    }

    #[test]
    fn the_ipv6_wildcard_serves_ipv4_unless_it_is_v6only() {
        let any = |v6_only| Listener {
            v6_only,
            ..listener(Protocol::Tcp, "::", 80)
        };
        for text in ["127.0.0.1:80", "0.0.0.0:80", "[::ffff:10.0.0.1]:80"] {
            let serves = |v6_only| required(text).is_served_by(&any(v6_only));
            assert_eq!(serves(Some(false)), Serves::Yes, "{text}");
            assert_eq!(serves(Some(true)), Serves::No, "{text}");
            assert_eq!(serves(None), Serves::IfNotV6Only, "{text}");
        }
        for text in ["80", "[::]:80", "[::1]:80"] {
            for v6_only in [Some(false), Some(true), None] {
                assert_eq!(
                    required(text).is_served_by(&any(v6_only)),
                    Serves::Yes,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_star_needs_a_wildcard_not_known_to_be_ipv6_only() {
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
            let port = required("*:80");
            assert_eq!(port.is_served_by(&listener), expected, "{listener:?}");
            assert!(
                spec("*:80").matches(&listener)
                    == address.parse::<IpAddr>().unwrap().is_unspecified()
            );
            assert_eq!(port.is_blocked_by(&listener), Serves::Yes, "{listener:?}");
        }
    }

    #[test]
    fn a_range_is_served_by_any_of_its_ports_and_is_as_far_as_its_nearer_end() {
        let range = RequiredPort::one_of(spec("80-90"));
        for (port, distance) in [(1, 79), (79, 1), (80, 0), (85, 0), (90, 0), (95, 5)] {
            let serves = range.is_served_by(&listener(Protocol::Tcp, "::1", port));
            assert_eq!(serves == Serves::Yes, distance == 0, "{port}");
            assert_eq!(range.distance(port), distance, "{port}");
        }
        assert_eq!(range.to_string(), "80-90/tcp");
    }

    #[test]
    fn a_required_port_is_a_single_one() {
        for text in ["80-81", "80-80"] {
            let range = RequiredPort::new(spec(text));
            assert_eq!(range, Err(PortSpecError::RangeNotAllowed));
        }
        assert_eq!(required("127.0.0.1:80").to_string(), "127.0.0.1:80/tcp");
    }

    #[test]
    fn a_required_port_can_be_in_the_tables_of_its_protocol_and_family() {
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
        let may_keep_from_binding = |text: &str| {
            let port = RequiredPort::one_of(spec(text));
            SocketTable::ALL
                .into_iter()
                .any(|t| t.family == Family::V4 && port.can_be_in(t, Effect::Blocks))
        };
        assert!(may_keep_from_binding("[::]:80") && !may_keep_from_binding("[::1]:80"));
    }

    #[test]
    fn a_filter_joins_its_ports_by_or_and_the_rest_by_and() {
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
    fn loopback_is_excluded_in_every_spelling() {
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
    fn an_excluded_port_outweighs_one_that_is_asked_for() {
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
