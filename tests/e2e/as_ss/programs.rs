//! Real programs that call ss. They must find the same sockets with lntu in its place as with the
//! ss of iproute2. `.ci/run` installs these programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use socket2::{Socket, Type};
use tempfile::TempDir;

use super::{bound, have_ss};
use crate::harness::*;

/// Makes a directory that a test uses as its PATH. It has every program of this machine except
/// netstat and lsof, which some programs prefer to ss. Its program named ss runs the file `ss`, and
/// writes the arguments of each call to the file `calls` in the directory.
fn tools(ss: &Path) -> TempDir {
    let directory = TempDir::new().unwrap();
    for source in ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin", "/sbin"] {
        for program in fs::read_dir(source).into_iter().flatten().flatten() {
            let name = program.file_name();
            if !["ss", "netstat", "lsof"].iter().any(|other| name == *other) {
                let _ = symlink(program.path(), directory.path().join(name));
            }
        }
    }
    let calls = directory.path().join("calls");
    let script = format!(
        "echo \"$*\" >>{}; exec {} \"$@\"",
        calls.display(),
        ss.display()
    );
    write_program(&directory.path().join("ss"), &script);
    directory
}

/// Runs `program` with this ss. Returns its result and the arguments of each call of ss.
fn run_with(ss: &Path, program: &mut Command) -> (Finished, String) {
    let tools = tools(ss);
    program.env("PATH", tools.path()).env("LC_ALL", "C.UTF-8");
    let finished = run(program.stdin(Stdio::null()));
    let calls = fs::read_to_string(tools.path().join("calls")).unwrap_or_default();
    (finished, calls)
}

/// Asserts that `program` calls ss, that it prints each of the `parts` with lntu as ss, and
/// that its result is the same with the ss of iproute2.
fn assert_finds(program: impl Fn() -> Command, parts: &[&str]) {
    let is_same = || {
        let (actual, calls) = run_with(&SS_LINK, &mut program());
        assert!(!calls.is_empty(), "ss was not called: {actual:?}");
        for part in parts {
            assert!(
                actual.stdout.contains(part),
                "{part} in {actual:?} of {calls}"
            );
        }
        let (expected, _) = run_with(Path::new("/usr/bin/ss"), &mut program());
        ((actual.code(), actual.stdout) == (expected.code(), expected.stdout)).then_some(())
    };
    wait_for("the same result with both", is_same);
}

/// The local port of a socket.
fn port(socket: &Socket) -> String {
    socket
        .local_addr()
        .unwrap()
        .as_socket()
        .unwrap()
        .port()
        .to_string()
}

/// Opens a TCP listener, a UDP socket, and a client of the listener. The client stays connected,
/// because a closed connection has a timer, whose seconds differ from run to run.
fn sockets() -> [Socket; 3] {
    let no_options = |_: &Socket| {};
    let tcp = bound(Type::STREAM, "127.0.0.1:0", no_options);
    let udp = bound(Type::DGRAM, "0.0.0.0:0", no_options);
    let client = Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
    client.connect(&tcp.local_addr().unwrap()).unwrap();
    [tcp, udp, client]
}

#[test]
fn testinfra_finds_sockets_of_every_kind() {
    if !have_ss() || !have_installed("python/bin/py.test") {
        return;
    }
    const SCRIPT: &str = "\
import sys, testinfra
host = testinfra.get_host('local://')
for spec in sys.argv[1:]:
    socket = host.socket(spec)
    print(spec, socket.is_listening, socket.clients)
print(sorted(host.socket.get_listening_sockets()))
";
    in_private_network(|| {
        let [tcp, udp, _client] = sockets();
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let specs = [
            format!("tcp://127.0.0.1:{}", port(&tcp)),
            format!("tcp://{}", port(&tcp)),
            format!("udp://0.0.0.0:{}", port(&udp)),
            format!("unix://{}", path.display()),
            "tcp://127.0.0.1:9".to_string(),
        ];
        let program = || {
            let mut python = Command::new(installed("python/bin/python"));
            python.args(["-c", SCRIPT]).args(&specs);
            python
        };
        let [on_tcp, _, on_udp, on_unix, nowhere] = specs.clone();
        assert_finds(
            program,
            &[
                &format!("{on_tcp} True [('127.0.0.1', "),
                &format!("{on_udp} True []"),
                &format!("{on_unix} True"),
                &format!("{nowhere} False"),
            ],
        );
    });
}

