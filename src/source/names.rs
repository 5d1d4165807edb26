//! Finds the names of containers in the files that kubelet, Docker and Podman leave on the
//! host. No runtime is asked.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use super::json;
use crate::kernel::proc::file::read_below;
use crate::listener::{CONTAINER_ID_LENGTH, Container, ContainerName, Listener};
use crate::snapshot::Snapshot;
use crate::sys::open_below;

/// The directory in which kubelet makes a log for each container of any runtime, called
/// `POD_NAMESPACE_CONTAINER-ID.log`. Log shippers rely on these names.
const LOGS: &str = "var/log/containers";
/// How many names of files are read of one directory.
const MOST_FILES: usize = 16_384;
/// The directory in which Docker has a directory for each container.
pub(super) const DOCKER: &str = "var/lib/docker/containers";
/// The files in which Podman lists containers that root started, for each storage driver.
const PODMAN: [&str; 4] = [
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/lib/containers/storage/overlay-containers/volatile-containers.json",
    "var/lib/containers/storage/vfs-containers/containers.json",
    "var/lib/containers/storage/vfs-containers/volatile-containers.json",
];
/// Files with more bytes than this are not read.
const LARGEST_FILE: u64 = 1 << 20;
/// A longer part of a name is refused.
const LONGEST_NAME: usize = 253;
/// The polls that search for the name of a container, counted from the first one that sees
/// it. Several are needed because kubelet makes the log only after it started the container.
const DUE: [u8; 4] = [1, 5, 21, 85];

/// Whether something is looked for at this poll of those that see it: the first one is 1.
pub(super) fn is_due(poll: u8) -> bool {
    DUE.contains(&poll)
}

/// The containers that have listeners, sorted by id.
#[derive(Debug, Default)]
pub struct Names(Vec<Named>);

/// A container, and its name if that was found.
#[derive(Debug)]
struct Named {
    container: Container,
    name: Option<Arc<ContainerName>>,
    /// The number of polls that saw the container, at most [`u8::MAX`].
    polls: u8,
    /// Whether the current poll saw the container.
    is_seen: bool,
}

impl Named {
    /// Whether the current poll searches for the name.
    fn is_due(&self) -> bool {
        self.name.is_none() && is_due(self.polls)
    }
}

impl Names {
    /// Sets the name of the container of each listener of `snapshot`. If the name of any
    /// container is due, opens the `root` of the host and reads the files in it. A container
    /// keeps its first name for as long as it has listeners. Returns whether a name was due.
    pub fn set(&mut self, snapshot: &mut Snapshot, root: &mut dyn FnMut() -> Option<File>) -> bool {
        for named in &mut self.0 {
            named.is_seen = false;
        }
        for listener in snapshot.listeners() {
            self.see(listener);
        }
        self.0.retain(|named| named.is_seen);
        for named in &mut self.0 {
            named.polls = named.polls.saturating_add(1);
        }
        let is_due = self.0.iter().any(Named::is_due);
        if is_due && let Some(root) = root() {
            self.find(&root);
        }
        snapshot.set_container_names(&|container| {
            let index = self.index(container.id.as_bytes()).ok()?;
            self.0[index].name.clone()
        });
        is_due
    }

    /// The index of the container with this id, or as an error where to insert it.
    fn index(&self, id: &[u8]) -> Result<usize, usize> {
        (self.0).binary_search_by(|named| named.container.id.as_bytes().cmp(id))
    }

    /// Marks the container of `listener` as seen, and adds it if it is new.
    fn see(&mut self, listener: &Listener) {
        let Some(container) = listener.own_container() else {
            return;
        };
        match self.index(container.id.as_bytes()) {
            Ok(index) => self.0[index].is_seen = true,
            Err(index) => {
                let named = Named {
                    container: container.clone(),
                    name: None,
                    polls: 0,
                    is_seen: true,
                };
                self.0.insert(index, named);
            }
        }
    }

    /// Sets the name of the container with this id, if it has listeners and no name.
    fn found(&mut self, id: &[u8], name: &dyn Fn() -> Option<ContainerName>) {
        if let Ok(index) = self.index(id)
            && self.0[index].name.is_none()
        {
            self.0[index].name = name().map(Arc::new);
        }
    }

