//! Which container a port of docker-proxy leads to. docker-proxy listens on the host, and
//! its arguments name the address of the container that it passes everything on to. Docker
//! notes the addresses of each container in a file on the host.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::containers::{Known, process_cgroup};
use super::json;
use super::names::{DOCKER, for_each_file, is_due, read_docker_config};
use crate::kernel::proc::file::read_some;
use crate::kernel::proc::process::holds_socket;
use crate::listener::{Cgroup, CgroupMember, Container, Holder, Listener};
use crate::snapshot::Snapshot;

const PROC: &str = "/proc";
/// The process name of docker-proxy.
const NAME: &[u8] = b"docker-proxy";

/// Finds the containers that the sockets of docker-proxy lead to.
#[derive(Debug, Default)]
pub struct Proxies {
    /// The groups of these sockets, with the containers that they lead to, by the inode of the
    /// socket. Those whose container is unknown are left out.
    groups: Known,
    /// The sum of the inodes of these sockets, which shows that one of them is new.
    sum: u64,
    /// The number of polls with this sum, at most [`u8::MAX`].
    polls: u8,
}

/// A socket whose container is unknown.
struct ProxySocket {
    inode: u64,
    /// The address that docker-proxy passes everything on to.
    address: Vec<u8>,
    /// The group of the socket, with the container that has the address.
    group: Cgroup,
    /// How many containers have the address.
    containers: usize,
}

impl Proxies {
    /// Sets the container that each listener of `snapshot` leads to. The holders and groups must
    /// have been set before. Docker writes the address of a container only after it has started
    /// docker-proxy, so several polls look for it, in the files below what `root` returns.
    /// Returns whether this poll looked.
    pub fn set(&mut self, snapshot: &mut Snapshot, root: &mut dyn FnMut() -> Option<File>) -> bool {
        self.groups.limit(snapshot.listeners());
        let mut sum = 0_u64;
        for listener in snapshot.listeners() {
            if proxy(listener).is_some() {
                sum = sum.wrapping_add(listener.inode);
            }
        }
        if self.sum != sum {
            (self.sum, self.polls) = (sum, 0);
        }
        if sum == 0 {
            return false;
        }
        self.polls = self.polls.saturating_add(1);
        let looks = is_due(self.polls);
        if looks {
            self.look(snapshot, root);
        }
        snapshot.set_cgroups(&|listener| {
            let group = self.groups.get(listener.inode);
            group.or_else(|| listener.cgroup.clone())
        });
        looks
    }

    /// Looks for the containers that are not known yet.
    fn look(&mut self, snapshot: &Snapshot, root: &mut dyn FnMut() -> Option<File>) {
        let mut sockets = Vec::new();
        for listener in snapshot.listeners() {
            if self.groups.find(listener.inode).is_none()
                && let Some(group) = &listener.cgroup
                && let Some(address) = address(listener)
            {
                let group = Cgroup {
                    path: group.path.clone(),
                    member: group.member,
                    container: None,
                    leads_to_container: true,
                };
                sockets.push(ProxySocket {
                    inode: listener.inode,
                    address,
                    group,
                    containers: 0,
                });
            }
        }
        if !sockets.is_empty()
            && let Some(root) = root()
        {
            find(&mut sockets, &root, Path::new(PROC));
        }
        for socket in &mut sockets {
            // If several containers have the address, the socket may lead to any of them.
            if socket.containers == 1 {
                let group = Arc::new(std::mem::take(&mut socket.group));
                self.groups.insert(socket.inode, Some(group));
            }
        }
    }
}

/// The docker-proxy that holds the socket, if Docker may have started it: as root, outside of
/// any container. Others can call themselves docker-proxy.
fn proxy(listener: &Listener) -> Option<&Holder> {
    let is_trusted =
        listener.inode != 0 && listener.uid == Some(0) && listener.own_container().is_none();
    let mut holders = listener.holders.first().iter();
    holders.find(|holder| is_trusted && holder.name == NAME)
}

