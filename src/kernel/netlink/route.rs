//! rtnetlink(7): whether an address is this network namespace's own, and whether it
//! belongs to an interface.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use super::client::Client;
use super::layout::layout;
use super::link::interface_index;
use super::message::{Amount, AnswerError, Attributes, MessageTypes, attribute_of, push_attribute};
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

/// Whether a socket can be bound to any address of this one's family, also to one that
/// is not, or not yet, its own.
pub fn binds_any(address: IpAddr) -> bool {
    let setting = match address {
        IpAddr::V4(_) => "/proc/sys/net/ipv4/ip_nonlocal_bind",
        IpAddr::V6(_) => "/proc/sys/net/ipv6/ip_nonlocal_bind",
    };
    let setting = read_some(setting.as_ref());
    setting.is_ok_and(|setting| setting.starts_with(b"1"))
}

/// Whether `address` is this network namespace's own, so that a socket of `protocol` can
/// be bound to it. UDP can be bound to a broadcast or multicast address too. True where
/// the kernel does not tell.
pub fn is_own(address: IpAddr, protocol: Protocol) -> bool {
    let is_udp = protocol == Protocol::Udp;
    // These need no route. Routes know the broadcast address of a network.
    if address.is_loopback()
        || address.is_unspecified()
        || is_udp && (address.is_multicast() || address == Ipv4Addr::BROADCAST)
    {
        return true;
    }
    belongs(&mut Client::route(), address, protocol, None).unwrap_or(true)
}

/// Whether a connection or datagram of this network namespace to `address` finds a socket
/// that is bound to the interface with this name. `None` if the kernel does not tell.
///
/// What is sent to an own address passes through `lo`, but the kernel looks for a socket as
/// if it had come in through the interface that has the address.
pub fn reaches(address: IpAddr, protocol: Protocol, interface: &str) -> Option<bool> {
    let interface = interface_index(interface)?;
    let client = &mut Client::route();
    // A link-local address can belong to several interfaces. The sender chooses one.
    let needs_scope = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if !needs_scope
        && let Ok((RTN_LOCAL, owner)) = ask_route(client, address, RTM_F_FIB_MATCH, None)
        // Before Linux 4.14, `lo` was named in place of the owner.
        && (owner != LOOPBACK_IFINDEX || address.is_loopback())
    {
        return Some(owner == interface);
    }
    // The address may belong to a VRF, whose routes are found only from its interfaces.
    belongs(client, address, protocol, Some(interface))
}

/// Whether `address` belongs to this interface, or to any. A VRF has the addresses of its
/// interfaces. `None` if the kernel does not tell.
///
/// It takes both the route and the list of addresses to say no. Only a route tells that a
/// whole network is local. But rules may find another route to an own address than the
/// local one, a VRF has routes of its own, and gVisor calls every route a unicast one.
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
        // There is no route, or one that says so: unreachable, a blackhole, prohibited. Or
        // the interface is gone.
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

/// The type of the route to an address, and the index of its interface, or 0. If an
/// interface is given, the route is one of a sender that is bound to it.
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
        request.extend(attribute_of(RTA_OIF, interface));
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

/// Whether this interface, or any, has this address.
fn is_listed(
    client: &mut Client,
    octets: &[u8],
    interface: Option<u32>,
) -> Result<bool, AnswerError> {
    let mut is_listed = false;
    let mut take = |row: &[u8]| {
        let (row, attributes) = IfAddrMsg::split(row)?;
        let is_it = |kind| Attributes(attributes).get(kind) == Some(octets);
        is_listed |= interface.is_none_or(|index| index == row.ifa_index)
            && (is_it(IFA_LOCAL) || is_it(IFA_ADDRESS));
        Some(())
    };
    let request = IfAddrMsg::default().bytes();
    client.ask(ADDRESS, Amount::Dump, &request, &mut take)?;
    Ok(is_listed)
}