    /// Searches the names that are due in the files below `root`.
    fn find(&mut self, root: &File) {
        self.find_logs(root);
        for named in self.0.iter_mut().filter(|named| named.is_due()) {
            if named.container.runtime == Some("docker") {
                named.name = docker_name(root, &named.container.id).map(Arc::new);
            }
        }
        let is_podman = |named: &Named| named.is_due() && named.container.runtime == Some("podman");
        if self.0.iter().any(is_podman) {
            for path in PODMAN {
                self.find_podman(root, path);
            }
        }
    }

    fn find_logs(&mut self, root: &File) {
        for_each_file(root, LOGS, &mut |file| {
            if let Some((start, id)) = split_log(file) {
                self.found(id, &|| log_name(start));
            }
        });
    }

    /// Reads a list of containers in the form `[{"id":"ID","names":["NAME"]}]`.
    fn find_podman(&mut self, root: &File, path: &str) {
        let text = read_below(root, path, LARGEST_FILE).unwrap_or_default();
        let mut container = (usize::MAX, &b""[..]);
        json::for_each_string(&text, &mut |string| match (
            string.depth,
            string.is_element,
            string.key,
        ) {
            (2, false, b"id") => container = (string.item, string.value),
            (3, true, b"names") if container.0 == string.item => {
                self.found(container.1, &|| named(&[string.value]));
            }
            _ => {}
        });
    }
}

/// Calls `each` with the names of the files in this directory below `root`, as far as they
/// can be listed.
pub(super) fn for_each_file(root: &File, directory: &str, each: &mut dyn FnMut(&[u8])) {
    let Ok(directory) = open_below(root, directory) else {
        return;
    };
    let directory = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.take(MOST_FILES).flatten() {
        each(entry.file_name().as_encoded_bytes());
    }
}

/// The config that Docker wrote for the container with this id. Empty if it cannot be read.
pub(super) fn read_docker_config(root: &File, id: &str) -> Vec<u8> {
    let path = format!("{DOCKER}/{id}/config.v2.json");
    read_below(root, &path, LARGEST_FILE).unwrap_or_default()
}

/// The name of the container with this id from the config that Docker wrote: the member
/// `Name`, without the slash at its start.
fn docker_name(root: &File, id: &str) -> Option<ContainerName> {
    let text = read_docker_config(root, id);
    let mut name = None;
    json::for_each_string(&text, &mut |string| {
        if (string.depth, string.is_element, string.key) == (1, false, b"Name") {
            name = string
                .value
                .strip_prefix(b"/")
                .and_then(|name| named(&[name]));
        }
    });
    name
}

/// Splits the file name of a log into the part before the id, and the id.
fn split_log(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = file.strip_suffix(b".log")?;
    let (start, id) = name.split_at_checked(name.len().checked_sub(CONTAINER_ID_LENGTH)?)?;
    Some((start.strip_suffix(b"-")?, id))
}

/// The name of a container whose log is called `POD_NAMESPACE_CONTAINER` before the id. Names
/// in Kubernetes cannot contain underscores.
fn log_name(start: &[u8]) -> Option<ContainerName> {
    let mut parts = start.split(|byte| *byte == b'_');
    let [pod, namespace, name] = [parts.next()?, parts.next()?, parts.next()?];
    match parts.next() {
        None => named(&[namespace, pod, name]),
        Some(_) => None,
    }
}

