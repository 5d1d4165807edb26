//! Translates a filter into a program for the kernel, so that the kernel sends only the
//! sockets that match.
//!
//! The kernel does not decide exactly as ss does: it compares address families, and it knows
//! which ports it chose itself. ss therefore applies the filter to the sockets that it
//! receives, too, and so does this program.

use super::{Condition, End, Filter, Join, Network};
use crate::as_ss::ask::selection::AddressFamily;
use crate::kernel::netlink::bytecode::{self, InetDiagHostcond, InetDiagMarkcond, Program};

/// The program for `filter`. `None` if the kernel has no instruction for one of the conditions.
/// In that case, the kernel must send every socket.
pub fn compile(filter: &Filter) -> Option<Program> {
    let mut program = condition(&filter.first)?;
    for (join, next) in &filter.rest {
        let next = condition(next)?;
        match join {
            Join::And => program.and(&next),
            Join::Or => program.or(&next),
        }
    }
    Some(program)
}

fn condition(condition: &Condition) -> Option<Program> {
    let is_peer = |end: &End| *end == End::Peer;
    // An instruction has room for 16 bits of the port.
    let port = |port: &i32| *port as u16;
    Some(Program::from_condition(match condition {
        Condition::Is(end, port, network) => return Some(host(*end, *port, network.as_ref())),
        // The kernel refuses a comparison with Unix sockets. This program sends it
        // nevertheless, because ss does.
        Condition::IsLike(end, _) => {
            let any = Network::any(Some(AddressFamily::Unix));
            return Some(host(*end, 0, Some(&any)));
        }
        Condition::AtLeast(end, number) => bytecode::Condition::PortAtLeast {
            is_peer: is_peer(end),
            port: port(number),
        },
        Condition::AtMost(end, number) => bytecode::Condition::PortAtMost {
            is_peer: is_peer(end),
            port: port(number),
        },
        Condition::Marked { mark, mask } => bytecode::Condition::Mark(InetDiagMarkcond {
            mark: *mark,
            mask: *mask,
        }),
        Condition::InCgroup(number) => bytecode::Condition::Cgroup(*number),
        Condition::AutoBound(_) => bytecode::Condition::AutoBound,
        Condition::Not(inner) => {
            let mut program = self::condition(inner)?;
            program.negate();
            return Some(program);
        }
        Condition::All(filter) => return compile(filter),
        Condition::OnInterface(_) => return None,
    }))
}

fn host(end: End, port: i32, network: Option<&Network>) -> Program {
    let family = network.and_then(|network| network.family);
    let octets = network.map_or([0; 16], |network| network.octets);
    let length = match family {
        Some(AddressFamily::Inet6) => 16,
        _ => 4,
    };
    Program::from_condition(bytecode::Condition::Host {
        is_peer: end == End::Peer,
        host: InetDiagHostcond {
            family: family.map_or(0, AddressFamily::number),
            prefix_len: network.map_or(0, |network| network.bits) as u8,
            port,
        },
        address: &octets[..length],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_interface_are_not_compiled() {
        let filter = |second| Filter {
            first: Condition::AtLeast(End::Local, 1),
            rest: vec![(Join::And, second)],
        };
        assert!(compile(&filter(Condition::AtLeast(End::Peer, 2))).is_some());
        let inner = filter(Condition::OnInterface(1));
        assert_eq!(compile(&inner), None);
        let negated = Condition::Not(Box::new(Condition::All(Box::new(inner))));
        assert_eq!(compile(&filter(negated)), None);
    }
}
