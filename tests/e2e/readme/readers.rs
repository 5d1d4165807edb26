//! Tests of the examples that read the JSON lines of a watcher. Their input contains the lines of
//! two watchers, the second of which starts after the first was killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::*;

/// A script that prints the input of the readers. It runs lntu, and a second time when the file
/// `again` exists. After that, it prints the lines `lost` and `back` itself, when files with these
/// names exist. While lntu runs, its process id is in the file `pid`.
const STREAM: &str = r#"
lntu() { sh -c 'echo $$ >pid && exec lntu --json -i 50ms 8080-8083/tcp'; }
until_there() { until [ -e "$1" ]; do sleep 0.05; done; }
lntu; until_there again; lntu
now='"timestamp":"2026-01-02T03:04:05.678Z"'
until_there lost; echo "{\"type\":\"lost\",$now,\"error\":\"why\"}"
until_there back; echo "{\"type\":\"back\",$now}"
echo "{\"type\":\"unknown\",$now}"
until_there end
"#;

/// Opens and closes ports, and makes the files for which [`STREAM`] waits in `directory`. Checks
/// that `what_it_knows` returns the right state after each step: the number of lost sources, and
/// the ids of the open listeners.
fn assert_follows(directory: &Path, what_it_knows: &mut dyn FnMut() -> (String, Vec<String>)) {
    let make = |file: &str| fs::write(directory.join(file), "").unwrap();
    let mut knows = |lost: &str, ports: &[u16]| {
        let id = |port: &u16| format!("tcp4:127.0.0.1:{port}");
        let expected = (lost.to_string(), ports.iter().map(id).collect::<Vec<_>>());
        wait_for(&format!("{expected:?}"), || {
            (what_it_knows() == expected).then_some(())
        });
    };
    let kill = || {
        let pid = fs::read_to_string(directory.join("pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        wait_for("its end", || {
            is_gone(pid.as_raw_nonzero().get() as u32).then_some(())
        });
    };
    let [first, second] = [8080, 8081].map(|port| listen_on("127.0.0.1", port));
    knows("0", &[8080, 8081]);
    let third = listen_on("127.0.0.1", 8082);
    knows("0", &[8080, 8081, 8082]);
    drop(second);
    knows("0", &[8080, 8082]);
    kill();
    drop(third);
    let _fourth = listen_on("127.0.0.1", 8083);
    make("again");
    knows("0", &[8080, 8083]);
    kill();
    make("lost");
    knows("1", &[8080, 8083]);
    make("back");
    knows("0", &[8080, 8083]);
    drop(first);
    make("end");
}

#[test]
fn a_reader_in_python_counts_ports_for_a_metric() {
    if !have_program("services", "python3") {
        return;
    }
    let [script] = blocks("Read the stream in a program", "python");
    let [command] = blocks("Read the stream in a program", "sh");
    let directory = TempDir::new().unwrap();
    let metric = directory.path().join("ports.prom");
    fs::write(directory.path().join("ports.py"), script).unwrap();
    let command = command.replace("/var/lib/node_exporter/", "");
    let command = command.replace("lntu --json", &format!("{{ {STREAM} }}"));
    in_private_network(|| {
        let mut shell = shell(&command);
        let _recipe = Recipe(Running::start(shell.current_dir(&directory)));
        assert_follows(directory.path(), &mut || {
            let text = fs::read_to_string(&metric).unwrap_or_default();
            let (mut lost, mut ids) = (String::new(), Vec::new());
            for line in text.lines() {
                match line.strip_prefix("lntu_lost ") {
                    Some(number) => lost = number.to_string(),
                    None => {
                        let id = line.strip_prefix("lntu_port{id=\"").unwrap();
                        let id = id.strip_suffix("\",container=\"\"} 1").unwrap();
                        ids.push(id.to_string());
                    }
                }
            }
            ids.sort();
            (lost, ids)
        });
    });
}

#[test]
fn a_reader_in_node_follows_the_stream() {
    if !have_program("services", "node") {
        return;
    }
    let [script] = blocks("Read the stream in a program", "js");
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("ports.js"), script).unwrap();
    in_private_network(|| {
        let mut shell = shell(&format!("{{ {STREAM} }} | node ports.js"));
        let recipe = Recipe(Running::start(shell.current_dir(&directory)));
        let mut last = String::new();
        assert_follows(directory.path(), &mut || {
            if let Some(line) = recipe.0.line_within(Duration::ZERO) {
                last = line;
            }
            let mut words = last.split(' ').map(str::to_string);
            let lost = words.next().unwrap();
            let mut ids: Vec<_> = words.collect();
            ids.sort();
            (lost, ids)
        });
    });
}

#[test]
fn a_reader_in_go_follows_the_stream() {
    if !have_program("go", "go") {
        return;
    }
    let [program] = blocks("Read the stream in a program", "go");
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("ports.go"), program).unwrap();
    let mut go = Command::new("go");
    go.args(["build", "ports.go"]).current_dir(&directory);
    let built = run(go.env("GOCACHE", directory.path().join("cache")));
    assert!(built.status.success(), "{built:?}");
    in_private_network(|| {
        let mut shell = shell(&format!("{{ {STREAM} }} | ./ports"));
        let recipe = Recipe(Running::start(shell.current_dir(&directory)));
        let mut last = String::new();
        assert_follows(directory.path(), &mut || {
            if let Some(line) = recipe.0.line_within(Duration::ZERO) {
                last = line;
            }
            // 0 map[tcp4:127.0.0.1:8080:tcp:127.0.0.1:8080]
            let (lost, opened) = last.split_once(" map[").unwrap_or_default();
            let opened = opened.trim_end_matches(']').split_terminator(' ');
            let ids = opened.map(|entry| entry.split_once(":tcp:").unwrap().0);
            (lost.to_string(), ids.map(str::to_string).collect())
        });
    });
}
