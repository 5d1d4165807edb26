//! netlink(7): how the kernel is asked, and what it says.
//!
//! - [`client`] asks and reads whole answers, which [`message`] makes of datagrams.
//! - [`layout`] is how a structure of the kernel is written down.
//! - [`sock_diag`] is what all lists of sockets share. [`diag`] lists those of IP, with
//!   [`tcp_info`]; [`unix_diag`], [`packet_diag`], [`netlink_diag`] and [`vsock_diag`]
//!   list the others.
//! - [`bytecode`] tells inet_diag which sockets to list.
//! - [`link`] knows the names of interfaces. [`route`] tells whether an address is this
//!   network namespace's own.

pub mod bytecode;
pub mod client;
pub mod diag;
pub mod layout;
pub mod link;
pub mod message;
pub mod netlink_diag;
pub mod packet_diag;
pub mod route;
pub mod sock_diag;
pub mod tcp_info;
pub mod unix_diag;
pub mod vsock_diag;

pub use link::interface_index;
