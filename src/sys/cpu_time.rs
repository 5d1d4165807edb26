//! The CPU time that this process and its children have used.

use std::ffi::c_long;
use std::time::Duration;

use super::calls::*;

/// The CPU time (user and system) that this process and its children have used so far. Children
/// are counted only after they have exited. If the kernel refuses to report the time of this
/// process or of its children, that time counts as 0.
pub fn cpu_time() -> Duration {
    let mut children = Usage::default();
    // SAFETY: the structure is at least as large as the one that the call fills.
    unsafe { getrusage(RUSAGE_CHILDREN, &mut children) };
    let child_time = |time: TimeVal| duration(time.seconds, time.microseconds * 1000);
    own_cpu_time() + child_time(children.user) + child_time(children.system)
}

/// The CPU time (user and system) that this process alone has used so far. This is for the
/// parts of a poll that start no children.
pub fn own_cpu_time() -> Duration {
    let mut own = TimeSpec::default();
    // SAFETY: the structure is at least as large as the one that the call fills.
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut own) };
    duration(own.seconds, own.nanoseconds)
}

fn duration(seconds: c_long, nanoseconds: c_long) -> Duration {
    Duration::from_secs(seconds as u64) + Duration::from_nanos(nanoseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn cpu_time_includes_exited_children() {
        let before = cpu_time();
        let burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        assert!(
            Command::new("sh")
                .args(["-c", burn])
                .status()
                .unwrap()
                .success()
        );
        let used = cpu_time() - before;
        assert!(used > Duration::from_millis(5), "{used:?}");
    }
}
