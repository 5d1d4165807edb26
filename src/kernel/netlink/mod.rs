//! Sends requests to the kernel over netlink(7), and decodes the answers.
//!
//! - [`client`] sends requests and reads answers. [`message`] checks that an answer is
//!   complete, and splits it into messages and attributes.
//! - [`layout`] turns a structure of the kernel's headers into a struct.
//! - [`sock_diag`] contains what the lists of all kinds of sockets have in common. [`diag`] and
//!   [`tcp_info`] decode IP sockets. [`unix_diag`], [`packet_diag`], [`netlink_diag`] and
//!   [`vsock_diag`] decode the other kinds.
//! - [`bytecode`] builds the programs that select sockets in the kernel.
//! - [`link`] looks up the names of interfaces. [`route`] finds out whether an address belongs
//!   to this network namespace.

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
