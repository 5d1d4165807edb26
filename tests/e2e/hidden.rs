//! Holders that are hard to find: a thread with its own descriptors, a process that `/proc`
//! hides, a process of another user.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use socket2::Type;
use tempfile::TempDir;

use crate::harness::*;

/// A Python script whose second thread listens on 127.0.0.1:8000. With the argument `own table`,
/// that thread has a private descriptor table. With `alone`, the main thread ends.
const THREAD: &str = "
import ctypes, socket, sys, threading, time
c = ctypes.CDLL(None)
def serve():
    global listener
    CLONE_FILES = 0x400
    if sys.argv[1] == 'own table':
        assert c.unshare(CLONE_FILES) == 0
    listener = socket.create_server(('127.0.0.1', 8000))
    print('ready', flush=True)
    time.sleep(600)
threading.Thread(target=serve).start()
if sys.argv[1] == 'alone':
    c.pthread_exit(None)
time.sleep(600)
";

/// A Python script that listens on 127.0.0.1:8000 and executes `sleep` as the user in its first
/// argument. Its child listens on port 8001 and executes `sleep` as the user in the second
/// argument.
const TWO_USERS: &str = "
import os, socket, sys
def become(user, port):
    listener = socket.create_server(('127.0.0.1', port))
    listener.set_inheritable(True)
    os.write(1, b'ready\\n')
    ids = ['--reuid', user, '--regid', user, '--clear-groups']
    os.execvp('setpriv', ['setpriv', *ids, 'sleep', '600'])
if os.fork():
    become(sys.argv[1], 8000)
become(sys.argv[2], 8001)
";

const NOBODY: &str = "65534";
/// An id that no process can have, because ids are less than the kernel's PID_MAX_LIMIT.
const NO_PROCESS: &str = "4194304";
const NEEDS: &str = "root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
const SOURCES: [&str; 4] = ["auto", "ss", "proc", "netlink"];

/// Returns the warning that `-p` causes if lntu finds no process for some listeners.
fn no_process_found() -> String {
    format!(
        "lntu: no process found for some listeners (for processes of other users, you need \
         {NEEDS}, and a /proc that shows them)\n"
    )
}

/// Starts a Python script, and waits until it has printed "ready" for each of its listeners.
fn start_python(script: &str, arguments: &[&str], listeners: usize) -> Running {
    let mut command = Command::new("python3");
    let python = Running::start(command.args(["-c", script]).args(arguments));
    for _ in 0..listeners {
        assert_eq!(python.next_line(), "ready");
    }
    python
}

/// Starts [`TWO_USERS`] and waits until both processes have executed `sleep`. Returns the parent
/// and its process id.
fn two_users(first: &str, second: &str) -> (Running, String) {
    let root = start_python(TWO_USERS, &[first, second], 2);
    let id = root.child.id();
    wait_for("both sleeps", || {
        let [child] = children_of(id)[..] else {
            return None;
        };
        let are_sleep = [id, child].into_iter().all(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        });
        are_sleep.then_some(())
    });
    (root, id.to_string())
}

fn code_and_stderr(finished: Finished) -> (i32, String) {
    (finished.code(), finished.stderr)
}

#[test]
fn a_socket_of_a_single_thread_belongs_to_the_process() {
    if !have_program("services", "python3") || !have_ss() {
        return;
    }
    for thread in ["own table", "alone"] {
        in_private_network(|| {
            let process = start_python(THREAD, &[thread], 1);
            let pid = process.child.id().to_string();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            for source in SOURCES {
                let said = |arguments: &[&str]| {
                    run(&mut lntu(&[arguments, &["--source", source]].concat()))
                };
                let checked = said(&["check", "--of", &pid, "8000"]);
                assert_eq!(
                    code_and_stderr(checked),
                    (0, "".into()),
                    "{thread}, {source}"
                );
                let listed = said(&["list", "-H", "--of", &pid]);
                assert_eq!(listed.lines().len(), 1, "{thread}, {source}");
                let named = said(&["list", "-Hp", "8000"]);
                let holder = format!("((\"{}\",pid={pid},fd=", name.trim_end());
                assert!(named.lines()[0].contains(&holder), "{thread}, {named:?}");
                let excluded = said(&["list", "-H", "--exclude-holder", name.trim_end()]);
                assert_eq!(excluded.lines(), [""; 0], "{thread}, {source}");
            }
        });
    }
}

