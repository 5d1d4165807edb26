//! Runs every example of the README and the manual as printed there. Only placeholders are
//! replaced, such as the name of an image, a server or a container.

mod containers;
mod readers;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use boon::{Compiler, Schemas};
use lntu::cli::description::{self, COMMANDS, CommandName};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::*;

#[test]
fn every_example_has_a_test() {
    let tests = [
        include_str!("readme.rs"),
        include_str!("readme/containers.rs"),
        include_str!("readme/readers.rs"),
        include_str!("containers/names.rs"),
        include_str!("notify.rs"),
        include_str!("only.rs"),
        include_str!("pids.rs"),
        include_str!("unix.rs"),
        include_str!("wait.rs"),
    ];
    let has_test = |call: &str| tests.iter().any(|tests| tests.contains(call));
    let (mut heading, mut is_fenced, mut count) = ("", false, 0);
    for line in README.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_fenced = !is_fenced;
            let call = format!("blocks(\"{heading}\", \"{language}\")");
            assert!(!is_fenced || has_test(&call), "{call}");
            count += usize::from(is_fenced);
        } else if !is_fenced && line.starts_with('#') {
            heading = line.trim_start_matches('#').trim();
        }
    }
    for line in MANUAL.lines() {
        if let Some(name) = line.strip_prefix(".SS ") {
            heading = name;
        } else if line == ".EX" {
            let call = format!("examples(\"{heading}\")");
            assert!(has_test(&call), "{call}");
            count += 1;
        }
    }
    assert!(count > 20, "{count} blocks");
}

#[test]
fn the_synopsis_matches_the_program() {
    let [synopsis] = blocks("Commands and options", "");
    let commands = COMMANDS
        .iter()
        .filter(|command| command.name != CommandName::Help);
    let usages = commands.map(|command| command.usage);
    for (line, usage) in synopsis.trim().lines().zip(usages) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(line.starts_with(usage), "{line}");
    }
    assert_eq!(synopsis.trim().lines().count(), 5);
}

/// Checks that the first 36 lines of the README show the output of lntu and a Dockerfile with a
/// health check.
#[test]
fn the_readme_starts_with_a_health_check() {
    let first = README.lines().take(36).collect::<Vec<_>>().join("\n");
    let ([demo], [dockerfile]) = (blocks("lntu", "console"), blocks("lntu", "diff"));
    for block in [demo, dockerfile] {
        assert!(first.contains(&format!("{block}\n```")), "{first}");
    }
    let added = dockerfile.lines().filter(|line| line.starts_with('+'));
    assert_eq!(added.count(), 2);
}

/// The first two commands of the README build and run lntu. The third command runs the tests, so
/// this test does not run it, and only checks that `.ci/run` does.
#[test]
fn the_first_commands_run_as_written() {
    let [commands] = blocks("Try it", "sh");
    let [list, watch, test] = commands.lines().collect::<Vec<_>>()[..] else {
        panic!("{commands}");
    };
    in_private_network(|| {
        let _listener = listen_on(8080);
        // Replace the release build by the debug build, which exists already.
        let debug = |line: &str| line.replace("cargo run --release", "cargo run --quiet --locked");
        let in_repository = |line: &str| {
            let mut shell = shell(&debug(line));
            shell.current_dir(env!("CARGO_MANIFEST_DIR"));
            shell
        };
        assert!(run(&mut in_repository(list)).lines()[1].contains("127.0.0.1:8080 "));
        let watcher = Recipe(Running::start(&mut in_repository(watch)));
        assert!(watcher.0.next_line().starts_with("Netid State"));
        assert!(watcher.0.next_line().contains("127.0.0.1:8080 "));
    });
    let ci = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    let (test, _) = test.split_once('#').unwrap();
    let in_readme = format!("{} # as in README.md", test.trim());
    assert!(ci.lines().any(|line| line.trim() == in_readme), "{ci}");
}

/// A Python script that stands in for a Node server. Its arguments are the address and port on
/// which it listens.
const NODE: &str = "
import signal, socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen(511)
signal.pause()
";

/// A directory in which `node` is a link to Python, so that [`NODE`] runs under that name.
fn with_node() -> TempDir {
    let directory = TempDir::new().unwrap();
    // Link to the interpreter itself. python3 in PATH may be a script, and a link to a script would
    // not give the process the name `node`.
    let python = run(&mut shell("python3 -c 'import sys; print(sys.executable)'"));
    std::os::unix::fs::symlink(python.lines()[0], directory.path().join("node")).unwrap();
    directory
}

