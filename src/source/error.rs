//! Why no source gave a complete snapshot.

use std::fmt;

use super::namespaces::NamespacesError;
use super::netlink::NetlinkError;
use super::procnet::ProcError;
use super::ss::SsError;
use super::tree::TreeError;

/// Why no source gave a complete snapshot.
#[derive(Debug)]
pub enum SourceError {
    /// `/proc` was the only source.
    Proc(ProcError),
    /// ss was the only source.
    Ss(SsError),
    /// ss was the only source. It printed no listeners, but `/proc` lists some.
    SsContradicted,
    /// ss was asked, then `/proc`, and perhaps netlink.
    SsAndProc(SsError, ProcError, Option<NetlinkError>),
    /// Netlink was the only source. It may answer at the next poll.
    Netlink(NetlinkError),
    /// Netlink was asked, then `/proc`.
    NetlinkAndProc(NetlinkError, ProcError),
    /// It cannot be told which listeners the process and its descendants hold.
    Tree(TreeError),
    /// No network namespace can be read.
    Namespaces(NamespacesError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Proc(error) => error.fmt(f),
            SourceError::Ss(error) => error.fmt(f),
            SourceError::SsContradicted => {
                write!(f, "{}, but /proc/net lists some", SsError::NoRows)
            }
            SourceError::SsAndProc(ss, proc_net, None) => write!(f, "{ss}; {proc_net}"),
            SourceError::SsAndProc(ss, proc_net, Some(netlink)) => {
                write!(f, "{ss}; {proc_net}; {netlink}")
            }
            SourceError::Netlink(error) => error.fmt(f),
            SourceError::NetlinkAndProc(netlink, proc_net) => write!(f, "{netlink}; {proc_net}"),
            SourceError::Tree(error) => error.fmt(f),
            SourceError::Namespaces(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {}
