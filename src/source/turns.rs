//! Limits how much of a poll one network namespace may take, so that none delays the others.
//!
//! A short TCP list is read at every poll. The namespaces take turns with lists that cost
//! more:
//!
//! - A UDP list, because for each namespace that is asked, the kernel walks the UDP sockets of
//!   the whole host. So the sockets of one user slow down the lists of all namespaces.
//! - A TCP list with more than [`SHORT`] rows. A shorter list fits into one datagram and is
//!   read once. A longer list is read at least three times, until it is complete.
//!
//! All turns together may take 1/[`LEAST_SHARE`] of a core, which is half of what polls may
//! take. As long as the turns take less than that, every namespace has its turn at every poll.
//! Otherwise, the next poll continues with the first namespace that had no turn, and the lists
//! of namespaces without a turn stay as they were.
//!
//! A turn ends when it exceeds a [`Limit`]. The namespace is then *lost*: it keeps its last
//! known listeners, and is asked again after one second, then after two more seconds, and so
//! on up to [`LONGEST_WAIT`], until a turn stays within the limit. The cookie of a lost
//! namespace is read at every poll, because a new namespace may get the inode of one that has
//! ended.

use std::time::{Duration, Instant};

use crate::sys;

/// A list with at most this many rows is short. It fits into one datagram, which has room for
/// some 260 rows.
pub const SHORT: usize = 256;
/// A turn may list this many sockets of each protocol. The largest known users, media relay
/// servers, bind 10,000 UDP ports. This program keeps about six copies of each listener, so
/// one namespace can use about 30 MB of memory.
const MOST_ROWS: usize = 20_000;
/// At most this many rows of one namespace, and so at most this many datagrams, are read in
/// one poll. This is enough for six reads of the longest lists of both protocols: three until
/// they are complete, and three more to show that a listener is gone.
const MOST_READ: usize = 12 * MOST_ROWS + SHORT;
/// The long lists of one namespace may take this much CPU time in one poll. This is short
/// enough not to cause a pause: after a poll of more than half a second, the watcher pauses
/// for nine times as long.
pub const MOST_TIME: Duration = Duration::from_millis(300);
/// All turns together may use one core divided by this number, which is 5 %.
const LEAST_SHARE: u32 = 20;
/// Unused time of turns is saved up for this long, so one poll may spend up to 50 ms on them.
const MEMORY: Duration = Duration::from_secs(1);
/// The longest time until a lost namespace is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// What may be read of one namespace in one poll. By default, everything.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The number of rows that one list may have.
    pub rows: usize,
    /// The number of rows that may still be read from all lists together.
    left: usize,
    /// The CPU time that reading may still take.
    time: Duration,
    /// Reading ends once this process has used this much CPU time.
    end: Duration,
    /// The part of the limit that ended the last read. `None` if nothing was exceeded.
    pub exceeded: Option<Exceeded>,
}

/// The part of a [`Limit`] that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// One list has more rows than allowed.
    Rows,
    /// All reads together had more rows than allowed, because the lists kept changing.
    Read,
    /// Reading took too much CPU time.
    Time,
}

impl Exceeded {
    /// The message about a namespace that had a turn.
    fn reason(self) -> String {
        match self {
            Exceeded::Rows => format!("it has more than {MOST_ROWS} sockets of a protocol"),
            Exceeded::Read => "its lists are long and keep changing".into(),
            Exceeded::Time => format!(
                "reading its lists takes more than {} ms",
                MOST_TIME.subsec_millis()
            ),
        }
    }
}

impl Default for Limit {
    fn default() -> Limit {
        Limit {
            rows: usize::MAX,
            left: usize::MAX,
            time: Duration::MAX,
            end: Duration::MAX,
            exceeded: None,
        }
    }
}

impl Limit {
    /// The limit for a namespace that has no turn: each list may have at most [`SHORT`] rows.
    pub fn of_short() -> Limit {
        Limit {
            rows: SHORT,
            ..Limit::default()
        }
    }

    /// The limit of all turns that a namespace has in one poll.
    pub fn of_turns() -> Limit {
        Limit {
            rows: MOST_ROWS,
            left: MOST_READ,
            time: MOST_TIME,
            ..Limit::default()
        }
    }

    /// Starts a turn. `cpu_time` is the CPU time that this process has used so far.
    pub fn start(&mut self, cpu_time: Duration) {
        self.end = cpu_time.saturating_add(self.time);
    }

    /// Ends the turn. `cpu_time` is the CPU time that this process has used so far.
    pub fn stop(&mut self, cpu_time: Duration) {
        self.time = self.end.saturating_sub(cpu_time);
    }

