//! The files that ss reads, whose paths environment variables can change, and the network
//! namespace that ss reads.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::{Error, NetworkStep};
use super::names::services::Services;
use crate::sys;

/// The paths that environment variables have changed. All other paths have their usual values.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The value of `PROC_ROOT`, which replaces `/proc`.
    pub proc_root: Option<PathBuf>,
    /// The values of `PROC_NET_TCP` and similar variables. Each consists of the name of a file
    /// in `/proc/net`, and the path that replaces it.
    pub files: Vec<(&'static str, PathBuf)>,
    /// The value of `PROC_IP_LOCAL_PORT_RANGE`.
    pub port_range: Option<PathBuf>,
    /// The value of `TCPDIAG_FILE`, which is a recorded answer of the kernel.
    pub recording: Option<PathBuf>,
}

/// The directories in which ip-netns(8) keeps named network namespaces. The second one is for
/// systems without `/run`.
const NETWORK_DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Moves this program into the network namespace with this name.
///
/// # Errors
/// Fails if there is no such namespace, or if this user is not allowed to enter it.
pub fn enter_network(name: &str) -> Result<(), Error> {
    let failure = |step| {
        move |reason| Error::Network {
            name: name.to_string(),
            step,
            reason,
        }
    };
    // As in ss, an absolute path is appended to the directory, too.
    let [first, second] =
        NETWORK_DIRECTORIES.map(|directory| File::open(format!("{directory}/{name}")));
    let network = first.or_else(|error| second.map_err(|_| error));
    let network = network.map_err(failure(NetworkStep::Open))?;
    sys::enter_network_namespace(&network).map_err(failure(NetworkStep::Enter))
}

/// The files in `/proc/net` that an environment variable can replace.
const REPLACEABLE_FILES: [&str; 12] = [
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
    /// Creates the paths from the environment. `variable` returns the value of an environment
    /// variable.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Paths {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let file = |file: &'static str| {
            let name = format!("PROC_NET_{}", file.to_ascii_uppercase());
            Some((file, path(&name)?))
        };
        Paths {
            proc_root: path("PROC_ROOT"),
            files: REPLACEABLE_FILES.into_iter().filter_map(file).collect(),
            port_range: path("PROC_IP_LOCAL_PORT_RANGE"),
            recording: path("TCPDIAG_FILE"),
        }
    }

    /// The directory that replaces `/proc`, or `/proc` itself. ss appends a slash to
    /// `PROC_ROOT`, so an empty value means `/`.
    pub fn proc_root(&self) -> &Path {
        match self.proc_root.as_deref() {
            None => Path::new("/proc"),
            Some(root) if root.as_os_str().is_empty() => Path::new("/"),
            Some(root) => root,
        }
    }

    /// Whether ss uses netlink to list the sockets that are also in this file of `/proc/net`.
    /// If the environment replaces the file, ss reads the replacement and does not use netlink.
    pub fn asks_kernel_for(&self, file: &str) -> bool {
        self.proc_root.is_none() && self.replacement(file).is_none()
    }

    fn replacement(&self, file: &str) -> Option<&Path> {
        let has_name = |(name, _): &&(&str, PathBuf)| *name == file;
        Some(&self.files.iter().find(has_name)?.1)
    }

    /// The path of a file of `/proc/net`.
    pub fn file(&self, file: &str) -> PathBuf {
        match self.replacement(file) {
            Some(path) => path.to_path_buf(),
            None => self.proc_root().join("net").join(file),
        }
    }

    /// Whether it is an error if this file of `/proc/net` does not exist. `tcp` must exist
    /// because every kernel has it. A file that the environment specifies must exist, too.
    pub fn must_exist(&self, file: &str) -> bool {
        file == "tcp" || self.replacement(file).is_some()
    }

    /// The names of ports, and the range from which the kernel chooses ephemeral ports.
    pub fn services(&self) -> Services {
        let range = || self.proc_root().join("sys/net/ipv4/ip_local_port_range");
        let range = self.port_range.clone().unwrap_or_else(range);
        Services::new("/etc/services".into(), range)
    }
}
