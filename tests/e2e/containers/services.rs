//! `wait`, `check` and `watch` against services that others wrote, in a
//! network of their own, so that they can have the ports they usually have.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::events;
use crate::harness::*;

/// Follows a service from before its start to after its end.
fn follow(program: &str, version: &str, start: fn(&Path) -> Command, ports: &[&str]) {
    let missing = Command::new(program).arg(version).output().err();
    if !have(
        "services",
        missing.map(|error| format!("{program}: {error}")),
    ) {
        return;
    }
    in_private_network(|| {
        let directory = TempDir::new().unwrap();
        let wait = |options: &[&str]| {
            let wait = [&["wait", "--timeout", "30s"], options, ports].concat();
            Running::start(&mut lntu(&wait))
        };
        let check = || {
            let check = run(&mut lntu(&[&["check"], ports].concat()));
            (check.code(), check.stderr)
        };
        let watcher = Running::start(&mut lntu(&["-H", "-i", "50ms"]));
        let next_events = || {
            let mut lines: Vec<String> = ports.iter().map(|_| watcher.next_line()).collect();
            lines.sort();
            events(&lines.join("\n"))
        };
        let expected = |state: &str| -> Vec<String> {
            ports
                .iter()
                .map(|port| format!("{state} 127.0.0.1:{port}"))
                .collect()
        };
        let names: Vec<String> = ports.iter().map(|port| format!("{port}/tcp")).collect();
        let not_listening = format!("lntu: {}: not listening\n", names.join(", "));

        for _ in 0..2 {
            assert_eq!(check(), (1, not_listening.clone()));
            let mut waiting = wait(&[]);
            assert!(waiting.child.try_wait().unwrap().is_none());
            let service = Running::start(start(directory.path()).stdin(Stdio::null()));
            let waited = waiting.finish();
            assert!(waited.status.success(), "{program}: {waited:?}");
            assert_eq!(check(), (0, String::new()));
            assert_eq!(next_events(), expected("LISTEN"));

            let waiting = wait(&["--closed"]);
            kill_process(service.pid(), Signal::TERM).unwrap();
            let waited = waiting.finish();
            assert!(waited.status.success(), "{program}: {waited:?}");
            assert_eq!(check(), (1, not_listening.clone()));
            assert_eq!(next_events(), expected("CLOSED"));
            let said = service.finish();
            assert!(!said.stdout.contains("GET") && !said.stderr.contains("GET"));
        }
        watcher.assert_no_more_errors();
        let log = fs::read_to_string(directory.path().join("access.log"));
        assert_eq!(log.unwrap_or_default(), "", "no one connected");
    });
}

#[test]
fn python_http_server_is_followed() {
    let start = |directory: &Path| {
        let mut python = Command::new("python3");
        python.args(["-m", "http.server", "8000", "--bind", "127.0.0.1"]);
        python.current_dir(directory);
        python
    };
    follow("python3", "--version", start, &["8000"]);
}

#[test]
fn redis_is_followed() {
    let start = |directory: &Path| {
        let mut redis = Command::new("redis-server");
        redis.args(["--port", "6379", "--bind", "127.0.0.1"]);
        redis.args(["--save", "", "--appendonly", "no", "--dir"]);
        redis.arg(directory);
        redis
    };
    follow("redis-server", "--version", start, &["6379"]);
}

#[test]
fn nginx_is_followed() {
    let start = |directory: &Path| {
        let configuration = directory.join("nginx.conf");
        let text = "user root; daemon off; pid pid; error_log stderr; events {}
            http {
                access_log access.log;
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                server { listen 127.0.0.1:443; listen 127.0.0.1:80; }
            }";
        fs::write(&configuration, text).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(directory).arg("-c").arg(configuration);
        nginx
    };
    follow("nginx", "-v", start, &["443", "80"]);
}