/// Joins the parts of a name with slashes. `None` if Docker would refuse a part, whose rule
/// is wider than those of Kubernetes and Podman. An accepted part has no slash and needs no
/// escapes.
fn named(parts: &[&[u8]]) -> Option<ContainerName> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let mut name = String::new();
    for part in parts {
        let starts_well = part.first()?.is_ascii_alphanumeric();
        if !starts_well || part.len() > LONGEST_NAME || !part.iter().all(is_allowed) {
            return None;
        }
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(str::from_utf8(part).ok()?);
    }
    Some(ContainerName(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Cgroup, Endpoint, Protocol};
    use crate::sys::open_path;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    /// The root directory of a host.
    struct Root(TempDir);

    impl Root {
        fn new() -> Root {
            Root(TempDir::new().unwrap())
        }

        /// The path of this file. Makes the directory of the file.
        fn path(&self, file: &str) -> PathBuf {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        }

        fn write(&self, file: &str, contents: impl AsRef<[u8]>) {
            fs::write(self.path(file), contents).unwrap();
        }

        fn open(&self) -> Option<File> {
            Some(open_path(self.0.path()).unwrap())
        }

        /// The name that is found for a container of this runtime.
        fn name(&self, id: &str, runtime: Option<&'static str>) -> Option<String> {
            poll(&mut Names::default(), &[(id, runtime)], || self.open()).remove(0)
        }

        /// The name that is found for container 1 of Docker.
        fn name_of_docker(&self) -> Option<String> {
            self.name(&id(1), Some("docker"))
        }
    }

    fn id(number: u8) -> String {
        format!("{number:02x}").repeat(32)
    }

    fn config(number: u8) -> String {
        format!("{DOCKER}/{}/config.v2.json", id(number))
    }

    /// The names that a poll finds for these containers, each of which has one listener.
    fn poll(
        names: &mut Names,
        containers: &[(&str, Option<&'static str>)],
        mut root: impl FnMut() -> Option<File>,
    ) -> Vec<Option<String>> {
        let mut snapshot = Snapshot::default();
        let listener = |port: usize, (id, runtime): (&str, Option<&'static str>)| {
            let endpoint = Endpoint {
                port: 1 + port as u16,
                address: "::".parse().unwrap(),
            };
            let cgroup = Cgroup {
                container: Some(Container {
                    id: id.to_string(),
                    runtime,
                }),
                ..Cgroup::default()
            };
            Listener {
                cgroup: Some(Arc::new(cgroup)),
                ..Listener::new(Protocol::Tcp, endpoint)
            }
        };
        let listeners = containers.iter().enumerate();
        let listeners = listeners.map(|(port, container)| listener(port, *container));
        let fill = |all: &mut Vec<Listener>| -> Result<(), ()> {
            all.extend(listeners);
            Ok(())
        };
        snapshot.refill(fill).unwrap();
        names.set(&mut snapshot, &mut root);
        let name = |listener: &Listener| Some(listener.container_name.as_ref()?.0.clone());
        snapshot.listeners().iter().map(name).collect()
    }

    fn unread() -> Option<File> {
        panic!("files are read")
    }

    /// The first members that Docker 20.10 writes, and some of the later ones.
    fn docker_config(name: &str) -> String {
        format!(
            r#"{{"StreamConfig":{{}},"State":{{"Running":true,"Pid":12,"Error":""}},
            "Config":{{"Hostname":"a","Env":["Name=other"],"Labels":{{"Name":"/other"}}}},
            "NetworkSettings":{{"Networks":{{"bridge":{{"Name":"/other"}}}}}},
            "Name":"{name}","Driver":"overlay2","MountPoints":{{"/data":{{"Name":"/other"}}}}}}"#
        )
    }

    /// A list of containers as containers/storage writes it.
    fn podman_list(containers: &[(u8, &str)]) -> String {
        let container = |(number, name): &(u8, &str)| {
            format!(
                r#"{{"id":"{}","names":["{name}","other"],"image":"{}","layer":"ab",
                "metadata":"{{\"name\":\"other\"}}","created":"2026-01-02T03:04:05Z",
                "flags":{{"MountLabel":"","names":["other"]}}}}"#,
                id(*number),
                id(99)
            )
        };
        let containers: Vec<_> = containers.iter().map(container).collect();
        format!("[{}]", containers.join(","))
    }

    fn log(start: &str, number: u8) -> String {
        format!("{LOGS}/{start}-{}.log", id(number))
    }

    #[test]
    fn names_of_docker_containers_are_read_from_configs() {
        let root = Root::new();
        root.write(&config(1), docker_config("/web"));
        assert_eq!(root.name_of_docker().unwrap(), "web");
        assert_eq!(root.name(&id(1), Some("podman")), None);
        assert_eq!(root.name(&id(2), Some("docker")), None);
    }

    #[test]
    fn names_of_podman_containers_are_read_from_lists() {
        for list in PODMAN {
            let root = Root::new();
            root.write(list, podman_list(&[(1, "web"), (2, "db_1"), (3, "x.y-z")]));
            for (number, name) in [(1, "web"), (2, "db_1"), (3, "x.y-z")] {
                assert_eq!(root.name(&id(number), Some("podman")).unwrap(), name);
            }
            assert_eq!(root.name(&id(4), Some("podman")), None);
            assert_eq!(root.name(&id(1), Some("docker")), None);
        }
    }

    #[test]
    fn containers_do_not_get_the_names_of_others() {
        let root = Root::new();
        let ids = [1, 2, 3].map(id);
        let [first, second, third] = &ids;
        root.write(
            PODMAN[0],
            format!(
                r#"[{{"id":"{first}"}},{{"names":["second"],"id":"{second}"}},
                {{"names":["third"]}},{{"id":"{third}","names":[["deep"],{{"names":"x"}}]}}]"#
            ),
        );
        for id in &ids {
            assert_eq!(root.name(id, Some("podman")), None);
        }
    }

    /// The form that the kubelet documents in `pkg/kubelet/kuberuntime/legacy.go`.
    #[test]
    fn kubelet_logs_name_containers_of_any_runtime() {
        let root = Root::new();
        // The logs are links, and the pod's own log may be gone.
        let logs = [("web-0_default_nginx", 1), ("a.b-c_kube-system_proxy", 2)];
        for (start, number) in logs {
            symlink("/var/log/pods/gone/0.log", root.path(&log(start, number))).unwrap();
        }
        root.write(&config(1), docker_config("/k8s_nginx_web-0_default_uid_0"));
        for runtime in [None, Some("containerd"), Some("cri-o"), Some("docker")] {
            assert_eq!(root.name(&id(1), runtime).unwrap(), "default/web-0/nginx");
            let name = root.name(&id(2), runtime);
            assert_eq!(name.unwrap(), "kube-system/a.b-c/proxy");
        }
    }

    #[test]
    fn a_log_of_another_form_names_nothing() {
        for file in [
            log("web-0_default", 1),
            log("web-0_default_nginx_1", 1),
            log("web-0__nginx", 1),
            log("_default_nginx", 1),
            log("web-0_default_", 1),
            log("web 0_default_nginx", 1),
            log("..", 1),
            log("a_.._c", 1),
            format!("{LOGS}/a_b_c-{}.log.1", id(1)),
            format!("{LOGS}/a_b_c-1{}.log", id(1)),
            format!("{LOGS}/a_b_c{}.log", id(1)),
            format!("{LOGS}/{}.log", id(1)),
        ] {
            let root = Root::new();
            root.write(&file, "");
            assert_eq!(root.name(&id(1), None), None, "{file}");
        }
    }

    #[test]
    fn names_that_no_runtime_accepts_are_refused() {
        let root = Root::new();
        let longest = "a".repeat(LONGEST_NAME);
        root.write(&config(1), docker_config(&format!("/{longest}")));
        assert_eq!(root.name_of_docker().unwrap(), longest);
        let page = "a".repeat(4096);
        for name in [
            "",
            "..",
            ".",
            "-web",
            "_web",
            "a/b",
            "a b",
            "a,cgroup",
            "a=b",
            "a\\n",
            "\\u0061",
            "a\\\"",
            "a\u{1b}[31m",
            "a\u{202e}",
            "é",
            &format!("{longest}a"),
            &page,
        ] {
            root.write(&config(1), docker_config(&format!("/{name}")));
            assert_eq!(root.name_of_docker(), None, "{name}");
            root.write(PODMAN[0], podman_list(&[(2, name)]));
            assert_ne!(root.name(&id(2), Some("podman")).as_deref(), Some(name));
        }
        root.write(&config(1), b"{\"Name\":\"/a\xff\"}");
        assert_eq!(root.name_of_docker(), None);
    }

    #[test]
    fn broken_json_names_nothing() {
        let root = Root::new();
        let whole = docker_config("/web");
        for end in 0..whole.len() {
            root.write(&config(1), &whole[..end]);
            assert_eq!(root.name_of_docker(), None, "{}", &whole[..end]);
        }
        let nested = format!(
            r#"{{"Name":"/web","a":{}1{}}}"#,
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        root.write(&config(1), nested);
        assert_eq!(root.name_of_docker(), None);
    }

    #[test]
    fn a_file_that_is_too_large_names_nothing() {
        let root = Root::new();
        let start = docker_config("/web");
        let fill = |length: u64| {
            let blanks = " ".repeat(length as usize - start.len());
            root.write(&config(1), format!("{start}{blanks}"));
        };
        fill(LARGEST_FILE);
        assert_eq!(root.name_of_docker().unwrap(), "web");
        fill(LARGEST_FILE + 1);
        assert_eq!(root.name_of_docker(), None);
    }

    #[test]
    fn only_a_regular_file_names_a_container() {
        let root = Root::new();
        let path = root.path(&config(1));
        let as_text = path.to_str().unwrap();
        let made = std::process::Command::new("mkfifo").arg(as_text).status();
        assert!(made.unwrap().success());
        assert_eq!(root.name_of_docker(), None);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(root.name_of_docker(), None);
        fs::remove_dir(&path).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(&path);
        assert_eq!(root.name_of_docker(), None);
    }

    #[test]
    fn a_link_stays_below_the_root() {
        let root = Root::new();
        let other = TempDir::new().unwrap();
        let outside = other.path().join("config.v2.json");
        fs::write(&outside, docker_config("/outside")).unwrap();
        let path = root.path(&config(1));
        let up = Path::new("../../../../../../../../../../..");
        let outside = outside.strip_prefix("/").unwrap();
        for target in [Path::new("/").join(outside), up.join(outside)] {
            symlink(&target, &path).unwrap();
            assert_eq!(
                fs::read(&path).unwrap(),
                docker_config("/outside").as_bytes()
            );
            assert_eq!(root.name_of_docker(), None);
            fs::remove_file(&path).unwrap();
        }
        // Links to a directory are not followed out of the root, either.
        let directory = path.parent().unwrap();
        fs::remove_dir(directory).unwrap();
        symlink(other.path(), directory).unwrap();
        assert_eq!(root.name_of_docker(), None);
        let logs = root.path(LOGS);
        fs::write(other.path().join(format!("a_b_c-{}.log", id(1))), "").unwrap();
        symlink(other.path(), logs).unwrap();
        assert_eq!(root.name(&id(1), None), None);
    }

    #[test]
    fn magic_links_are_not_followed() {
        let root = Root::new();
        let secret = root.path("secret");
        fs::write(&secret, docker_config("/secret")).unwrap();
        let file = File::open(secret).unwrap();
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        // This root has a real `/proc`, in which the link could be followed.
        let proc = open_path(Path::new("/proc")).unwrap();
        let path = magic.strip_prefix("/proc/").unwrap();
        let opened = open_below(&proc, path);
        // ELOOP, or ENOTDIR if the kernel lacks openat2.
        let error = opened.unwrap_err().raw_os_error();
        assert!(matches!(error, Some(40 | 20)), "{error:?}");
    }

    #[test]
    fn a_missing_name_is_searched_at_later_polls() {
        let root = Root::new();
        let mut names = Names::default();
        let container = [(&*id(1), Some("containerd"))];
        let mut reads = Vec::new();
        for number in 1..=u8::MAX {
            let found = poll(&mut names, &container, || {
                reads.push(number);
                root.open()
            });
            assert_eq!(found, [None]);
        }
        assert_eq!(reads, DUE);
        let mut names = Names::default();
        poll(&mut names, &container, || root.open());
        root.write(&log("a_b_c", 1), "");
        for _ in 0..3 {
            assert_eq!(poll(&mut names, &container, unread), [None]);
        }
        let found = poll(&mut names, &container, || root.open());
        assert_eq!(found, [Some("b/a/c".to_string())]);
        assert_eq!(poll(&mut names, &container, unread), found);
    }

    #[test]
    fn a_container_with_listeners_keeps_its_first_name() {
        let root = Root::new();
        let mut names = Names::default();
        let [first, second] = &[1, 2].map(id);
        let [first, second] = [first, second].map(|id| (&**id, Some("docker")));
        root.write(&config(1), docker_config("/web"));
        let found = poll(&mut names, &[first], || root.open());
        assert_eq!(found[0].as_deref(), Some("web"));
        root.write(&config(1), docker_config("/renamed"));
        root.write(&config(2), docker_config("/web"));
        let both = [second, first, second];
        let found = poll(&mut names, &both, || root.open());
        let web = Some("web".to_string());
        assert_eq!(found, [web.clone(), web.clone(), web]);
        assert_eq!(poll(&mut names, &[], unread), []);
        let found = poll(&mut names, &[first], || root.open());
        assert_eq!(found[0].as_deref(), Some("renamed"));
    }

    #[test]
    fn without_a_root_there_are_no_names() {
        let container = [(&*id(1), Some("docker"))];
        assert_eq!(poll(&mut Names::default(), &container, || None), [None]);
    }
}