/// Starts the server of [`NODE`] and waits until it listens.
fn start_node(directory: &TempDir, address: &str, port: &str) -> Running {
    let mut node = Command::new(directory.path().join("node"));
    let server = Running::start(node.args(["-c", NODE, address, port]));
    wait_for("the server", || {
        (run(&mut lntu(&["check", &format!("{address}:{port}")])).code() == 0).then_some(())
    });
    server
}

#[test]
fn the_demo_shows_the_actual_output() {
    if !have_program("services", "python3") {
        return;
    }
    let [demo] = blocks("lntu", "console");
    in_private_network(|| {
        let directory = with_node();
        let server = start_node(&directory, "127.0.0.1", "8080");
        let [check, watch] = transcript(demo);
        assert_prints(&[check], shell);

        // The recipe ends with SIGINT. If a shell script runs the tests in the background, they
        // ignore SIGINT, and the recipe would inherit that.
        let env = "env --default-signal=INT";
        let mut watcher = Recipe::start(&format!("exec {env} {}", watch.command));
        let [header, opened, closed, reopened, interrupt] = &watch.printed[..] else {
            panic!("{:?}", watch.printed);
        };
        assert_eq!(watcher.0.next_line(), *header);
        assert_eq!(watcher.0.next_line(), *opened);
        drop(server);
        assert_eq!(watcher.0.next_line(), *closed);
        let _server = start_node(&directory, "0.0.0.0", "8080");
        assert_eq!(watcher.0.next_line(), *reopened);
        assert_eq!(interrupt, "^C");
        rustix::process::kill_process(watcher.0.pid(), rustix::process::Signal::INT).unwrap();
        let status = wait_for("the watcher's end", || watcher.0.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(130));
        assert_eq!(watcher.0.line_within(Duration::ZERO), None);
    });
}

/// A server that requires a client certificate. It prints a line for each connection.
const MTLS: &str = "
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.verify_mode = ssl.CERT_REQUIRED
server = socket.create_server(('0.0.0.0', 8443))
print('listening', flush=True)
while True:
    client, _ = server.accept()
    try:
        context.wrap_socket(client, server_side=True)
    except OSError as error:
        print(error, flush=True)
";

#[test]
fn check_leaves_no_trace_in_the_log_of_a_server() {
    if !have_program("services", "python3") {
        return;
    }
    let ([line], [session]) = (
        blocks("Servers that you can't check by connecting", "dockerfile"),
        blocks("Servers that you can't check by connecting", "console"),
    );
    let command = line.split_once("CMD ").unwrap().1;
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let arguments: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    in_private_network(|| {
        let server = Running::start(Command::new("python3").args(["-c", MTLS]));
        assert_eq!(server.next_line(), "listening");
        let _metrics = listen_on(9090);
        let dns = bound(Type::DGRAM, "0.0.0.0:53", |_| {});
        assert_eq!(run(&mut lntu(&arguments)).code(), 0);
        // lntu left no line in the server's log. A probe that connects leaves one.
        assert_eq!(server.line_within(Duration::ZERO), None);
        drop(std::net::TcpStream::connect("127.0.0.1:8443").unwrap());
        server.next_line();
        drop(dns);
        assert_prints(&transcript::<1>(session), shell);
        assert_eq!(server.line_within(Duration::ZERO), None);
    });
}

#[test]
fn the_dev_server_session_shows_the_actual_output() {
    if !have_program("services", "python3") {
        return;
    }
    let [session] = blocks("A dev server", "console");
    in_private_network(|| {
        let directory = with_node();
        let node = directory.path().join("node");
        let npm = format!("exec {} -c '{NODE}' 127.0.0.1 5173", node.display());
        write_program(&directory.path().join("npm"), &npm);
        assert_prints(&transcript::<3>(session), |script| {
            shell(&format!(
                "PATH={}:$PATH\n{script}",
                directory.path().display()
            ))
        });
        wait_for("the end of the server", || {
            (run(&mut lntu(&["check", "5173"])).code() == 1).then_some(())
        });
    });
}

#[test]
fn the_session_as_ss_shows_the_actual_output() {
    if !have_program("services", "python3") {
        return;
    }
    let [session] = blocks("Replace ss", "console");
    in_private_network(|| {
        let directory = with_node();
        let _server = start_node(&directory, "127.0.0.1", "8080");
        assert_prints(&transcript::<3>(session), |script| {
            let mut shell = shell(script);
            shell.current_dir(&directory);
            shell
        });
    });
}

