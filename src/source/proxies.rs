//! Which container a port of docker-proxy leads to. docker-proxy listens on the host, and
//! its arguments name the address of the container that it passes everything on to. Docker
//! notes the addresses of each container in a file on the host.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::containers::{Known, process_cgroup};
use super::json;
use super::names::{DOCKER, for_each_file, is_due, read_docker_config};
use crate::kernel::proc::file::read_some;
use crate::kernel::proc::process::holds_socket;
use crate::listener::{Cgroup, CgroupMember, Container, Listener};
use crate::snapshot::Snapshot;

const PROC: &str = "/proc";
/// What docker-proxy calls itself.
const NAME: &[u8] = b"docker-proxy";

/// The sockets that docker-proxy holds, and where they lead to.
#[derive(Debug, Default)]
pub struct Proxies {
    /// The groups of these sockets, with the containers that they lead to, by the inode of
    /// the socket. `None` as long as its container is not known.
    groups: Known,
    /// How many polls there were since one was new, or [`u8::MAX`] for more.
    polls: u8,
}

/// A socket whose container is looked for.
struct Sought {
    inode: u64,
    /// The address that everything is passed on to.
    address: Vec<u8>,
    group: Cgroup,
    /// How many containers have the address.
    found: usize,
}

impl Proxies {
    /// Sets the container that each listener of `snapshot` leads to, whose holders and groups
    /// are set. Files are read only at a few polls after one is new, below what `root`
    /// returns: Docker writes the address of a container after it has started docker-proxy.
    /// True if containers were looked for.
    pub fn set(&mut self, snapshot: &mut Snapshot, root: &mut dyn FnMut() -> Option<File>) -> bool {
        let groups = &mut self.groups;
        groups.limit(snapshot.listeners());
        let listeners = snapshot.listeners().iter();
        let proxies: Vec<&Listener> = listeners.filter(|it| is_proxy(it)).collect();
        for Listener { inode, .. } in &proxies {
            if groups.find(*inode).is_none() {
                groups.insert(*inode, None);
                self.polls = 0;
            }
        }
        if proxies.is_empty() {
            return false;
        }
        self.polls = self.polls.saturating_add(1);
        let has_looked = is_due(self.polls) && self.look(&proxies, root);
        let groups = &self.groups;
        snapshot.set_cgroups(&|listener| {
            let group = groups.get(listener.inode);
            group.or_else(|| listener.cgroup.clone())
        });
        has_looked
    }

    /// Looks for the containers of `proxies` that are not known yet.
    fn look(&mut self, proxies: &[&Listener], root: &mut dyn FnMut() -> Option<File>) -> bool {
        let mut sought = Vec::new();
        for listener in proxies {
            if self.groups.get(listener.inode).is_none()
                && let Some(group) = &listener.cgroup
                && let Some(address) = address(listener)
            {
                sought.push(Sought {
                    inode: listener.inode,
                    address,
                    group: Cgroup::clone(group),
                    found: 0,
                });
            }
        }
        if !sought.is_empty()
            && let Some(root) = root()
        {
            find(&mut sought, &root, Path::new(PROC));
        }
        for socket in &mut sought {
            // Of several, it may be any.
            if socket.found == 1 {
                let group = std::mem::take(&mut socket.group);
                self.groups.replace(socket.inode, group);
            }
        }
        !sought.is_empty()
    }
}

/// Whether docker-proxy, or what calls itself that, holds a socket outside of containers.
fn is_proxy(listener: &Listener) -> bool {
    let mut holders = listener.holders.first().iter();
    listener.inode != 0
        && listener.own_container().is_none()
        && holders.any(|holder| holder.name == NAME)
}

/// Sets the containers that the sockets lead to, by what Docker wrote about each.
fn find(sought: &mut [Sought], root: &File, proc: &Path) {
    for_each_file(root, DOCKER, &mut |id| {
        let Ok(id) = str::from_utf8(id) else { return };
        let config = read_docker_config(root, id);
        json::for_each_string(&config, &mut |string| {
            // In `NetworkSettings.Networks.NAME`.
            if (string.depth, string.is_element) != (4, false)
                || !matches!(string.key, b"IPAddress" | b"GlobalIPv6Address")
            {
                return;
            }
            for socket in sought.iter_mut().filter(|it| it.address == string.value) {
                if is_running(id, &config, proc) {
                    socket.found += 1;
                    socket.group.leads_to_container = true;
                    socket.group.container = Some(Container {
                        id: id.to_string(),
                        runtime: Some("docker"),
                    });
                }
            }
        });
    });
}

