//! What containers are called, in the lines of `--all-namespaces`. The truth is `docker ps`
//! and `podman ps`. Where no cluster is, a process with a root of its own is the host of a
//! pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::podman::HostPodman;
use crate::harness::*;

/// A watcher of one port in all namespaces, and the objects that it wrote so far.
struct Watcher {
    running: Running,
    seen: Vec<Value>,
}

impl Watcher {
    fn start(port: &str) -> Watcher {
        let arguments = ["-A", "-q", "--json", "-i", "50ms", port];
        Watcher {
            running: Running::start(&mut lntu(&arguments)),
            seen: Vec::new(),
        }
    }

    /// What the container with this id is called in its next object of this type.
    fn name(&mut self, kind: &str, id: &str) -> Value {
        let is_it = |object: &Value| object["type"] == kind && object["container"] == id;
        loop {
            if let Some(index) = self.seen.iter().position(is_it) {
                return self.seen.remove(index)["container_name"].take();
            }
            let object = self.next();
            self.seen.push(object);
        }
    }

    fn next(&self) -> Value {
        serde_json::from_str(&self.running.next_line()).unwrap()
    }
}

/// What `list` calls the container with this id that has this port.
fn listed(port: &str, id: &str) -> Value {
    let listed = run(&mut lntu(&["list", "-A", "-q", "--json", port])).stdout;
    let objects = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let mut objects = objects.filter(|object: &Value| object["container"] == id);
    objects.next().unwrap()["container_name"].take()
}

#[test]
fn each_container_of_docker_has_the_name_of_docker_ps() {
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

/// Each is killed once its port was reported, while others start and end.
#[test]
fn each_of_60_short_containers_has_its_own_name() {
    if !have_docker() {
        return;
    }
    const AT_ONCE: usize = 6;
    const OF_EACH: usize = 10;
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
        wait_for("its port", || {
            opened.lock().unwrap().contains(&id).then_some(())
        });
        server.signal("KILL");
    };
    let mut said = Vec::new();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..OF_EACH).for_each(|_| live_one_life()));
        }
        while said.len() < 2 * AT_ONCE * OF_EACH {
            let mut object = watcher.next();
            let Value::String(id) = object["container"].take() else {
                continue;
            };
            if object["type"] == "opened" {
                opened.lock().unwrap().insert(id.clone());
            }
            said.push((id, object["container_name"].take()));
        }
    });
    let names = names.into_inner().unwrap();
    assert_eq!(names.len(), AT_ONCE * OF_EACH);
    for (id, name) in said {
        assert_eq!(name, names[&id], "{id}");
    }
}

#[test]
fn a_renamed_container_has_its_new_name_after_it_closed() {
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
    assert_eq!(listed("18087", &id), renamed);
    docker_says(&["kill", "--signal", "USR1", &id]);
    assert_eq!(watcher.name("closed", &id), name);
    docker_says(&["kill", "--signal", "USR2", &id]);
    assert_eq!(watcher.name("opened", &id), renamed);
    docker_says(&["rename", &renamed, name]);
}

#[test]
fn each_container_of_podman_has_the_name_of_podman_ps() {
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
    assert_eq!(listed("18088", id), renamed);
    podman.says(&["kill", id]);
    assert_eq!(watcher.name("closed", id), **name);
}

/// A host with a root of its own, whose process 1 is a server in this control group.
struct FakeHost {
    unshare: Child,
    root: TempDir,
    /// The directories of the group and of those above it, the innermost first.
    groups: Vec<PathBuf>,
}

impl FakeHost {
    /// The server has port 8080. `path` names its group below one of its own.
    fn start(path: &str) -> FakeHost {
        let root = TempDir::new().unwrap();
        fs::copy(&binaries().app, root.path().join("app")).unwrap();
        // The first hierarchy is any of version 1, or the one of version 2.
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let is_group = |fields: &Vec<&str>| fields[2].starts_with("cgroup");
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect());
        let mount: Vec<&str> = mounts.find(is_group).unwrap();
        let group = Path::new(mount[1]).join(unique_name()).join(path);
        fs::create_dir_all(&group).unwrap();
        let groups = group.ancestors().map(Path::to_path_buf);
        let groups = groups.take_while(|above| above != Path::new(mount[1]));
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

    /// lntu among the processes of this host, started by these words.
    fn lntu(&self, by: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let server = child_of(self.unshare.id()).to_string();
        command.args(["--target", &server, "--pid", "--mount"]);
        command.args(by).arg(env!("CARGO_BIN_EXE_lntu"));
        command.args(arguments);
        command
    }

    /// The line of `list` about its server. It may also see what is mounted on the real host.
    /// `-p` makes sure that the server's own control group is known: the socket names one of
    /// version 2 only.
    fn line(&self, by: &[&str], options: &[&str]) -> Option<String> {
        let arguments = [&["list", "-A", "-p", "-q", "8080"], options].concat();
        let listed = run(&mut self.lntu(by, &arguments)).stdout;
        let group = self.groups.last().unwrap().file_name().unwrap();
        let mut lines = listed.lines();
        let line = lines.find(|line| line.contains(group.to_str().unwrap()));
        line.map(str::to_string)
    }

    /// What its one container is called: container, pod and the namespace of the pod.
    fn name(&self, by: &[&str]) -> [Value; 3] {
        let line = self.line(by, &["--json"]).unwrap();
        let mut object: Value = serde_json::from_str(&line).unwrap();
        assert!(object["container"].is_string(), "{object}");
        ["container_name", "pod", "pod_namespace"].map(|member| object[member].take())
    }

    /// Makes the directory of this file of the host.
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

/// What starts a program for which the kernel has no openat2.
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
fn a_container_of_a_pod_has_the_name_in_its_log() {
    if !can_fake_a_host() {
        return;
    }
    let id = "ab12".repeat(16);
    let group = format!("kubepods/burstable/pod0f1e/cri-containerd-{id}.scope");
    let host = FakeHost::start(&group);
    assert_eq!(host.name(&[]), [(); 3].map(|()| Value::Null));
    let log = host.path(&format!("var/log/containers/web-0_default_nginx-{id}.log"));
    symlink("/var/log/pods/default_web-0_0f1e/nginx/0.log", log).unwrap();
    let expected = ["nginx", "web-0", "default"];
    assert_eq!(host.name(&[]), expected);
    assert_eq!(host.name(&BEFORE_5_6), expected);
    let line = host.line(&[], &[]).unwrap();
    assert!(line.contains(",name=default/web-0/nginx,cgroup="), "{line}");
}

#[test]
fn files_of_the_host_lead_nowhere_else() {
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
    let name = |by: &[&str]| host.name(by)[0].take();

    fs::write(&path, text("web")).unwrap();
    assert_eq!([name(&[]), name(&BEFORE_5_6)], ["web", "web"]);
    let outside = outside.path().join("config");
    for (target, expected) in [
        (Path::new("/etc/shadow"), Value::Null),
        (&outside, Value::Null),
        // The link leads to the file of the host, if the kernel can follow it there.
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