/// Checks that the table lists the same options for each command as the program accepts.
#[test]
fn the_table_of_options_matches_the_program() {
    let table = README
        .split_once("\n| option | for | meaning |\n")
        .unwrap()
        .1;
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let mut named = BTreeSet::new();
    for row in rows {
        let row = row.replace("\\|", "\\");
        let [_, options, commands, ..] = row.split('|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{row}");
        };
        for option in options.split(", ") {
            let words = option.trim_matches('`').split(' ');
            let names = words.filter(|word| word.starts_with('-'));
            let names = names.collect::<Vec<_>>().join(" ");
            assert!(named.insert(format!("{names} ({commands})")), "{names}");
        }
    }
    let known = description::options().map(|option| {
        let short = option
            .short
            .map_or(String::new(), |short| format!("-{short} "));
        let commands: Vec<&str> = option.commands.iter().map(|name| name.text()).collect();
        let commands = match commands[..] {
            ["watch", "list", "check", "wait"] => "all".to_string(),
            _ => commands.join(", "),
        };
        format!("{short}--{} ({commands})", option.long)
    });
    assert_eq!(named, known.collect());
}

fn listen_on(port: u16) -> Listener {
    crate::harness::listen_on("127.0.0.1", port)
}

#[test]
fn the_watch_recipes_report_opened_and_closed_ports() {
    if !have_program("services", "jq") || !have_program("services", "mawk") {
        return;
    }
    in_private_network(|| {
        let listener = listen_on(8080);
        let [recipes] = blocks("Report ports as they open and close", "sh");
        let recipes = recipes.lines().map(Recipe::start).collect::<Vec<_>>();
        let [by_shell, by_jq, by_mawk, by_grep] = &recipes[..] else {
            panic!("four recipes");
        };
        assert_eq!(by_shell.0.next_line(), "tcp 127.0.0.1:8080 is LISTEN");
        assert_eq!(by_jq.0.next_line(), "listening tcp:127.0.0.1:8080");
        assert_eq!(by_mawk.0.next_line(), "LISTEN 127.0.0.1:8080");
        assert!(by_grep.0.next_line().contains("LISTEN"));
        drop(listener);
        assert_eq!(by_shell.0.next_line(), "tcp 127.0.0.1:8080 is CLOSED");
        assert_eq!(by_jq.0.next_line(), "closed tcp:127.0.0.1:8080");
        assert_eq!(by_mawk.0.next_line(), "CLOSED 127.0.0.1:8080");
        assert!(by_grep.0.next_line().contains("CLOSED"));
    });
}

#[test]
fn a_command_runs_when_a_port_opens() {
    in_private_network(|| {
        let _present = listen_on(3000);
        let [recipe] = examples("Run a command when a port opens");
        let recipe = Recipe::start(recipe);
        // The recipe does not report ports that are open when it starts to watch. The test cannot
        // tell when that is, so it opens new ports until the recipe reports one.
        let mut ports = 3001..;
        let open_port = || {
            let port = ports.next().unwrap();
            let _listener = listen_on(port);
            let line = recipe.0.line_within(Duration::from_secs(7))?;
            assert_eq!(line, format!("open http://localhost:{port}/"));
            Some(())
        };
        wait_for("a port that opened", open_port);
        let _unwanted = listen_on(2999);
        let _last = listen_on(3999);
        assert_eq!(recipe.0.next_line(), "open http://localhost:3999/");
    });
}

#[test]
fn the_recipe_names_the_process_that_holds_8080() {
    if !have_program("services", "jq") || !have_program("services", "python3") {
        return;
    }
    let [recipe, printed] = examples("Which process holds 8080");
    in_private_network(|| {
        let directory = with_node();
        let server = start_node(&directory, "127.0.0.1", "8080");
        let finished = run(&mut shell(recipe));
        let printed = printed.replace("12 node", &format!("{} node", server.child.id()));
        let lines = |text: &str| text.lines().map(without_ids).collect::<Vec<_>>();
        assert_eq!(lines(&finished.stdout), lines(&printed), "{finished:?}");
    });
}

