//! The privileges of a process.

use std::fs;

const DAC_OVERRIDE: u64 = 1 << 1;
pub const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;

/// The sets of capabilities of a process, and whether exec can add any, as in
/// `/proc/PID/status`.
#[derive(Debug, PartialEq, Eq)]
pub struct Privileges {
    pub inheritable: u64,
    pub permitted: u64,
    pub effective: u64,
    pub bounding: u64,
    pub ambient: u64,
    pub no_new_privileges: u64,
}

impl Privileges {
    /// The privileges of a running process.
    pub fn of(pid: u32) -> Privileges {
        Privileges::in_status(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap())
    }

    /// Parses the contents of `/proc/PID/status`.
    pub fn in_status(status: &str) -> Privileges {
        let value = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(value.unwrap().trim_start_matches([':', '\t']), 16).unwrap()
        };
        Privileges {
            inheritable: value("CapInh"),
            permitted: value("CapPrm"),
            effective: value("CapEff"),
            bounding: value("CapBnd"),
            ambient: value("CapAmb"),
            no_new_privileges: value("NoNewPrivs"),
        }
    }

    /// Returns the privileges that lntu keeps with `--all-namespaces` if it starts with these
    /// privileges.
    pub fn reduced(&self) -> Privileges {
        let reads_files = match self.permitted & DAC_READ_SEARCH {
            0 => DAC_OVERRIDE,
            _ => DAC_READ_SEARCH,
        };
        let kept = SYS_ADMIN | SYS_PTRACE | reads_files;
        Privileges {
            inheritable: 0,
            permitted: self.permitted & kept,
            effective: self.effective & kept,
            bounding: self.bounding & kept,
            ambient: 0,
            no_new_privileges: 1,
        }
    }
}
