//! Random command lines, answered by both programs beside sockets of every kind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastrand::Rng;
use socket2::{Domain, Socket, Type};

use super::conditions::copy_for_all;
use super::every_state::{signing, zoo};
use super::{comparable, own_cgroup, random_filter};
use crate::harness::*;

/// Who asks a random question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Root,
    Nobody,
}

#[test]
fn random_questions_are_answered_as_by_ss() {
    ask_random_questions(Asker::Root, &SS_LINK);
}

#[test]
fn random_questions_of_others_are_answered_as_by_ss() {
    if have_two_users() {
        let directory = copy_for_all();
        ask_random_questions(Asker::Nobody, &directory.path().join("ss"));
    }
}

/// Sockets of a control group of their own.
struct Group {
    directory: PathBuf,
    holder: Option<Running>,
}

impl Group {
    /// `None` if no group can be made.
    fn new() -> Option<Group> {
        const SCRIPT: &str = "\
import os, socket, sys, time
open(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))
listener = socket.create_server(('127.0.0.1', 0))
six = socket.create_server(('::1', 0), family=socket.AF_INET6)
client = socket.create_connection(listener.getsockname())
udp = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
for one in udp:
    one.bind(('', 0))
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
        // A process that was killed leaves its group a moment later.
        wait_for("an empty group", || fs::remove_dir(&self.directory).ok());
    }
}

/// What the questions are about.
struct Population {
    /// A control group that some sockets belong to, if there is one.
    group: Option<Group>,
    /// A socket that the program itself holds.
    held: Socket,
}

fn ask_random_questions(asker: Asker, program: &Path) {
    let namespaces = ["--pid", "--fork", "--mount-proc", "--net"];
    if !have_ss() || !have_mounts() || !have_unshare(&namespaces) {
        return;
    }
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |number| number.parse().unwrap())
    };
    let mut left = number("LNTU_TEST_QUESTIONS", 600);
    let mut random = Rng::with_seed(number("LNTU_TEST_SEED", 15));
    let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut asked_in_all = 0;
    while left > 0 {
        // The kernel gives up some of the sockets after a minute.
        let asked = left.min(100);
        left -= asked;
        in_private_network(|| {
            // In the end nothing arrives any more.
            let _signing = have_program("services", "python3").then(signing);
            let population = Population {
                group: Group::new(),
                held: Socket::new(Domain::IPV4, Type::STREAM, None).unwrap(),
            };
            population.held.listen(3).unwrap();
            let _zoo = zoo();
            for _ in 0..asked {
                let question = question(&mut random, population.group.as_ref());
                match compare(&question, asker, program, &population.held) {
                    Ok(()) => {}
                    Err(NotTheSame::Refused(why)) => *refusals.entry(why).or_default() += 1,
                    Err(NotTheSame::Differs(how)) => {
                        differences.push(format!("{question:?} of {asker:?}: {how}"));
                    }
                }
            }
            asked_in_all += asked;
        });
    }
    let refused: u64 = refusals.values().sum();
    eprintln!("{refused} of {asked_in_all} are refused: {refusals:#?}");
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    // About one of six is refused. Of few questions it can be more, by chance.
    assert!(refused <= 10 + asked_in_all / 4);
}

/// Names this network namespace, and runs the program in an empty one.
const FROM_ELSEWHERE: &str = "\
mount -t tmpfs none /run && mkdir /run/netns && touch /run/netns/plain /run/netns/here
mount --bind /proc/self/ns/net /run/netns/here && exec unshare --net \"$0\" \"$@\"";

/// What `program` says, as the first process of a process namespace: its number, which ss
/// shows of itself, is always the same. Then the order of its netlink socket is, too. If
/// the question names a network namespace, it is asked in another one.
fn said(program: &Path, question: &[String], asker: Asker, held: &Socket) -> Finished {
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
    // ss complains of what it does without, and of forbidden filters except for Multipath
    // TCP.
    let is_complaint =
        |line: &&str| line.starts_with("Failed to ") || line.starts_with("RTNETLINK answers: ");
    let complaints = finished.stderr.lines().filter(|line| !is_complaint(line));
    Finished {
        stdout: comparable(&finished.stdout),
        stderr: complaints.fold(String::new(), |text, line| text + line + "\n"),
        ..finished
    }
}

fn names_network(question: &[String]) -> bool {
    let is_option = |word: &String| word.starts_with("-N") || word.starts_with("--net");
    question.iter().any(is_option)
}

/// How an answer is not that of ss.
enum NotTheSame {
    /// For this reason, without the words of the question. That is no answer, and ss may
    /// give one.
    Refused(String),
    Differs(String),
}

fn compare(
    question: &[String],
    asker: Asker,
    program: &Path,
    held: &Socket,
) -> Result<(), NotTheSame> {
    // Sockets may change between the two.
    for tries in 1.. {
        let ours = said(program, question, asker, held);
        let refused = |ours: Finished| {
            let why = ours.stderr.split(": ").last().unwrap_or_default();
            Err(NotTheSame::Refused(why.trim_end().to_string()))
        };
        // The kernel refuses conditions on other families than those of IP. ss
        // then shows less, or takes an address for a pointer and crashes.
        let mixed = "ss: netlink: MPTCP: Invalid argument";
        let is_usage = ours.stderr.ends_with("(try 'ss --help')\n");
        // What ss does if it is refused can destroy the sockets, or never ends.
        if is_usage || ours.stderr.starts_with(mixed) {
            return refused(ours);
        }
        let theirs = said(Path::new("ss"), question, asker, held);
        if theirs
            .status
            .code()
            .is_none_or(|code| code > 128 && code < 255)
        {
            return Err(NotTheSame::Refused("ss crashes".into()));
        }
        let parts = |said: Finished| {
            let status = format!("status {}", said.code());
            let lines = said.stdout.lines().chain(said.stderr.lines());
            lines
                .map(str::to_string)
                .chain([status])
                .collect::<Vec<_>>()
        };
        let (ours, theirs) = (parts(ours), parts(theirs));
        if ours == theirs {
            break;
        }
        if tries == 20 {
            let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            let (ours, theirs) = (ours.get(same), theirs.get(same));
            return Err(NotTheSame::Differs(format!("\n  {ours:?}\n  {theirs:?}")));
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

/// Details without the timers that are about to run out, which say milliseconds.
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

/// What says which network namespace is asked, and options that are not covered.
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

fn question(random: &mut Rng, group: Option<&Group>) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut some = |random: &mut Rng, most: usize, of: &[&str]| {
        for _ in 0..random.usize(..=most) {
            let text = of[random.usize(..of.len())];
            arguments.extend(text.split_whitespace().map(str::to_string));
        }
    };
    some(random, 3, &KINDS);
    some(random, 2, &["-a", "-l", "-a", "--listening", "--all"]);
    some(random, 4, &SHOWN);
    if random.u8(..5) == 0 {
        some(random, 1, &RARE);
    }
    if random.u8(..3) == 0 {
        some(random, 2, &STATES);
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
