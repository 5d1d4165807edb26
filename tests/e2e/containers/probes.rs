//! Probes in containers: health checks, servers of other users, and a seccomp profile that
//! forbids netlink.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;

use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

#[test]
fn a_health_check_reads_its_port_from_the_environment() {
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

/// lntu must not read `/host/proc/net`. It leads to the network of the container, because `net` in
/// any proc leads to the network of the process that reads it.
#[test]
fn the_proc_of_the_host_shows_the_ports_of_the_host() {
    if !have_docker() {
        return;
    }
    let listener = listen("127.0.0.1");
    let row = format!(":{:04X} 00000000:0000 0A", port_of(&listener));
    let table = fs::read_to_string("/proc/1/net/tcp").unwrap();
    let why = "the tests run in another network than process 1";
    if !have("host", (!table.contains(&row)).then(|| why.into())) {
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
fn a_probe_answers_if_seccomp_forbids_netlink() {
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
    // The reason names no process, because the holder is in another PID namespace.
    assert_eq!(probe(&["check", "8081"]), (1, reason.to_string()));
}

/// For example, nginx with `listen [::]:8080;` accepts only IPv6.
#[test]
fn an_ipv6_only_server_is_unhealthy() {
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
        // Docker's proxy accepts every connection, and closes it if the container refuses.
        if let Ok(mut client) = TcpStream::connect(address(server)) {
            let _ = client.read_to_end(&mut Vec::new());
        }
        server.logs().stdout.contains("connection from")
    };
    let healthy = server("listen", "healthy");
    wait_for("a connection", || reaches(&healthy).then_some(()));

    let unhealthy = server("listen-ipv6-only", "unhealthy");
    let log = unhealthy.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    let reason = "lntu: *:8080/tcp: listening only on [::]:8080 (IPv6 only; app, pid 1)";
    assert!(log.lines().any(|line| line == reason), "{log}");
    assert!(!reaches(&unhealthy));
    let check = |port| unhealthy.exec(&[], &["/lntu", "check", port]).code();
    assert_eq!(
        (check("[::]:8080"), check("8080"), check("0.0.0.0:8080")),
        (0, 0, 1)
    );
}

/// Starts a program of this machine in a container, and waits until it listens on the port.
fn start_program(options: &[&str], command: &[&str], port: &str) -> Container {
    let programs = with_programs();
    let mounts = programs.iter().map(String::as_str);
    let options: Vec<&str> = mounts.chain(options.iter().copied()).collect();
    let server = Image::scratch().start(&options, command);
    let waited = server.exec(&[], &["/lntu", "wait", "--timeout", "60s", port]);
    assert!(waited.status.success(), "{waited:?}, {:?}", server.logs());
    server
}

/// Root in a container has no CAP_SYS_PTRACE, so it may not read the descriptors of nginx's
/// workers, which hold the socket, too.
#[test]
fn root_can_probe_nginx_with_unprivileged_workers() {
    if !have_docker() || !have_program("services", "nginx") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let text = "user nobody nogroup; worker_processes 2; daemon off; pid /data/pid;
        error_log stderr; events {}
        http {
            access_log off; client_body_temp_path /data/body; proxy_temp_path /data/proxy;
            fastcgi_temp_path /data/fastcgi; uwsgi_temp_path /data/uwsgi;
            scgi_temp_path /data/scgi; server { listen 8081; }
        }";
    fs::write(directory.path().join("nginx.conf"), text).unwrap();
    let volume = format!("--volume={}:/conf:ro", directory.path().display());
    let nginx = ["/usr/sbin/nginx", "-p", "/data", "-c", "/conf/nginx.conf"];
    let server = start_program(&[&volume], &nginx, "8081");
    // Wait for the workers: before they run, root may read the descriptors of every process.
    wait_for("two workers", || {
        (server.processes().len() == 3).then_some(())
    });
    let check = |port: &str| {
        let checked = server.exec(&[], &["/lntu", "check", "--of", "1", port]);
        (checked.code(), checked.stderr)
    };
    assert_eq!(check("8081"), (0, String::new()));
    let reason = "lntu: 8080/tcp: not listening; 0.0.0.0:8081/tcp (nginx, pid 1) is\n";
    assert_eq!(check("8080"), (1, reason.into()));
    let listed = server.exec(&[], &["/lntu", "list", "-H", "--of", "1"]);
    assert_eq!(super::events(&listed.lines().join("\n")), ["LISTEN *:8081"]);

    let watch = ["/lntu", "--of", "1", "--json", "-i", "100ms", "--"];
    let watched = start_program(&[&volume], &[&watch[..], &nginx].concat(), "8081");
    watched.wait_for_line("\"port\":\"tcp:*:8081\"");
    assert!(!watched.logs().stdout.contains("\"lost\""));
}

/// Checks that probes find a server that is process 1 and belongs to another user than the
/// container, as redis and postgres do in their images.
fn assert_probed(command: &[&str], port: &str) {
    let as_user = [
        "/usr/bin/setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let command = [&as_user, command].concat();
    let check = ["/lntu", "check", "--of", "1", port];
    let server = start_program(&[], &command, port);
    // Root in the container has no CAP_SYS_PTRACE, but CAP_SETUID lets it become the user.
    for user in ["0:0", "65534:65534"] {
        let user = format!("--user={user}");
        assert_eq!(server.exec(&[&user], &check).lines(), [""; 0], "{user}");
        let list = ["/lntu", "list", "-Hp", port];
        let listed = server.exec(&[&user], &list).lines().concat();
        assert!(listed.contains(",pid=1,fd="), "{user}, {listed}");
    }
    // With neither capability, the answer is unknown, not no.
    let setpriv = [
        "/usr/bin/setpriv",
        "--bounding-set=-setuid",
        "--inh-caps=-setuid",
    ];
    let refused = server.exec(&[], &[&setpriv[..], &check].concat());
    let start =
        format!("{port}/tcp: could not tell which process listens: /proc/1/fd: Permission denied");
    assert!(refused.error().starts_with(&start), "{refused:?}");
    drop(server);
    let server = start_program(&["--cap-add=SYS_PTRACE"], &command, port);
    assert_eq!(server.exec(&[], &check).lines(), [""; 0]);
}

#[test]
fn redis_is_found_by_its_user_and_by_root() {
    if have_docker() && have_program("services", "redis-server") {
        assert_probed(&["redis-server", "--port", "6379", "--save", ""], "6379");
    }
}

#[test]
fn postgresql_is_found_by_its_user_and_by_root() {
    let [initdb, postgres] = ["initdb", "postgres"].map(postgresql);
    if !have_docker() || !have_program("services", &postgres) {
        return;
    }
    let script = "\"$0\" -A trust -N -D /data/db >/dev/null && exec \"$1\" -D /data/db -k /data";
    let [initdb, postgres] = [&initdb, &postgres].map(|path| path.to_str().unwrap());
    assert_probed(&["/bin/sh", "-c", script, initdb, postgres], "5432");
}

/// The entrypoint of the official image first starts a server that listens on a Unix socket
/// only, to run the scripts that create the database.
#[test]
fn check_ignores_the_temporary_server_of_postgresql() {
    let postgres = postgresql("postgres");
    if !have_docker() || !have_program("services", &postgres) {
        return;
    }
    let programs = postgres.parent().unwrap().to_str().unwrap();
    let script = "cd $0 && export PGDATA=/data/db &&
        ./initdb -A trust -N >/dev/null &&
        ./pg_ctl -o \"-c listen_addresses='' -k /data\" -w start >/dev/null &&
        until [ -e /data/created ]; do sleep 0.1; done &&
        ./pg_ctl -m fast -w stop >/dev/null &&
        exec ./postgres -h '*' -k /data";
    let socket = "unix:/data/.s.PGSQL.5432";
    let options = ["--user=65534:65534"];
    let server = start_program(&options, &["/bin/sh", "-c", script, programs], socket);
    let run = |command: &[&str]| {
        let finished = server.exec(&[], command);
        (finished.code(), finished.stderr)
    };
    let is_ready = format!("{programs}/pg_isready");
    let yes = (0, String::new());
    assert_eq!(run(&[&is_ready, "-h", "/data"]), yes);
    assert_eq!(run(&["/lntu", "check", socket]), yes);
    let reason = "lntu: 5432/tcp: not listening\n";
    assert_eq!(run(&["/lntu", "check", "5432"]), (1, reason.into()));
    assert_eq!(run(&["/bin/touch", "/data/created"]), yes);
    let wait = ["/lntu", "wait", "--timeout", "60s", "5432"];
    assert_eq!(run(&wait), yes);
    assert_eq!(run(&["/lntu", "check", "5432", socket]), yes);
    assert_eq!(run(&[&is_ready, "-h", "127.0.0.1"]), yes);
}
