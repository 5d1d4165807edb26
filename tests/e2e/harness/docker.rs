//! Docker images and containers, which are removed when dropped.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::{fs, process};

use tempfile::TempDir;

use crate::harness::*;

/// Returns whether a Docker daemon runs and static programs for its images can be built.
pub fn have_docker() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let info = docker(&["info", "--format", "{{.ServerVersion}}"]).output();
        match info {
            Ok(info) if info.status.success() => None,
            Ok(info) => Some(String::from_utf8_lossy(&info.stderr).trim().to_string()),
            Err(error) => Some(format!("`docker`: {error}")),
        }
    });
    have("docker", missing.clone()) && have_static()
}

/// Returns docker(1) with these arguments, ready to start.
pub fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(process::Stdio::null());
    command
}

/// Runs docker(1) and returns what it prints, trimmed. Panics if it fails.
pub fn docker_says(arguments: &[&str]) -> String {
    let said = run(&mut docker(arguments));
    assert!(said.status.success(), "docker {arguments:?}: {said:?}");
    said.stdout.trim().to_string()
}

/// The options of `docker run` that give a container the programs of this machine, and a
/// directory `/data` that every user can write to.
pub fn with_programs() -> Vec<String> {
    let files = [
        "/usr",
        "/bin",
        "/lib",
        "/lib64",
        "/etc/passwd",
        "/etc/group",
    ];
    let linker = ["/etc/ld.so.cache", "/etc/alternatives"];
    let there = files.iter().chain(&linker);
    let there = there.filter(|file| Path::new(file).exists());
    let mounts = there.map(|file| format!("--volume={file}:{file}:ro"));
    mounts
        .chain(["--tmpfs=/data:mode=1777".into(), "--tmpfs=/tmp".into()])
        .collect()
}

/// A Docker image. It is removed after this and every container made from it are dropped:
/// while a container exists, Docker would only untag the image.
pub struct Image(Arc<Built>);

struct Built {
    name: String,
    /// Keeps the base image until this one is removed.
    _base: Option<Arc<Image>>,
}

impl Image {
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `docker build` with these arguments. `base` is the image that the new image builds on,
    /// if it comes from [`Image::scratch`].
    pub fn build(arguments: &[&str], base: Option<Arc<Image>>) -> Image {
        let image = Image(Arc::new(Built {
            name: unique_name(),
            _base: base,
        }));
        // Do not use the cache: another test may be removing a cached layer.
        let build = ["build", "--quiet", "--no-cache", "--tag", image.name()];
        docker_says(&[&build, arguments].concat());
        image
    }

    /// Builds an image from a Dockerfile that may copy these files.
    pub fn of(dockerfile: &str, files: &[&Path]) -> Image {
        let context = TempDir::new().unwrap();
        fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
        for file in files {
            let name = file.file_name().unwrap();
            fs::copy(file, context.path().join(name)).unwrap();
        }
        Image::build(&[context.path().to_str().unwrap()], None)
    }

