//! A filter as a program for the kernel, so that the kernel passes on only what is asked
//! for.
//!
//! The kernel does not judge as ss does: it tells families apart, and it knows
//! whether it chose a port. As ss, this asks the kernel first and then looks
//! itself.

use super::{Condition, End, Filter, Join, Network};
use crate::as_ss::ask::selection::AddressFamily;
use crate::kernel::netlink::bytecode::{self, InetDiagHostcond, InetDiagMarkcond, Program};

/// The program for `filter`. `None` if some of it has no instruction, so that the
/// kernel must pass on everything.
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
    // Only 16 bits of a port fit.
    let port = |port: &i32| *port as u16;
    Some(Program::from_condition(match condition {
        Condition::Is(end, port, network) => return Some(host(*end, *port, network.as_ref())),
        // The kernel refuses names of Unix sockets, as ss finds out too.
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
    fn the_kernel_cannot_compare_interfaces() {
        let filter = |second| Filter {
            first: Condition::AtLeast(End::Local, 1),
            rest: vec![(Join::And, second)],
        };
        assert!(compile(&filter(Condition::AtLeast(End::Peer, 2))).is_some());
        let inner = filter(Condition::OnInterface(1));
        assert_eq!(compile(&inner), None);
        let not = Condition::Not(Box::new(Condition::All(Box::new(inner))));
        assert_eq!(compile(&filter(not)), None);
    }
}
