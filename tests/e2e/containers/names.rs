//! The names of containers in the lines of `--all-namespaces`. They must be the names that `docker
//! ps` and `podman ps` print. For pods, which need a cluster, a process with its own root directory
//! stands in for the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::discriminant;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::podman::HostPodman;
use crate::harness::*;

/// A watcher of a single port in all network namespaces.
struct Watcher {
    running: Running,
    /// The JSON objects that were read, but that [`Watcher::name`] has not returned.
    unread: Vec<Value>,
}

impl Watcher {
    fn start(port: &str) -> Watcher {
        let arguments = ["-A", "-q", "--json", "-i", "50ms", port];
        Watcher {
            running: Running::start(&mut lntu(&arguments)),
            unread: Vec::new(),
        }
    }

    /// Returns the container's name in the next object of this type about the container with this
    /// id.
    fn name(&mut self, kind: &str, id: &str) -> Value {
        let matches = |object: &Value| object["type"] == kind && object["container"] == id;
        loop {
            if let Some(index) = self.unread.iter().position(matches) {
                return self.unread.remove(index)["container_name"].take();
            }
            let object = self.next();
            self.unread.push(object);
        }
    }

    /// Reads the next object.
    fn next(&self) -> Value {
        serde_json::from_str(&self.running.next_line()).unwrap()
    }
}

/// Returns the name that `list` prints for the container with this id and this port.
fn listed_name(port: &str, id: &str) -> Value {
    let listed = run(&mut lntu(&["list", "-A", "-q", "--json", port])).stdout;
    let objects = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut objects = objects.filter(|object: &Value| object["container"] == id);
    objects.next().unwrap()["container_name"].take()
}

#[test]
fn containers_of_docker_have_the_names_of_docker_ps() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let mut watcher = Watcher::start("18085");
    let servers = [(); 3].map(|()| image.start_server(Port::Open, "18085"));
    let ps = docker_says(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]);
    let table = run(&mut lntu(&["list", "-A", "-q", "-H", "18085"])).stdout;
    for server in &servers {
        let (id, name) = (server.inspect("{{.Id}}"), server.name());
        assert!(
            ps.lines().any(|line| line == format!("{id} {name}")),
            "{ps}"
        );
        let cell = format!(",name={name},cgroup=");
        let line = table.lines().find(|line| line.contains(&id)).unwrap();
        assert!(line.contains(&cell), "{line}");
        assert_eq!(watcher.name("opened", &id), name);
        server.signal("KILL");
        assert_eq!(watcher.name("closed", &id), name);
    }
}

/// Each container is killed after the watcher has reported its port, while other containers start
/// and end.
#[test]
fn each_of_60_short_lived_containers_has_its_name() {
    if !have_docker() {
        return;
    }
    const AT_ONCE: usize = 6;
    const LIVES: usize = 10;
    let image = Image::scratch();
    let watcher = Watcher::start("18086");
    let (names, opened) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeSet::new()));
    let live_one_life = || {
        let server = image.start(&["--rm"], &["/app", "listen", "18086", "serve"]);
        let id = server.inspect("{{.Id}}");
        names
            .lock()
            .unwrap()
            .insert(id.clone(), server.name().to_string());
        wait_for("the container's port", || {
            opened.lock().unwrap().contains(&id).then_some(())
        });
        server.signal("KILL");
    };
    let mut reported = Vec::new();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..LIVES).for_each(|_| live_one_life()));
        }
        while reported.len() < 2 * AT_ONCE * LIVES {
            let mut object = watcher.next();
            let Value::String(id) = object["container"].take() else {
                continue;
            };
            if object["type"] == "opened" {
                opened.lock().unwrap().insert(id.clone());
            }
            reported.push((id, object["container_name"].take()));
        }
    });
    let names = names.into_inner().unwrap();
    assert_eq!(names.len(), AT_ONCE * LIVES);
    for (id, name) in reported {
        assert_eq!(name, names[&id], "{id}");
    }
}