#[test]
fn a_watcher_continues_after_the_main_thread_ends() {
    if !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let process = start_python(THREAD, &["alone"], 1);
        let pid = process.child.id().to_string();
        let watcher = Running::start(&mut lntu(&["--json", "-i", FAST, "--of", &pid]));
        let next = || serde_json::from_str::<Value>(&watcher.next_line()).unwrap();
        assert_eq!(next()["port"], "tcp:127.0.0.1:8000");
        let ready = next();
        assert_eq!(
            (&ready["type"], &ready["error"]),
            (&"ready".into(), &Value::Null)
        );
        watcher.assert_silent_for(A_WHILE);
        drop(process);
        assert_eq!(next()["type"], "closed");
        assert_eq!(watcher.finish().code(), 0);
    });
}

/// Runs lntu as the user nobody in a mount namespace.
struct Hidden {
    /// The shell command that sets up the mount namespace.
    setup: &'static str,
    /// A directory with a copy of lntu.
    proc: TempDir,
}

/// Shell commands that change `/proc`. After the first, it hides the processes of other users.
/// After the second, it is empty.
const HIDDEN: [&str; 2] = ["mount -t proc -o hidepid=2 proc /proc", "umount -l /proc"];

impl Hidden {
    fn with_setup(setup: &'static str) -> Hidden {
        let proc = forbidding_proc(&[], &[]);
        Hidden { setup, proc }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = format!(
            "{} && while ! \"$0\" -V >/dev/null; do :; done; exec setpriv --reuid {NOBODY} \
             --regid {NOBODY} --clear-groups \"$0\" \"$@\"",
            self.setup
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command.arg(self.proc.path().join("lntu")).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run(&mut self.command(arguments))
    }
}

#[test]
fn a_hidden_process_is_not_reported_as_missing() {
    if !have_two_users() || !have_mounts() {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", "1234");
        for setup in HIDDEN {
            let hidden = Hidden::with_setup(setup);
            for arguments in [
                &["check", "8000"][..],
                &["wait", "8000"],
                &["wait", "--closed", "8000"],
                &["list"],
                &["watch"],
            ] {
                let run_of = |pid: &str| hidden.run(&[arguments, &["--of", pid]].concat());
                let why = format!(
                    "--of: /proc does not show process {pid} (needs /proc mounted without \
                     hidepid, the process's user, or {NEEDS})"
                );
                assert_eq!(run_of(&pid).error(), why, "{setup}, {arguments:?}");
                let none = format!("--of {NO_PROCESS}: no such process in this PID namespace");
                // `watch` and `wait --closed` are left out, because they treat a missing process as
                // one that has ended.
                if arguments != ["watch"] && !arguments.contains(&"--closed") {
                    let status = if arguments[0] == "wait" { 3 } else { 2 };
                    let said = code_and_stderr(run_of(NO_PROCESS));
                    let expected = (status, format!("lntu: {none}\n"));
                    assert_eq!(said, expected, "{setup}, {arguments:?}");
                }
            }
        }
    });
}

