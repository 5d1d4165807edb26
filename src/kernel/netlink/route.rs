//! Finds out whether an address belongs to this network namespace or to an interface, with
//! rtnetlink(7).

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use super::client::Client;
use super::layout::layout;
use super::link::interface_index;
use super::message::{
    Amount, AnswerError, Attributes, MessageTypes, number_attribute, push_attribute,
};
use crate::kernel::proc::file::read_some;
use crate::kernel::socket::{AF_INET, AF_INET6};
use crate::listener::Protocol;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const ROUTE: MessageTypes = MessageTypes {
    request: RTM_GETROUTE,
    answer: RTM_NEWROUTE,
};
const ADDRESS: MessageTypes = MessageTypes {
    request: RTM_GETADDR,
    answer: RTM_NEWADDR,
};

layout! {
    /// `struct rtmsg` of `linux/rtnetlink.h`: a route. Attributes follow.
    RtMsg, 12 bytes:
    rtm_family: u8 = 0..1,
    rtm_dst_len: u8 = 1..2,
    rtm_src_len: u8 = 2..3,
    rtm_tos: u8 = 3..4,
    rtm_table: u8 = 4..5,
    rtm_protocol: u8 = 5..6,
    rtm_scope: u8 = 6..7,
    rtm_type: u8 = 7..8,
    rtm_flags: u32 = 8..12,
}

const RTM_F_FIB_MATCH: u32 = 0x2000;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTN_LOCAL: u8 = 2;
const RTN_MULTICAST: u8 = 5;

const ENODEV: i32 = 19;

/// The index of `lo` in every network namespace (`net/flow.h` of the kernel).
const LOOPBACK_IFINDEX: u32 = 1;

layout! {
    /// `struct ifaddrmsg` of `linux/if_addr.h`: an address of an interface. Attributes
    /// follow.
    IfAddrMsg, 8 bytes:
    ifa_family: u8 = 0..1,
    ifa_prefixlen: u8 = 1..2,
    ifa_flags: u8 = 2..3,
    ifa_scope: u8 = 3..4,
    ifa_index: u32 = 4..8,
}

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Whether a socket can be bound to every address of the family of `address`, even to an
/// address that does not belong to this network namespace (`ip_nonlocal_bind`).
pub fn binds_any(address: IpAddr) -> bool {
    let setting = match address {
        IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_nonlocal_bind",
        IpAddr::V6(_) => "/proc/sys/net/ipv6/ip_nonlocal_bind",
    };
    let setting = read_some(setting.as_ref());
    setting.is_ok_and(|setting| setting.starts_with(b"1"))
}

/// Whether a socket of `protocol` can be bound to `address`, because the address belongs to
/// this network namespace. A UDP socket can be bound to broadcast and multicast addresses, too.
/// True if the kernel does not answer.
pub fn is_own(address: IpAddr, protocol: Protocol) -> bool {
    let is_udp = protocol == Protocol::Udp;
    // No route is needed to bind to these addresses. The broadcast address of a network is
    // looked up below, because it has a route.
    if address.is_loopback()
        || address.is_unspecified()
        || is_udp && (address.is_multicast() || address == Ipv4Addr::BROADCAST)
    {
        return true;
    }
    belongs(&mut Client::route(), address, protocol, None).unwrap_or(true)
}

/// Whether a connection or datagram from this network namespace to `address` reaches a socket
/// that is bound to `interface`. `None` if the kernel does not answer.
///
/// Packets to a local address pass through `lo`, but the kernel looks up the socket as if they
/// had arrived on the interface that has the address.
pub fn reaches(address: IpAddr, protocol: Protocol, interface: &str) -> Option<bool> {
    let interface = interface_index(interface)?;
    let client = &mut Client::route();
    // A link-local address can belong to several interfaces, and the sender chooses one of
    // them. A route lookup without an interface therefore proves nothing.
    let needs_scope = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if !needs_scope
        && let Ok((RTN_LOCAL, owner)) = ask_route(client, address, RTM_F_FIB_MATCH, None)
        // Before Linux 4.14, the route named `lo` instead of the interface with the address.
        && (owner != LOOPBACK_IFINDEX || address.is_loopback())
    {
        return Some(owner == interface);
    }
    // The address may belong to a VRF. Its routes are used only by packets from its own
    // interfaces.
    belongs(client, address, protocol, Some(interface))
}

