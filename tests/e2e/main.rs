//! The built binary against real sockets, fake and real `ss`, and the tables
//! in `fixtures/`.

mod as_ss;
mod check;
mod conditions;
mod containers;
mod entrypoint;
mod fake_ss;
mod faults;
mod fixtures;
mod forger;
mod gvisor;
mod harness;
mod hidden;
mod hostile;
mod incomplete;
mod injected;
mod install;
mod interfaces;
mod json;
mod list;
mod manual;
mod memory;
mod namespaces;
mod netlink;
mod of;
mod old_kernels;
mod only;
mod pace;
mod pids;
mod privileges;
mod probe;
mod processes;
mod readme;
mod usage;
mod wait;
mod watch;
