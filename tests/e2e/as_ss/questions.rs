//! Random command lines, answered by the program and by ss in a network with sockets of every
//! kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastrand::Rng;
use socket2::{Domain, Socket, Type};

use super::zoo::{signing, zoo};
use super::{comparable, copy_for_all, own_cgroup, random_filter};
use crate::harness::*;

/// The user who runs both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Root,
    Nobody,
}

#[test]
fn random_questions_by_root_are_answered_like_ss() {
    ask_random_questions(Asker::Root, &SS_LINK);
}

#[test]
fn random_questions_by_nobody_are_answered_like_ss() {
    if have_two_users() {
        let directory = copy_for_all();
        ask_random_questions(Asker::Nobody, &directory.path().join("ss"));
    }
}

/// A control group with a process that holds sockets.
struct Group {
    directory: PathBuf,
    holder: Option<Running>,
}

impl Group {
    /// Makes the control group, and starts a process in it. Returns `None` if this machine does not
    /// allow that.
    fn new() -> Option<Group> {
        const SCRIPT: &str = "\
import os, socket, sys, time
open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))
listener = socket.create_server(('127.0.0.1', 0))
listener6 = socket.create_server(('::1', 0), family=socket.AF_INET6)
client = socket.create_connection(listener.getsockname())
families = (socket.AF_INET, socket.AF_INET6)
udp_sockets = [socket.socket(family, socket.SOCK_DGRAM) for family in families]
for udp in udp_sockets:
    udp.bind(('', 0))
print(flush=True)
time.sleep(1000)
";
        if !have_program("services", "python3") {
            return None;
        }
        let number = fastrand::u64(..);
        let mut group = Group {
            directory: own_cgroup()?.join(format!("lntu-test-{number}")),
            holder: None,
        };
        fs::create_dir(&group.directory).ok()?;
        let mut python = Command::new("python3");
        let holder = Running::start(python.args(["-c", SCRIPT]).arg(&group.directory));
        assert_eq!(holder.next_line(), "");
        group.holder = Some(holder);
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.holder.take());
        // A killed process remains in its control group for a moment, and the group cannot be
        // removed before the process has left it.
        wait_for("an empty group", || fs::remove_dir(&self.directory).ok());
    }
}

/// Sockets that exist in addition to the sockets of the zoo.
struct Population {
    /// A control group with sockets, if this machine allows it.
    group: Option<Group>,
    /// A listener that the programs inherit, so that they can show themselves as holders.
    held: Socket,
}

/// Asserts that `program` and ss give the same answers to random questions. `LNTU_TEST_QUESTIONS`
/// is the number of questions, and `LNTU_TEST_SEED` the seed of the random numbers.
fn ask_random_questions(asker: Asker, program: &Path) {
    let namespaces = ["--pid", "--fork", "--mount-proc", "--net"];
    if !have_ss() || !have_mounts() || !have_unshare(&namespaces) {
        return;
    }
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |number| number.parse().unwrap())
    };
    let mut remaining = number("LNTU_TEST_QUESTIONS", 600);
    let mut random = Rng::with_seed(number("LNTU_TEST_SEED", 15));
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut total = 0;
    while remaining > 0 {
        // Open new sockets every 100 questions, because the kernel closes some of them after a
        // minute.
        let count = remaining.min(100);
        remaining -= count;
        in_private_network(|| {
            // Connect with signed segments before the zoo is opened, because the zoo sets `lo`
            // down.
            let _signing = have_program("services", "python3").then(signing);
            let population = Population {
                group: Group::new(),
                held: Socket::new(Domain::IPV4, Type::STREAM, None).unwrap(),
            };
            population.held.listen(3).unwrap();
            let _zoo = zoo();
            for _ in 0..count {
                let question = question(&mut random, population.group.as_ref());
                match compare(&question, asker, program, &population.held) {
                    Ok(()) => {}
                    Err(NotTheSame::Refused(reason)) => *refusals.entry(reason).or_default() += 1,
                    Err(NotTheSame::Differs(lines)) => {
                        differences.push(format!("{question:?} of {asker:?}: {lines}"));
                    }
                }
            }
            total += count;
        });
    }
    let refused: u64 = refusals.values().sum();
    eprintln!("{refused} of {total} are refused: {refusals:#?}");
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    // lntu refuses about one question in six. With few questions, this share varies more.
    assert!(refused <= 10 + total / 4);
}

