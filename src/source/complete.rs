//! When a listing is complete: one rule for every source.
//!
//! The kernel makes at one go what one `read` or one datagram returns. A listing that
//! took several is not atomic: the kernel continues in a UDP table by counting rows. So
//! when sockets close in between, it skips as many others, and often the same ones the
//! next time.

use super::tables::Tables;
use crate::listener::SocketTable;
use crate::snapshot::Snapshot;

/// A table is complete after this many steady reads in a row: each lists as much as the
/// one before, and adds nothing.
const STEADY_READS: u8 = 2;
/// It is read again no more often than this. If it is not complete then, it did not settle.
const MOST_READS: usize = 10;

/// Reads again until the tables whose listing is `split` are complete, and adds what that
/// finds to `snapshot`. Returns the tables that did not settle.
///
/// `read` replaces the contents of the snapshot that it gets, and returns the tables whose
/// listing took several reads or datagrams, or `None` if it fails. Then this fails, too.
pub fn complete(
    snapshot: &mut Snapshot,
    mut split: Tables,
    read: &mut dyn FnMut(&mut Snapshot) -> Option<Tables>,
) -> Option<Tables> {
    let (mut another, mut steady) = (Snapshot::default(), [0; 4]);
    let mut listed = snapshot.counts();
    let mut known = listed;
    for _ in 0..MOST_READS {
        if unsettled(split, &steady).is_empty() {
            break;
        }
        split.add(read(&mut another)?);
        snapshot.add_sockets(&another);
        let (now_listed, now_known) = (another.counts(), snapshot.counts());
        for (index, steady) in steady.iter_mut().enumerate() {
            // While sockets close, reads add nothing and skip the most.
            let is_steady = now_known[index] == known[index] && now_listed[index] == listed[index];
            *steady = match *steady {
                STEADY_READS => STEADY_READS,
                before if is_steady => before + 1,
                _ => 0,
            };
        }
        (listed, known) = (now_listed, now_known);
    }
    Some(unsettled(split, &steady))
}

/// The `split` tables that are not complete.
fn unsettled(split: Tables, steady: &[u8; 4]) -> Tables {
    let mut left = Tables::default();
    for (table, steady) in SocketTable::ALL.into_iter().zip(steady) {
        if split.contains(table) && *steady < STEADY_READS {
            left.insert(table);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Listener, Protocol};

    fn fill(snapshot: &mut Snapshot, ports: &[u16]) {
        let filled = snapshot.refill(|listeners| {
            listeners.extend(ports.iter().map(|&port| Listener {
                inode: u64::from(port),
                ..Listener::new(
                    Protocol::Udp,
                    Endpoint {
                        port,
                        address: "127.0.0.1".parse().unwrap(),
                    },
                )
            }));
            Ok::<_, ()>(())
        });
        filled.unwrap();
    }

    fn udp() -> Tables {
        let mut tables = Tables::default();
        tables.insert(SocketTable::ALL[2]);
        tables
    }

    /// The ports that are found if the first read and the further ones list these, how
    /// often it was read again, and whether it settled. The last one repeats.
    fn found(split: Tables, reads: &[&[u16]]) -> (Vec<u16>, usize, bool) {
        let mut snapshot = Snapshot::default();
        fill(&mut snapshot, reads[0]);
        let mut count = 0;
        let unsettled = complete(&mut snapshot, split, &mut |snapshot| {
            count += 1;
            fill(snapshot, reads[count.min(reads.len() - 1)]);
            Some(split)
        });
        let listeners = snapshot.listeners().iter();
        let ports = listeners.map(|listener| listener.endpoint.port).collect();
        (ports, count, unsettled.unwrap().is_empty())
    }

    #[test]
    fn what_came_in_one_piece_is_not_read_again() {
        assert_eq!(found(Tables::default(), &[&[1], &[2]]), (vec![1], 0, true));
    }

    #[test]
    fn reading_ends_after_two_steady_reads() {
        assert_eq!(found(udp(), &[&[1, 2]]), (vec![1, 2], 2, true));
        let skipping: [&[u16]; 3] = [&[1], &[1], &[1, 2]];
        assert_eq!(found(udp(), &skipping), (vec![1, 2], 4, true));
    }

    /// A read that adds nothing but lists fewer may have skipped some again.
    #[test]
    fn a_read_that_lists_fewer_is_not_steady() {
        let shrinking: [&[u16]; 4] = [&[1, 2, 3], &[1, 2], &[1], &[1, 4]];
        assert_eq!(found(udp(), &shrinking), (vec![1, 2, 3, 4], 5, true));
    }

    #[test]
    fn what_changes_in_every_read_does_not_settle() {
        let reads: Vec<Vec<u16>> = (0..=20).map(|port| vec![port]).collect();
        let reads: Vec<&[u16]> = reads.iter().map(Vec::as_slice).collect();
        let (ports, count, is_settled) = found(udp(), &reads);
        assert_eq!((count, is_settled), (10, false));
        assert_eq!(ports, (0..=10).collect::<Vec<u16>>());
    }

    #[test]
    fn a_failure_of_a_read_is_one_of_all() {
        let mut snapshot = Snapshot::default();
        let unsettled = complete(&mut snapshot, udp(), &mut |_| None);
        assert!(unsettled.is_none());
    }
}
