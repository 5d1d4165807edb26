//! What is shown in place of numbers: the names of states, ports, protocols, interfaces,
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

/// How the ports of sockets of IP are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By `/etc/services`, for this protocol or for any.
    Services(Option<Protocol>),
    /// By `/etc/protocols`: a raw socket has a protocol in place of a port.
    Protocols,
}

/// Finds names. What was found of interfaces and control groups is kept.
#[derive(Debug)]
pub struct Names<'a> {
    /// How ports are named. ss leaves it as the last table set it.
    pub naming: Naming,
    numeric: bool,
    services: &'a Services,
    proc_root: &'a Path,
    interfaces: Interfaces,
    cgroups: Option<Cgroups>,
}

impl<'a> Names<'a> {
    /// As `show` says: numbers or names, and in which network namespace. `proc_root` is
    /// where processes are.
    pub fn new(show: &Show, services: &'a Services, proc_root: &'a Path) -> Names<'a> {
        Names {
            naming: Naming::Services(None),
            numeric: show.numeric,
            services,
            proc_root,
            interfaces: Interfaces::default(),
            // ss mounts another /sys there, which hides control groups.
            cgroups: show.is_elsewhere.then(Cgroups::default),
        }
    }

    /// The name of a port; `*` for none. `None` if it is shown as a number.
    pub fn port(&self, port: u16) -> Option<Cow<'_, str>> {
        match self.naming {
            _ if port == 0 => Some("*".into()),
            _ if self.numeric => None,
            Naming::Services(protocol) => self.services.name(port, protocol).map(Cow::Borrowed),
            Naming::Protocols => Some(protocols::ip_name(port).into()),
        }
    }

    /// The name of an interface.
    pub fn interface(&mut self, number: u32) -> Interface {
        self.interfaces.name(number)
    }

    /// The path of a control group, if it is known.
    pub fn cgroup(&mut self, number: u64) -> Option<&[u8]> {
        self.cgroups.get_or_insert_with(Cgroups::read).path(number)
    }

    /// The protocol whose packets a socket gets.
    pub fn link_protocol(&self, number: u16) -> String {
        /// It gets every packet.
        const ETH_P_ALL: u16 = 3;
        match number {
            ETH_P_ALL => "*".to_string(),
            _ if self.numeric => format!("[{number}]"),
            _ => protocols::link_name(number),
        }
    }

    /// The protocol of a socket of netlink.
    pub fn netlink_protocol(&self, number: u8) -> String {
        match self.numeric {
            true => number.to_string(),
            false => protocols::netlink_name(number),
        }
    }

    /// The process that a port of netlink stands for, by its name and number.
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

/// What ss calls the state of this number.
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
    fn a_state_without_a_name_is_unknown() {
        assert_eq!((state(7), state(10)), ("UNCONN", "LISTEN"));
        assert_eq!((state(0), state(12)), ("UNKNOWN", "UNKNOWN"));
    }
}