    /// An image with `/lntu`, `/app` and nothing else. Tests that run at the same time share it.
    pub fn scratch() -> Arc<Image> {
        static SHARED: Mutex<Weak<Image>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let Binaries { lntu, app, .. } = binaries();
            let image = Arc::new(Image::of("FROM scratch\nCOPY lntu app /\n", &[lntu, app]));
            *shared = Arc::downgrade(&image);
            image
        })
    }

    /// An image with `/lntu`, `/app` and the programs of busybox, or `None` if busybox is not
    /// installed.
    pub fn busybox() -> Option<Image> {
        let busybox = Path::new("/bin/busybox");
        let missing = (!busybox.exists()).then(|| "no busybox for an image".to_string());
        let Binaries { lntu, app, .. } = binaries();
        let dockerfile = "FROM scratch\nCOPY lntu app /\nCOPY busybox /bin/\n\
                          RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        have("docker", missing).then(|| Image::of(dockerfile, &[lntu, app, busybox]))
    }

    /// Builds an image from [`Image::scratch`] and these additional Dockerfile lines.
    pub fn scratch_with(lines: &str) -> Image {
        let base = Image::scratch();
        let context = TempDir::new().unwrap();
        let dockerfile = format!("FROM {}\n{lines}\n", base.name());
        fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
        Image::build(&[context.path().to_str().unwrap()], Some(base))
    }

    fn new_container(&self) -> Container {
        Container {
            name: unique_name(),
            _image: self.0.clone(),
        }
    }

    /// Runs `command` in a container and waits for its end.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Finished {
        let container = self.new_container();
        let run = ["run", "--name", &container.name];
        let arguments = [&run, options, &[self.name()], command].concat();
        Running::start(&mut docker(&arguments)).finish()
    }

    /// Starts `command` in a container.
    pub fn start(&self, options: &[&str], command: &[&str]) -> Container {
        let container = self.new_container();
        let run = ["run", "--detach", "--name", &container.name];
        docker_says(&[&run, options, &[self.name()], command].concat());
        container
    }

    /// Starts a server that prints a line for each connection. SIGUSR2 opens its port, and
    /// SIGUSR1 closes it.
    pub fn start_server(&self, state: Port, port: &str) -> Container {
        let step = match state {
            Port::Open => "listen",
            Port::Closed => "reserve",
        };
        let server = self.start(&[], &["/app", step, port, "serve"]);
        server.wait_for_line("serving");
        server
    }
}

/// The state of a server's port when it starts.
#[derive(Clone, Copy)]
pub enum Port {
    Open,
    Closed,
}

impl Drop for Built {
    fn drop(&mut self) {
        let _ = docker(&["rmi", "--force", &self.name]).output();
    }
}

/// A running container. It is killed and removed when dropped.
pub struct Container {
    name: String,
    _image: Arc<Built>,
}

impl Container {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The option of `docker run` that puts a container into the network namespace of this one.
    pub fn network(&self) -> String {
        format!("--network=container:{}", self.name)
    }

    /// Returns what `docker inspect` prints for this Go template.
    pub fn inspect(&self, format: &str) -> String {
        docker_says(&["inspect", "--format", format, &self.name])
    }

    pub fn is_running(&self) -> bool {
        self.inspect("{{.State.Running}}") == "true"
    }

    /// Returns what the container has written to stdout and stderr so far.
    pub fn logs(&self) -> Finished {
        run(&mut docker(&["logs", &self.name]))
    }

    /// Waits until the container has written a line that contains `part`.
    pub fn wait_for_line(&self, part: &str) {
        let what = format!("{part:?} in the log of {}", self.name);
        wait_for(&what, || {
            let logs = self.logs();
            let mut lines = logs.stdout.lines().chain(logs.stderr.lines());
            lines.any(|line| line.contains(part)).then_some(())
        });
    }

    /// Runs `docker exec` with these options and this command.
    pub fn exec(&self, options: &[&str], command: &[&str]) -> Finished {
        run(&mut docker(
            &[&["exec"], options, &[self.name()], command].concat(),
        ))
    }

    /// Sends the signal `name`, such as `USR1`, to process 1 of the container.
    pub fn signal(&self, name: &str) {
        docker_says(&["kill", "--signal", name, &self.name]);
    }

    pub fn opens_its_port(&self) {
        self.signal("USR2");
        self.wait_for_line("opened");
    }

    pub fn closes_its_port(&self) {
        self.signal("USR1");
        self.wait_for_line("closed");
    }

    pub fn stop(&self) {
        docker_says(&["stop", &self.name]);
    }

    pub fn restart(&self) {
        docker_says(&["restart", "--time", "0", &self.name]);
    }

    /// The ids of the container's processes in the PID namespace of the host.
    pub fn processes(&self) -> Vec<u32> {
        let top = docker_says(&["top", &self.name, "-o", "pid"]);
        top.lines()
            .skip(1)
            .map(|pid| pid.trim().parse().unwrap())
            .collect()
    }

    /// Waits until the container ends, and returns the exit status that `docker wait` prints.
    pub fn status(&self) -> i32 {
        let waiting = Running::start(&mut docker(&["wait", &self.name]));
        waiting.finish().stdout.trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.name]).output();
    }
}
