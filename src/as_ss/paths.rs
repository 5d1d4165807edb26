//! The files that ss reads. Its environment can name others. And the network namespace
//! in which it looks.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::names::services::Services;
use crate::sys;

/// The files that ss reads.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// `PROC_ROOT`, in place of `/proc`.
    pub proc_root: Option<PathBuf>,
    /// `PROC_NET_TCP` and the like, each in place of one file of `/proc/net`.
    pub files: Vec<(&'static str, PathBuf)>,
    /// `PROC_IP_LOCAL_PORT_RANGE`.
    pub port_range: Option<PathBuf>,
    /// `TCPDIAG_FILE`, a recorded answer of the kernel.
    pub recording: Option<PathBuf>,
}

/// Where ip-netns(8) keeps network namespaces under their names. The second is where the
/// first is in systems without `/run`.
const NETWORKS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Moves this program into the network namespace of this name.
///
/// # Errors
/// If there is none, or it may not be entered.
pub fn enter_network(name: &str) -> Result<(), Error> {
    let failure = |is_found| {
        move |reason| Error::Network {
            name: name.to_string(),
            is_found,
            reason,
        }
    };
    // ss appends even an absolute path.
    let [first, second] = NETWORKS.map(|directory| File::open(format!("{directory}/{name}")));
    let network = first.or_else(|error| second.map_err(|_| error));
    let network = network.map_err(failure(false))?;
    sys::enter_network_namespace(&network).map_err(failure(true))
}

/// The files of `/proc/net` that can be moved.
const FILES: [&str; 12] = [
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "raw",
    "raw6",
    "unix",
    "packet",
    "netlink",
    "sockstat",
    "sockstat6",
    "snmp",
];

impl Paths {
    /// Those that the variables of the environment name.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Paths {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let file = |file: &'static str| {
            let name = format!("PROC_NET_{}", file.to_ascii_uppercase());
            Some((file, path(&name)?))
        };
        Paths {
            proc_root: path("PROC_ROOT"),
            files: FILES.into_iter().filter_map(file).collect(),
            port_range: path("PROC_IP_LOCAL_PORT_RANGE"),
            recording: path("TCPDIAG_FILE"),
        }
    }

    /// ss appends a slash to `PROC_ROOT`, so an empty one is `/`.
    pub fn proc_root(&self) -> &Path {
        match self.proc_root.as_deref() {
            None => Path::new("/proc"),
            Some(root) if root.as_os_str().is_empty() => Path::new("/"),
            Some(root) => root,
        }
    }

    /// Whether ss asks the kernel for what is in this file of `/proc/net`. It does
    /// not if the file is moved.
    pub fn asks_kernel_for(&self, file: &str) -> bool {
        self.proc_root.is_none() && self.moved(file).is_none()
    }

    fn moved(&self, file: &str) -> Option<&Path> {
        let of_file = |(name, _): &&(&str, PathBuf)| *name == file;
        Some(&self.files.iter().find(of_file)?.1)
    }

    /// Where a file of `/proc/net` is.
    pub fn file(&self, file: &str) -> PathBuf {
        match self.moved(file) {
            Some(path) => path.to_path_buf(),
            None => self.proc_root().join("net").join(file),
        }
    }

    /// Whether a file must be there: the kernel always has one of TCP, and one
    /// that was named is meant.
    pub fn must_have(&self, file: &str) -> bool {
        file == "tcp" || self.moved(file).is_some()
    }

    /// The names of ports.
    pub fn services(&self) -> Services {
        let range = || self.proc_root().join("sys/net/ipv4/ip_local_port_range");
        let range = self.port_range.clone().unwrap_or_else(range);
        Services::new("/etc/services".into(), range)
    }
}
