//! Reads the values that conditions compare with: addresses, ports, marks and interfaces.

use std::net::{IpAddr, Ipv4Addr};

use super::number::integer;
use super::words::Comparison;
use super::{ANY_PORT, Condition, End, Network};
use crate::as_ss::ask::selection::{AddressFamily, Kind, Selection};
use crate::as_ss::names::protocols;
use crate::as_ss::names::services::Services;
use crate::error::UsageError;
use crate::kernel::netlink::link::interface_index;
use crate::listener::Protocol;

/// Reads values. Their meaning depends on the options and on the names of ports.
#[derive(Debug)]
pub struct Values<'a> {
    /// The sockets that the options select. A family before a value narrows the selection.
    pub selection: &'a mut Selection,
    /// The names of ports.
    pub services: &'a Services,
}

impl Values<'_> {
    /// The condition that `end` has the address in `text`. If a port follows the address, `end`
    /// must have that port, too.
    ///
    /// # Errors
    /// Fails if `text` is not an address, or is an address that is not supported.
    pub fn address(&mut self, end: End, text: &str) -> Result<Condition, UsageError> {
        let (value, family) = self.narrow(text);
        match family.filter(|family| !is_read_as_ip(*family)) {
            None => {
                let (host, port) =
                    split_port(value).ok_or_else(|| refusal(text, "no ] follows the address"))?;
                let network = match host.starts_with('*') || host.is_empty() {
                    true => None,
                    false => Some(self.network(host)?),
                };
                Ok(Condition::Is(end, self.ip_port(port)?, network))
            }
            Some(AddressFamily::Unix) => like(end, text, value),
            Some(family) => {
                let (address, port) = value.split_once(':').unwrap_or((value, "*"));
                let network = numbered_network(address, family)
                    .ok_or_else(|| refusal(text, "no such address"))?;
                let port = other_port(text, port, family)?;
                Ok(Condition::Is(end, port, Some(network)))
            }
        }
    }

    /// The condition that `comparison` holds between the port of `end` and the port in `text`.
    ///
    /// # Errors
    /// Fails if `text` is not a port, or is a port that is not supported.
    pub fn port(
        &mut self,
        end: End,
        comparison: Comparison,
        text: &str,
    ) -> Result<Condition, UsageError> {
        let (value, family) = self.narrow(text);
        let equal = match family.filter(|family| !is_read_as_ip(*family)) {
            None => Condition::Is(end, self.ip_port(value)?, None),
            Some(AddressFamily::Unix) => like(end, text, value)?,
            Some(family) => {
                let port = value.strip_prefix(':').unwrap_or(value);
                let port = other_port(text, port, family)?;
                Condition::Is(end, port, Some(Network::any(Some(family))))
            }
        };
        let port = match equal {
            Condition::Is(_, port, _) => port,
            _ => ANY_PORT,
        };
        let negate = |condition| Condition::Not(Box::new(condition));
        Ok(match comparison {
            Comparison::Equal => equal,
            Comparison::NotEqual => negate(equal),
            Comparison::AtLeast => Condition::AtLeast(end, port),
            Comparison::AtMost => Condition::AtMost(end, port),
            Comparison::More => negate(Condition::AtMost(end, port)),
            Comparison::Less => negate(Condition::AtLeast(end, port)),
        })
    }

    /// Splits `FAMILY:VALUE` or `VALUE`, and returns the value and its family. If the text
    /// contains no family, this is the last family that was specified before, if any. As in ss,
    /// the selection is then narrowed to that family.
    fn narrow<'a>(&mut self, text: &'a str) -> (&'a str, Option<AddressFamily>) {
        let named = text
            .split_once(':')
            .and_then(|(name, value)| Some((value, AddressFamily::named(name)?)));
        let (value, family) = match named {
            Some((_, AddressFamily::Tipc | AddressFamily::Xdp)) | None => {
                (text, self.selection.last_family)
            }
            Some((value, family)) => (value, Some(family)),
        };
        if let Some(family) = family {
            self.selection.only_family(family);
        }
        (value, family)
    }

    /// Reads `PORT` or `:PORT`. The empty string and `*` mean any port.
    fn ip_port(&self, text: &str) -> Result<i32, UsageError> {
        let text = text.strip_prefix(':').unwrap_or(text);
        if text.is_empty() || text.starts_with('*') {
            return Ok(ANY_PORT);
        }
        let refuse = |why| Err(refusal(text, why));
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
            (Some(udp), Some(tcp)) if udp != tcp => refuse("not the same port for UDP as for TCP"),
            (Some(port), _) | (None, Some(port)) => Ok(i32::from(port)),
            (None, None) => refuse("neither a port nor a service of /etc/services"),
        }
    }

    /// Reads `ADDRESS` or `ADDRESS/BITS`.
    fn network(&self, text: &str) -> Result<Network, UsageError> {
        let requested = self.selection.last_family;
        if let "any" | "all" | "default" = text {
            return Ok(Network::any(requested));
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let why = "not an address or a network (write IPv6 in brackets)";
        let refuse = || refusal(text, why);
        let address: IpAddr = match address.contains(':') {
            true => IpAddr::V6(address.parse().map_err(|_| refuse())?),
            false => IpAddr::V4(parse_v4(address).ok_or_else(refuse)?),
        };
        let (family, max_bits) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        if requested.is_some_and(|requested| requested != family) {
            return Err(refusal(text, "not of the family asked for"));
        }
        let bits = match bits {
            None => max_bits,
            Some(bits) => match integer(bits) {
                Some(bits @ 0..) if bits <= max_bits => bits,
                _ => return Err(refuse()),
            },
        };
        Ok(Network {
            family: Some(family),
            octets: super::octets(address),
            bits: bits as usize,
        })
    }
}

