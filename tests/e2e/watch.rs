//! Tests of `lntu watch`, with sockets that open and close.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use socket2::{Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

const HEADER: &str = "Netid State  Recv-Q Send-Q   Local Address:Port  Peer Address:Port";

#[test]
fn opening_or_closing_a_port_prints_one_line() {
    for source in ["ss", "proc", "auto", "netlink"] {
        if source == "ss" && !have_ss() {
            continue;
        }
        let port = FreePort::new();
        let watcher = watch(&["--source", source, &port.to_string()]);
        assert_eq!(watcher.next_line(), HEADER);
        for _ in 0..3 {
            let listener = port.listen();
            let line = watcher.next_line();
            assert_eq!(event(&line), format!("tcp LISTEN 127.0.0.1:{port}"));
            drop(listener);
            let closed = watcher.next_line();
            assert_eq!(closed, line.replace("LISTEN", "CLOSED"));
        }
        watcher.assert_silent_for(A_WHILE);
    }
}

#[test]
fn watch_first_prints_the_current_listeners() {
    let (first, second) = (listen("127.0.0.1"), listen("127.0.0.1"));
    let ports = [&first, &second].map(|listener| port_of(listener).to_string());
    let watcher = watch(&["--source", "proc", &ports[0], &ports[1]]);
    assert_eq!(watcher.next_line(), HEADER);
    let mut lines = [watcher.next_line(), watcher.next_line()].map(|line| event(&line));
    lines.sort();
    let mut expected = ports.map(|port| format!("tcp LISTEN 127.0.0.1:{port}"));
    expected.sort();
    assert_eq!(lines, expected);
    watcher.assert_silent_for(A_WHILE);
}

#[test]
fn watch_is_the_default_command() {
    let listener = listen("127.0.0.1");
    let port = port_of(&listener).to_string();
    let watcher = Running::start(lntu(&["-H", &port]).env("PATH", NO_SS));
    assert_eq!(
        event(&watcher.next_line()),
        format!("tcp LISTEN 127.0.0.1:{port}")
    );
}

#[test]
fn changes_only_omits_the_current_listeners() {
    let present = listen("127.0.0.1");
    let port = FreePort::new();
    let ports = [port_of(&present), port.number].map(|port| port.to_string());
    let watcher = watch(&[
        "--changes-only",
        "-H",
        "--source",
        "proc",
        &ports[0],
        &ports[1],
    ]);
    watcher.assert_silent_for(A_WHILE);
    let _listener = port.listen();
    assert_eq!(
        event(&watcher.next_line()),
        format!("tcp LISTEN 127.0.0.1:{port}")
    );
    drop(present);
    assert!(event(&watcher.next_line()).ends_with(&format!("CLOSED 127.0.0.1:{}", ports[0])));
}

#[test]
fn sockets_that_share_a_port_are_one_listener() {
    let share = |socket: &Socket| socket.set_reuse_port(true).unwrap();
    let first = bound(Type::STREAM, "127.0.0.1:0", share);
    let address = first.local_addr().unwrap().as_socket().unwrap();
    let watcher = watch(&["-H", "--source", "proc", &address.port().to_string()]);
    assert!(watcher.next_line().contains("LISTEN"));
    let second = bound(Type::STREAM, &address.to_string(), share);
    watcher.assert_silent_for(A_WHILE);
    drop(first);
    watcher.assert_silent_for(A_WHILE);
    drop(second);
    assert!(watcher.next_line().contains("CLOSED"));
}

