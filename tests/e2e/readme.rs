//! What the README shows, run exactly as it stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use boon::{Compiler, Schemas};
use lntu::cli::description;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

const README: &str = include_str!("../../README.md");

/// The code blocks in this language under a heading, in order.
fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let section = README
        .split_once(&format!("\n### {heading}\n"))
        .expect(heading)
        .1;
    let section = section.split("\n### ").next().unwrap();
    let fence = format!("\n```{language}\n");
    let starts = section.split(&fence).skip(1);
    let blocks: Vec<_> = starts
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!blocks.is_empty(), "{heading} has no {language}");
    blocks
}

/// A shell that runs `script`, with lntu in its PATH.
pub fn shell(script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_lntu"));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .env("PATH", path_with(program.parent().unwrap()));
    // The shell leads a process group, so that everything it starts can be
    // ended with it.
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell
}

/// A recipe that runs until it is dropped.
pub struct Recipe(pub Running);

impl Recipe {
    fn start(script: &str) -> Recipe {
        Recipe(Running::start(&mut shell(script)))
    }

    /// Ends all that it started.
    fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.0.pid(), rustix::process::Signal::KILL);
    }
}

impl Drop for Recipe {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Compares the README's table of options with the program: the same names, for
/// the same commands.
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
fn ports_are_followed_from_a_shell_and_with_jq() {
    if !have_program("services", "jq") {
        return;
    }
    in_private_network(|| {
        let there = listen_on(8080);
        let recipes = blocks("Follow ports from a shell", "sh");
        let [by_shell, by_jq] = [0, 1].map(|index| Recipe::start(recipes[index]));
        assert_eq!(by_shell.0.next_line(), "tcp 127.0.0.1:8080 is LISTEN");
        assert_eq!(by_jq.0.next_line(), "listening tcp:127.0.0.1:8080");
        drop(there);
        assert_eq!(by_shell.0.next_line(), "tcp 127.0.0.1:8080 is CLOSED");
        assert_eq!(by_jq.0.next_line(), "closed tcp:127.0.0.1:8080");
    });
}

#[test]
fn a_command_runs_when_a_port_opens() {
    in_private_network(|| {
        let _there = listen_on(3000);
        let recipe = Recipe::start(blocks("Run a command when a port opens", "sh")[0]);
        // The recipe reports no port that is open when it first looks. So open
        // new ports until it reports one.
        let mut ports = 3001..;
        let says_opened = || {
            let port = ports.next().unwrap();
            let _listener = listen_on(port);
            let line = recipe.0.line_within(Duration::from_secs(7))?;
            assert_eq!(line, format!("open http://localhost:{port}/"));
            Some(())
        };
        wait_for("a port that opened", says_opened);
        let _unwanted = listen_on(2999);
        let _last = listen_on(3999);
        assert_eq!(recipe.0.next_line(), "open http://localhost:3999/");
    });
}

#[test]
fn the_process_that_holds_8080_is_named() {
    if !have_program("services", "jq") {
        return;
    }
    in_private_network(|| {
        let _held = listen_on(8080);
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let (name, pid) = (name.trim_end(), std::process::id());
        let said = run(&mut shell(blocks("Which process holds 8080", "sh")[0]));
        let lines = said.lines();
        let cell = format!("users:((\"{name}\",pid={pid},fd=");
        assert!(lines[0].contains(&cell), "{lines:?}");
        assert_eq!(lines[1], format!("{pid} {name}"));
    });
}

#[test]
fn a_port_is_free_or_taken_before_the_start() {
    let heading = "A port that must be free before the start, or must have been freed";
    in_private_network(|| {
        let recipe = blocks(heading, "sh")[0];
        let free = run(&mut shell(recipe));
        assert_eq!((free.code(), &*free.stdout), (0, "8080 is free\n"));
        let taken = listen_on(8080);
        let recipe = Recipe::start(recipe);
        assert_eq!(recipe.0.next_line(), "8080 is taken");
        drop(taken);
        assert_eq!(recipe.0.next_line(), "8080 is free");
    });
}

/// Runs the recipe on a file in another directory, and rotates that with
/// logrotate.
#[test]
fn a_log_of_ports_can_be_rotated() {
    if !have_program("services", "logrotate") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("ports.jsonl");
    let elsewhere = |text: &str| text.replace("/var/log/ports.jsonl", log.to_str().unwrap());
    let heading = "A log of ports";
    let configuration = directory.path().join("logrotate.conf");
    fs::write(&configuration, elsewhere(blocks(heading, "conf")[0])).unwrap();
    in_private_network(|| {
        let lines = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let events = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            events
                .map(|event| event["type"].clone())
                .collect::<Vec<_>>()
        };
        let written = |expected: &[&str]| {
            wait_for("the log", || (lines(&log) == expected).then_some(()));
        };
        let listener = listen_on(8080);
        let _recipe = Recipe::start(&elsewhere(blocks(heading, "sh")[0]));
        written(&["listening", "ready"]);
        let mut logrotate = Command::new("logrotate");
        logrotate
            .args(["--force", "--state"])
            .arg(directory.path().join("state"));
        assert!(run(logrotate.arg(&configuration)).status.success());
        written(&[]);
        drop(listener);
        written(&["closed"]);
        let rotated = directory.path().join("ports.jsonl.1");
        assert_eq!(lines(&rotated), ["listening", "ready"]);
    });
}