    /// Counts a row. `number` is the position of the row in its list, counted from 1. Returns
    /// whether the row may be read.
    pub fn note_row(&mut self, number: usize) -> bool {
        self.left = self.left.saturating_sub(1);
        self.exceeded = if number > self.rows {
            Some(Exceeded::Rows)
        } else if self.left == 0 {
            Some(Exceeded::Read)
        // Checking the time for each row would take too long.
        } else if number.is_multiple_of(SHORT) && sys::own_cpu_time() > self.end {
            Some(Exceeded::Time)
        } else {
            return true;
        };
        false
    }
}

/// Decides which namespaces have a turn.
#[derive(Debug)]
pub struct Turns {
    /// When the current poll started.
    started: Instant,
    /// Turns have used their share of the time up to this moment. A turn may start once this
    /// moment has passed.
    used_until: Instant,
    /// The earliest value of `used_until`: unused time before this moment is not saved up.
    remembered: Instant,
    /// Whether this is the first poll. Its turns are not limited, because it must find all
    /// listeners that are open at the start.
    is_first: bool,
    /// The inode of the namespace whose turn is next.
    next: u64,
    /// The inode of the first namespace that the current poll has refused a turn.
    refused: Option<u64>,
    lost: Vec<Lost>,
}

/// A namespace that exceeded a limit.
#[derive(Debug)]
struct Lost {
    inode: u64,
    /// The cookie of the namespace. `None` as long as it is not known.
    cookie: Option<u64>,
    reason: Exceeded,
    /// How long to wait before the namespace is asked again.
    wait: Duration,
    until: Instant,
    /// Whether the namespace was asked again in the current poll and has stayed within its
    /// limit so far.
    fits: bool,
}

impl Turns {
    /// The turns of polls that begin `now`.
    pub fn new(now: Instant) -> Turns {
        Turns {
            started: now,
            used_until: now,
            remembered: now,
            is_first: true,
            next: 0,
            refused: None,
            lost: Vec::new(),
        }
    }

    /// Begins a poll.
    pub fn start_poll(&mut self, now: Instant) {
        // If the interval is longer than `MEMORY`, all time since the last poll is saved up.
        let memory = now.checked_sub(MEMORY).unwrap_or(now);
        self.remembered = self.started.min(memory);
        self.started = now;
        self.lost.retain(|lost| !lost.fits);
    }

    /// Whether the namespace with this inode has a turn. Each poll must ask this once for
    /// each namespace, in the order of inodes.
    pub fn has_turn(&mut self, inode: u64) -> bool {
        if self.is_first {
            return true;
        }
        // Namespaces with smaller inodes than `next` had their turns in earlier polls.
        if inode < self.next || self.refused.is_some() {
            return false;
        }
        let may_start = self.used_until <= self.started;
        if !may_start {
            self.refused = Some(inode);
        }
        may_start
    }

    /// Records the CPU time of a turn.
    pub fn charge(&mut self, time: Duration) {
        self.used_until = self.used_until.max(self.remembered) + time * LEAST_SHARE;
    }

    /// Records that a poll has asked [`Turns::has_turn`] for each namespace.
    pub fn end_round(&mut self) {
        self.is_first = false;
        self.next = self.refused.take().unwrap_or_default();
    }

    /// Whether a namespace has to wait for its turn in a later poll.
    pub fn are_waited_for(&self) -> bool {
        self.next != 0
    }

    /// Records that this namespace exceeded a limit. Returns the message.
    pub fn note_exceeded(&mut self, inode: u64, reason: Exceeded) -> String {
        let index = self.lost.iter().position(|lost| lost.inode == inode);
        let index = index.unwrap_or_else(|| {
            self.lost.push(Lost {
                inode,
                cookie: None,
                reason,
                wait: Duration::from_millis(500),
                until: self.started,
                fits: false,
            });
            self.lost.len() - 1
        });
        let lost = &mut self.lost[index];
        lost.reason = reason;
        lost.wait = (lost.wait * 2).min(LONGEST_WAIT);
        lost.until = self.started + lost.wait;
        lost.fits = false;
        reason.reason()
    }

    /// Why this namespace is lost, and whether it is time to ask it again. `None` if it is not
    /// lost.
    pub fn is_lost(&self, inode: u64) -> Option<(String, bool)> {
        let lost = self.lost.iter().find(|lost| lost.inode == inode)?;
        (!lost.fits).then(|| (lost.reason.reason(), lost.until <= self.started))
    }

    /// Records that this namespace had a turn and stayed within its limit.
    pub fn note_fit(&mut self, inode: u64) {
        let lost = self.lost.iter_mut().find(|lost| lost.inode == inode);
        if let Some(lost) = lost {
            lost.fits = true;
        }
    }

    /// Records the current cookie of the namespace with this inode. If the lost namespace had
    /// another cookie, forgets it and returns true.
    pub fn note_cookie(&mut self, inode: u64, cookie: u64) -> bool {
        let Some(index) = self.lost.iter().position(|lost| lost.inode == inode) else {
            return false;
        };
        let is_other = *self.lost[index].cookie.get_or_insert(cookie) != cookie;
        if is_other {
            self.lost.swap_remove(index);
        }
        is_other
    }