/// The address that docker-proxy passes everything on to that `listener` receives, if Docker
/// started it: root, outside of any container. Others can call themselves docker-proxy.
fn address(listener: &Listener) -> Option<Vec<u8>> {
    let mut proxies = listener.holders.first().iter().filter(|it| it.name == NAME);
    proxies.find_map(|holder| {
        let process = Path::new(PROC).join(holder.pid.to_string());
        // A process can hide what belongs to it, but not who owns this directory.
        let is_trusted = listener.uid == Some(0)
            && fs::metadata(&process).ok()?.uid() == 0
            && is_of_host(&process)
            && process_cgroup(&process, CgroupMember::Holder)
                .container
                .is_none();
        let arguments = read_some(&process.join("cmdline")).ok()?;
        let value = after(&arguments, b"\0-container-ip\0")?;
        let address = value.split(|byte| *byte == 0).next()?;
        // Its id may be that of another process by now.
        let is_it = is_trusted && holds_socket(&process, holder.fd, listener.inode);
        (is_it && !address.is_empty()).then(|| address.to_vec())
    })
}

/// Whether the process with this directory is in the PID namespace of `/proc`, and in the
/// network namespace of its process 1. Another Docker, with other files, may be elsewhere.
fn is_of_host(process: &Path) -> bool {
    let inode = |process: &Path, file| Some(fs::metadata(process.join(file)).ok()?.ino());
    // Each network namespace has tables of its own. Anyone may ask which they are.
    [("ns/pid", "/proc/self"), ("net/tcp", "/proc/1")]
        .into_iter()
        .all(|(file, other)| {
            let of_other = inode(Path::new(other), file);
            of_other.is_some() && of_other == inode(process, file)
        })
}

/// Whether a process runs in the container with this id: the first one, whose id is the
/// first `Pid` that Docker wrote. What Docker wrote may be out of date.
fn is_running(id: &str, config: &[u8], proc: &Path) -> bool {
    let pid = after(config, b"\"Pid\":").unwrap_or_default();
    let pid = pid.split(|byte| !byte.is_ascii_digit()).next();
    let pid = str::from_utf8(pid.unwrap_or_default()).unwrap_or_default();
    let group = process_cgroup(&proc.join(pid), CgroupMember::Holder);
    (group.container.as_ref()).is_some_and(|container| container.id == id)
}

/// What is in `text` after the first `words`.
fn after<'a>(text: &'a [u8], words: &[u8]) -> Option<&'a [u8]> {
    let place = text.windows(words.len()).position(|it| it == words)?;
    Some(&text[place + words.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Holder, Holders, Protocol};
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

        /// Writes what Docker writes about a container with this first process.
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

        /// Starts the process, in the group of this container.
        fn start(&self, number: u8, pid: u32) {
            let process = self.0.path().join("proc").join(pid.to_string());
            fs::create_dir_all(&process).unwrap();
            fs::write(
                process.join("cgroup"),
                format!("0::/docker/{}\n", id(number)),
            )
            .unwrap();
        }

        /// The id of the container that a socket with this address leads to.
        fn target(&self, address: &str) -> Option<String> {
            let mut sought = [Sought {
                inode: 7,
                address: address.into(),
                group: Cgroup::default(),
                found: 0,
            }];
            let root = open_path(self.0.path()).unwrap();
            find(&mut sought, &root, &self.0.path().join("proc"));
            let [Sought { found, group, .. }] = sought;
            assert_eq!(group.leads_to_container, found > 0);
            group.container.map(|it| it.id).filter(|_| found == 1)
        }
    }

    fn id(number: u8) -> String {
        format!("{number:02x}").repeat(32)
    }

    fn in_network(address: &str) -> String {
        format!(r#""bridge":{{"IPAddress":"{address}","GlobalIPv6Address":"fd00::1"}}"#)
    }

    #[test]
    fn an_address_leads_to_the_running_container_that_has_it() {
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
        // A process of another container has the id that this one's had.
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
            holders: Holders::new([holder]),
            ..Listener::new(Protocol::Tcp, endpoint)
        };
        let mut proxies = Proxies::default();
        let mut poll = || {
            let mut snapshot = Snapshot::default();
            let fill = |all: &mut Vec<Listener>| -> Result<(), ()> {
                all.push(listener.clone());
                Ok(())
            };
            snapshot.refill(fill).unwrap();
            let has_looked = proxies.set(&mut snapshot, &mut || panic!("a file is read"));
            assert!(!has_looked);
            let group = snapshot.listeners()[0].cgroup.clone();
            if group.is_none() {
                let group = Cgroup {
                    leads_to_container: true,
                    ..Cgroup::default()
                };
                proxies.groups.replace(7, group);
            }
            group
        };
        // Its holder is gone.
        assert_eq!(poll(), None);
        for _ in 0..100 {
            assert!(poll().unwrap().leads_to_container);
        }
    }
}