/// The README's schema accepts real lines and rejects others.
#[test]
fn the_json_schema_holds_for_every_line() {
    let section = README.split_once("As a [JSON Schema]").unwrap().1;
    let schema = section
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let mut schemas = Schemas::new();
    let mut compiler = Compiler::new();
    let schema = serde_json::from_str(schema).unwrap();
    compiler.add_resource("line.json", schema).unwrap();
    let schema = compiler.compile("line.json", &mut schemas).unwrap();
    let is_valid = |line: &Value| schemas.validate(line, schema).is_ok();

    let example = README
        .split("```json\n")
        .find(|block| block.starts_with("{\"type\":\"opened\""))
        .unwrap();
    let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    assert!(is_valid(&example), "{example}");
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
    let now = &example["timestamp"];
    for (line, expected) in [
        (json!({"type": "ready", "timestamp": now}), true),
        (
            json!({"type": "lost", "timestamp": now, "error": "why"}),
            true,
        ),
        (json!({"type": "back", "timestamp": now}), true),
        (json!({"type": "back"}), false),
        (json!({"type": "lost", "timestamp": now}), false),
        (
            json!({"type": "ready", "timestamp": now, "port": "tcp:*:80"}),
            false,
        ),
        (json!({"type": "opened", "timestamp": now}), false),
    ] {
        assert_eq!(is_valid(&line), expected, "{line}");
    }
    for (member, wrong) in [
        ("type", json!("LISTEN")),
        ("port", json!("80")),
        ("timestamp", json!(1)),
        ("family", json!("4")),
        ("address", json!("*")),
        ("number", json!(0)),
        ("processes", json!([{"name": "a"}])),
    ] {
        let mut line = example.clone();
        line[member] = wrong;
        assert!(!is_valid(&line), "{line}");
    }
}

#[test]
fn a_server_is_found_on_whichever_port_it_takes() {
    in_private_network(|| {
        let [script] = blocks("Wait for whichever port a server takes", "sh")[..] else {
            panic!("one recipe");
        };
        // Stands for a server that takes a while, and one of the ports.
        let script = script.replace("npm run dev", "sleep 30");
        let recipe = Recipe::start(&script);
        let _server = listen_on(3456);
        assert!(recipe.0.next_line().starts_with("Netid State"));
        assert!(recipe.0.next_line().contains("127.0.0.1:3456 "));
    });
}

#[test]
fn the_queue_recipe_passes_while_a_server_accepts() {
    in_private_network(|| {
        let [script] = blocks("Notice a server that no longer answers", "sh")[..] else {
            panic!("one recipe");
        };
        assert_eq!(run(&mut shell(script)).code(), 1);
        let _server = listen_on(8080);
        assert_eq!(run(&mut shell(script)).code(), 0);
    });
}

#[test]
fn the_recipes_of_processes_and_ports_run() {
    for heading in ["Which ports a process opened", "One event for each port"] {
        let [script] = blocks(heading, "sh")[..] else {
            panic!("one recipe");
        };
        let mut recipe = Recipe::start(script);
        let header = recipe.0.next_line();
        assert!(header.starts_with("Netid State"), "{header}");
        let status = wait_for("its end", || recipe.0.child.try_wait().unwrap());
        // What it started in the background keeps its streams open.
        recipe.kill();
        assert!(status.success(), "{status}");
        assert_eq!(recipe.0.rest_of_errors(), [""; 0]);
    }
}