#[test]
fn a_hidden_descendant_makes_the_answer_unknown() {
    if !have_two_users() || !have_mounts() {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users(NOBODY, "1234");
        let hidden = Hidden::with_setup(HIDDEN[0]);
        let check = |port| code_and_stderr(hidden.run(&["check", "--of", &pid, port]));
        assert_eq!(check("8000"), (0, "".into()));
        let (code, why) = check("8001");
        let start =
            "lntu: 8001/tcp: could not tell which process listens: /proc does not show process ";
        assert!(code == 2 && why.starts_with(start), "{code}, {why}");
        let reason = "lntu: 8002/tcp: not listening; 127.0.0.1:8000/tcp is\n";
        let (code, why) = check("8002");
        assert_eq!((code, &*without_holders(&why)), (1, reason));
        let listed = hidden.run(&["list", "-H", "--of", &pid]);
        assert_eq!((listed.code(), listed.stdout.lines().count()), (2, 1));
        let watcher = hidden.command(&["--json", "-i", FAST, "--of", &pid]);
        let watcher = Running::start(&mut { watcher });
        let next = || serde_json::from_str::<Value>(&watcher.next_line()).unwrap();
        assert_eq!(next()["port"], "tcp:127.0.0.1:8000");
        let error = next()["error"].to_string();
        assert!(error.contains("listeners may be missing"), "{error}");
        watcher.assert_silent_for(A_WHILE);
    });
}

#[test]
fn list_warns_of_a_hidden_holder() {
    if !have_two_users() || !have_mounts() {
        return;
    }
    in_private_network(|| {
        let _tree = two_users("1234", "1234");
        for setup in HIDDEN {
            let list = ["list", "-Hp", "--source", "netlink", "8000"];
            let listed = Hidden::with_setup(setup).run(&list);
            assert_eq!(listed.stdout.lines().count(), 1, "{setup}");
            assert_eq!(code_and_stderr(listed), (0, no_process_found()), "{setup}");
        }
    });
}

#[test]
fn a_listener_with_a_hidden_holder_is_not_excluded() {
    if !have_two_users() || !have_mounts() {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", "1234");
        for setup in [HIDDEN[0], HIDDEN[1], "true"] {
            let hidden = Hidden::with_setup(setup);
            let netlink = ["--exclude-holder", "sleep", "--source", "netlink", "8000"];
            let listed = hidden.run(&[&["list", "-H"], &netlink[..]].concat());
            assert_eq!(listed.stdout.lines().count(), 1, "{setup}");
            let why = no_process_found() + "lntu: holders may be missing\n";
            assert_eq!(code_and_stderr(listed), (2, why), "{setup}");
            let watch = [&["--json", "-i", FAST], &netlink[..]].concat();
            let watcher = Running::start(&mut hidden.command(&watch));
            let next = || serde_json::from_str::<Value>(&watcher.next_line()).unwrap();
            assert_eq!(next()["port"], "tcp:127.0.0.1:8000");
            assert_eq!(next()["error"], "holders may be missing");
            assert_eq!(watcher.next_error() + "\n", no_process_found());
            watcher.assert_silent_for(A_WHILE);
            watcher.assert_no_more_errors();
        }
        // lntu prints no warning if it misses nothing: port 8002 has no listener, and root can read
        // the names of all holders.
        let own = Hidden::with_setup("true");
        let mut sleep = own.command(&["list", "-H", "--exclude-holder", "other", "8002"]);
        assert_eq!(
            code_and_stderr(run(&mut sleep)),
            (0, "".into()),
            "no listener"
        );
        let listed = run(&mut lntu(&["list", "-H", "--exclude-holder", "sleep"]));
        assert_eq!(listed.lines(), [""; 0], "{pid}");
    });
}

/// Returns setpriv(1), ready to start lntu with these arguments and without these capabilities. The
/// tests take away CAP_SYS_PTRACE, which root in a container does not have.
fn lntu_without(capabilities: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", capabilities, "--inh-caps", capabilities]);
    command.arg(env!("CARGO_BIN_EXE_lntu")).args(arguments);
    command
}

const WITHOUT_PTRACE: &str = "-sys_ptrace";

