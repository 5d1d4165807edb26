//! The only module with `unsafe` code: it starts the program, manages memory, and makes the few
//! system calls that std does not make.
//!
//! - [`program!`](crate::program) defines the C function `main`. [`exec`] replaces this program
//!   with another one.
//! - [`Memory`] is the allocator, and decides what happens when memory is exhausted.
//!   [`shrink_after_peak`] returns unused memory to the system.
//! - [`Child`] is a program that this program started. [`fork_child`] starts a second process
//!   of this program.
//! - [`give_up_privileges`] drops all privileges that are not needed.
//! - [`FileIds`] lets root open files as another user. [`is_running`] and
//!   [`share_descriptors`] ask about other processes.
//! - [`open_path`] opens a file without reading it. [`open_below`] opens a file below the root
//!   directory of another process. [`stdout`] is the descriptor of standard output.
//! - [`wait_until_gone`] waits until a given time, or until a reader or the parent is gone.
//! - [`cpu_time`] reports how much CPU time this process and its children have used.
//!   [`own_cpu_time`] does not count children.
//! - [`netlink_socket`] opens a netlink socket. After [`enter_network_namespace`], it opens the
//!   socket in that namespace.
#![allow(unsafe_code)]

mod calls;
mod cpu_time;
mod file_ids;
mod files;
mod memory;
mod privileges;
mod processes;
mod sockets;
mod start;
#[cfg(all(panic = "abort", target_env = "musl"))]
mod unwinder;
mod waiting;

pub(crate) use calls::{CAP_SYS_PTRACE, O_NOCTTY, O_NONBLOCK};
pub use cpu_time::{cpu_time, own_cpu_time};
pub(crate) use file_ids::FileIds;
pub(crate) use files::{open_below, open_path, stdout};
pub(crate) use memory::shrink_after_peak;
pub use memory::{Memory, Notice, end_if_exhausted, exec_if_exhausted};
pub use privileges::{give_up_privileges, has_privileges_of_another};
pub(crate) use processes::{
    Child, fork_child, is_running, kill_child_group, set_child_group, share_descriptors,
};
pub use processes::{ChildStdout, Forked, Parent, end_on_signals};
pub(crate) use sockets::{
    enter_network_namespace, namespace_cookie, netlink_socket, receive_from_kernel, set_buffers,
};
pub use start::{arguments, exec, start};
pub(crate) use waiting::sleep_briefly;
pub use waiting::wait_until_gone;

// The numbers in `calls` differ on other systems and architectures. The program could be built
// there, but a FIFO would block it and netlink would not answer.
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "powerpc",
        target_arch = "powerpc64",
        target_arch = "s390x",
        target_arch = "loongarch64",
    )
)))]
compile_error!(
    "lntu knows the numbers of Linux on x86, Arm, RISC-V, PowerPC, s390x and LoongArch only: \
     those of system calls, signals and flags differ here"
);