#[test]
fn the_recipe_waits_until_a_port_is_free() {
    in_private_network(|| {
        let [recipe, printed] = examples("Is a port free?");
        let [if_taken, if_free] = printed.lines().collect::<Vec<_>>()[..] else {
            panic!("{printed}");
        };
        let free = run(&mut shell(recipe));
        assert_eq!((free.code(), &*free.stdout), (0, &*format!("{if_free}\n")));
        let taken = listen_on(8080);
        let recipe = Recipe::start(recipe);
        assert_eq!(recipe.0.next_line(), if_taken);
        drop(taken);
        assert_eq!(recipe.0.next_line(), if_free);
    });
}

/// The recipe is changed to write to a file of this test, which logrotate then rotates.
#[test]
fn a_log_of_ports_can_be_rotated() {
    if !have_program("services", "logrotate") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("ports.jsonl");
    let with_log = |text: &str| text.replace("/var/log/ports.jsonl", log.to_str().unwrap());
    let [command, conf] = examples("A log of ports");
    let configuration = directory.path().join("logrotate.conf");
    fs::write(&configuration, with_log(conf)).unwrap();
    in_private_network(|| {
        let types = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let events = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            events
                .map(|event| event["type"].clone())
                .collect::<Vec<_>>()
        };
        let wait_for_types = |expected: &[&str]| {
            wait_for("the log", || (types(&log) == expected).then_some(()));
        };
        let listener = listen_on(8080);
        let _recipe = Recipe::start(&with_log(command));
        wait_for_types(&["listening", "ready"]);
        let mut logrotate = Command::new("logrotate");
        logrotate
            .args(["--force", "--state"])
            .arg(directory.path().join("state"));
        assert!(run(logrotate.arg(&configuration)).status.success());
        wait_for_types(&[]);
        drop(listener);
        wait_for_types(&["closed"]);
        let rotated = directory.path().join("ports.jsonl.1");
        assert_eq!(types(&rotated), ["listening", "ready"]);
    });
}

/// The JSON schema of a line, and a function that validates a line against it.
fn line_schema() -> (Value, impl Fn(&Value) -> bool) {
    let schema = include_str!("../../src/output/line.schema.json");
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    let members: Value = serde_json::from_str(schema).unwrap();
    compiler.add_resource("line.json", members.clone()).unwrap();
    let schema = compiler.compile("line.json", &mut schemas).unwrap();
    let is_valid = move |line: &Value| schemas.validate(line, schema).is_ok();
    (members, is_valid)
}

#[test]
fn the_schema_has_a_valid_example_of_each_type() {
    let (members, is_valid) = line_schema();
    let examples_of_schema = members["examples"].as_array().unwrap();
    let mut types = Vec::new();
    for example in examples_of_schema {
        assert!(is_valid(example), "{example}");
        types.push(example["type"].clone());
    }
    assert_eq!(json!(types), members["properties"]["type"]["enum"]);
}

#[test]
fn the_schema_describes_each_member() {
    let (members, _) = line_schema();
    for (member, schema) in members["properties"].as_object().unwrap() {
        let description = schema["description"].as_str().expect(member);
        assert!(description.ends_with('.'), "{member}: {description}");
    }
}

#[test]
fn the_schema_accepts_the_samples_in_the_docs() {
    let (members, is_valid) = line_schema();
    let mut types = Vec::new();
    let samples: [&str; 2] = blocks("Output", "json");
    for line in samples.iter().flat_map(|block| block.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(is_valid(&line), "{line}");
        types.push(line["type"].clone());
    }
    assert_eq!(json!(types), members["properties"]["type"]["enum"]);
    let example = example_line();
    assert!(is_valid(&example), "{example}");
}

/// The example of a line in the manual.
fn example_line() -> Value {
    let [example] = examples("JSON Lines");
    serde_json::from_str(example).unwrap()
}

#[test]
fn the_schema_accepts_every_line_that_list_prints() {
    let (_, is_valid) = line_schema();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc");
    let mut checked = 0;
    let arguments = |proc: &Path| -> Vec<String> {
        let proc = proc.to_str().unwrap();
        ["list", "--json", "-p", "-q", "--proc", proc]
            .map(String::from)
            .to_vec()
    };
    let directories = fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for proc in directories.chain(["/proc".into()]) {
        let listed = run(lntu(&[]).args(arguments(&proc)));
        for line in listed.stdout.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(is_valid(&line), "{line}");
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked} lines");
}