#[test]
fn root_without_ptrace_finds_holders_of_other_users() {
    if !have_two_users() || !have_ss() {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", NOBODY);
        let _neighbour = bound(Type::STREAM, "127.0.0.1:8002", |_| {});
        for capabilities in [WITHOUT_PTRACE, "-sys_ptrace,-dac_override,-dac_read_search"] {
            for source in SOURCES {
                let said = |arguments: &[&str]| {
                    let arguments = [arguments, &["--source", source]].concat();
                    run(&mut lntu_without(capabilities, &arguments))
                };
                let checked = said(&["check", "--of", &pid, "8000", "8001"]);
                assert_eq!(code_and_stderr(checked), (0, "".into()), "{source}");
                assert_eq!(said(&["check", "--of", &pid, "8002"]).code(), 1);
                let listed = said(&["list", "-H", "--of", &pid]);
                assert_eq!(listed.lines().len(), 2, "{source}");
                let named = said(&["list", "-Hp", "8000", "8001"]);
                let named = named.lines().concat();
                assert_eq!(named.matches("((\"sleep\",pid=").count(), 2, "{named}");
                let excluded = said(&["list", "-H", "--exclude-holder", "sleep", "8000"]);
                assert_eq!(excluded.lines(), [""; 0], "{source}");
            }
        }
    });
}

/// strace makes capset fail, as it can fail in a sandbox. If capset succeeded, `-A` would give up
/// the capabilities that reading as another user needs.
#[test]
fn root_without_ptrace_finds_the_cgroup_of_a_holder() {
    if !have_two_users() || !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", NOBODY);
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set",
            WITHOUT_PTRACE,
            "--inh-caps",
            WITHOUT_PTRACE,
        ]);
        command.args(["strace", "-qq", "-o", "/dev/null"]);
        command.args([
            "-e",
            "inject=capset:error=EPERM",
            env!("CARGO_BIN_EXE_lntu"),
        ]);
        command.args(["list", "-A", "-p", "-q", "--json", "--source", "proc"]);
        let listed = run(command.args(["8000", "8001"])).stdout;
        // Other tests use these ports in other namespaces at the same time.
        let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        let own = format!("\"namespace\":{own},");
        let lines: Vec<&str> = listed.lines().filter(|line| line.contains(&own)).collect();
        assert_eq!(lines.len(), 2, "{listed}");
        for line in lines {
            let object: Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["cgroup_of"], "holder", "{line}");
            let group = object["cgroup"].as_str().unwrap();
            let mut groups_of_tree = groups.lines();
            assert!(
                groups_of_tree.any(|line| line.ends_with(group)),
                "{group}: {groups}"
            );
        }
    });
}

#[test]
fn check_is_unknown_if_root_cannot_become_the_user() {
    if !have_two_users() || !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", "1234");
        let check = ["check", "--of", &pid, "8000"];
        let mut commands = vec![
            lntu_without("-sys_ptrace,-setuid", &check),
            lntu_without("-sys_ptrace,-setgid", &check),
        ];
        for inject in ["setfsuid:error=EPERM", "setfsgid:error=ENOSYS"] {
            let mut command = Command::new("strace");
            command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={inject}")]);
            let inner = lntu_without(WITHOUT_PTRACE, &check);
            command.arg(inner.get_program()).args(inner.get_args());
            commands.push(command);
        }
        for mut command in commands {
            let refused = run(&mut command);
            let start = "8000/tcp: could not tell which process listens: /proc/";
            let end = format!("(needs the process's user, or {NEEDS})");
            let why = refused.error();
            assert!(
                why.starts_with(start) && why.ends_with(&end),
                "{command:?}: {why}"
            );
        }
    });
}

