//! The errors of sources: why there is no complete snapshot.

use std::fmt;

use super::namespaces::NamespacesError;
use super::netlink::NetlinkError;
use super::procnet::ProcError;
use super::ss::SsError;
use super::tree::TreeError;

/// Why no source gave a complete snapshot.
#[derive(Debug)]
pub enum SourceError {
    /// Every source that may answer failed.
    Failed(Failures),
    /// ss, the only source, printed no listeners, but the kernel lists some.
    SsContradicted,
    /// The listeners of the process and its descendants cannot be found.
    Tree(TreeError),
    /// The listeners of the excluded process and its descendants cannot be found.
    ExcludedTree(TreeError),
    /// No network namespace can be read.
    Namespaces(NamespacesError),
}

/// The errors of the sources that were asked, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Failures {
    /// Why ss failed, if it was asked.
    pub ss: Option<SsError>,
    /// Why netlink failed, if it was asked.
    pub netlink: Option<NetlinkError>,
    /// Why `/proc` failed, if it was read.
    pub proc_net: Option<ProcError>,
}

impl Failures {
    /// Whether no source has failed.
    pub fn is_empty(&self) -> bool {
        let Failures {
            ss,
            netlink,
            proc_net,
        } = self;
        ss.is_none() && netlink.is_none() && proc_net.is_none()
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ss = self.ss.as_ref().map(|error| error as &dyn fmt::Display);
        let netlink = self.netlink.as_ref().map(|error| error as _);
        let proc_net = self.proc_net.as_ref().map(|error| error as _);
        let mut separator = "";
        for error in [ss, netlink, proc_net].into_iter().flatten() {
            write!(f, "{separator}{error}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Failed(failures) => failures.fmt(f),
            SourceError::SsContradicted => {
                write!(
                    f,
                    "{}, but the kernel lists some listeners",
                    SsError::NoRows
                )
            }
            SourceError::Tree(error) => write!(f, "--of{error}"),
            SourceError::ExcludedTree(error) => write!(f, "--exclude-of{error}"),
            SourceError::Namespaces(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {}