#[test]
fn the_schema_requires_the_members_of_each_type() {
    let (_, is_valid) = line_schema();
    let example = example_line();
    let now = &example["timestamp"];
    for (line, expected) in [
        (json!({"type": "ready", "timestamp": now}), true),
        (
            json!({"type": "lost", "timestamp": now, "error": "why"}),
            true,
        ),
        (json!({"type": "back", "timestamp": now}), true),
        (json!({"type": "ended", "timestamp": now}), true),
        (json!({"type": "back"}), false),
        (
            json!({"type": "late", "timestamp": now, "interval": 2.5}),
            true,
        ),
        (json!({"type": "late", "timestamp": now}), false),
        (json!({"type": "on_time", "timestamp": now}), true),
        (json!({"type": "lost", "timestamp": now}), false),
        (
            json!({"type": "ready", "timestamp": now, "port": "tcp:*:80"}),
            false,
        ),
        (
            json!({"type": "ready", "timestamp": now, "id": "tcp4:0.0.0.0:80"}),
            false,
        ),
        (json!({"type": "opened", "timestamp": now}), false),
    ] {
        assert_eq!(is_valid(&line), expected, "{line}");
    }
}

#[test]
fn the_schema_rejects_wrong_values() {
    let (_, is_valid) = line_schema();
    for (member, wrong) in [
        ("type", json!("LISTEN")),
        ("id", json!("tcp:*:80")),
        ("uid", json!(-1)),
        ("port", json!("80")),
        ("timestamp", json!(1)),
        ("family", json!("4")),
        ("address", json!("*")),
        ("number", json!(0)),
        ("processes", json!([{"name": "a"}])),
        ("more_processes", json!(0)),
    ] {
        let mut line = example_line();
        line[member] = wrong;
        assert!(!is_valid(&line), "{line}");
    }
}

#[test]
fn the_recipe_finds_the_port_that_a_server_chose() {
    if !have_program("services", "python3") {
        return;
    }
    let [script, printed] = examples("A server that chooses its own port");
    in_private_network(|| {
        let directory = with_node();
        // `sleep` stands in for the server that the recipe starts, and `node` opens the port.
        let recipe = Recipe::start(&script.replace("npm run dev", "sleep 30"));
        let _server = start_node(&directory, "127.0.0.1", "3456");
        for line in printed.lines() {
            assert_eq!(recipe.0.next_line(), line);
        }
    });
}

#[test]
fn the_queue_recipe_passes_while_a_server_accepts() {
    in_private_network(|| {
        let [script] = examples("A queue that fills up");
        assert_eq!(run(&mut shell(script)).code(), 1);
        let _server = listen_on(8080);
        assert_eq!(run(&mut shell(script)).code(), 0);
    });
}

#[test]
fn the_recipes_for_processes_and_ports_run() {
    let [ports_of_process] = examples("Which ports a process opens");
    let [by_port] = examples("One event for each port");
    in_private_network(|| {
        let start = |script| {
            let recipe = Recipe::start(script);
            let header = recipe.0.next_line();
            assert!(header.starts_with("Netid State"), "{header}");
            recipe
        };
        start(by_port).0.assert_no_more_errors();
        let mut recipe = start(ports_of_process);
        let status = wait_for("the recipe's end", || recipe.0.child.try_wait().unwrap());
        // The background processes of the recipe still hold its streams open, so end them, too.
        recipe.kill();
        assert!(status.success(), "{status}");
        assert_eq!(recipe.0.rest_of_errors(), [""; 0]);
    });
}

/// A script that stands in for process 1 of a container. With the argument `serve`, it first opens
/// TCP port 8080 on all addresses, UDP port 53 and a Unix socket. Then it runs a command and exits
/// with the status of the command.
const PROCESS_1: &str = "
import os, socket, subprocess, sys
if sys.argv[1] == 'serve':
    tcp = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(('0.0.0.0', 53))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(sys.argv[2])
    unix.listen()
status = subprocess.call(sys.argv[3:])
if sys.argv[1] == 'serve':
    os.remove(sys.argv[2])
sys.exit(status)
";

