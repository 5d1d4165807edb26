//! `wait`, `check` and `watch` with real services. Each service runs in its own network namespace,
//! where it can use its usual ports.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::events;
use crate::harness::*;

/// Checks every command before a service starts, while the service runs, and after it has ended.
/// `holders` is the number of processes that hold each of its sockets.
fn assert_followed(program: &str, start: fn(&Path) -> Command, ports: &[&str], holders: usize) {
    if !have_program("services", program) || !have_ss() {
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
        let watcher = Running::start(&mut lntu(&["-H", "-p", "-i", "50ms"]));
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
            let expected_processes = wait_for("all holders", || {
                let shown = processes(Command::new("ss").arg("-Hlntup"));
                let is_complete = |cell: &String| cell.matches("pid=").count() == holders;
                (shown.len() == ports.len() && shown.values().all(is_complete)).then_some(shown)
            });
            for source in ["ss", "proc"] {
                let listed = processes(&mut lntu(&["list", "-Hp", "--source", source]));
                assert_eq!(listed, expected_processes, "{program}, {source}");
            }

            let waiting = wait(&["--closed"]);
            kill_process(service.pid(), Signal::TERM).unwrap();
            let waited = waiting.finish();
            assert!(waited.status.success(), "{program}: {waited:?}");
            assert_eq!(check(), (1, not_listening.clone()));
            assert_eq!(next_events(), expected("CLOSED"));
            let ended = service.finish();
            assert!(!ended.stdout.contains("GET") && !ended.stderr.contains("GET"));
        }
        watcher.assert_no_more_errors();
        let log = fs::read_to_string(directory.path().join("access.log"));
        assert_eq!(log.unwrap_or_default(), "", "no one connected");
    });
}

/// Returns the processes in each line that `command` prints, by local address.
fn processes(command: &mut Command) -> BTreeMap<String, String> {
    let listed = run(command);
    let fields = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(4);
        let local = fields.next().unwrap().to_string();
        (local, fields.skip(1).collect::<Vec<_>>().join(" "))
    };
    listed.lines().into_iter().map(fields).collect()
}

#[test]
fn start_and_end_of_a_python_server_are_detected() {
    let start = |directory: &Path| {
        let mut python = Command::new("python3");
        python.args(["-m", "http.server", "8000", "--bind", "127.0.0.1"]);
        python.current_dir(directory);
        python
    };
    assert_followed("python3", start, &["8000"], 1);
}

#[test]
fn start_and_end_of_redis_are_detected() {
    let start = |directory: &Path| {
        let mut redis = Command::new("redis-server");
        redis.args(["--port", "6379", "--bind", "127.0.0.1"]);
        redis.args(["--save", "", "--appendonly", "no", "--dir"]);
        redis.arg(directory);
        redis
    };
    assert_followed("redis-server", start, &["6379"], 1);
}

#[test]
fn start_and_end_of_nginx_are_detected() {
    let start = |directory: &Path| {
        let configuration = directory.join("nginx.conf");
        let text = "user root; worker_processes 4; daemon off; pid pid; error_log stderr; events {}
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
    assert_followed("nginx", start, &["443", "80"], 5);
}

#[test]
fn start_and_end_of_node_are_detected() {
    let start = |_: &Path| {
        let script = "require('http').createServer().listen(3000, '127.0.0.1')";
        let mut node = Command::new("node");
        node.args(["-e", script]);
        node
    };
    assert_followed("node", start, &["3000"], 1);
}

/// The PostgreSQL server refuses to run as root, so it runs as nobody.
#[test]
fn start_and_end_of_postgresql_are_detected() {
    let start = |directory: &Path| {
        let data = directory.join("data");
        if !data.exists() {
            fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(&data).unwrap();
            chown(&data, Some(65534), Some(65534)).unwrap();
            let mut initdb = Command::new(postgresql("initdb"));
            initdb
                .args(["-A", "trust", "-N", "-U", "nobody", "-D"])
                .arg(&data);
            let made = run(initdb.uid(65534).gid(65534).current_dir(&data));
            assert!(made.status.success(), "{made:?}");
        }
        let mut postgres = Command::new(postgresql("postgres"));
        postgres.args(["-h", "127.0.0.1", "-p", "5432", "-k", ""]);
        postgres.arg("-D").arg(&data).uid(65534).gid(65534);
        postgres
    };
    let server = postgresql("postgres");
    assert_followed(server.to_str().unwrap(), start, &["5432"], 1);
}
