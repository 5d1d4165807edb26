//! `--all-namespaces` while real containers start and end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::Value;

use crate::harness::docker::*;
use crate::harness::*;

/// Returns the inode of a container's network namespace, and the id of a process in that namespace.
fn namespace(container: &Container) -> (u64, String) {
    let pid = container.inspect("{{.State.Pid}}");
    let link = fs::metadata(format!("/proc/{pid}/ns/net"));
    (link.unwrap().ino(), pid)
}

#[test]
fn events_of_containers_are_reported_exactly_once() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch();
    let watcher = Running::start(&mut lntu(&["-A", "-q", "--json", "-i", "50ms", "8080"]));
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut record = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let Some(cgroup) = event["cgroup"].as_str() else {
            return;
        };
        // The name of the cgroup is the whole id, or `docker-ID.scope`.
        let words = cgroup.split(['/', '-', '.']);
        let id = words.max_by_key(|word| word.len()).unwrap().to_string();
        let types = events.entry(id).or_default();
        types.push(event["type"].as_str().unwrap().to_string());
    };
    let mut wait_for_event = |kind: &str, id: &str| {
        loop {
            let line = watcher.next_line();
            record(&line);
            if line.contains(&format!(r#""type":"{kind}""#)) && line.contains(id) {
                return;
            }
        }
    };
    let servers = [(); 4].map(|()| {
        let server = image.start_server(Port::Open, "8080");
        let id = server.inspect("{{.Id}}");
        wait_for_event("opened", &id);
        (server, id)
    });
    // `list` prints the sockets that ss prints in each namespace.
    let listed = run(&mut lntu(&["list", "-A", "-q", "-H", "8080"])).stdout;
    for (server, id) in &servers {
        let (inode, pid) = namespace(server);
        let mut ss = Command::new("nsenter");
        let expected = run(ss.args(["-t", &pid, "-n", "ss", "-Hlntu"])).stdout;
        let label = format!("netns:{inode},pid={pid},");
        let lines = listed.lines().filter(|line| line.contains(&label));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(listed_sockets(&lines.join("\n")), listed_sockets(&expected));
        assert!(!lines.is_empty() && lines[0].contains(id), "{listed}");
    }
    let [
        (stopped, first),
        (killed, second),
        (closed, third),
        (restarted, last),
    ] = &servers;
    stopped.stop();
    wait_for_event("closed", first);
    killed.signal("KILL");
    wait_for_event("closed", second);
    closed.closes_its_port();
    wait_for_event("closed", third);
    // After the restart, the container has a new network namespace, perhaps with the same inode.
    restarted.restart();
    wait_for_event("closed", last);
    wait_for_event("opened", last);
    restarted.signal("KILL");
    wait_for_event("closed", last);
    while let Some(line) = watcher.line_within(A_WHILE) {
        record(&line);
    }
    let once = ["opened", "closed"];
    for id in [first, second, third] {
        assert_eq!(events[id], once, "{id}");
    }
    assert_eq!(events[last], [once, once].concat());
}
