//! Finds the device of a file in `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::file::read_text;
use super::mounts;

/// The number of the device that the file system of `file` is on. This number is correct on
/// btrfs, too, where stat(2) reports another one. `None` if `/proc` does not show it.
pub fn file_device(file: &File) -> Option<u32> {
    let information = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let information = read_text(Path::new(&information)).ok()?;
    let mount = information
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:\t"))?;
    let mounts = mounts::read(Path::new("/proc/self")).ok()?;
    // `27 1 0:40 / /data …` starts with the mount id, the parent's id and the device.
    let device_in = |line| {
        let mut fields = mounts::fields(line);
        (fields.next()? == mount.as_bytes()).then(|| fields.nth(1))?
    };
    let numbers = mounts.split(|byte| *byte == b'\n').find_map(device_in)?;
    let (major, minor) = str::from_utf8(numbers).ok()?.split_once(':')?;
    Some(device_number(major.parse().ok()?, minor.parse().ok()?))
}

/// The number that the kernel uses for a device (`MKDEV` of `linux/kdev_t.h`).
pub fn device_number(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn file_device_agrees_with_stat_on_proc() {
        let file = File::open("/proc/version").unwrap();
        let expected = file.metadata().unwrap().dev();
        let (major, minor) = (rustix::fs::major(expected), rustix::fs::minor(expected));
        assert_eq!(file_device(&file), Some(device_number(major, minor)));
    }
}
