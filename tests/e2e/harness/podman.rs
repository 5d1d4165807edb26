//! Containers and pods of Podman.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::docker::*;
use crate::harness::*;

/// Makes a directory with a configuration of Podman. Returns `None`, and skips the test, if a
/// program that Podman needs is missing.
fn configured() -> Option<TempDir> {
    if !have_programs("services", ["podman", "runc", "catatonit"]) || !have_root() {
        return None;
    }
    let directory = TempDir::new().unwrap();
    // Setting these limits needs no privilege.
    let conf = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n";
    fs::write(directory.path().join("containers.conf"), conf).unwrap();
    Some(directory)
}

/// Returns podman(1) with the configuration in this directory.
fn podman(directory: &Path) -> Command {
    let mut podman = Command::new("podman");
    podman.env("CONTAINERS_CONF", directory.join("containers.conf"));
    podman.args(["--cgroup-manager=cgroupfs", "--events-backend=none"]);
    podman.arg("--runtime=runc");
    podman
}

/// An image in root's default store of Podman. Dropping this removes the image and all
/// containers made from it.
pub struct HostPodman {
    configuration: TempDir,
    pub image: String,
}

impl HostPodman {
    /// Copies an image from Docker. Returns `None`, and skips the test, if a program that Podman
    /// needs is missing.
    pub fn load(image: &Image) -> Option<HostPodman> {
        let podman = HostPodman {
            configuration: configured()?,
            image: format!("localhost/{}:latest", image.name()),
        };
        let tar = podman.configuration.path().join("image.tar");
        let tar = tar.to_str().unwrap();
        docker_says(&["save", "--output", tar, image.name()]);
        podman.says(&["load", "--input", tar]);
        Some(podman)
    }

    /// Runs podman(1) and returns what it prints. Panics if it fails.
    pub fn says(&self, arguments: &[&str]) -> String {
        let said = run(podman(self.configuration.path()).args(arguments));
        assert!(said.status.success(), "podman {arguments:?}: {said:?}");
        said.stdout
    }
}

impl Drop for HostPodman {
    fn drop(&mut self) {
        let mut podman = podman(self.configuration.path());
        let _ = podman.args(["rmi", "--force", &self.image]).output();
    }
}

/// Podman with a private store. Dropping this removes everything in it.
pub struct Podman(pub TempDir);

impl Podman {
    /// Returns `None`, and skips the test, if a program that Podman needs is missing.
    pub fn find() -> Option<Podman> {
        configured().map(Podman)
    }

    /// Returns podman(1) with these arguments, ready to start.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let path = |name| self.0.path().join(name);
        let mut podman = podman(self.0.path());
        podman
            .arg("--root")
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"));
        podman.arg("--storage-driver=vfs").args(arguments);
        podman
    }

    /// Runs podman(1) and returns what it prints. Panics if it fails.
    pub fn says(&self, arguments: &[&str]) -> String {
        let said = run(&mut self.command(arguments));
        assert!(said.status.success(), "podman {arguments:?}: {said:?}");
        said.stdout
    }

    /// Copies an image from Docker, and returns its name in Podman.
    pub fn load(&self, image: &Image) -> String {
        let tar = self.0.path().join("image.tar");
        docker_says(&["save", "--output", tar.to_str().unwrap(), image.name()]);
        self.says(&["load", "--input", tar.to_str().unwrap()]);
        fs::remove_file(tar).unwrap();
        format!("localhost/{}:latest", image.name())
    }
}

impl Podman {
    /// Removes every pod and container.
    pub fn remove_all(&self) {
        let pods = run(&mut self.command(&["pod", "ps", "--quiet", "--no-trunc"])).stdout;
        let _ = self.command(&["pod", "rm", "--force", "--all"]).output();
        let others = run(&mut self.command(&["ps", "--all", "--quiet", "--no-trunc"])).stdout;
        let _ = self
            .command(&["rm", "--force", "--time=0", "--all"])
            .output();
        let others: Vec<String> = others.lines().map(|id| format!("libpod-{id}")).collect();
        // Podman leaves it to systemd to remove the control groups of pods and containers, but
        // systemd may not run here. The monitors of containers may take a moment to exit.
        let until = Instant::now() + Duration::from_secs(10);
        let others = others.iter().map(String::as_str);
        for group in pods.lines().chain(others).chain(["conmon"]) {
            while !remove_control_groups(group) && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
        }
        // Remove the parent group. This fails, as it should, if other processes have groups below
        // it.
        remove_control_groups("");
    }
}

/// Removes the control group `libpod_parent/NAME` from each hierarchy. Returns whether none is
/// left.
fn remove_control_groups(name: &str) -> bool {
    let top = Path::new("/sys/fs/cgroup");
    let mut all_gone = true;
    let hierarchies = fs::read_dir(top).into_iter().flatten().flatten();
    for hierarchy in hierarchies.map(|entry| entry.path()).chain([top.into()]) {
        let group = hierarchy.join("libpod_parent").join(name);
        all_gone &= fs::remove_dir(&group).is_ok() || !group.exists();
    }
    all_gone
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.remove_all();
        // Podman has mounted its store onto itself.
        let mut umount = Command::new("umount");
        let _ = umount
            .arg("--lazy")
            .arg(self.0.path().join("root"))
            .output();
    }
}
