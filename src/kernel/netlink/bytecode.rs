//! Programs that tell inet_diag which sockets to list (`linux/inet_diag.h`). A request contains
//! such a program in its attribute `INET_DIAG_REQ_BYTECODE`.
//!
//! Each instruction has two jump distances: one for a socket that meets its condition, and one
//! for a socket that does not. A jump to the end of the program accepts the socket. A jump to
//! four bytes after the end rejects it.

use super::layout::{Value as _, layout};

layout! {
    /// `struct inet_diag_bc_op`: an instruction. The value that it compares with comes after
    /// it.
    InetDiagBcOp, 4 bytes:
    code: u8 = 0..1,
    yes: u8 = 1..2,
    no: u16 = 2..4,
}

// The codes of instructions. `S` (source) is the local end, and `D` (destination) the peer.
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
    /// `struct inet_diag_hostcond`: a port and a prefix length. The address comes after them.
    InetDiagHostcond, 8 bytes:
    family: u8 = 0..1,
    prefix_len: u8 = 1..2,
    port: i32 = 4..8,
}

layout! {
    /// `struct inet_diag_markcond`: a mark, and the bits of it that are compared.
    InetDiagMarkcond, 8 bytes:
    mark: u32 = 0..4,
    mask: u32 = 4..8,
}

/// A condition on a socket. If `is_peer` is true, the condition is about the address or port of
/// the peer, and otherwise about the local address or port.
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

/// A program that accepts or rejects a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<u8>);

impl Program {
    /// Creates the program that accepts every socket that meets the condition.
    pub fn from_condition(condition: Condition<'_>) -> Program {
        let select = |is_peer, local, peer| if is_peer { peer } else { local };
        match condition {
            Condition::PortAtLeast { is_peer, port } => {
                let code = select(is_peer, INET_DIAG_BC_S_GE, INET_DIAG_BC_D_GE);
                Program::port_comparison(code, port)
            }
            Condition::PortAtMost { is_peer, port } => {
                let code = select(is_peer, INET_DIAG_BC_S_LE, INET_DIAG_BC_D_LE);
                Program::port_comparison(code, port)
            }
            Condition::Host {
                is_peer,
                host,
                address,
            } => {
                let code = select(is_peer, INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND);
                Program::comparison(code, &[&host.bytes()[..], address].concat())
            }
            Condition::Mark(mark) => Program::comparison(INET_DIAG_BC_MARK_COND, &mark.bytes()),
            Condition::Cgroup(number) => {
                Program::comparison(INET_DIAG_BC_CGROUP_COND, &number.to_ne_bytes())
            }
            Condition::AutoBound => Program::comparison(INET_DIAG_BC_AUTO, &[]),
        }
    }

    /// Changes this program to accept only sockets that it and `next` accept.
    pub fn and(&mut self, next: &Program) {
        self.extend_rejections(next.0.len());
        self.0.extend_from_slice(&next.0);
    }

    /// Changes this program to accept every socket that it or `next` accepts.
    pub fn or(&mut self, next: &Program) {
        self.append_jump(next.0.len() + InetDiagBcOp::SIZE);
        self.0.extend_from_slice(&next.0);
    }

    /// Changes this program to accept exactly the sockets that it rejected.
    pub fn negate(&mut self) {
        self.append_jump(2 * InetDiagBcOp::SIZE);
    }

    /// The bytes of the program, for the attribute `INET_DIAG_REQ_BYTECODE`.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Creates the program that compares a port. The port is in a second instruction, in the
    /// field that otherwise contains the jump distance `no`.
    fn port_comparison(code: u8, port: u16) -> Program {
        let operand = InetDiagBcOp {
            no: port,
            ..InetDiagBcOp::default()
        };
        Program::comparison(code, &operand.bytes())
    }

    /// Creates the program of one instruction that accepts a socket if its condition holds, and
    /// otherwise rejects it.
    fn comparison(code: u8, value: &[u8]) -> Program {
        let length = InetDiagBcOp::SIZE + value.len();
        let instruction = InetDiagBcOp {
            code,
            yes: length as u8,
            no: (length + InetDiagBcOp::SIZE) as u16,
        };
        Program([&instruction.bytes()[..], value].concat())
    }

    /// Appends a jump of `length` bytes, counted from the start of the jump. A socket that the
    /// program rejected so far then continues right after the jump.
    fn append_jump(&mut self, length: usize) {
        let jump = InetDiagBcOp {
            code: INET_DIAG_BC_JMP,
            yes: InetDiagBcOp::SIZE as u8,
            no: length as u16,
        };
        self.0.extend(jump.bytes());
    }

    /// Extends every jump that rejects a socket by `length`, the number of bytes that will be
    /// appended.
    fn extend_rejections(&mut self, length: usize) {
        let mut rest = &mut self.0[..];
        while let Some(mut instruction) = InetDiagBcOp::read(rest) {
            if usize::from(instruction.no) == rest.len() + InetDiagBcOp::SIZE {
                instruction.no += length as u16;
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

    /// The offset of each instruction, and the offset to which it jumps if its condition does
    /// not hold.
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
    fn combined_conditions_jump_to_the_right_offsets() {
        let first = at_least(1);
        assert_eq!(jumps(&first), [(0, 12)]);
        let mut both = first.clone();
        both.and(&at_least(2));
        assert_eq!(jumps(&both), [(0, 20), (8, 20)]);
        // If the first comparison holds, the jump after that comparison leads to the end.
        let mut either = first.clone();
        either.or(&at_least(2));
        assert_eq!(jumps(&either), [(0, 12), (8, 20), (12, 24)]);
        let mut not_second = at_least(2);
        not_second.negate();
        let mut first_not_second = first.clone();
        first_not_second.and(&not_second);
        assert_eq!(jumps(&first_not_second), [(0, 24), (8, 20), (16, 24)]);
    }

    #[test]
    fn the_port_comes_after_its_instruction() {
        let [low, high] = 0x1234_u16.to_ne_bytes();
        let twelve = 12_u16.to_ne_bytes();
        let bytes = [2, 8, twelve[0], twelve[1], 0, 0, low, high];
        assert_eq!(at_least(0x1234).bytes(), bytes);
    }
}
