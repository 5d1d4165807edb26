//! What the container tests are written in terms of: images of two static
//! programs, and containers that are gone when they are dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::{fs, process};

use tempfile::TempDir;

use crate::harness::*;

/// Where `Dockerfile.scratch` expects the static binary.
pub fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The static programs that go into images.
pub struct Binaries {
    pub lntu: PathBuf,
    pub app: PathBuf,
    pub parser: PathBuf,
}

pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let directory = repository().join("target");
        // Apart, as a user builds it: dev-dependencies may turn on features.
        let programs = [
            ["--bin", "lntu"],
            ["--example", "app"],
            ["--example", "parser"],
        ];
        for what in programs {
            let build = run(
                Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
                    .current_dir(repository())
                    .args(["build", "--quiet", "--release", "--locked"])
                    .args(["--target", &target(), "--target-dir"])
                    .arg(&directory)
                    .args(what),
            );
            assert!(build.status.success(), "{}", build.stderr);
        }
        let release = directory.join(target()).join("release");
        Binaries {
            lntu: release.join("lntu"),
            app: release.join("examples/app"),
            parser: release.join("examples/parser"),
        }
    })
}

/// Whether static programs can be built.
pub fn have_static() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let sysroot =
            run(Command::new("rustc").args(["--print", "target-libdir", "--target", &target()]));
        let is_there = Path::new(sysroot.stdout.trim()).is_dir();
        (!is_there).then(|| format!("the target {} is not installed", target()))
    });
    have("musl", missing.clone())
}

/// Whether there is a Docker daemon, and what goes into its images.
pub fn have_docker() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let info = docker(&["info", "--format", "{{.ServerVersion}}"]).output();
        match info {
            Ok(info) if info.status.success() => None,
            Ok(info) => Some(String::from_utf8_lossy(&info.stderr).trim().to_string()),
            Err(error) => Some(format!("running docker: {error}")),
        }
    });
    have("docker", missing.clone()) && have_static()
}

pub fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(process::Stdio::null());
    command
}

/// The first line of what docker answers, which must go well.
fn docker_says(arguments: &[&str]) -> String {
    let said = run(&mut docker(arguments));
    assert!(said.status.success(), "docker {arguments:?}: {said:?}");
    said.stdout.trim().to_string()
}

/// Names that no other run of the tests uses.
fn unique_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("lntu-test-{}-{count}", process::id())
}

/// Removed when dropped.
pub struct Image {
    name: String,
    /// The image that it is built from, which must outlive it.
    _base: Option<Arc<Image>>,
}

impl Image {
    /// Built by these arguments of `docker build`.
    pub fn build(arguments: &[&str], base: Option<Arc<Image>>) -> Image {
        let image = Image {
            name: unique_name(),
            _base: base,
        };
        // A layer from the cache may be one that another test is removing.
        let build = ["build", "--quiet", "--no-cache", "--tag", &image.name];
        docker_says(&[&build, arguments].concat());
        image
    }

    /// Built from these lines of a Dockerfile and these files.
    pub fn of(dockerfile: &str, files: &[&Path]) -> Image {
        let context = TempDir::new().unwrap();
        fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
        for file in files {
            let name = file.file_name().unwrap();
            fs::copy(file, context.path().join(name)).unwrap();
        }
        Image::build(&[context.path().to_str().unwrap()], None)
    }

    /// `/lntu`, `/app` and nothing else, shared by the tests that run now.
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

    /// `/lntu`, `/app` and the programs of busybox, where there is one.
    pub fn busybox() -> Option<Image> {
        let busybox = Path::new("/bin/busybox");
        let missing = (!busybox.exists()).then(|| "no busybox for an image".to_string());
        let Binaries { lntu, app, .. } = binaries();
        let dockerfile = "FROM scratch\nCOPY lntu app /\nCOPY busybox /bin/\n\
                          RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        have("docker", missing).then(|| Image::of(dockerfile, &[lntu, app, busybox]))
    }

    /// `scratch` with these lines of a Dockerfile on top.
    pub fn scratch_with(lines: &str) -> Image {
        let base = Image::scratch();
        let context = TempDir::new().unwrap();
        let dockerfile = format!("FROM {}\n{lines}\n", base.name);
        fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
        Image::build(&[context.path().to_str().unwrap()], Some(base))
    }

    /// Runs `command` in a container to its end.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Finished {
        let container = Container {
            name: unique_name(),
        };
        let run = ["run", "--name", &container.name];
        let arguments = [&run, options, &[&self.name], command].concat();
        Running::start(&mut docker(&arguments)).finish()
    }

    /// Starts `command` in a container.
    pub fn start(&self, options: &[&str], command: &[&str]) -> Container {
        let container = Container {
            name: unique_name(),
        };
        let run = ["run", "--detach", "--name", &container.name];
        docker_says(&[&run, options, &[&self.name], command].concat());
        container
    }

    /// Starts a server that tells of connections. It opens its port on
    /// SIGUSR2 and closes it on SIGUSR1.
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

/// How a server's port is at first.
#[derive(Clone, Copy)]
pub enum Port {
    Open,
    Closed,
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = docker(&["rmi", "--force", &self.name]).output();
    }
}

/// Killed and removed when dropped.
pub struct Container {
    name: String,
}

impl Container {
    /// The option that puts another container into this one's network namespace.
    pub fn network(&self) -> String {
        format!("--network=container:{}", self.name)
    }

    pub fn inspect(&self, format: &str) -> String {
        docker_says(&["inspect", "--format", format, &self.name])
    }

    pub fn is_running(&self) -> bool {
        self.inspect("{{.State.Running}}") == "true"
    }

    /// What was written so far.
    pub fn logs(&self) -> Finished {
        run(&mut docker(&["logs", &self.name]))
    }

    pub fn wait_for_line(&self, part: &str) {
        let what = format!("{part:?} in the log of {}", self.name);
        wait_for(&what, || {
            let logs = self.logs();
            let mut lines = logs.stdout.lines().chain(logs.stderr.lines());
            lines.any(|line| line.contains(part)).then_some(())
        });
    }

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

    /// As the host knows its processes.
    pub fn processes(&self) -> Vec<u32> {
        let top = docker_says(&["top", &self.name, "-o", "pid"]);
        top.lines()
            .skip(1)
            .map(|pid| pid.trim().parse().unwrap())
            .collect()
    }

    /// The exit status once it ended, as `docker wait` tells it.
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