#[test]
fn user_ids_are_restored_after_reading_descriptors() {
    if !have_two_users() || !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", "1234");
        let directory = TempDir::new().unwrap();
        let trace = directory.path().join("trace");
        let mut command = Command::new("strace");
        command.arg("-o").arg(&trace);
        let inner = lntu_without(WITHOUT_PTRACE, &["list", "--of", &pid, "--source", "proc"]);
        command.arg(inner.get_program()).args(inner.get_args());
        assert_eq!(run(&mut command).code(), 0);
        let trace = fs::read_to_string(&trace).unwrap();
        let (mut is_other, mut changes) = (false, 0);
        for line in trace.lines() {
            if let Some(id) = line.strip_prefix("setfsuid(") {
                is_other = match id.split(')').next().unwrap() {
                    "-1" => is_other,
                    id => id != "0",
                };
                changes += usize::from(is_other);
            }
            let on_descriptors = ["/fd", "fstat(", "getdents64(", "close(", "setfs", "ns/net"];
            let on_memory = ["mmap(", "munmap(", "brk(", "mremap("];
            let mut expected = on_descriptors.iter().chain(&on_memory);
            let is_expected = expected.any(|part| line.contains(part));
            assert!(!is_other || is_expected, "{line}");
        }
        assert!(changes > 0 && !is_other, "{trace}");
    });
}

/// With COMMAND, the watcher is a descendant of the process whose tree `--of` searches. If a second
/// lntu could not read the watcher's descriptors, its answer would be unknown.
#[test]
fn a_watcher_that_reads_as_another_user_is_readable() {
    if !have_two_users() {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", "1234");
        let mut command = lntu_without(WITHOUT_PTRACE, &["--json", "-i", FAST, "--of", &pid]);
        let watcher = Running::start(&mut command);
        for _ in 0..3 {
            watcher.next_line();
        }
        let watcher_id = watcher.child.id().to_string();
        let list = ["list", "-H", "--of", &watcher_id];
        let listed = run(&mut lntu_without(WITHOUT_PTRACE, &list));
        assert_eq!(listed.lines(), [""; 0]);
    });
}

#[test]
fn the_death_signal_survives_reading_as_another_user() {
    if !have_two_users() {
        return;
    }
    in_private_network(|| {
        let (_tree, pid) = two_users("1234", "1234");
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\" & echo $!; wait", "sh"]);
        command.args(["setpriv", "--bounding-set", WITHOUT_PTRACE, "--inh-caps"]);
        command.args([WITHOUT_PTRACE, "--pdeathsig", "KILL"]);
        command.arg(env!("CARGO_BIN_EXE_lntu"));
        command.args(["--json", "-i", FAST, "--of", &pid]);
        let mut parent = Running::start(command.process_group(0));
        let watcher: u32 = parent.next_line().parse().unwrap();
        for _ in 0..3 {
            assert!(parent.next_line().starts_with('{'));
        }
        parent.child.kill().unwrap();
        parent.child.wait().unwrap();
        wait_for("the watcher's end", || is_gone(watcher).then_some(()));
    });
}

/// strace delays the read of the first descriptor beyond the time limit of searches.
#[test]
fn check_is_unknown_if_reading_a_tree_takes_over_5_s() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let _neighbour = bound(Type::STREAM, "127.0.0.1:8000", |_| {});
        let process = Running::start(Command::new("sleep").arg("600"));
        let pid = process.child.id().to_string();
        let check = ["check", "--of", &pid, "8000"];
        assert_eq!(run(&mut lntu(&check)).code(), 1, "the test holds the port");
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/dev/null", "-P", &format!("/proc/{pid}/fd/0")]);
        command.args([
            "-e",
            "inject=?readlink,readlinkat:delay_enter=6000000:when=1",
        ]);
        let late = run(command.arg(env!("CARGO_BIN_EXE_lntu")).args(check));
        let why = "8000/tcp: could not tell which process listens: reading the descriptors of all its \
                   processes takes more than 5 s";
        let last = late.stderr.lines().last().unwrap();
        assert_eq!((late.code(), last), (2, &*format!("lntu: {why}")));
    });
}