#[test]
fn jc_parses_every_table() {
    if !have_ss() || !have_installed("python/bin/jc") {
        return;
    }
    in_private_network(|| {
        let [tcp, _udp, _client] = sockets();
        let program = |arguments: &'static [&str]| {
            move || {
                let mut jc = Command::new(installed("python/bin/jc"));
                jc.arg("ss").args(arguments);
                jc
            }
        };
        let local_port = format!("\"local_port\":\"{}\"", port(&tcp));
        assert_finds(program(&["-tuan"]), &[&local_port]);
        assert_finds(program(&["-aexn", "-A", "all,!netlink"]), &[&local_port]);
    });
}

#[test]
fn pyinfra_finds_the_holder_of_a_port() {
    if !have_ss() || !have_installed("python/bin/pyinfra") {
        return;
    }
    in_private_network(|| {
        let [tcp, _udp, _client] = sockets();
        let program = || {
            let pyinfra = installed("python/bin/pyinfra");
            let argument = format!("port={}", port(&tcp));
            let fact = ["@local", "fact", "server.Port", &argument];
            // pyinfra prints facts to stderr.
            let script = "exec \"$0\" \"$@\" 2>&1";
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg(pyinfra).args(fact);
            shell
        };
        assert_finds(program, &[&std::process::id().to_string()]);
    });
}

/// Returns whether ss and this program of a Debian package (Ansible, Lynis or serverspec) are
/// installed.
fn have_packaged(program: &str) -> bool {
    have_ss() && have_program("programs", program)
}

#[test]
fn ansible_gathers_facts_about_ports() {
    if !have_packaged("ansible") {
        return;
    }
    in_private_network(|| {
        let [tcp, udp, client] = sockets();
        let home = TempDir::new().unwrap();
        let program = |arguments: &'static str| {
            let home = home.path();
            move || {
                let mut ansible = Command::new("ansible");
                ansible
                    .args(["localhost", "--connection", "local", "--one-line"])
                    .args(["--module-name", "community.general.listen_ports_facts"])
                    .args(["--args", arguments])
                    .env("HOME", home);
                ansible
            }
        };
        let fact = |protocol: &str, socket: &Socket| {
            let (port, pid) = (port(socket), std::process::id());
            format!("\"pid\": {pid},\"port\": {port},\"protocol\": \"{protocol}\"")
        };
        let [on_tcp, on_udp] = [fact("tcp", &tcp), fact("udp", &udp)];
        assert_finds(program("command=ss"), &[&on_tcp, &on_udp]);
        assert_finds(
            program("command=ss include_non_listening=yes"),
            &[&on_tcp, &on_udp, &fact("tcp", &client), "\"ESTAB\""],
        );
    });
}

#[test]
fn lynis_reports_listeners() {
    if !have_packaged("lynis") {
        return;
    }
    in_private_network(|| {
        let [tcp, udp, _client] = sockets();
        let directory = TempDir::new().unwrap();
        let program = || {
            let path = |name: &str| directory.path().join(name).display().to_string();
            let script = "lynis audit system --quick --no-colors --tests NETW-3012 \
                --log-file $0 --report-file $1 >/dev/null && grep ^network_listen $1 && rm $1";
            let mut shell = Command::new("sh");
            shell.args(["-c", script, &path("log"), &path("report")]);
            shell
        };
        assert_finds(
            program,
            &[
                &format!("ss,v1|tcp|127.0.0.1:{}|", port(&tcp)),
                &format!("ss,v1|udp|0.0.0.0:{}|", port(&udp)),
            ],
        );
    });
}

#[test]
fn serverspec_finds_listeners() {
    if !have_packaged("rspec") {
        return;
    }
    in_private_network(|| {
        let [tcp, udp, _client] = sockets();
        let directory = TempDir::new().unwrap();
        let spec = directory.path().join("port_spec.rb");
        let script = format!(
            "require 'serverspec'
set :backend, :exec
describe port({}) do
  it {{ should be_listening }}
  it {{ should be_listening.on('127.0.0.1').with('tcp') }}
  it {{ should_not be_listening.with('udp') }}
end
describe port({}) do
  it {{ should be_listening.on('0.0.0.0').with('udp') }}
end
",
            port(&tcp),
            port(&udp)
        );
        fs::write(&spec, script).unwrap();
        let program = || {
            let mut rspec = Command::new("rspec");
            // The line `Finished in … seconds` differs in every run.
            rspec.args(["--format", "documentation"]).arg(&spec);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "\"$0\" \"$@\" | grep -v ^Finished"])
                .arg(rspec.get_program())
                .args(rspec.get_args());
            shell
        };
        assert_finds(program, &["4 examples, 0 failures"]);
    });
}