/// A script that gives the current network namespace the name `here`, and runs the program in an
/// empty network namespace.
const FROM_ELSEWHERE: &str = "\
mount -t tmpfs none /run && mkdir /run/netns && touch /run/netns/plain /run/netns/here
mount --bind /proc/self/ns/net /run/netns/here && exec unshare --net \"$0\" \"$@\"";

/// Runs `program` with a question as its arguments. It runs in its own PID namespace, where it
/// always has the same process id, so its netlink socket always has the same position in the list.
/// If the question has the option `-N`, the program starts in an empty network namespace.
fn answer(program: &Path, question: &[String], asker: Asker, held: &Socket) -> Finished {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc"]);
    if names_network(question) {
        unshare.args(["sh", "-c", FROM_ELSEWHERE]);
    }
    if asker == Asker::Nobody {
        unshare.args(["setpriv", "--reuid", "65534", "--clear-groups"]);
    }
    let held = Stdio::from(std::os::fd::OwnedFd::from(held.try_clone().unwrap()));
    let finished = run(unshare.arg(program).args(question).stdin(held));
    // Warnings are not compared, because those of lntu and ss differ: ss warns about missing things
    // that it does not need, and it does not report a forbidden filter for Multipath TCP.
    let is_warning =
        |line: &&str| line.starts_with("Failed to ") || line.starts_with("RTNETLINK answers: ");
    let others = finished.stderr.lines().filter(|line| !is_warning(line));
    Finished {
        stdout: comparable(&finished.stdout),
        stderr: others.fold(String::new(), |text, line| text + line + "\n"),
        ..finished
    }
}

/// Returns whether the question has the option `-N`.
fn names_network(question: &[String]) -> bool {
    let is_option = |word: &String| word.starts_with("-N") || word.starts_with("--net");
    question.iter().any(is_option)
}

/// The reason why the program and ss did not give the same answer.
enum NotTheSame {
    /// The program refused the question, or ss crashed. Both are allowed. The text is the reason,
    /// without words of the question.
    Refused(String),
    /// The answers differ. The text shows the first lines that differ.
    Differs(String),
}

/// Compares the answers of `program` and of ss to a question.
fn compare(
    question: &[String],
    asker: Asker,
    program: &Path,
    held: &Socket,
) -> Result<(), NotTheSame> {
    // Sockets may change between the two answers.
    for tries in 1.. {
        let actual = answer(program, question, asker, held);
        // For Multipath TCP, the kernel refuses conditions on families other than IP. After that,
        // ss shows fewer sockets, or it treats an address as a pointer and crashes.
        let is_mixed = actual
            .stderr
            .starts_with("ss: netlink: MPTCP: Invalid argument");
        let is_refused = actual.stderr.ends_with("(try 'ss --help')\n");
        // If the program refuses a question, do not run ss with it: some options of ss close
        // sockets, and some make ss run forever.
        if is_refused || is_mixed {
            let reason = actual.stderr.split(": ").last().unwrap_or_default();
            return Err(NotTheSame::Refused(reason.trim_end().to_string()));
        }
        let expected = answer(Path::new("ss"), question, asker, held);
        if expected
            .status
            .code()
            .is_none_or(|code| code > 128 && code < 255)
        {
            return Err(NotTheSame::Refused("ss crashes".into()));
        }
        let parts = |finished: Finished| {
            let status = format!("status {}", finished.code());
            let lines = finished.stdout.lines().chain(finished.stderr.lines());
            lines
                .map(str::to_string)
                .chain([status])
                .collect::<Vec<_>>()
        };
        let (actual, expected) = (parts(actual), parts(expected));
        if actual == expected {
            break;
        }
        if tries == 20 {
            let pairs = actual.iter().zip(&expected);
            let same = pairs.take_while(|(a, b)| a == b).count();
            let (actual, expected) = (actual.get(same), expected.get(same));
            return Err(NotTheSame::Differs(format!(
                "\n  {actual:?}\n  {expected:?}"
            )));
        }
    }
    Ok(())
}

const KINDS: [&str; 39] = [
    "-t",
    "-u",
    "-tu",
    "-t",
    "-w",
    "-x",
    "-0",
    "-M",
    "-A tcp",
    "-A udp,raw",
    "-A inet",
    "-A unix",
    "--query=u_dgr,u_str",
    "-A netlink,packet",
    "-A all,!tcp",
    "--socket unix_seqpacket",
    "-A p_raw",
    "-f unix",
    "-f inet6",
    "-finet",
    "-4",
    "-6",
    "-S",
    "-d",
    "--packet",
    "--tipc",
    "-A tipc,tcp",
    "-A !udp",
    "-f tipc",
    "--vsock",
    "-f netlink",
    "--xdp",
    "-f link",
    "--ipv4",
    "--raw",
    "--unix",
    "--mptcp",
    "--sctp",
    "--dccp",
];

