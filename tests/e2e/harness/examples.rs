//! The examples of the README and of the manual, and shells that run them.

use std::path::Path;
use std::process::Command;

use crate::harness::*;

pub const README: &str = include_str!("../../../README.md");

pub const MANUAL: &str = include_str!("../../../src/manual/lntu.1.in");

/// Returns the `N` code blocks in this language under a heading of the README. Panics if there
/// are more or fewer.
pub fn blocks<const N: usize>(heading: &str, language: &str) -> [&'static str; N] {
    let section = README
        .split_once(&format!("# {heading}\n"))
        .expect(heading)
        .1;
    let section = section.split("\n## ").next().unwrap();
    let section = section.split("\n### ").next().unwrap();
    let fences = section.split("\n```").skip(1).step_by(2);
    let blocks = fences.filter_map(|fence| fence.strip_prefix(&format!("{language}\n")));
    known(heading, blocks.collect())
}

/// Returns the `N` examples (`.EX`) in a subsection of the manual. Panics if there are more or
/// fewer.
pub fn examples<const N: usize>(heading: &str) -> [&'static str; N] {
    let section = MANUAL
        .split_once(&format!("\n.SS {heading}\n"))
        .expect(heading)
        .1;
    let section = section.split("\n.S").next().unwrap();
    let starts = section.split(".EX\n").skip(1);
    let blocks = starts.map(|rest| rest.split("\n.EE").next().unwrap());
    known(heading, blocks.collect())
}

fn known<T, const N: usize>(heading: &str, blocks: Vec<T>) -> [T; N] {
    let count = blocks.len();
    blocks
        .try_into()
        .unwrap_or_else(|_| panic!("{heading}: {count} blocks, of which the test knows {N}"))
}

/// Returns the new contents of a file, from a diff that shows the whole file.
pub fn patched(diff: &str) -> String {
    let lines = diff.lines().filter(|line| !line.starts_with('-'));
    lines.map(|line| line[1..].to_string() + "\n").collect()
}

/// A command of a transcript, and the lines that it prints.
pub struct Step {
    pub command: String,
    pub printed: Vec<String>,
}

/// Splits a transcript, in which each command follows `$ `, into `N` steps.
pub fn transcript<const N: usize>(text: &str) -> [Step; N] {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_string(),
                printed: Vec::new(),
            }),
            None => {
                let last = steps.last_mut().expect("a command");
                last.printed.push(line.to_string());
            }
        }
    }
    known(text, steps)
}

/// Runs the steps in one shell. Panics if what a step prints to stdout and stderr differs from the
/// transcript in more than the ids of processes and descriptors.
pub fn assert_prints(steps: &[Step], shell: impl FnOnce(&str) -> Command) {
    const PROMPT: &str = "next";
    let mut script = "exec 2>&1\n".to_string();
    for step in steps {
        script += &format!("{}\necho {PROMPT}\n", step.command);
    }
    let shell = Recipe(Running::start(&mut shell(&script)));
    for step in steps {
        for line in step.printed.iter().map(String::as_str).chain([PROMPT]) {
            let printed = shell.0.next_line();
            assert_eq!(without_ids(&printed), without_ids(line), "{}", step.command);
        }
    }
}

/// Replaces the ids of processes and descriptors in a line with `N`.
pub fn without_ids(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    let next = |rest: &str| {
        let keys = ["pid=", "fd=", "pid "].into_iter();
        keys.filter_map(|key| Some(rest.find(key)? + key.len()))
            .min()
    };
    while let Some(end) = next(rest) {
        let (before, id) = rest.split_at(end);
        text = text + before + "N";
        rest = id.trim_start_matches(|c: char| c.is_ascii_digit());
        assert!(rest.len() < id.len(), "{line}");
    }
    text + rest
}

/// Returns `program`, ready to start, with lntu in its PATH.
pub fn with_lntu(program: &str) -> Command {
    let lntu = Path::new(env!("CARGO_BIN_EXE_lntu"));
    let mut command = Command::new(program);
    command.env("PATH", path_with(lntu.parent().unwrap()));
    command
}

/// Returns a shell that runs `script`, ready to start, with lntu in its PATH.
pub fn shell(script: &str) -> Command {
    let mut shell = with_lntu("sh");
    shell.args(["-c", script]);
    // The shell gets its own process group, so that everything that it starts can be killed with
    // it.
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell
}

/// A running shell script. Dropping this kills the shell and everything that it started.
pub struct Recipe(pub Running);

impl Recipe {
    pub fn start(script: &str) -> Recipe {
        Recipe(Running::start(&mut shell(script)))
    }

    /// Kills the shell and everything that it started.
    pub fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.0.pid(), rustix::process::Signal::KILL);
    }
}

impl Drop for Recipe {
    fn drop(&mut self) {
        self.kill();
    }
}