#[test]
fn node_programs_find_listeners_with_their_holders() {
    if !have_ss() || !have_installed("node_modules/pid-port") {
        return;
    }
    const SCRIPT: &str = "\
import system from 'systeminformation';
import { portToPid, pidToPorts } from 'pid-port';
import findProcess from 'find-process';
const port = Number(process.argv[2]);
const connections = await system.networkConnections();
console.log(JSON.stringify(connections));
console.log('pid-port', await portToPid(port));
const find = findProcess.default ?? findProcess;
console.log('find-process', (await find('port', port)).map((found) => found.pid));
";
    let script = installed("ports.mjs");
    fs::write(&script, SCRIPT).unwrap();
    in_private_network(|| {
        let [tcp, _udp, _client] = sockets();
        let program = || {
            let mut node = Command::new("node");
            node.arg(&script).arg(port(&tcp));
            node
        };
        let pid = std::process::id();
        let local_port = format!("\"localPort\":\"{}\"", port(&tcp));
        assert_finds(
            program,
            &[
                &local_port,
                &format!("pid-port {pid}"),
                &format!("find-process [ {pid} ]"),
            ],
        );
    });
}

/// Returns a shell that runs `script` in an empty network namespace. In the script, the name `here`
/// refers to the network namespace of the test.
fn from_elsewhere(script: &str) -> Command {
    const NAMED: &str = "\
mount -t tmpfs none /run && mkdir /run/netns && touch /run/netns/here
mount --bind /proc/self/ns/net /run/netns/here && exec unshare --net sh -c \"$0\" sh \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", NAMED, script]);
    command
}

/// The script contains functions from the kernel's own tests for WireGuard, Multipath TCP and
/// netfilter. They wait for sockets, or count them, in a network namespace that has a name, as
/// after `ip netns add`.
#[test]
fn kernel_tests_find_listeners_in_named_networks() {
    const SCRIPT: &str = "\
until_held() {
    left=200
    until ss -N here \"$1\" \"sport = $2\" | grep -qF \"\\\",pid=$3,fd=\"; do
        left=$((left - 1)) && test $left -gt 0 || return 1
    done
    echo \"$1 held\"
}
is_ready() { ss -N here $1 -o \"sport = :$2\" | grep -q \"$2\" && echo \"$1 ready\"; }
until_held -tlpH \"$1\" \"$3\" && until_held -ulpH \"$2\" \"$3\"
is_ready -lnt \"$1\" && is_ready -uln \"$2\" && is_ready '-S -ln' \"$1\"
echo listeners \"$(ss -nlHtON here | wc -l)\" \"$(ss -nlHMON here | wc -l)\"
echo connections \"$(ss -inmHMN here | grep -c token:)\" \"$(ss -tN here | grep -c ESTAB)\"
ss -N nowhere -tlpH || echo none
";
    if !have_ss() || !have_mounts() {
        return;
    }
    in_private_network(|| {
        let [tcp, udp, _client] = sockets();
        let program = || {
            let mut command = from_elsewhere(SCRIPT);
            command.args([port(&tcp), port(&udp), std::process::id().to_string()]);
            command
        };
        let expected = [
            "-ulpH held\n",
            "-uln ready\n",
            "listeners 1 0\n",
            "\nnone\n",
        ];
        assert_finds(
            program,
            &[&["-tlpH held\n", "-lnt ready\n"][..], &expected].concat(),
        );
    });
}

/// For each family, the agent of LibreNMS counts the sockets in each state. It gives up if one call
/// of ss fails.
#[test]
fn the_librenms_agent_counts_sockets_of_every_family() {
    const SCRIPT: &str = "\
import collections, json, subprocess
counts = {}
for options in ('--family inet', '--family inet6', '--family link', '--family netlink',
                '--family unix', '--family vsock', '--family tipc', '--family xdp',
                '--tcp', '--udp', '--raw', '--mptcp', '--sctp'):
    words = ['ss', '--all', '--numeric', '--no-header'] + options.split()
    asked = subprocess.run(words, capture_output=True, text=True, check=True)
    states = collections.Counter(line.split()[0] for line in asked.stdout.splitlines())
    counts[options] = dict(sorted(states.items()))
print(json.dumps({'data': counts, 'error': 0}, sort_keys=True))
";
    if !have_ss() || !have_program("services", "python3") {
        return;
    }
    in_private_network(|| {
        let _sockets = sockets();
        let program = || {
            let mut python = Command::new("python3");
            python.args(["-c", SCRIPT]);
            python
        };
        let tcp = "\"--tcp\": {\"ESTAB\": 2, \"LISTEN\": 1}";
        assert_finds(program, &["\"--family tipc\": {}", tcp, "\"error\": 0"]);
    });
}