const SHOWN: [&str; 26] = [
    "-n",
    "-n",
    "-H",
    "-O",
    "-m",
    "--numeric",
    "--memory",
    "-i",
    "--tos",
    "--cgroup",
    "--inet-sockopt",
    "--tipcinfo",
    "-e",
    "-o",
    "-s",
    "-p",
    "-T",
    "--processes",
    "--threads",
    "--extended",
    "--options",
    "--info",
    "--summary",
    "--oneline",
    "--no-header",
    "--num",
];

const STATES: [&str; 21] = [
    "state established",
    "state ALL",
    "state listening",
    "state connected",
    "state synchronized",
    "state bucket",
    "state big",
    "exclude listening",
    "state time-wait",
    "exclude Established",
    "state closed",
    "state syn-recv",
    "state syn-sent",
    "excl big",
    "state fin-wait-1",
    "state fin-wait-2",
    "state last-ack",
    "state close-wait",
    "state unconnected",
    "exclude bucket",
    "exclude all",
];

/// Options that show details, with states in which no timer is about to expire. The milliseconds of
/// such a timer would differ in every run.
const SLOW: [&str; 14] = [
    "-e state listening",
    "-e state established",
    "-o state established",
    "-e state fin-wait-2",
    "-e state close-wait",
    "-ea -x",
    "-0e",
    "-A netlink -e",
    "-A udp -ae",
    "-leO",
    "-tiem state established",
    "-tinop state listening state established",
    "-laep",
    "-0aep",
];

/// Options that select a network namespace, and options that are refused.
const RARE: [&str; 20] = [
    "-N here",
    "-N here",
    "-N here",
    "-N here",
    "-N here",
    "-Nhere",
    "--net=here",
    "--net here",
    "-N nowhere",
    "-N plain",
    "-b",
    "-K",
    "-E",
    "-r",
    "-Z",
    "-z",
    "-D /dev/null",
    "--filter=/dev/null",
    "--resolve",
    "--frobnicate",
];

const CONDITIONS: [&str; 22] = [
    "dev lo",
    "dev != hole",
    "sport = 65616",
    "sport ge 65536",
    "autobound",
    "not autobound",
    "fwmark = 0x1f",
    "fwmark 0/0xf0",
    "fwmark != 0x1f",
    "src link:lldp",
    "sport lt *",
    "src unix:*stream",
    "src unix:@*",
    "src link:arp",
    "dst netlink:*",
    "src netlink:rtnl:kernel",
    "sport = netlink:0",
    "src unix:/tmp/*/d*",
    "sport != :-1",
    "src vsock:*",
    "src link:*:lo",
    "dport = :ntp or sport gt 1024",
];

/// Returns a random command line. It may have a filter by the control group `group`.
fn question(random: &mut Rng, group: Option<&Group>) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add_up_to = |most: usize, choices: &[&str], random: &mut Rng| {
        for _ in 0..random.usize(..=most) {
            let text = choices[random.usize(..choices.len())];
            arguments.extend(text.split_whitespace().map(str::to_string));
        }
    };
    add_up_to(3, &KINDS, random);
    add_up_to(2, &["-a", "-l", "-a", "--listening", "--all"], random);
    add_up_to(4, &SHOWN, random);
    if random.u8(..5) == 0 {
        add_up_to(1, &RARE, random);
    }
    if random.u8(..3) == 0 {
        add_up_to(2, &STATES, random);
    }
    if random.u8(..3) == 0 {
        arguments.clear();
        let text = SLOW[random.usize(..SLOW.len())];
        arguments.extend(text.split_whitespace().map(str::to_string));
    }
    if random.u8(..3) == 0 {
        arguments.push(random_filter(random, 2));
    }
    if random.u8(..6) == 0 {
        let condition = CONDITIONS[random.usize(..CONDITIONS.len())];
        arguments.extend(condition.split(' ').map(str::to_string));
    }
    if let (Some(group), 0) = (group, random.u8(..10)) {
        let comparison = ["cgroup =", "cgroup !=", "cgroup", "not cgroup"][random.usize(..4)];
        arguments.push(format!("{comparison} {}", group.directory.display()));
    }
    arguments
}
