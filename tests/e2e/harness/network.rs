//! Private network namespaces.

use std::fs;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;

use crate::harness::*;

/// Runs `test` on a thread in its own network namespace, with `lo` up. Programs that the thread
/// starts share the namespace. Skips the test if new network namespaces are not allowed.
pub fn in_private_network(test: impl FnOnce() + Send) {
    if !have_program("netns", "ip") {
        return;
    }
    thread::scope(|scope| {
        let name = thread::current().name().unwrap_or("a test").to_string();
        let run = move || {
            #[allow(deprecated)] // It affects only later sockets and children.
            let unshared = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
            let missing = unshared.err().map(|error| format!("unshare: {error}"));
            if have("netns", missing) {
                ip("link set lo up");
                test();
            }
        };
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, run);
        if let Err(panic) = thread.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `open` on a new thread, in the network namespace of `file`, such as `/proc/PID/ns/net`.
pub fn in_namespace<T: Send>(file: &fs::File, open: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let enter = move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
            open()
        };
        scope.spawn(enter).join().unwrap()
    })
}

/// Runs ip(8) with these arguments, which spaces separate.
pub fn ip(arguments: &str) {
    let done = run(Command::new("ip").args(arguments.split(' ')));
    assert!(done.status.success(), "ip {arguments}: {done:?}");
}