#[test]
fn ports_opened_after_a_rename_have_the_new_name() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let mut watcher = Watcher::start("18087");
    let server = image.start_server(Port::Open, "18087");
    let (id, name) = (server.inspect("{{.Id}}"), server.name());
    assert_eq!(watcher.name("opened", &id), name);
    let renamed = format!("{name}-renamed");
    docker_says(&["rename", name, &renamed]);
    assert_eq!(listed_name("18087", &id), renamed);
    docker_says(&["kill", "--signal", "USR1", &id]);
    assert_eq!(watcher.name("closed", &id), name);
    docker_says(&["kill", "--signal", "USR2", &id]);
    assert_eq!(watcher.name("opened", &id), renamed);
    docker_says(&["rename", &renamed, name]);
}

#[test]
fn containers_of_podman_have_the_names_of_podman_ps() {
    if !have_docker() {
        return;
    }
    let Some(podman) = HostPodman::load(&Image::scratch()) else {
        return;
    };
    let mut watcher = Watcher::start("18088");
    let start = |options: &[&str]| {
        let name = unique_name();
        let run = ["run", "--detach", "--network=none", "--name", &name];
        let server = [&podman.image, "/app", "listen", "18088", "serve"];
        let id = podman.says(&[&run[..], options, &server].concat());
        (id.trim().to_string(), name)
    };
    let started = [start(&[]), start(&["--rm"])];
    let ps = podman.says(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"]);
    for (id, name) in &started {
        assert!(
            ps.lines().any(|line| line == format!("{id} {name}")),
            "{ps}"
        );
        assert_eq!(watcher.name("opened", id), **name);
    }
    let (id, name) = &started[0];
    let renamed = format!("{name}-renamed");
    podman.says(&["rename", name, &renamed]);
    assert_eq!(listed_name("18088", id), renamed);
    podman.says(&["kill", id]);
    assert_eq!(watcher.name("closed", id), **name);
}

/// A PID namespace with its own root directory. Its process 1 is a server in a cgroup.
struct FakeHost {
    unshare: Child,
    root: TempDir,
    /// The directories of the server's cgroup and of the ancestors of that cgroup, the innermost
    /// first.
    groups: Vec<PathBuf>,
}

impl FakeHost {
    /// Starts a host whose server listens on port 8080. `path` is the path of the server's cgroup
    /// below a cgroup that no other test uses.
    fn start(path: &str) -> FakeHost {
        let root = TempDir::new().unwrap();
        fs::copy(&binaries().app, root.path().join("app")).unwrap();
        // The first hierarchy may be of cgroup v1 or v2.
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let is_group = |fields: &Vec<&str>| fields[2].starts_with("cgroup");
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect());
        let mount: Vec<&str> = mounts.find(is_group).unwrap();
        let group = Path::new(mount[1]).join(unique_name()).join(path);
        fs::create_dir_all(&group).unwrap();
        let groups = group.ancestors().map(Path::to_path_buf);
        let groups = groups.take_while(|group| group != Path::new(mount[1]));
        let script = "echo $$ >\"$0\"/cgroup.procs && exec unshare --pid --net --fork \
                      --mount-proc --kill-child chroot \"$1\" /app listen 8080 serve";
        let mut sh = Command::new("sh");
        let started = sh.args(["-c", script]).arg(&group).arg(root.path());
        let host = FakeHost {
            unshare: started.stdout(Stdio::null()).spawn().unwrap(),
            root,
            groups: groups.collect(),
        };
        wait_for("the server", || host.line(&[], &[]));
        host
    }

    /// Starts another server on this port, in the same cgroup and namespaces. The first one must
    /// run. This one runs for as long as the host.
    fn start_another(&self, port: &str) -> Running {
        let script = "echo $$ >\"$0\"/cgroup.procs && \
                      exec nsenter --target \"$1\" --pid --net \"$2\" listen \"$3\" serve";
        let mut sh = Command::new("sh");
        sh.args(["-c", script]).arg(&self.groups[0]);
        sh.arg(child_of(self.unshare.id()).to_string());
        let nsenter = Running::start(sh.arg(&binaries().app).arg(port));
        assert_eq!(nsenter.next_line(), "serving");
        nsenter
    }

    /// A command that runs lntu on this host, through the command `wrapper`.
    fn lntu(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let server = child_of(self.unshare.id()).to_string();
        command.args(["--target", &server, "--pid", "--mount"]);
        command.args(wrapper).arg(env!("CARGO_BIN_EXE_lntu"));
        command.args(arguments);
        command
    }

    /// Returns the line that `list` prints about the server. `list` may also print lines about
    /// namespaces that are mounted on the real host. `-p` makes lntu read the cgroup of the
    /// process, because the kernel reports the cgroup of a socket only with cgroup v2.
    fn line(&self, wrapper: &[&str], options: &[&str]) -> Option<String> {
        let arguments = [&["list", "-A", "-p", "-q", "8080"], options].concat();
        let listed = run(&mut self.lntu(wrapper, &arguments)).stdout;
        let group = self.groups.last().unwrap().file_name().unwrap();
        let mut lines = listed.lines();
        let line = lines.find(|line| line.contains(group.to_str().unwrap()));
        line.map(str::to_string)
    }

    /// The names of the server's container, its pod, and the pod's namespace.
    fn names(&self, wrapper: &[&str]) -> [Value; 3] {
        let line = self.line(wrapper, &["--json"]).unwrap();
        let mut object: Value = serde_json::from_str(&line).unwrap();
        assert!(object["container"].is_string(), "{object}");
        ["container_name", "pod", "pod_namespace"].map(|member| object[member].take())
    }

    /// Returns the path of a file of the host, as seen from outside of the host. Makes the
    /// directory of the file.
    fn path(&self, file: &str) -> PathBuf {
        let path = self.root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        for group in &self.groups {
            wait_for("an empty group", || fs::remove_dir(group).ok());
        }
    }
}

