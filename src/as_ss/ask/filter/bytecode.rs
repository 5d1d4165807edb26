//! A filter as the kernel's program for it (`linux/inet_diag.h`), so that the
//! kernel passes on only what is asked for.
//!
//! The kernel does not judge as ss does: it tells families apart, and it knows
//! whether it chose a port. As ss, this asks the kernel first and then looks
//! itself.
//!
//! Each instruction says how far to jump if its condition holds and if it does not.
//! A program that jumps to its end accepts, one that jumps four bytes further
//! rejects.

use super::{Condition, End, Filter, Join, Network};
use crate::as_ss::ask::selection::AddressFamily;

const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;
const INET_DIAG_BC_D_GE: u8 = 4;
const INET_DIAG_BC_D_LE: u8 = 5;
const INET_DIAG_BC_AUTO: u8 = 6;
const INET_DIAG_BC_S_COND: u8 = 7;
const INET_DIAG_BC_D_COND: u8 = 8;
const INET_DIAG_BC_MARK_COND: u8 = 10;
const INET_DIAG_BC_CGROUP_COND: u8 = 13;

/// The length of `struct inet_diag_bc_op`; what it compares with follows.
const INET_DIAG_BC_OP_SIZE: usize = 4;

/// The program for `filter`. `None` if some of it has no instruction, so that the
/// kernel must pass on everything.
pub fn compile(filter: &Filter) -> Option<Vec<u8>> {
    let mut program = condition(&filter.first)?;
    for (join, next) in &filter.rest {
        let next = condition(next)?;
        match join {
            Join::And => {
                move_rejection(&mut program, next.len());
                program.extend(next);
            }
            Join::Or => {
                program.extend(instruction(
                    INET_DIAG_BC_JMP,
                    INET_DIAG_BC_OP_SIZE,
                    next.len() + INET_DIAG_BC_OP_SIZE,
                    &[],
                ));
                program.extend(next);
            }
        }
    }
    Some(program)
}

fn condition(condition: &Condition) -> Option<Vec<u8>> {
    let port = |code, port: i32| {
        // Only 16 bits of a port fit.
        let [low, high] = (port as u16).to_ne_bytes();
        comparison(code, &[0, 0, low, high])
    };
    Some(match condition {
        Condition::Is(end, port, network) => {
            let code = by_end(*end, INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND);
            comparison(code, &host(*port, network.as_ref()))
        }
        Condition::AtLeast(end, number) => {
            port(by_end(*end, INET_DIAG_BC_S_GE, INET_DIAG_BC_D_GE), *number)
        }
        Condition::AtMost(end, number) => {
            port(by_end(*end, INET_DIAG_BC_S_LE, INET_DIAG_BC_D_LE), *number)
        }
        Condition::Marked { mark, mask } => comparison(
            INET_DIAG_BC_MARK_COND,
            &[mark.to_ne_bytes(), mask.to_ne_bytes()].concat(),
        ),
        Condition::InCgroup(number) => comparison(INET_DIAG_BC_CGROUP_COND, &number.to_ne_bytes()),
        Condition::AutoBound(_) => comparison(INET_DIAG_BC_AUTO, &[]),
        Condition::Not(inner) => {
            let mut program = self::condition(inner)?;
            program.extend(instruction(
                INET_DIAG_BC_JMP,
                INET_DIAG_BC_OP_SIZE,
                2 * INET_DIAG_BC_OP_SIZE,
                &[],
            ));
            program
        }
        Condition::All(filter) => compile(filter)?,
        // The kernel refuses names of Unix sockets, as ss finds out too.
        Condition::IsLike(end, _) => {
            let any = Network::any(Some(AddressFamily::Unix));
            comparison(
                by_end(*end, INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND),
                &host(0, Some(&any)),
            )
        }
        Condition::OnInterface(_) => return None,
    })
}

fn by_end(end: End, local: u8, peer: u8) -> u8 {
    match end {
        End::Local => local,
        End::Peer => peer,
    }
}

/// `struct inet_diag_hostcond`.
fn host(port: i32, network: Option<&Network>) -> Vec<u8> {
    let family = network.and_then(|network| network.family);
    let bits = network.map_or(0, |network| network.bits);
    let mut host = vec![family.map_or(0, AddressFamily::number), bits as u8, 0, 0];
    host.extend(port.to_ne_bytes());
    let octets = network.map_or([0; 16], |network| network.octets);
    let length = match family {
        Some(AddressFamily::Inet6) => 16,
        _ => 4,
    };
    host.extend(&octets[..length]);
    host
}

/// An instruction that goes on behind itself if it holds, and else rejects.
fn comparison(code: u8, value: &[u8]) -> Vec<u8> {
    let length = INET_DIAG_BC_OP_SIZE + value.len();
    instruction(code, length, length + INET_DIAG_BC_OP_SIZE, value)
}

fn instruction(code: u8, if_so: usize, if_not: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![code, if_so as u8];
    bytes.extend((if_not as u16).to_ne_bytes());
    bytes.extend(value);
    bytes
}

/// Where `program` rejects, it is to jump `by` further: as many bytes follow it now.
fn move_rejection(program: &mut [u8], by: usize) {
    let mut at = 0;
    while at < program.len() {
        let rest = program.len() - at;
        let if_not = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
        if usize::from(if_not) == rest + INET_DIAG_BC_OP_SIZE {
            let moved = (if_not + by as u16).to_ne_bytes();
            program[at + 2..at + 4].copy_from_slice(&moved);
        }
        at += usize::from(program[at + 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least(port: i32) -> Condition {
        Condition::AtLeast(End::Local, port)
    }

    #[test]
    fn jumps_lead_to_the_end_or_behind_it() {
        let jumps = |filter: &Filter| {
            let program = compile(filter).unwrap();
            let mut at = 0;
            let mut jumps = Vec::new();
            while at < program.len() {
                let if_not = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
                jumps.push((at, at + usize::from(if_not)));
                at += usize::from(program[at + 1]);
            }
            jumps
        };
        let filter = |rest: Vec<(Join, Condition)>| Filter {
            first: at_least(1),
            rest,
        };
        assert_eq!(jumps(&filter(vec![])), [(0, 12)]);
        assert_eq!(
            jumps(&filter(vec![(Join::And, at_least(2))])),
            [(0, 20), (8, 20)]
        );
        // The jump behind the first accepts.
        assert_eq!(
            jumps(&filter(vec![(Join::Or, at_least(2))])),
            [(0, 12), (8, 20), (12, 24)]
        );
        let not = Condition::Not(Box::new(at_least(2)));
        assert_eq!(
            jumps(&filter(vec![(Join::And, not)])),
            [(0, 24), (8, 20), (16, 24)]
        );
        assert_eq!(
            compile(&filter(vec![(Join::And, Condition::OnInterface(1))])),
            None
        );
    }
}