#[test]
fn each_check_succeeds_and_fails_in_every_shell() {
    let shells: [&[&str]; 3] = [
        &["sh", "-c"],
        &["zsh", "-fc"],
        &["fish", "--no-config", "-c"],
    ];
    let have_shells = have_program("zsh", "zsh") && have_program("fish", "fish");
    let namespaces = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    if !have_shells || !have_program("services", "python3") || !have_unshare(&namespaces) {
        return;
    }
    let [checks] = blocks("A health check", "sh");
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("app.sock");
    let socket = socket.to_str().unwrap();
    let checks = checks.replace("/run/app.sock", socket);
    in_private_network(|| {
        for (state, expected) in [("serve", 0), ("idle", 1)] {
            for (check, shell) in checks
                .lines()
                .flat_map(|check| shells.map(|shell| (check, shell)))
            {
                let mut command = with_lntu("unshare");
                command.args(namespaces);
                command
                    .args(["python3", "-c", PROCESS_1, state, socket])
                    .args(shell)
                    .arg(check);
                let checked = run(&mut command);
                assert_eq!(
                    checked.code(),
                    expected,
                    "{state}, {shell:?}, {check}: {checked:?}"
                );
            }
        }
    });
}

/// The checks have quotes around a PORT with `*`. Without quotes, zsh and fish treat the PORT as a
/// pattern for file names. No file matches the pattern, so they do not start lntu.
#[test]
fn without_quotes_zsh_and_fish_do_not_start_lntu() {
    if ["zsh", "fish"].map(|name| have_program(name, name)) != [true; 2] {
        return;
    }
    let (zsh, fish) = (["zsh", "-fc"], ["fish", "-Nc"]);
    for ([name, options], port) in [(zsh, "*:8080"), (zsh, "[::1]:8080"), (fish, "*:8080")] {
        let mut command = with_lntu(name);
        let refused = run(command.arg(options).arg(format!("lntu check {port}")));
        assert!(
            refused.code() > 0 && !refused.stderr.contains("lntu: "),
            "{refused:?}"
        );
    }
}

/// Runs the recipe with this script in place of its server. When the returned value is dropped, the
/// shell and its children are killed.
fn wait_for_a_server(server: &str) -> (Recipe, TempDir) {
    let [script] = blocks("Wait for a port", "sh");
    let programs = TempDir::new().unwrap();
    write_program(&programs.path().join("server"), server);
    let mut shell = shell(&format!(
        "PATH={}:$PATH\n{script}",
        programs.path().display()
    ));
    (Recipe(Running::start(&mut shell)), programs)
}

#[test]
fn the_wait_recipe_waits_for_its_server() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let (recipe, _programs) =
            wait_for_a_server("exec python3 -m http.server 8080 >/dev/null 2>&1");
        assert!(recipe.0.next_line().starts_with("Netid State"));
        assert!(recipe.0.next_line().contains(":8080 "));
    });
}

#[test]
fn the_wait_recipe_fails_if_its_server_exits() {
    in_private_network(|| {
        let (mut recipe, _programs) = wait_for_a_server("exit 3");
        let status = wait_for("the script's end", || recipe.0.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(3));
        let error = recipe.0.next_error();
        assert!(
            error.starts_with("lntu: ") && error.contains("process"),
            "{error}"
        );
    });
}

#[test]
fn the_list_recipes_find_the_listeners() {
    let [recipes] = blocks("See what is listening", "sh");
    // The fifth recipe needs a container, so another test runs it.
    let recipes = recipes.lines().take(4);
    in_private_network(|| {
        let _listeners = [
            listen_on(8080),
            crate::harness::listen_on("127.0.0.2", 8080),
        ];
        let listed = recipes.map(|recipe| run(&mut shell(recipe)).lines().join("\n"));
        let listed = listed.collect::<Vec<_>>();
        assert_eq!(listed[0].matches(":8080 ").count(), 2, "{listed:?}");
        assert_eq!(listed[1].matches("users:").count(), 2, "{listed:?}");
        assert_eq!(listed[2].lines().count(), 1, "{listed:?}");
        assert_eq!(listed[3].matches("tcp:127.0.0.").count(), 1, "{listed:?}");
    });
}

#[test]
fn the_manual_shows_the_lines_that_watch_prints() {
    let [expected] = examples("Lines");
    in_private_network(|| {
        let listen = |address: &str, backlog| {
            let address: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(backlog).unwrap();
            socket
        };
        let _stays = listen("127.0.0.1:5432", 128);
        let closes = listen("[::]:8080", 511);
        let watcher = Running::start(&mut lntu(&["--source", "netlink"]));
        let mut lines = expected.lines();
        for line in lines.by_ref().take(3) {
            assert_eq!(watcher.next_line(), line);
        }
        closes.shutdown(Shutdown::Both).unwrap();
        assert_eq!(Some(&*watcher.next_line()), lines.next());
    });
}