/// Reads `MARK` or `MARK/MASK`, and returns both numbers. Without a mask, all bits are
/// compared.
pub fn mark(text: &str) -> Option<(u32, u32)> {
    let number = |text| integer(text).map(|number| number as u32);
    match text.split_once('/') {
        None => Some((number(text)?, u32::MAX)),
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
    }
}

/// Reads the name or the index of an interface, and returns the index.
pub fn interface(text: &str) -> Option<u32> {
    interface_index(text).or_else(|| integer(text)?.try_into().ok())
}

/// Creates the error that refuses `text` for the reason `why`.
pub fn refusal(text: &str, why: &str) -> UsageError {
    UsageError::ss(format!("{text}: {why}"))
}

/// The condition that the name of a Unix socket matches `pattern`. Fails if the pattern
/// contains named character classes, which are not supported. `text` is the whole value, for
/// the error message.
fn like(end: End, text: &str, pattern: &str) -> Result<Condition, UsageError> {
    let is_class = |pair: &[u8]| matches!(pair, [b'[', b':' | b'.' | b'=']);
    if pattern.as_bytes().windows(2).any(is_class) {
        return Err(refusal(text, "named character classes are not supported"));
    }
    Ok(Condition::IsLike(end, pattern.into()))
}

/// Reads the value that families without IP addresses use in place of an address: a protocol,
/// or the number of a virtual machine. As in ss, the number of a virtual machine matches every
/// socket.
fn numbered_network(text: &str, family: AddressFamily) -> Option<Network> {
    let any = Network::any(Some(family));
    let number = match (text, family) {
        ("" | "*", _) => return Some(any),
        (_, AddressFamily::Packet) => protocols::link_number(text)?,
        (_, AddressFamily::Netlink) => protocols::netlink_number(text)?,
        _ => return u32::try_from(integer(text)?).ok().map(|_| any),
    };
    Some(Network {
        family: Some(family),
        octets: super::octets_of_number(number),
        bits: 32,
    })
}

/// Whether values of this family are read as IP addresses and ports. As in ss, this includes
/// TIPC and XDP, because their values have no syntax of their own.
fn is_read_as_ip(family: AddressFamily) -> bool {
    use AddressFamily::{Inet, Inet6, Tipc, Xdp};
    matches!(family, Inet | Inet6 | Tipc | Xdp)
}

/// Reads the value that families without IP ports use in place of a port: an interface, a
/// process, or a number.
fn other_port(text: &str, port: &str, family: AddressFamily) -> Result<i32, UsageError> {
    let is_unsigned = family == AddressFamily::Vsock;
    if port == "*" || port.is_empty() && !is_unsigned {
        return Ok(ANY_PORT);
    }
    let number = integer(port).and_then(|number| match is_unsigned {
        // ss stores this unsigned number as a signed `int`.
        true => u32::try_from(number).ok().map(|number| number as i32),
        false => i32::try_from(number).ok(),
    });
    let named = || match family {
        AddressFamily::Packet => interface_index(port)?.try_into().ok(),
        AddressFamily::Netlink if port == "kernel" => Some(0),
        _ => None,
    };
    let why = || refusal(text, "no such port");
    number.or_else(named).ok_or_else(why)
}

/// Splits `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT` into the address and the rest. `None`
/// if there is no closing bracket.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']');
    }
    if text.starts_with('*') {
        return Some(text.split_at(1));
    }
    // In an IPv6 network without brackets, a port can come only after the number of bits.
    let start = text.find('/').unwrap_or(0);
    let colon = text[start..]
        .rfind(':')
        .map_or(text.len(), |index| start + index);
    Some(text.split_at(colon))
}

/// Reads an IPv4 address of one to four numbers. Numbers that are missing are zero.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (index, number) in text.split('.').enumerate() {
        *octets.get_mut(index)? = u8::try_from(integer(number)?).ok()?;
    }
    Some(octets.into())
}
