//! The only `unsafe` code: the few system calls that the standard library does not
//! make, and how this program starts and gets its memory.
//!
//! - [`program!`](crate::program) is how it starts, and [`exec`] how it becomes another.
//! - [`Memory`] is its memory, and what happens where there is no more. After a peak,
//!   [`shrink_after_peak`] returns it.
//! - [`Child`] is a program that it starts, and [`fork_child`] starts itself once more.
//! - [`give_up_privileges`] leaves it with those that it needs.
//! - [`FileIds`] are those of another user, and [`is_running`] and [`share_descriptors`]
//!   ask about other processes.
//! - [`open_path`] opens a file only to ask about it, [`open_below`] one of another root,
//!   and [`stdout`] is open already.
//! - [`wait_until_gone`] waits.
//! - [`cpu_time`] says how much CPU time was used.
//! - [`netlink_socket`] opens a socket, in the namespace of
//!   [`enter_network_namespace`].
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
pub use cpu_time::cpu_time;
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

// Elsewhere the numbers of `calls` mean something else. The program
// would build there, and a FIFO would block it and no request of netlink be answered.
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
