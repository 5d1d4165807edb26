//! The texts that `-h` and `-V` print.

/// The help that `-h` prints.
pub const HELP: &str = "\
Usage: ss [ OPTIONS ]
       ss [ OPTIONS ] [ FILTER ]
   -h, --help          this message
   -V, --version       output version information
   -n, --numeric       don't resolve service names
   -r, --resolve       resolve host names (*)
   -a, --all           display all sockets
   -l, --listening     display listening sockets
   -o, --options       show timer information
   -e, --extended      show detailed socket information
   -m, --memory        show socket memory usage
   -p, --processes     show process using socket
   -T, --threads       show thread using socket
   -i, --info          show internal TCP information
       --tipcinfo      show internal tipc socket information
   -s, --summary       show socket usage summary
       --tos           show tos and priority information
       --cgroup        show cgroup information
   -b, --bpf           show bpf filter socket information (*)
   -E, --events        continually display sockets as they are destroyed (*)
   -Z, --context       display task SELinux security contexts (*)
   -z, --contexts      display task and socket SELinux security contexts (*)
   -N, --net           switch to the specified network namespace name

   -4, --ipv4          display only IP version 4 sockets
   -6, --ipv6          display only IP version 6 sockets
   -0, --packet        display PACKET sockets
   -t, --tcp           display only TCP sockets
   -M, --mptcp         display only MPTCP sockets
   -S, --sctp          display only SCTP sockets
   -u, --udp           display only UDP sockets
   -d, --dccp          display only DCCP sockets
   -w, --raw           display only RAW sockets
   -x, --unix          display only Unix domain sockets
       --tipc          display only TIPC sockets
       --vsock         display only vsock sockets
       --xdp           display only XDP sockets
   -f, --family=FAMILY display sockets of type FAMILY
       FAMILY := {inet|inet6|link|unix|netlink|vsock|tipc|xdp|help}

   -K, --kill          forcibly close sockets, display what was closed (*)
   -H, --no-header     Suppress header line
   -O, --oneline       socket's data printed on a single line
       --inet-sockopt  show various inet socket options

   -A, --query=QUERY, --socket=QUERY
       QUERY := {all|inet|tcp|mptcp|udp|raw|unix|unix_dgram|unix_stream|unix_seqpacket|
                 packet|packet_raw|packet_dgram|netlink|dccp|sctp|vsock_stream|vsock_dgram|
                 tipc|xdp}[,QUERY]

   -D, --diag=FILE     Dump raw information about TCP sockets to FILE (*)
   -F, --filter=FILE   read filter information from FILE (*)
       FILTER := [ state STATE | exclude STATE ]... [ EXPRESSION ]
       STATE := {all|connected|synchronized|bucket|big|established|syn-sent|syn-recv|
                 fin-wait-{1,2}|time-wait|closed|close-wait|last-ack|listening|closing}
       EXPRESSION := {sport|dport} [OPERATOR] [:]PORT |
                     {src|dst} [=] ADDRESS[/BITS][:PORT] |
                     {dev|fwmark|cgroup} [= | !=] VALUE | autobound
                     joined by and, or, not, ( and )
       OPERATOR := {= eq | != neq | > gt | < lt | >= ge | <= le}

This is lntu under the name ss. It prints what ss of iproute2 6.1 prints, or refuses.
(*) It refuses this option.
";

/// The version that `-V` prints. It includes the version of iproute2 whose output this program
/// prints, because scripts compare that version.
pub const VERSION: &str = concat!(
    "ss utility, iproute2-6.1.0 (lntu-",
    env!("CARGO_PKG_VERSION"),
    ")\n"
);
