//! Probes as Docker runs them: what it keeps of a failed one, the port from the
//! image's environment, an IPv6-only server, and a container that may not use netlink.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;

use tempfile::TempDir;

use super::docker::*;
use crate::harness::*;

#[test]
fn docker_keeps_the_reason_of_a_failed_health_check() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch_with(
        "ENV PORT=8080\n\
         HEALTHCHECK --interval=1s --retries=1 CMD [\"/lntu\", \"check\", \"$PORT\"]",
    );
    let server = image.start_server(Port::Closed, "8080");
    let neighbour = ["/app", "listen", "3000", "serve"];
    let _neighbour = Image::scratch().start(&[&server.network()], &neighbour);
    let reason = "lntu: 8080/tcp: not listening; 0.0.0.0:3000/tcp is";
    wait_for("the reason of a failed health check", || {
        let log = server.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
        log.lines().any(|line| line == reason).then_some(())
    });
    assert_eq!(server.inspect("{{.State.Health.Status}}"), "unhealthy");
    server.opens_its_port();
    wait_for("a health check that passes", || {
        (server.inspect("{{.State.Health.Status}}") == "healthy").then_some(())
    });
}

/// `/host/proc/net` would follow lntu into the network of its container.
#[test]
fn the_mounted_proc_of_the_host_shows_the_ports_of_the_host() {
    if !have_docker() {
        return;
    }
    let listener = listen("127.0.0.1");
    let row = format!(":{:04X} 00000000:0000 0A", port_of(&listener));
    let of_process_1 = fs::read_to_string("/proc/1/net/tcp").unwrap();
    let why = "the tests run in another network than process 1";
    if !have("host", (!of_process_1.contains(&row)).then(|| why.into())) {
        return;
    }
    let port = port_of(&listener).to_string();
    let listed = |proc: &str| {
        let list = ["/lntu", "list", "-H", "--proc", proc, &port];
        let finished = Image::scratch().run(&["--volume=/proc:/host/proc:ro"], &list);
        finished.lines().concat()
    };
    assert!(listed("/host/proc").contains(&format!("127.0.0.1:{port} ")));
    assert!(listed("/host/proc/1").contains(&format!("127.0.0.1:{port} ")));
    assert_eq!(listed("/proc"), "");
}

#[test]
fn a_probe_answers_where_a_seccomp_profile_forbids_netlink() {
    if !have_docker() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let profile = directory.path().join("profile.json");
    // 16 is AF_NETLINK.
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["socket"],
        "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
        "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]}]}"#;
    fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    let image = Image::scratch();
    let server = image.start_server(Port::Open, "8080");
    let network = server.network();
    let probe = |arguments: &[&str]| {
        let options = ["--security-opt", &option, &network];
        let finished = image.run(&options, &[&["/lntu"], arguments].concat());
        (finished.code(), finished.stderr)
    };
    let refused = probe(&["check", "-v", "8080"]);
    let detail = "lntu: netlink: socket: Operation not permitted (os error 1); \
                  reading /proc/net instead\n";
    assert_eq!(refused, (0, detail.to_string()), "the profile is at work");
    let yes = (0, String::new());
    assert_eq!(probe(&["check", "8080", "127.0.0.1:8080"]), yes);
    assert_eq!(probe(&["wait", "8080"]), yes);
    let reason = "lntu: 8081/tcp: not listening; 0.0.0.0:8080/tcp is\n";
    assert_eq!(probe(&["check", "8081"]), (1, reason.to_string()));
}

/// nginx with `listen [::]:8080;` is such a server.
#[test]
fn a_published_port_of_an_ipv6_only_server_is_unhealthy() {
    if !have_docker() {
        return;
    }
    let image = Image::scratch_with(
        "HEALTHCHECK --interval=1s --retries=1 CMD [\"/lntu\", \"check\", \"*:8080\"]",
    );
    let publish = ["--publish=127.0.0.1::8080"];
    let server = |step: &str, expected: &str| {
        let server = image.start(&publish, &["/app", step, "8080", "serve"]);
        server.wait_for_line("serving");
        wait_for(expected, || {
            (server.inspect("{{.State.Health.Status}}") == expected).then_some(())
        });
        server
    };
    let address = |server: &Container| docker_says(&["port", server.name(), "8080/tcp"]);
    let reaches = |server: &Container| {
        // Docker's proxy accepts any connection, and ends it if the container does not.
        if let Ok(mut client) = TcpStream::connect(address(server)) {
            let _ = client.read_to_end(&mut Vec::new());
        }
        server.logs().stdout.contains("connection from")
    };
    let healthy = server("listen", "healthy");
    wait_for("a connection", || reaches(&healthy).then_some(()));

    let unhealthy = server("listen-ipv6-only", "unhealthy");
    let log = unhealthy.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    let reason = "lntu: *:8080/tcp: only [::]:8080 (IPv6 only) is";
    assert!(log.lines().any(|line| line == reason), "{log}");
    assert!(!reaches(&unhealthy));
    let check = |port| unhealthy.exec(&[], &["/lntu", "check", port]).code();
    assert_eq!(
        (check("[::]:8080"), check("8080"), check("0.0.0.0:8080")),
        (0, 0, 1)
    );
}