/// Whether `address` belongs to `interface`, or to any interface if `interface` is `None`. A
/// VRF has the addresses of its interfaces. `None` if the kernel does not answer.
///
/// The answer is no only if neither the route nor the address list says yes. The list is not
/// enough, because a route can make a whole network local. The route is not enough, either: a
/// routing rule may select a route that is not local, a VRF has its own routes, and gVisor
/// reports every route as a unicast route.
fn belongs(
    client: &mut Client,
    address: IpAddr,
    protocol: Protocol,
    interface: Option<u32>,
) -> Option<bool> {
    let last = match protocol {
        Protocol::Tcp => RTN_LOCAL,
        Protocol::Udp => RTN_MULTICAST,
    };
    client.open().ok()?;
    match ask_route(client, address, 0, interface) {
        Ok((kind, _)) if (RTN_LOCAL..=last).contains(&kind) => return Some(true),
        Ok(_) => {}
        // There is no route, or the type of the route is unreachable, blackhole or prohibit, or
        // the interface no longer exists.
        Err(AnswerError::Io(error))
            if error.raw_os_error() == Some(ENODEV)
                || matches!(
                    error.kind(),
                    ErrorKind::NetworkUnreachable
                        | ErrorKind::HostUnreachable
                        | ErrorKind::InvalidInput
                        | ErrorKind::PermissionDenied
                ) => {}
        Err(_) => return None,
    }
    is_listed(client, &octets(address), interface).ok()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The type of the route to `address`, and the index of its interface or 0. With `interface`,
/// looks up the route for a sender that is bound to that interface.
fn ask_route(
    client: &mut Client,
    address: IpAddr,
    flags: u32,
    interface: Option<u32>,
) -> Result<(u8, u32), AnswerError> {
    let octets = octets(address);
    let message = RtMsg {
        rtm_flags: flags,
        rtm_family: match octets.len() {
            4 => AF_INET,
            _ => AF_INET6,
        },
        rtm_dst_len: 8 * octets.len() as u8,
        ..RtMsg::default()
    };
    let mut request = message.bytes().to_vec();
    push_attribute(&mut request, RTA_DST, &octets);
    if let Some(interface) = interface {
        request.extend(number_attribute(RTA_OIF, interface));
    }
    let mut found = (0, 0);
    let mut take = |route: &[u8]| {
        let (route, attributes) = RtMsg::split(route)?;
        let interface = Attributes(attributes).number(RTA_OIF);
        found = (route.rtm_type, interface.unwrap_or(0));
        Some(())
    };
    client.ask(ROUTE, Amount::One, &request, &mut take)?;
    Ok(found)
}

/// Whether the address in `octets` is in the address list of `interface`, or of any interface
/// if `interface` is `None`.
fn is_listed(
    client: &mut Client,
    octets: &[u8],
    interface: Option<u32>,
) -> Result<bool, AnswerError> {
    let mut is_listed = false;
    let mut take = |row: &[u8]| {
        let (row, attributes) = IfAddrMsg::split(row)?;
        let matches = |kind| Attributes(attributes).get(kind) == Some(octets);
        is_listed |= interface.is_none_or(|index| index == row.ifa_index)
            && (matches(IFA_LOCAL) || matches(IFA_ADDRESS));
        Some(())
    };
    let request = IfAddrMsg::default().bytes();
    client.ask(ADDRESS, Amount::Dump, &request, &mut take)?;
    Ok(is_listed)
}