/// The address that docker-proxy passes everything on to that `listener` receives. `None` if
/// docker-proxy does not run as root on the host.
fn address(listener: &Listener) -> Option<Vec<u8>> {
    let holder = proxy(listener)?;
    let process = Path::new(PROC).join(holder.pid.to_string());
    let arguments = read_some(&process.join("cmdline")).unwrap_or_default();
    let address = after(&arguments, b"\0-container-ip\0")?;
    let address = address.split(|byte| *byte == 0).next()?;
    let inode = |process: &Path, file| Some(fs::metadata(process.join(file)).ok()?.ino());
    // A process can hide its files in /proc, but not who owns its directory there.
    let is_trusted = fs::metadata(&process).is_ok_and(|directory| directory.uid() == 0)
        // In other namespaces, there may be another Docker with other files. Each network
        // namespace has its own tables, and any user may ask for their inodes.
        && inode(&process, "ns/pid") == inode(Path::new("/proc/self"), "ns/pid")
        && inode(&process, "net/tcp") == inode(Path::new("/proc/1"), "net/tcp")
        && process_cgroup(&process, CgroupMember::Holder).container.is_none()
        // The process may have exited, and another one may have its id by now.
        && holds_socket(&process, holder.fd, listener.inode);
    (is_trusted && !address.is_empty()).then(|| address.to_vec())
}

/// Sets the containers of these sockets. Docker writes the addresses of a container to its
/// config.
fn find(sockets: &mut [ProxySocket], root: &File, proc: &Path) {
    for_each_file(root, DOCKER, &mut |id| {
        let Ok(id) = str::from_utf8(id) else { return };
        let config = read_docker_config(root, id);
        json::for_each_string(&config, &mut |string| {
            // `NetworkSettings.Networks.NAME.IPAddress`
            if (string.depth, string.is_element) != (4, false)
                || string.key != b"IPAddress" && string.key != b"GlobalIPv6Address"
            {
                return;
            }
            for socket in sockets.iter_mut() {
                if socket.address == string.value && is_running(id, &config, proc) {
                    socket.containers += 1;
                    socket.group.container = Some(Container {
                        id: id.to_string(),
                        runtime: Some("docker"),
                    });
                }
            }
        });
    });
}

/// Whether the first process of the container with this id runs. Its id is the first `Pid` in
/// the config, which may be out of date.
fn is_running(id: &str, config: &[u8], proc: &Path) -> bool {
    let pid = after(config, b"\"Pid\":").unwrap_or_default();
    let digits = pid.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let process = proc.join(OsStr::from_bytes(&pid[..digits]));
    let group = process_cgroup(&process, CgroupMember::Holder);
    (group.container.as_ref()).is_some_and(|container| container.id == id)
}