    /// Forgets the lost namespaces for whose inode `exists` is false.
    pub fn retain(&mut self, exists: impl Fn(u64) -> bool) {
        self.lost.retain(|lost| exists(lost.inode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// The number of turns that each namespace has in a minute, if `namespaces` are polled
    /// every 100 ms and each turn takes `cost`. The turns of the first poll do not count.
    fn turns(namespaces: u64, cost: Duration) -> Vec<u32> {
        let mut now = Instant::now();
        let mut turns = Turns::new(now);
        let mut had = vec![0; namespaces as usize];
        for poll in 0..=600 {
            turns.start_poll(now);
            for inode in 1..=namespaces {
                let has_turn = turns.has_turn(inode);
                assert!(has_turn || poll > 0);
                if has_turn {
                    turns.charge(cost);
                    had[inode as usize - 1] += u32::from(poll > 0);
                }
            }
            turns.end_round();
            now += STEP;
        }
        had
    }

    #[test]
    fn cheap_namespaces_have_a_turn_at_every_poll() {
        let had = turns(10, Duration::from_micros(400));
        // One turn may be missing, because the first poll uses up time as well.
        assert!(had.iter().all(|turns| *turns >= 599), "{had:?}");
    }

    #[test]
    fn expensive_turns_share_a_twentieth_of_a_core() {
        for (namespaces, cost) in [(10, 4), (100, 4), (3, 300)] {
            let had = turns(namespaces, Duration::from_millis(cost));
            let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
            assert!(most - least <= 1, "{had:?}");
            let milliseconds = u64::from(had.iter().sum::<u32>()) * cost;
            assert!((2000..=3400).contains(&milliseconds), "{milliseconds}");
        }
    }

    #[test]
    fn waits_for_a_lost_namespace_double() {
        let start = Instant::now();
        let mut turns = Turns::new(start);
        let mut asked = Vec::new();
        for second in 0..300 {
            turns.start_poll(start + Duration::from_secs(second));
            if turns.is_lost(7).is_none_or(|(_, is_due)| is_due) {
                turns.note_exceeded(7, Exceeded::Rows);
                asked.push(second);
            }
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]);
    }

    /// All looks of a poll count, not only the first one.
    #[test]
    fn a_lost_namespace_returns_after_a_poll_that_fits() {
        let mut turns = Turns::new(Instant::now());
        turns.note_exceeded(7, Exceeded::Read);
        turns.note_fit(7);
        assert_eq!(turns.is_lost(7), None);
        turns.note_exceeded(7, Exceeded::Read);
        assert!(turns.is_lost(7).is_some());
        turns.start_poll(Instant::now());
        assert!(turns.is_lost(7).is_some());
        turns.note_fit(7);
        turns.start_poll(Instant::now());
        assert_eq!(turns.lost.len(), 0);
    }

    /// The kernel gives the inode of a namespace that has ended to the next new one.
    #[test]
    fn a_namespace_that_reuses_a_lost_inode_is_not_lost() {
        let mut turns = Turns::new(Instant::now());
        turns.note_exceeded(7, Exceeded::Rows);
        for _ in 0..2 {
            assert!(!turns.note_cookie(7, 100));
            assert!(turns.is_lost(7).is_some());
        }
        assert!(turns.note_cookie(7, 101));
        assert_eq!(turns.is_lost(7), None);
        assert!(!turns.note_cookie(7, 101));
    }

    #[test]
    fn a_limit_ends_reading_after_its_number_of_rows() {
        let mut limit = Limit::of_turns();
        assert!((1..=MOST_ROWS).all(|number| limit.note_row(number)));
        assert!(!limit.note_row(MOST_ROWS + 1));
        assert_eq!(limit.exceeded, Some(Exceeded::Rows));
        let mut limit = Limit::of_turns();
        assert_eq!(
            (0..).take_while(|_| limit.note_row(1)).count(),
            MOST_READ - 1
        );
        assert_eq!(limit.exceeded, Some(Exceeded::Read));
        assert!((0..1000).all(|number| Limit::default().note_row(number)));
    }

    #[test]
    fn time_between_turns_does_not_count_for_a_limit() {
        let mut limit = Limit::of_turns();
        let hour = Duration::from_secs(3600);
        for turn in 1..=4 {
            limit.start(hour * turn);
            assert!(limit.note_row(SHORT));
            limit.stop(hour * turn + MOST_TIME / 4);
        }
        limit.start(Duration::ZERO);
        assert!(limit.note_row(1) && !limit.note_row(SHORT));
        assert_eq!(limit.exceeded, Some(Exceeded::Time));
    }
}
