//! End-to-end tests: they run the built program with real sockets, with a real and a fake `ss`, and
//! with the tables in `fixtures/`. Each module tests one subject. [`harness`] has the helpers that
//! the modules share.

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
mod neighbours;
mod netlink;
mod notify;
mod of;
mod old_kernels;
mod only;
mod pace;
mod pids;
mod privileges;
mod probe;
mod processes;
mod readme;
mod unix;
mod usage;
mod wait;
mod watch;