/// If other sockets open or close while lntu reads a table, the kernel may skip the row of a
/// listener that is still open.
#[test]
fn a_listener_that_one_look_misses_is_not_closed() {
    let directory = fake_ss_that_misses_every_other_time(81);
    let mut command = lntu(&["-H", "-i", FAST, "--source", "ss", "81"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:81");
    watcher.assert_silent_for(A_WHILE);
}

#[test]
fn watch_reports_udp_sockets() {
    let socket = bound(Type::DGRAM, "[::1]:0", |_| {});
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let watcher = watch(&["-H", "--source", "proc", &format!("{port}/udp")]);
    assert_eq!(
        event(&watcher.next_line()),
        format!("udp UNCONN [::1]:{port}")
    );
    drop(socket);
    assert_eq!(
        event(&watcher.next_line()),
        format!("udp CLOSED [::1]:{port}")
    );
}

#[test]
fn full_prints_the_whole_table_on_every_change() {
    let present = listen("127.0.0.1");
    let other = FreePort::new();
    let ports = [port_of(&present), other.number].map(|port| port.to_string());
    let watcher = watch(&["--full", "--source", "proc", &ports[0], &ports[1]]);
    let table = |rows| {
        let header = watcher.next_line();
        assert!(header.starts_with("Netid State"), "{header:?}");
        let mut rows: Vec<_> = (0..rows).map(|_| event(&watcher.next_line())).collect();
        rows.sort();
        rows
    };
    assert_eq!(table(1).len(), 1);
    let listener = other.listen();
    assert_eq!(table(2).len(), 2);
    drop(listener);
    assert_eq!(table(1), [format!("tcp LISTEN 127.0.0.1:{}", ports[0])]);
    drop(present);
    assert_eq!(table(0), [""; 0], "the last close is a table too");
    watcher.assert_silent_for(A_WHILE);
}

#[test]
fn headerless_full_tables_end_with_an_empty_line() {
    let present = listen("127.0.0.1");
    let port = port_of(&present).to_string();
    let watcher = watch(&["--full", "-H", "--source", "proc", &port]);
    assert!(watcher.next_line().contains("LISTEN"));
    assert_eq!(watcher.next_line(), "");
    drop(present);
    assert_eq!(watcher.next_line(), "");
}

fn next_json(watcher: &Running) -> Value {
    serde_json::from_str(&watcher.next_line()).unwrap()
}

#[test]
fn json_lines_contain_the_type_of_the_event() {
    let present = listen("127.0.0.1");
    let port = FreePort::new();
    let ports = [port_of(&present), port.number].map(|port| port.to_string());
    let watcher = watch(&["--json", "--source", "proc", &ports[0], &ports[1]]);
    let first = next_json(&watcher);
    assert_eq!(first["type"], "listening");
    assert_eq!(first["port"], format!("tcp:127.0.0.1:{}", ports[0]));
    assert_eq!(next_json(&watcher)["type"], "ready");
    let listener = port.listen();
    let second = next_json(&watcher);
    assert_eq!(second["type"], "opened");
    assert_eq!(second["number"], port.number);
    drop(listener);
    assert_eq!(next_json(&watcher)["type"], "closed");
}

#[test]
fn full_json_reports_the_last_close() {
    let present = listen("127.0.0.1");
    let port = port_of(&present).to_string();
    let watcher = watch(&["--json", "--full", "--source", "proc", &port]);
    assert_eq!(next_json(&watcher)["type"], "listening");
    assert_eq!(next_json(&watcher)["type"], "ready");
    drop(present);
    assert_eq!(next_json(&watcher)["type"], "closed");
}

#[test]
fn timestamps_start_every_line() {
    let present = listen("127.0.0.1");
    let port = port_of(&present).to_string();
    let watcher = watch(&["--timestamps", "--source", "proc", &port]);
    assert!(
        watcher
            .next_line()
            .starts_with("Timestamp                Netid")
    );
    let line = watcher.next_line();
    assert!(line[24..].starts_with(" tcp   LISTEN"), "{line:?}");
}

/// The path of the real ss.
fn real_ss() -> String {
    let which = run(Command::new("sh").args(["-c", "command -v ss"]));
    which.stdout.trim().to_string()
}

#[test]
fn switching_sources_reports_no_change() {
    if !have_ss() {
        return;
    }
    let port = FreePort::new();
    let _present = port.listen();
    let changing = FreePort::new();
    let real = format!("exec {} \"$@\"", real_ss());
    let ss = SwitchableSs::new(&real);
    let port = port.to_string();
    let mut command = lntu(&["-v", "-H", "-i", FAST, &port, &changing.to_string()]);
    let watcher = Running::start(command.env("PATH", path_with(ss.path())));
    assert!(watcher.next_line().contains("LISTEN"));
    watcher.assert_silent_for(A_WHILE);

    let assert_falls_back = |reason: &str| {
        let detail = format!("lntu: {reason}; asking netlink instead");
        assert_eq!(watcher.next_error(), detail);
    };
    ss.becomes("exit 1");
    assert_falls_back("ss: exit status: 1");
    watcher.assert_silent_for(A_WHILE);
    ss.becomes(&real);
    watcher.assert_silent_for(A_WHILE);
    ss.becomes("echo 'Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port'");
    assert_falls_back("ss: printed no listeners");
    // The watcher reports this change while it reads from netlink. When ss answers again, the
    // watcher must not report it a second time.
    let listener = changing.listen();
    assert!(event(&watcher.next_line()).ends_with(&format!("LISTEN 127.0.0.1:{changing}")));
    ss.becomes(&real);
    watcher.assert_silent_for(A_WHILE);
    drop(listener);
    assert!(event(&watcher.next_line()).ends_with(&format!("CLOSED 127.0.0.1:{changing}")));
    ss.becomes("exit 1");
    watcher.assert_silent_for(A_WHILE);
    watcher.assert_no_more_errors();
}

#[test]
fn an_intermittent_ss_reports_no_change() {
    if !have_ss() {
        return;
    }
    let port = FreePort::new();
    let _present = port.listen();
    let ss = SwitchableSs::new(&format!("exec {} \"$@\"", real_ss()));
    let mut command = lntu(&["-v", "-H", "-i", FAST, &port.to_string()]);
    ss.disappears();
    let watcher = Running::start(command.env("PATH", ss.path()));
    assert!(watcher.next_line().contains("LISTEN"));
    let detail = "lntu: ss: not found in PATH; asking netlink instead";
    assert_eq!(watcher.next_error(), detail);
    for _ in 0..2 {
        ss.appears();
        watcher.assert_silent_for(A_WHILE);
        ss.disappears();
        watcher.assert_silent_for(A_WHILE);
    }
}

/// The second output of ss has other queue lengths for the listener and does not show its
/// interface, as when the watcher switches to another source.
#[test]
fn a_closed_line_has_the_details_of_the_opened_line() {
    let directory = TempDir::new().unwrap();
    let first = "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'; \
                  echo 'tcp LISTEN 0 128 127.0.0.1%lo:81 0.0.0.0:*'";
    let second = first.replace("0 128 127.0.0.1%lo:81", "3 0 127.0.0.1:81");
    let later = first.replace(":81", ":82");
    let runs = directory.path().join("runs");
    let runs = runs.display();
    let script = format!(
        "echo run >>{runs}; case $(wc -l <{runs}) in 1) {first};; 2) {second};; *) {later};; esac"
    );
    write_program(&directory.path().join("ss"), &script);
    let mut command = lntu(&["-H", "-i", FAST, "--source", "ss", "81"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    let opened = watcher.next_line();
    assert!(opened.contains("127.0.0.1%lo:81"), "{opened:?}");
    assert_eq!(watcher.next_line(), opened.replace("LISTEN", "CLOSED"));
}

#[test]
fn a_failed_read_closes_no_port() {
    let proc = TempDir::new().unwrap();
    let net = proc.path().join("net");
    fs::create_dir(&net).unwrap();
    let header = "  sl  local_address\n";
    let ssh = "0: 0100007F:0016 00000000:0000 0A\n";
    let web = "1: 0100007F:0050 00000000:0000 0A\n";
    let write_table = |contents: &str| {
        fs::write(net.join("draft"), contents).unwrap();
        fs::rename(net.join("draft"), net.join("tcp")).unwrap();
    };
    write_table(&format!("{header}{ssh}"));
    let watcher = watch(&["-H", "--proc", proc.path().to_str().unwrap()]);
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:22");

    for broken in ["", "0: not a row\n1: nor this\n"] {
        write_table(broken);
        assert!(watcher.next_error().ends_with("; trying again"));
        watcher.assert_silent_for(A_WHILE);
        watcher.assert_no_more_errors();
        write_table(&format!("{header}{ssh}"));
        assert_eq!(watcher.next_error(), "lntu: reading listeners again");
        watcher.assert_silent_for(A_WHILE);
    }
    fs::rename(net.join("tcp"), net.join("elsewhere")).unwrap();
    assert!(watcher.next_error().contains("No such file"));
    write_table(&format!("{header}{web}"));
    assert_eq!(event(&watcher.next_line()), "tcp CLOSED 127.0.0.1:22");
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:80");
}

#[test]
fn a_watcher_retries_if_no_source_can_be_read() {
    let proc = TempDir::new().unwrap();
    let watcher = watch(&["-H", "--proc", proc.path().to_str().unwrap()]);
    assert!(watcher.next_error().ends_with("; trying again"));
    let draft = proc.path().join("draft");
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join("tcp"), "0: 0100007F:0016 00000000:0000 0A\n").unwrap();
    fs::rename(&draft, proc.path().join("net")).unwrap();
    assert_eq!(watcher.next_error(), "lntu: reading listeners again");
    assert_eq!(event(&watcher.next_line()), "tcp LISTEN 127.0.0.1:22");
}

#[test]
fn after_a_signal_the_status_is_128_plus_its_number() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        // If a shell script runs the tests in the background, they ignore SIGINT, and the watcher
        // would inherit that. env restores the default.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_lntu")]);
        let watcher = Running::start(command.args(["-i", "1h", "--source", "proc"]));
        assert!(watcher.next_line().starts_with("Netid"));
        kill_process(watcher.pid(), signal).unwrap();
        let finished = watcher.finish();
        assert_eq!((finished.code(), finished.stderr.as_str()), (code, ""));
    }
}

#[test]
fn a_signal_ignored_at_the_start_stays_ignored() {
    let script = format!("trap '' INT; exec {} -i 1h", env!("CARGO_BIN_EXE_lntu"));
    let watcher = Running::start(Command::new("sh").args(["-c", &script]));
    assert!(watcher.next_line().starts_with("Netid"));
    kill_process(watcher.pid(), Signal::INT).unwrap();
    kill_process(watcher.pid(), Signal::TERM).unwrap();
    assert_eq!(watcher.finish().code(), 143);
}

#[test]
fn a_closed_pipe_ends_a_watcher_without_a_message() {
    let mut child = lntu(&["-i", "1h", "--source", "proc"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 5];
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let status = wait_for("the watcher's end", || child.try_wait().unwrap());
    let mut stderr = String::new();
    child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_reported_once() {
    let present = listen("127.0.0.1");
    let port = port_of(&present).to_string();
    let script = "exec \"$0\" \"$@\" >/dev/full";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_lntu")]);
    let watcher = Running::start(command.args(["-i", FAST, "--source", "proc", &port]));
    let message = "lntu: stdout: No space left on device (os error 28); trying again";
    assert_eq!(watcher.next_error(), message);
    watcher.assert_no_more_errors_for(A_WHILE);
}

/// The stdout of the watcher is a nonblocking pipe that is full from the start.
#[test]
fn lines_delayed_by_a_full_pipe_are_written_later() {
    let port = FreePort::new();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let mut filling = 0;
    while let Ok(written) = rustix::io::write(&writer, &[b'.'; 4096]) {
        filling += written;
    }
    let watcher = lntu(&["-i", FAST, "--source", "proc", &port.to_string()])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut watcher = Reaped(watcher);
    let listener = port.listen();
    thread::sleep(A_WHILE);

    let mut text = String::new();
    let mut read_until = |done: &dyn Fn(&str) -> bool| {
        wait_for("the output", || {
            let mut buffer = [0; 65536];
            if let Ok(read) = rustix::io::read(&reader, &mut buffer) {
                text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            done(&text).then(|| text.clone())
        })
    };
    read_until(&|text| text.contains("LISTEN") && text.ends_with('\n'));
    drop(listener);
    let text = read_until(&|text| text.contains("CLOSED") && text.ends_with('\n'));
    let lines: Vec<String> = text[filling..].lines().map(str::to_string).collect();
    assert_eq!(lines[0], HEADER);
    let events: Vec<String> = lines[1..].iter().map(|line| event(line)).collect();
    let expected = ["LISTEN", "CLOSED"].map(|state| format!("tcp {state} 127.0.0.1:{port}"));
    assert_eq!(events, expected);
    watcher.0.kill().unwrap();
}

/// A child that is killed and reaped when this value is dropped, even if the test fails.
struct Reaped(std::process::Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fake ss lists port 1, and each port whose number is the name of a file in the directory.
#[test]
fn settle_reports_only_changes_that_last() {
    const SETTLE: Duration = Duration::from_secs(2);
    let directory = TempDir::new().unwrap();
    let ports = directory.path();
    let ss = fake_ss(&format!(
        "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'
         cd {ports}; echo >runs
         for port in 1 [0-9]*; do
             [ $port = '[0-9]*' ] || echo \"tcp LISTEN 0 0 127.0.0.1:$port 0.0.0.0:*\"
         done",
        ports = ports.display()
    ));
    // Returns once ss has run from start to end.
    let wait_for_run = || {
        for _ in 0..2 {
            let _ = fs::remove_file(ports.join("runs"));
            wait_for("a run of ss", || ports.join("runs").exists().then_some(()));
        }
    };
    let mut command = lntu(&["--json", "--settle", "2s", "-i", FAST, "--source", "ss"]);
    let watcher = Running::start(command.env("PATH", path_with(ss.path())));
    let next = || {
        let value: Value = serde_json::from_str(&watcher.next_line()).unwrap();
        format!("{} {}", value["type"], value["number"])
    };
    assert_eq!(next(), r#""listening" 1"#);
    assert_eq!(next(), r#""ready" null"#);
    // Open port 81 for less than the settle time. On a slow machine, the port may stay open for so
    // long that the watcher reports it. In that case, read those lines and try again.
    let mut is_short = false;
    while !is_short {
        let opened = Instant::now();
        fs::write(ports.join("81"), "").unwrap();
        wait_for_run();
        fs::remove_file(ports.join("81")).unwrap();
        wait_for_run();
        is_short = opened.elapsed() < SETTLE;
        if !is_short {
            while watcher.line_within(2 * SETTLE).is_some() {}
        }
    }
    for (opens, expected) in [(true, r#""opened" 82"#), (false, r#""closed" 82"#)] {
        let changed = Instant::now();
        match opens {
            true => fs::write(ports.join("82"), "").unwrap(),
            false => fs::remove_file(ports.join("82")).unwrap(),
        }
        assert_eq!(next(), expected);
        assert!(changed.elapsed() >= SETTLE);
    }
    watcher.assert_silent_for(A_WHILE);
}

/// The fake ss lists port 81 only in every second run.
#[test]
fn settle_tolerates_a_look_that_misses_the_port() {
    let (always, mostly) = ("tcp LISTEN 127.0.0.1:1", "tcp LISTEN 127.0.0.1:81");
    let header = "Netid State Local";
    // Each case has options, the lines at the start, and the lines after port 81 has settled.
    let cases: [(&[&str], &[&str], &[&str]); 3] = [
        (&[], &[header, always], &[mostly]),
        (&["--changes-only"], &[header], &[mostly]),
        (&["--full"], &[header, always], &[header, always, mostly]),
    ];
    for (options, first_lines, later_lines) in cases {
        let directory = TempDir::new().unwrap();
        // From when the file `begin` exists, every second run lists port 81.
        let ss = fake_ss(&format!(
            "cd {}
             echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'
             echo 'tcp LISTEN 0 0 127.0.0.1:1 0.0.0.0:*'
             [ -e begin ] || exit 0
             if [ -e flag ]; then rm flag; echo 'tcp LISTEN 0 0 127.0.0.1:81 0.0.0.0:*'
             else : >flag; fi",
            directory.path().display()
        ));
        let arguments = ["-i", FAST, "--settle", "300ms", "--source", "ss"];
        let mut command = lntu(&[&arguments[..], options].concat());
        let watcher = Running::start(command.env("PATH", path_with(ss.path())));
        let expect = |lines: &[&str]| {
            for expected in lines {
                let line = watcher.next_line();
                assert_eq!(event(&line), *expected, "{options:?}: {line:?}");
            }
        };
        expect(first_lines);
        fs::write(directory.path().join("begin"), "").unwrap();
        expect(later_lines);
        watcher.assert_silent_for(A_WHILE);
    }
}

#[test]
fn excluded_ports_are_not_reported() {
    let (wanted, unwanted) = (FreePort::new(), FreePort::new());
    let exclude = unwanted.to_string();
    let arguments = ["-H", "--source", "proc", "--exclude", &exclude];
    let ports = [wanted.to_string(), unwanted.to_string()];
    let watcher = watch(&[&arguments[..], &[&ports[0], &ports[1]]].concat());
    let _unwanted = unwanted.listen();
    watcher.assert_silent_for(A_WHILE);
    let _wanted = wanted.listen();
    let opened = event(&watcher.next_line());
    assert_eq!(opened, format!("tcp LISTEN 127.0.0.1:{wanted}"));
}

#[test]
fn columns_stay_aligned_for_addresses_of_any_length() {
    let directory = fake_ss(
        "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'
         echo 'tcp LISTEN 0 0 127.0.0.1:80 0.0.0.0:*'
         echo 'tcp LISTEN 0 0 [2001:db8:1234:5678:9abc:def0:1234:5678]:50080 [::]:*'
         echo 'udp UNCONN 0 0 0.0.0.0:53 0.0.0.0:*'",
    );
    let mut command = lntu(&["--source", "ss"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    let lines = [(); 4].map(|()| watcher.next_line());
    for port in [lines[0].find(":Port"), lines[0].rfind(":Port")] {
        let colon = port.unwrap();
        let first = |line: &String| line[colon..].chars().next();
        assert!(
            lines.iter().all(|line| first(line) == Some(':')),
            "{lines:#?}"
        );
    }
}
