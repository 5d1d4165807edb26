//! Where ss looks: the paths of its files, which environment variables can change, and
//! the network namespace.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::error::{Error, NetworkStep};
use super::names::services::Services;
use crate::sys;

/// The paths that environment variables change. The others have their usual values.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The value of `PROC_ROOT`, which replaces `/proc`.
    pub proc_root: Option<PathBuf>,
    /// The values of `PROC_NET_TCP` and similar variables: the name of a file in
    /// `/proc/net`, and the path that replaces it.
    pub files: Vec<(&'static str, PathBuf)>,
    /// The value of `PROC_IP_LOCAL_PORT_RANGE`.
    pub port_range: Option<PathBuf>,
    /// The value of `TCPDIAG_FILE`, a recorded answer of the kernel.
    pub recording: Option<PathBuf>,
}

/// Where ip-netns(8) keeps named network namespaces: with `/run`, and on systems
/// without it.
const NETWORK_DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Moves this program into the network namespace of this name.
///
/// # Errors
/// If there is no such namespace, or this user may not enter it.
pub fn enter_network(name: &str) -> Result<(), Error> {
    let failure = |step| {
        move |reason| Error::Network {
            name: name.to_string(),
            step,
            reason,
        }
    };
    // As in ss, even an absolute path is appended to the directory.
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
    /// Reads the environment through `variable`, which returns the value of a variable.
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

    /// The directory that is usually `/proc`. ss appends a slash to `PROC_ROOT`, so an
    /// empty value means `/`.
    pub fn proc_root(&self) -> &Path {
        match self.proc_root.as_deref() {
            None => Path::new("/proc"),
            Some(root) if root.as_os_str().is_empty() => Path::new("/"),
            Some(root) => root,
        }
    }

    /// Whether ss asks over netlink for the sockets that this file of `/proc/net` lists. If
    /// the environment replaces the file, ss reads the replacement instead.
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

    /// Whether it is an error if this file of `/proc/net` does not exist. The kernel
    /// always has `tcp`, and a file that the environment names is expected to exist.
    pub fn must_exist(&self, file: &str) -> bool {
        file == "tcp" || self.replacement(file).is_some()
    }

    /// The names of ports, and the range of ports that the kernel chooses for clients.
    pub fn services(&self) -> Services {
        let range = || self.proc_root().join("sys/net/ipv4/ip_local_port_range");
        let range = self.port_range.clone().unwrap_or_else(range);
        Services::new("/etc/services".into(), range)
    }
}
