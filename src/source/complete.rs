//! Decides when a listing is complete. The same rule applies to every source.
//!
//! The rows that one `read` or one datagram returns are consistent. A listing that takes
//! several of them is not atomic, because the kernel finds its position in a UDP table by
//! counting rows: for each socket that closes in the meantime, the kernel skips one that is
//! still open. The next listing often skips the same sockets.

use super::tables::Tables;
use crate::listener::SocketTable;
use crate::snapshot::Snapshot;

/// A table is complete after this many steady reads in a row. A steady read lists as many rows
/// as the previous read, and all of them were known before.
const STEADY_READS: u8 = 2;
/// A table is read again at most this many times. If it is not complete even then, it is
/// called unsettled.
const MOST_READS: usize = 10;

/// Repeats a listing until the `split` tables, which took several reads or datagrams, are
/// complete. Adds the sockets that it finds to `snapshot`. Returns the unsettled tables.
///
/// `read` replaces the contents of the snapshot that it gets, and returns the tables whose
/// listing took several reads or datagrams. If `read` fails, it returns `None`, and so does
/// this function.
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
            // A read that adds no rows is not necessarily steady: while sockets close, reads
            // skip the most rows, and add none.
            let is_steady = now_known[index] == known[index] && now_listed[index] == listed[index];
            *steady = match *steady {
                STEADY_READS => STEADY_READS,
                count if is_steady => count + 1,
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

    /// The ports that are found if each read lists the next element of `reads`, and further
    /// reads list the last element again. Also returns how many reads followed the first one,
    /// and whether the table settled.
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
    fn a_listing_in_one_piece_is_not_repeated() {
        assert_eq!(found(Tables::default(), &[&[1], &[2]]), (vec![1], 0, true));
    }

    #[test]
    fn reading_ends_after_two_steady_reads() {
        assert_eq!(found(udp(), &[&[1, 2]]), (vec![1, 2], 2, true));
        let skipping: [&[u16]; 3] = [&[1], &[1], &[1, 2]];
        assert_eq!(found(udp(), &skipping), (vec![1, 2], 4, true));
    }

    /// A read that lists fewer rows than the read before it may have skipped some rows.
    #[test]
    fn a_read_that_lists_fewer_rows_is_not_steady() {
        let shrinking: [&[u16]; 4] = [&[1, 2, 3], &[1, 2], &[1], &[1, 4]];
        assert_eq!(found(udp(), &shrinking), (vec![1, 2, 3, 4], 5, true));
    }

    #[test]
    fn a_table_that_changes_in_every_read_is_unsettled() {
        let reads: Vec<Vec<u16>> = (0..=20).map(|port| vec![port]).collect();
        let reads: Vec<&[u16]> = reads.iter().map(Vec::as_slice).collect();
        let (ports, count, is_settled) = found(udp(), &reads);
        assert_eq!((count, is_settled), (10, false));
        assert_eq!(ports, (0..=10).collect::<Vec<u16>>());
    }

    #[test]
    fn a_failed_read_fails_the_listing() {
        let mut snapshot = Snapshot::default();
        let unsettled = complete(&mut snapshot, udp(), &mut |_| None);
        assert!(unsettled.is_none());
    }
}
