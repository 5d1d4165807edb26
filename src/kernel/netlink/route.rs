//! rtnetlink(7): whether an address is this network namespace's own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use super::client::Client;
use super::layout::layout;
use super::message::{Amount, AnswerError, Attributes, Kinds, push_attribute};
use crate::kernel::proc::process::read_some;
use crate::kernel::socket::{AF_INET, AF_INET6};
use crate::listener::Protocol;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const ROUTE: Kinds = Kinds {
    request: RTM_GETROUTE,
    answer: RTM_NEWROUTE,
};
const ADDRESS: Kinds = Kinds {
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

const RTA_DST: u16 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_MULTICAST: u8 = 5;

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
///
/// It takes both the route and the list of addresses to say no. Only a route tells that a
/// whole network is local. But rules may find another route to an own address than the
/// local one, a VRF has routes of its own, and gVisor calls every route a unicast one.
pub fn is_own(address: IpAddr, protocol: Protocol) -> bool {
    let is_udp = protocol == Protocol::Udp;
    // These need no route. Routes know the broadcast address of a network.
    if address.is_loopback()
        || address.is_unspecified()
        || is_udp && (address.is_multicast() || address == Ipv4Addr::BROADCAST)
    {
        return true;
    }
    let octets = &match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mut client = Client::of_route();
    if client.open().is_err() {
        return true;
    }
    let last = if is_udp { RTN_MULTICAST } else { RTN_LOCAL };
    match type_of_route(&mut client, octets) {
        Ok(kind) if (RTN_LOCAL..=last).contains(&kind) => return true,
        Ok(_) => {}
        // There is no route, or one that says so: unreachable, a blackhole, prohibited.
        Err(AnswerError::Io(error))
            if matches!(
                error.kind(),
                ErrorKind::NetworkUnreachable
                    | ErrorKind::HostUnreachable
                    | ErrorKind::InvalidInput
                    | ErrorKind::PermissionDenied
            ) => {}
        Err(_) => return true,
    }
    is_listed(&mut client, octets).unwrap_or(true)
}

/// The type of the route to an address.
fn type_of_route(client: &mut Client, octets: &[u8]) -> Result<u8, AnswerError> {
    let message = RtMsg {
        rtm_family: match octets.len() {
            4 => AF_INET,
            _ => AF_INET6,
        },
        rtm_dst_len: 8 * octets.len() as u8,
        ..RtMsg::default()
    };
    let mut request = message.bytes().to_vec();
    push_attribute(&mut request, RTA_DST, octets);
    let mut kind = 0;
    let mut take = |route: &[u8]| {
        let (route, _) = RtMsg::split(route)?;
        kind = route.rtm_type;
        Some(())
    };
    client.ask(ROUTE, Amount::One, &request, &mut take)?;
    Ok(kind)
}

/// Whether an interface has this address.
fn is_listed(client: &mut Client, octets: &[u8]) -> Result<bool, AnswerError> {
    let mut is_listed = false;
    let mut take = |row: &[u8]| {
        let (_, attributes) = IfAddrMsg::split(row)?;
        let is_it = |kind| Attributes(attributes).get(kind) == Some(octets);
        is_listed |= is_it(IFA_LOCAL) || is_it(IFA_ADDRESS);
        Some(())
    };
    let request = IfAddrMsg::default().bytes();
    client.ask(ADDRESS, Amount::Dump, &request, &mut take)?;
    Ok(is_listed)
}
