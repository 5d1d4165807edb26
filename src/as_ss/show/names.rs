//! The names that are printed in place of numbers, for states, ports, protocols, interfaces,
//! control groups and processes.

use std::borrow::Cow;
use std::path::Path;

use crate::as_ss::ask::request::Show;
use crate::as_ss::names::protocols;
use crate::as_ss::names::services::Services;
use crate::kernel::cgroups::Cgroups;
use crate::kernel::netlink::link::Interfaces;
use crate::kernel::proc::process::name_in_stat;
use crate::listener::{Interface, Protocol};

/// Where the names of the ports of IP sockets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The names come from the lines of `/etc/services` for this protocol, or for any protocol.
    Services(Option<Protocol>),
    /// The names come from `/etc/protocols`, because a raw socket has a protocol in place of a
    /// port.
    Protocols,
}

/// Looks up names. Remembers the names of interfaces for one second, and reads the control
/// groups only once.
#[derive(Debug)]
pub struct Names<'a> {
    /// Where the names of ports come from. As in ss, a kind of socket that does not set this
    /// uses the value of the kind before it.
    pub naming: Naming,
    numeric: bool,
    services: &'a Services,
    proc_root: &'a Path,
    interfaces: Interfaces,
    cgroups: Option<Cgroups>,
}

impl<'a> Names<'a> {
    /// Creates names in the form that `show` requests. The names of processes are read below
    /// `proc_root`.
    pub fn new(show: &Show, services: &'a Services, proc_root: &'a Path) -> Names<'a> {
        Names {
            naming: Naming::Services(None),
            numeric: show.numeric,
            services,
            proc_root,
            interfaces: Interfaces::default(),
            // With -N, ss mounts another /sys, where it cannot find the control groups. We
            // leave them empty to get the same result.
            cgroups: show.in_other_network.then(Cgroups::default),
        }
    }

    /// The name of a port, or `*` for port 0. `None` if the port is shown as a number.
    pub fn port(&self, port: u16) -> Option<Cow<'_, str>> {
        match self.naming {
            _ if port == 0 => Some("*".into()),
            _ if self.numeric => None,
            Naming::Services(protocol) => self.services.name(port, protocol).map(Cow::Borrowed),
            Naming::Protocols => Some(protocols::ip_name(port).into()),
        }
    }

    /// The name of the interface with this index.
    pub fn interface(&mut self, number: u32) -> Interface {
        self.interfaces.name(number)
    }

    /// The path of a control group. `None` if it cannot be found.
    pub fn cgroup(&mut self, number: u64) -> Option<&[u8]> {
        self.cgroups.get_or_insert_with(Cgroups::read).path(number)
    }

    /// The protocol of the packets that a packet socket receives.
    pub fn link_protocol(&self, number: u16) -> String {
        /// The number of the pseudo-protocol that means packets of every protocol.
        const ETH_P_ALL: u16 = 3;
        match number {
            ETH_P_ALL => "*".to_string(),
            _ if self.numeric => format!("[{number}]"),
            _ => protocols::link_name(number),
        }
    }

    /// The protocol of a netlink socket.
    pub fn netlink_protocol(&self, number: u8) -> String {
        match self.numeric {
            true => number.to_string(),
            false => protocols::netlink_name(number),
        }
    }

    /// The name and the id of the process with this netlink port id. `*` for -1, which means no
    /// port, and `kernel` for 0. Only the number with `-n`, or if there is no such process.
    pub fn netlink_port(&self, port: i32) -> Vec<u8> {
        let number = port.to_string();
        match port {
            -1 => b"*".to_vec(),
            _ if self.numeric => number.into(),
            0 => b"kernel".to_vec(),
            1.. => match name_in_stat(&self.proc_root.join(&number)) {
                Ok(mut name) if !name.is_empty() => {
                    name.truncate(63);
                    name.extend(format!("/{number}").bytes());
                    name
                }
                _ => number.into(),
            },
            _ => number.into(),
        }
    }
}

/// The name that ss prints for the state with this number.
pub fn state(number: u8) -> &'static str {
    const STATES: [&str; 12] = [
        "UNKNOWN",
        "ESTAB",
        "SYN-SENT",
        "SYN-RECV",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "TIME-WAIT",
        "UNCONN",
        "CLOSE-WAIT",
        "LAST-ACK",
        "LISTEN",
        "CLOSING",
    ];
    STATES.get(usize::from(number)).unwrap_or(&STATES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_of_ss() {
        assert_eq!((state(7), state(10)), ("UNCONN", "LISTEN"));
    }

    #[test]
    fn a_state_without_a_name_is_unknown() {
        assert_eq!((state(0), state(12)), ("UNKNOWN", "UNKNOWN"));
    }
}
