//! The device that a file is on, by `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::file::read_text;
use super::mounts;

/// The device of the file system that `file` is on, as the kernel numbers it. stat(2)
/// gives another one for a file on btrfs. `None` if `/proc` does not say.
pub fn file_device(file: &File) -> Option<u32> {
    let information = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let information = read_text(Path::new(&information)).ok()?;
    let mount = information
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:\t"))?;
    let mounts = mounts::read(Path::new("/proc/self")).ok()?;
    // `27 1 0:40 / /data …`: the mount, its parent, and the device.
    let device_in = |line| {
        let mut fields = mounts::fields(line);
        (fields.next()? == mount.as_bytes()).then(|| fields.nth(1))?
    };
    let numbers = mounts.split(|byte| *byte == b'\n').find_map(device_in)?;
    let (major, minor) = str::from_utf8(numbers).ok()?.split_once(':')?;
    Some(device_number(major.parse().ok()?, minor.parse().ok()?))
}

/// The number of a device in the kernel (`MKDEV` of `linux/kdev_t.h`).
pub fn device_number(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn the_device_is_that_of_stat_where_there_is_one() {
        let file = File::open("/proc/version").unwrap();
        let of_stat = file.metadata().unwrap().dev();
        let (major, minor) = (rustix::fs::major(of_stat), rustix::fs::minor(of_stat));
        assert_eq!(file_device(&file), Some(device_number(major, minor)));
    }
}
