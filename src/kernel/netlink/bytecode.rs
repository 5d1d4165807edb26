//! Programs that say which sockets inet_diag lists (`linux/inet_diag.h`). A request has
//! one in its attribute `INET_DIAG_REQ_BYTECODE`.
//!
//! Each instruction says how far to jump if its condition holds and if it does not.
//! A program that jumps to its end accepts, one that jumps four bytes further
//! rejects.

use super::layout::{Value as _, layout};

layout! {
    /// `struct inet_diag_bc_op`: an instruction. What it compares with follows.
    InetDiagBcOp, 4 bytes:
    code: u8 = 0..1,
    yes: u8 = 1..2,
    no: u16 = 2..4,
}

// The codes of instructions. A `S` is the local end, a `D` the peer.
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

layout! {
    /// `struct inet_diag_hostcond`: a port and the start of an address. The address
    /// follows.
    InetDiagHostcond, 8 bytes:
    family: u8 = 0..1,
    prefix_len: u8 = 1..2,
    port: i32 = 4..8,
}

layout! {
    /// `struct inet_diag_markcond`
    InetDiagMarkcond, 8 bytes:
    mark: u32 = 0..4,
    mask: u32 = 4..8,
}

/// What one instruction asks of a socket. `is_peer` means the other end.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Condition<'a> {
    PortAtLeast {
        is_peer: bool,
        port: u16,
    },
    PortAtMost {
        is_peer: bool,
        port: u16,
    },
    Host {
        is_peer: bool,
        host: InetDiagHostcond,
        address: &'a [u8],
    },
    Mark(InetDiagMarkcond),
    Cgroup(u64),
    AutoBound,
}

/// A program, which accepts what meets all of its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<u8>);

impl Program {
    /// Accepts what meets one condition.
    pub fn from_condition(condition: Condition<'_>) -> Program {
        let by_end = |is_peer, local, peer| if is_peer { peer } else { local };
        match condition {
            Condition::PortAtLeast { is_peer, port } => {
                let code = by_end(is_peer, INET_DIAG_BC_S_GE, INET_DIAG_BC_D_GE);
                Program::port_comparison(code, port)
            }
            Condition::PortAtMost { is_peer, port } => {
                let code = by_end(is_peer, INET_DIAG_BC_S_LE, INET_DIAG_BC_D_LE);
                Program::port_comparison(code, port)
            }
            Condition::Host {
                is_peer,
                host,
                address,
            } => {
                let code = by_end(is_peer, INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND);
                Program::comparison(code, &[&host.bytes()[..], address].concat())
            }
            Condition::Mark(mark) => Program::comparison(INET_DIAG_BC_MARK_COND, &mark.bytes()),
            Condition::Cgroup(number) => {
                Program::comparison(INET_DIAG_BC_CGROUP_COND, &number.to_ne_bytes())
            }
            Condition::AutoBound => Program::comparison(INET_DIAG_BC_AUTO, &[]),
        }
    }

    /// Accepts what both accept.
    pub fn and(&mut self, next: &Program) {
        self.move_rejection(next.0.len());
        self.0.extend_from_slice(&next.0);
    }

    /// Accepts what either accepts.
    pub fn or(&mut self, next: &Program) {
        self.jump(next.0.len() + InetDiagBcOp::SIZE);
        self.0.extend_from_slice(&next.0);
    }

    /// Accepts what it rejected.
    pub fn negate(&mut self) {
        self.jump(2 * InetDiagBcOp::SIZE);
    }

    /// As the attribute has it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The port is where another instruction says how far to jump.
    fn port_comparison(code: u8, port: u16) -> Program {
        let operand = InetDiagBcOp {
            no: port,
            ..InetDiagBcOp::default()
        };
        Program::comparison(code, &operand.bytes())
    }

    /// An instruction that goes on after itself if it holds, and else rejects.
    fn comparison(code: u8, value: &[u8]) -> Program {
        let length = InetDiagBcOp::SIZE + value.len();
        let instruction = InetDiagBcOp {
            code,
            yes: length as u8,
            no: (length + InetDiagBcOp::SIZE) as u16,
        };
        Program([&instruction.bytes()[..], value].concat())
    }

    /// Adds a jump over `length` bytes, itself included. Where the program rejected, it
    /// goes on after the jump.
    fn jump(&mut self, length: usize) {
        let jump = InetDiagBcOp {
            code: INET_DIAG_BC_JMP,
            yes: InetDiagBcOp::SIZE as u8,
            no: length as u16,
        };
        self.0.extend(jump.bytes());
    }

    /// Where the program rejects, it is to jump `further`: as many bytes follow it now.
    fn move_rejection(&mut self, further: usize) {
        let mut rest = &mut self.0[..];
        while let Some(mut instruction) = InetDiagBcOp::read(rest) {
            if usize::from(instruction.no) == rest.len() + InetDiagBcOp::SIZE {
                instruction.no += further as u16;
                instruction.write(rest);
            }
            rest = rest.split_at_mut(usize::from(instruction.yes)).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least(port: u16) -> Program {
        let is_peer = false;
        Program::from_condition(Condition::PortAtLeast { is_peer, port })
    }

    /// Where each instruction is, and where it jumps to if it does not hold.
    fn jumps(program: &Program) -> Vec<(usize, usize)> {
        let mut start = 0;
        let mut jumps = Vec::new();
        while let Some(instruction) = InetDiagBcOp::read(&program.bytes()[start..]) {
            jumps.push((start, start + usize::from(instruction.no)));
            start += usize::from(instruction.yes);
        }
        jumps
    }

    #[test]
    fn jumps_lead_to_the_end_or_just_past_it() {
        let one = at_least(1);
        assert_eq!(jumps(&one), [(0, 12)]);
        let mut both = one.clone();
        both.and(&at_least(2));
        assert_eq!(jumps(&both), [(0, 20), (8, 20)]);
        // The jump after the first accepts.
        let mut either = one.clone();
        either.or(&at_least(2));
        assert_eq!(jumps(&either), [(0, 12), (8, 20), (12, 24)]);
        let mut not = at_least(2);
        not.negate();
        let mut first_not_second = one.clone();
        first_not_second.and(&not);
        assert_eq!(jumps(&first_not_second), [(0, 24), (8, 20), (16, 24)]);
    }

    #[test]
    fn a_port_follows_its_instruction() {
        let [low, high] = 0x1234_u16.to_ne_bytes();
        let twelve = 12_u16.to_ne_bytes();
        let bytes = [2, 8, twelve[0], twelve[1], 0, 0, low, high];
        assert_eq!(at_least(0x1234).bytes(), bytes);
    }
}