/// The part of `text` that follows the first `words`.
fn after<'a>(text: &'a [u8], words: &[u8]) -> Option<&'a [u8]> {
    let index = text.windows(words.len()).position(|it| it == words)?;
    Some(&text[index + words.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Holders, Protocol};
    use crate::sys::open_path;
    use tempfile::TempDir;

    /// A host on which Docker runs containers.
    struct Host(TempDir);

    impl Host {
        fn new() -> Host {
            let host = Host(TempDir::new().unwrap());
            fs::create_dir_all(host.0.path().join(DOCKER)).unwrap();
            host
        }

        /// Writes the config of a container with this first process.
        fn write(&self, number: u8, pid: u32, networks: &str) {
            let directory = self.0.path().join(DOCKER).join(id(number));
            fs::create_dir_all(&directory).unwrap();
            let config = format!(
                r#"{{"StreamConfig":{{}},"State":{{"Running":true,"Pid":{pid},"Error":""}},
                "Config":{{"Labels":{{"IPAddress":"10.0.0.9"}}}},
                "NetworkSettings":{{"Networks":{{{networks}}},"IPAddress":"10.0.0.8",
                "Ports":{{"80/tcp":[{{"HostIp":"10.0.0.7","IPAddress":"10.0.0.6"}}]}}}},
                "Name":"/web"}}"#
            );
            fs::write(directory.join("config.v2.json"), config).unwrap();
        }

        /// Starts a process in the group of this container.
        fn start(&self, number: u8, pid: u32) {
            let process = self.0.path().join("proc").join(pid.to_string());
            fs::create_dir_all(&process).unwrap();
            fs::write(
                process.join("cgroup"),
                format!("0::/docker/{}\n", id(number)),
            )
            .unwrap();
        }

        /// The id of the container that a socket leads to if docker-proxy names this address.
        fn target(&self, address: &str) -> Option<String> {
            let mut sockets = [ProxySocket {
                inode: 7,
                address: address.into(),
                group: Cgroup::default(),
                containers: 0,
            }];
            let root = open_path(self.0.path()).unwrap();
            find(&mut sockets, &root, &self.0.path().join("proc"));
            let [socket] = sockets;
            assert_eq!(socket.group.container.is_some(), socket.containers > 0);
            let container = socket.group.container.filter(|_| socket.containers == 1);
            container.map(|container| container.id)
        }
    }

    fn id(number: u8) -> String {
        format!("{number:02x}").repeat(32)
    }

    fn in_network(address: &str) -> String {
        format!(r#""bridge":{{"IPAddress":"{address}","GlobalIPv6Address":"fd00::1"}}"#)
    }

    #[test]
    fn an_address_leads_to_the_container_that_has_it() {
        let host = Host::new();
        host.write(1, 11, &in_network("10.0.0.1"));
        host.write(
            2,
            12,
            r#""a":{"IPAddress":""},"b":{"IPAddress":"10.0.0.2"}"#,
        );
        host.start(1, 11);
        host.start(2, 12);
        assert_eq!(host.target("10.0.0.1"), Some(id(1)));
        assert_eq!(host.target("fd00::1"), Some(id(1)));
        assert_eq!(host.target("10.0.0.2"), Some(id(2)));
        for last in [3, 6, 7, 8, 9] {
            assert_eq!(host.target(&format!("10.0.0.{last}")), None, "{last}");
        }
    }

    #[test]
    fn an_address_of_two_running_containers_leads_nowhere() {
        let host = Host::new();
        for number in 1..=3 {
            host.write(number, 10 + u32::from(number), &in_network("10.0.0.1"));
        }
        assert_eq!(host.target("10.0.0.1"), None, "none runs");
        host.start(2, 12);
        // The id of the first process of container 1 now belongs to one of container 2.
        host.start(2, 11);
        assert_eq!(host.target("10.0.0.1"), Some(id(2)));
        host.start(3, 13);
        assert_eq!(host.target("10.0.0.1"), None);
        host.start(1, 11);
        assert_eq!(host.target("10.0.0.1"), None);
    }

    #[test]
    fn what_docker_would_not_write_leads_nowhere() {
        let host = Host::new();
        host.start(1, 11);
        for (pid, networks) in [
            (0, in_network("10.0.0.1")),
            (11, r#""a":[{"IPAddress":"10.0.0.1"}]"#.to_string()),
            (11, r#""a":{"b":{"IPAddress":"10.0.0.1"}}"#.to_string()),
            (11, r#""IPAddress":"10.0.0.1""#.to_string()),
            (11, in_network("10.0.0.1") + "}"),
        ] {
            host.write(1, pid, &networks);
            assert_eq!(host.target("10.0.0.1"), None, "{pid} {networks}");
        }
        host.write(1, 11, &in_network("10.0.0.1"));
        assert_eq!(host.target("10.0.0.1"), Some(id(1)));
    }

    #[test]
    fn a_poll_without_a_new_socket_reads_no_file() {
        let endpoint = Endpoint {
            port: 80,
            address: "::".parse().unwrap(),
        };
        let holder = Holder {
            name: NAME.to_vec(),
            pid: u32::MAX,
            fd: 4,
        };
        let listener = Listener {
            inode: 7,
            uid: Some(0),
            holders: Holders::new([holder]),
            ..Listener::new(Protocol::Tcp, endpoint)
        };
        let poll = |proxies: &mut Proxies| {
            let mut snapshot = Snapshot::default();
            let fill = |all: &mut Vec<Listener>| -> Result<(), ()> {
                all.push(listener.clone());
                Ok(())
            };
            snapshot.refill(fill).unwrap();
            proxies.set(&mut snapshot, &mut || panic!("a file is read"));
            snapshot.listeners()[0].cgroup.clone()
        };
        let mut proxies = Proxies::default();
        // The holder is gone.
        assert_eq!(poll(&mut proxies), None);
        proxies.groups.insert(7, Some(Arc::default()));
        for _ in 0..100 {
            assert_eq!(poll(&mut proxies), Some(Arc::default()));
        }
    }
}
