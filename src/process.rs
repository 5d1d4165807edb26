//! Which processes hold a socket.

use std::sync::Arc;

/// A process, and the descriptor by which it holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name, at most 15 bytes of any kind: what `/proc/PID/comm` holds.
    pub name: Vec<u8>,
    /// Its id, as the `/proc` that was read numbers it.
    pub pid: u32,
    /// The descriptor in it.
    pub fd: u32,
}

/// The processes that hold one socket, in the order in which ss lists them: the
/// highest process id first, and in one process the highest descriptor.
///
/// A clone shares them, so that it takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes(Option<Arc<[Process]>>);