/// The directory of the logs that the kubelet makes.
const LOGS: &str = "var/log/containers";

/// A command that runs a program as on a kernel before 5.6, which has no openat2.
const BEFORE_5_6: [&str; 6] = [
    "strace",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "inject=openat2:error=ENOSYS",
];

fn can_fake_a_host() -> bool {
    have_root()
        && have_static()
        && have_program("strace", "strace")
        && have_programs("netns", ["unshare", "nsenter", "chroot"])
}

#[test]
fn a_container_of_a_pod_is_named_after_its_log_file() {
    if !can_fake_a_host() {
        return;
    }
    let id = "ab12".repeat(16);
    let group = format!("kubepods/burstable/pod0f1e/cri-containerd-{id}.scope");
    let host = FakeHost::start(&group);
    assert_eq!(host.names(&[]), [(); 3].map(|()| Value::Null));
    let log = host.path(&format!("{LOGS}/web-0_default_nginx-{id}.log"));
    symlink("/var/log/pods/default_web-0_0f1e/nginx/0.log", log).unwrap();
    let expected = ["nginx", "web-0", "default"];
    assert_eq!(host.names(&[]), expected);
    assert_eq!(host.names(&BEFORE_5_6), expected);
    let line = host.line(&[], &[]).unwrap();
    assert!(line.contains(",name=default/web-0/nginx,cgroup="), "{line}");
}

#[test]
fn the_readme_shows_a_line_about_a_pod() {
    if !can_fake_a_host() {
        return;
    }
    let [line] = blocks("See every container on a host", "json");
    let shown: Value = serde_json::from_str(line).unwrap();
    let text = |member: &str| shown[member].as_str().unwrap();
    let host = FakeHost::start(text("cgroup").trim_start_matches('/'));
    let [pod, namespace, name, id] =
        ["pod", "pod_namespace", "container_name", "container"].map(text);
    let log = host.path(&format!("{LOGS}/{pod}_{namespace}_{name}-{id}.log"));
    fs::write(log, "").unwrap();
    let printed = host.line(&[], &["--json"]).unwrap();
    // The server has two descriptors. Only the members of the first one are compared.
    let members = |line: &str| {
        let (start, rest) = line.split_once('}').unwrap();
        let line = format!("{start}{}", rest.split_once(']').unwrap().1);
        let ends = line.match_indices("\":").map(|(end, _)| end);
        let member = |end| line[..end].rsplit_once('"').unwrap().1.to_string();
        ends.map(member).collect::<Vec<_>>()
    };
    assert_eq!(members(line), members(&printed), "{printed}");
    let printed: Value = serde_json::from_str(&printed).unwrap();
    for (member, value) in shown.as_object().unwrap() {
        let printed = &printed[member];
        match member.as_str() {
            "container" | "container_name" | "pod" | "pod_namespace" | "runtime" => {
                assert_eq!(value, printed);
            }
            "cgroup" => assert!(printed.as_str().unwrap().ends_with(text("cgroup"))),
            _ => assert_eq!(discriminant(value), discriminant(printed), "{member}"),
        }
    }
    let id = format!("{}:{}", shown["namespace"], text("port"));
    assert_eq!(text("id"), id.replace("tcp:", "tcp4:"));
}

