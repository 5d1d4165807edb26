//! rtnetlink(7): whether an address is this network namespace's own.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use super::message::{AnswerError, attribute};
use super::{NETLINK_ROUTE, SocketLists};
use crate::kernel::proc::process::read_some;
use crate::listener::Protocol;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_MULTICAST: u8 = 5;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

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
    let Ok(mut lists) = SocketLists::of(NETLINK_ROUTE) else {
        return true;
    };
    // `struct rtmsg`, the header of an attribute, and the address.
    let mut request = [0; 12 + 4 + 16];
    let (family, length) = match address {
        IpAddr::V4(v4) => {
            request[16..20].copy_from_slice(&v4.octets());
            (AF_INET, 4)
        }
        IpAddr::V6(v6) => {
            request[16..].copy_from_slice(&v6.octets());
            (AF_INET6, 16)
        }
    };
    request[..2].copy_from_slice(&[family, length * 8]);
    let header = [u16::from(length) + 4, RTA_DST].map(u16::to_ne_bytes);
    request[12..16].copy_from_slice(header.as_flattened());
    let request = &request[..16 + usize::from(length)];
    let octets = &request[16..];

    let last = if is_udp { RTN_MULTICAST } else { RTN_LOCAL };
    let mut is_own = false;
    let mut take = |route: &[u8]| {
        is_own = (RTN_LOCAL..=last).contains(route.get(7)?);
        Some(())
    };
    match lists.ask([RTM_GETROUTE, RTM_NEWROUTE], false, request, &mut take) {
        Ok(()) if is_own => return true,
        Ok(()) => {}
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
    let mut take = |row: &[u8]| {
        let attributes = row.get(8..)?;
        let is_it = |kind| attribute(attributes, kind) == Some(octets);
        is_own |= is_it(IFA_LOCAL) || is_it(IFA_ADDRESS);
        Some(())
    };
    let all = lists.ask([RTM_GETADDR, RTM_NEWADDR], true, &[0; 8], &mut take);
    all.is_err() || is_own
}