/// The kubelet names the log only after it has started the container.
#[test]
fn a_closed_port_has_a_name_that_was_found_later() {
    if !can_fake_a_host() {
        return;
    }
    let id = "cd34".repeat(16);
    let host = FakeHost::start(&format!("kubepods/pod0f1e/cri-containerd-{id}.scope"));
    let watch = ["-A", "-p", "-q", "--json", "-i", "50ms", "8080-8081/tcp"];
    let watcher = Running::start(&mut host.lntu(&[], &watch));
    let names = |kind: &str, port: u16| {
        let mut objects = std::iter::repeat_with(|| -> Value {
            serde_json::from_str(&watcher.next_line()).unwrap()
        });
        let is_it = |object: &Value| object["type"] == kind && object["number"] == port;
        let mut object = objects.find(is_it).unwrap();
        assert_eq!(object["container"], id, "{object}");
        ["container_name", "pod", "pod_namespace"].map(|member| object[member].take())
    };
    let none = [const { Value::Null }; 3];
    assert_eq!(names("listening", 8080), none);
    let another = host.start_another("8081");
    assert_eq!(names("opened", 8081), none);
    let log = host.path(&format!("{LOGS}/web-0_default_nginx-{id}.log"));
    fs::write(log, "").unwrap();
    // unshare and nsenter each start a server in the PID namespace.
    let signal = |parent: u32, signal| {
        let server = Pid::from_raw(child_of(parent) as i32).unwrap();
        kill_process(server, signal).unwrap();
    };
    let first = host.unshare.id();
    let expected = ["nginx", "web-0", "default"];
    wait_for("the name", || {
        signal(first, Signal::USR1);
        names("closed", 8080);
        signal(first, Signal::USR2);
        (names("opened", 8080) == expected).then_some(())
    });
    signal(another.child.id(), Signal::USR1);
    assert_eq!(names("closed", 8081), expected);
}

#[test]
fn links_out_of_the_root_directory_are_not_followed() {
    if !can_fake_a_host() {
        return;
    }
    let id = "ab12".repeat(16);
    let host = FakeHost::start(&format!("docker/{id}"));
    let outside = TempDir::new().unwrap();
    let text = |name: &str| format!(r#"{{"ID":"{id}","Name":"/{name}"}}"#);
    fs::write(outside.path().join("config"), text("outside")).unwrap();
    fs::write(host.path("inside/config"), text("inside")).unwrap();
    let path = host.path(&format!("var/lib/docker/containers/{id}/config.v2.json"));
    let name = |wrapper: &[&str]| host.names(wrapper)[0].take();

    fs::write(&path, text("web")).unwrap();
    assert_eq!([name(&[]), name(&BEFORE_5_6)], ["web", "web"]);
    let outside = outside.path().join("config");
    for (target, expected) in [
        (Path::new("/etc/shadow"), Value::Null),
        (&outside, Value::Null),
        // With openat2, the kernel resolves this link below the root directory of the host. Without
        // openat2, lntu follows no links.
        (Path::new("/inside/config"), "inside".into()),
    ] {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        assert_eq!(name(&[]), expected, "{}", target.display());
        assert_eq!(name(&BEFORE_5_6), Value::Null);
    }
    fs::remove_file(&path).unwrap();
    fs::rename(fifo_in(host.root.path()), &path).unwrap();
    assert_eq!([name(&[]), name(&BEFORE_5_6)], [Value::Null, Value::Null]);
}
