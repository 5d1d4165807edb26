//! The pace of polls: when the next one is due. Also parses durations.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How long polls keep the fast interval after the start and after each change.
const FAST_TIME: Duration = Duration::from_secs(30);
/// The shortest period over which [`Lateness`] is judged.
const LATE_TIME: Duration = Duration::from_secs(10);
/// [`Lateness`] is judged over this many intervals, or over [`LATE_TIME`] if that is longer.
const LATE_POLLS: u32 = 10;
/// Polls use at most one tenth of a core, on average over [`BUDGET_SECONDS`] or over ten
/// polls, whichever is longer.
const LEAST_SHARE: u32 = 10;
/// The number of seconds over which the CPU time of polls is averaged (see [`LEAST_SHARE`]).
const BUDGET_SECONDS: u64 = 10;
/// The CPU time that polls may use within [`BUDGET_SECONDS`].
const BUDGET: Duration = Duration::from_secs(1);

/// The time from one poll to the next, or the range from which [`Pace`] chooses that time. An
/// interval is at least 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The interval for [`FAST_TIME`] after the start and after each change.
    fast: Duration,
    /// The interval at other times.
    slow: Duration,
    /// Polls that would use more than `1 / share` of a core come less often, up to `longest`.
    share: u32,
    /// The longest interval that the user accepts.
    longest: Duration,
}

impl Interval {
    /// The shortest interval.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// The default of `lntu watch`: 100 ms after the start and after a change, and 500 ms at
    /// other times, but up to 1 s if polls would otherwise use more than 0.5 % of a core.
    pub const OF_WATCH: Interval = Interval {
        fast: Duration::from_millis(100),
        slow: Duration::from_millis(500),
        share: 200,
        longest: Duration::from_secs(1),
    };
    /// The default of `lntu wait`: 10 ms, but up to 100 ms if polls would otherwise use more
    /// than 2 % of a core.
    pub const OF_WAIT: Interval = Interval {
        fast: Interval::SHORTEST,
        slow: Interval::SHORTEST,
        share: 50,
        longest: Duration::from_millis(100),
    };
}

/// Decides when to poll, based on the CPU time that earlier polls used. Time spent waiting
/// does not count, so a watcher polls at once after it was stopped or waited for a CPU.
#[derive(Debug)]
pub struct Pace {
    interval: Interval,
    /// When the last poll started.
    started: Instant,
    /// The CPU time that this process and its children had used at the end of the last poll.
    cpu_time: Duration,
    /// The average CPU time of recent polls. `None` before the first poll.
    average: Option<Duration>,
    budget: Budget,
    fast_until: Instant,
    /// Whether the last poll used so much CPU time that the next poll has to be late.
    is_costly: bool,
    polls: Lateness,
    /// The rounds in which network namespaces take turns, see [`crate::source::turns`].
    rounds: Lateness,
}

/// Says how late polls, or rounds of turns, are. They are late if the time between two of them
/// is more than twice the interval that the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The average time between two polls or rounds.
    pub between: Duration,
    /// The interval that the user asked for.
    pub asked: Duration,
    /// True if polls or rounds are late because of the limit of CPU time. False if polls wait for
    /// a CPU, for ss or for the output.
    pub is_costly: bool,
}

/// Decides every ten seconds or ten intervals, whichever is longer, whether polls or rounds
/// are late.
#[derive(Debug, Default)]
struct Lateness {
    /// The start of the current period. `None` before the first poll.
    counted_since: Option<Instant>,
    /// The number of polls or rounds since `counted_since`.
    count: u32,
    late: Option<Late>,
}

impl Lateness {
    /// Notes a poll. `has_come` says whether the poll counts: if rounds are counted, only a
    /// poll that ends a round does. Returns whether polls or rounds have become late, or are
    /// on time again.
    fn note(&mut self, now: Instant, has_come: bool, asked: Duration, is_costly: bool) -> bool {
        let Some(since) = self.counted_since else {
            self.counted_since = Some(now);
            return false;
        };
        self.count += u32::from(has_come);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < LATE_TIME.max(asked.saturating_mul(LATE_POLLS)) {
            return false;
        }
        let late = Late {
            between: elapsed / self.count.max(1),
            asked,
            is_costly,
        };
        self.counted_since = Some(now);
        self.count = 0;
        let was_late = self.late.is_some();
        self.late = (late.between > asked.saturating_mul(2)).then_some(late);
        was_late != self.late.is_some()
    }
}

impl Pace {
    /// The pace of polls that start `now`. `cpu_time` is the CPU time that this process has
    /// used so far.
    pub fn new(interval: Interval, now: Instant, cpu_time: Duration) -> Pace {
        Pace {
            interval,
            started: now,
            cpu_time,
            average: None,
            budget: Budget::new(now),
            fast_until: now + FAST_TIME,
            is_costly: false,
            polls: Lateness::default(),
            rounds: Lateness::default(),
        }
    }

    /// Notes that a poll starts `now`. Returns whether polls have become late, or are on time
    /// again. This is decided every ten seconds or ten intervals, whichever is longer.
    pub fn start_poll(&mut self, now: Instant) -> bool {
        self.started = now;
        let asked = self.interval.longest;
        self.polls.note(now, true, asked, self.is_costly)
    }

    /// Notes whether the poll that started last ended a round of turns. Returns whether rounds
    /// have become late, or are on time again.
    pub fn note_turns(&mut self, ends_round: bool) -> bool {
        let asked = self.interval.longest;
        self.rounds.note(self.started, ends_round, asked, true)
    }

    /// Notes that the poll ends `now`, and returns when the next poll is due. `cpu_time` is
    /// the CPU time that this process has used so far. `has_changed` says whether the poll
    /// found something new.
    pub fn end_poll(&mut self, now: Instant, cpu_time: Duration, has_changed: bool) -> Instant {
        let Interval {
            fast,
            slow,
            share,
            longest,
        } = self.interval;
        if has_changed {
            self.fast_until = now + FAST_TIME;
        }
        let cost = cpu_time.saturating_sub(self.cpu_time);
        self.cpu_time = self.cpu_time.max(cpu_time);
        // A cost above this limit would not lengthen the interval any further. Without the
        // limit, one expensive poll would slow down many cheap ones.
        let counted = cost.min(longest / share);
        let average = match self.average {
            None => counted,
            Some(average) => (average * 7 + counted) / 8,
        };
        self.average = Some(average);
        let wanted = if now < self.fast_until { fast } else { slow };
        let allowed = self.budget.spend(self.started, now, cost);
        self.is_costly = allowed > self.started + longest;
        let due = self.started + wanted.max(average * share);
        // Pause even after a poll that took longer than the interval.
        due.max(allowed).max(now + Interval::SHORTEST)
    }

    /// How late polls are. `None` if they are on time.
    pub fn late(&self) -> Option<Late> {
        self.polls.late
    }

    /// How late the rounds of turns are. `None` if they are on time, or late only because
    /// polls are late.
    pub fn late_turns(&self) -> Option<Late> {
        let polls = self.polls.late.map_or(Duration::ZERO, |late| late.between);
        self.rounds.late.filter(|rounds| rounds.between > polls * 2)
    }
}

/// Keeps polls within a tenth of a core. The cost of one expensive poll, such as a search
/// for holders, is spread over ten seconds, because a long pause right after the poll would
/// miss changes.
#[derive(Debug)]
struct Budget {
    created: Instant,
    /// The second of the last poll, counted from `created`.
    second: u64,
    /// For each of the last seconds: the CPU time of all its polls, and of the most
    /// expensive one. The index is the number of the second modulo the length.
    spent: [(Duration, Duration); Budget::LENGTH as usize],
    /// The average cost of recent polls.
    average: Duration,
}

impl Budget {
    /// The number of seconds in `spent`. It is one more than [`BUDGET_SECONDS`], because the
    /// oldest second is covered only in part.
    const LENGTH: u64 = BUDGET_SECONDS + 1;

    fn new(now: Instant) -> Budget {
        Budget {
            created: now,
            second: 0,
            spent: Default::default(),
            average: Duration::ZERO,
        }
    }

    /// Notes the CPU time that a poll from `started` to `now` used. Returns when the next poll
    /// may start.
    fn spend(&mut self, started: Instant, now: Instant, cost: Duration) -> Instant {
        let second = now.saturating_duration_since(self.created).as_secs();
        let first_new = (self.second + 1).max(second.saturating_sub(Budget::LENGTH));
        for new in first_new..=second {
            *self.of_second(new) = Default::default();
        }
        self.second = second;
        let (total, largest) = self.of_second(second);
        *total += cost;
        *largest = cost.max(*largest);
        self.average = (self.average * 7 + cost) / 8;
        // Two polls like this one would exceed the budget, so a pause has to follow.
        if cost * 2 > BUDGET {
            return started + cost.saturating_mul(LEAST_SHARE);
        }
        // When the next poll starts if polls of equal cost are spaced evenly.
        let even = started + self.average * LEAST_SHARE;
        // The next poll may cost as much as the most expensive one.
        let (mut total, mut largest) = (Duration::ZERO, Duration::ZERO);
        for age in 0..Budget::LENGTH.min(second + 1) {
            let spent = *self.of_second(second - age);
            total += spent.0;
            largest = largest.max(spent.1);
            if total + largest > BUDGET {
                // Wait until the second of that age no longer counts.
                let over = self.created + Duration::from_secs(second - age + Budget::LENGTH);
                return even.max(over);
            }
        }
        even
    }

    fn of_second(&mut self, second: u64) -> &mut (Duration, Duration) {
        &mut self.spent[(second % Budget::LENGTH) as usize]
    }
}

impl FromStr for Interval {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Interval, DurationError> {
        let duration = parse_duration(text)?;
        if duration < Interval::SHORTEST {
            return Err(DurationError::TooShort);
        }
        Ok(Interval {
            fast: duration,
            slow: duration,
            share: 1,
            longest: duration,
        })
    }
}

/// Why a duration is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// The text is not a number with or without a known unit.
    Form,
    /// The interval is shorter than [`Interval::SHORTEST`].
    TooShort,
    /// The duration is longer than about 584 years, the most that fits into 64 bits of
    /// nanoseconds.
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DurationError::Form => "not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
            DurationError::TooShort => "an interval is at least 10ms",
            DurationError::TooLong => "too long",
        })
    }
}

impl std::error::Error for DurationError {}

/// Parses `500ms`, `5s`, `1.5m`, `1h`, `2d`, or a sum such as `1m30s`. Also accepts `sec` and
/// `min`, as systemd does. A number without a unit is in seconds. Fractions of a nanosecond
/// are dropped.
///
/// # Errors
/// [`DurationError::Form`] if `text` is not a duration, and [`DurationError::TooLong`] if the
/// duration is too long.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    const UNITS: [(&str, u64); 7] = [
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("sec", 1_000_000_000),
        ("m", 60_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let mut sum: u64 = 0;
    let mut rest = text;
    loop {
        let (number, after) = split_at_first(rest, |byte| byte.is_ascii_alphabetic());
        let (name, after) = split_at_first(after, |byte| !byte.is_ascii_alphabetic());
        let unit = match UNITS.iter().find(|(known, _)| *known == name) {
            Some((_, unit)) => *unit,
            None if number == text => 1_000_000_000,
            None => return Err(DurationError::Form),
        };
        let (whole, fraction) = match number.split_once('.') {
            None => (number, "0"),
            Some(("", fraction)) => ("0", fraction),
            Some(parts) => parts,
        };
        if !is_number(whole) || !is_number(fraction) {
            return Err(DurationError::Form);
        }
        let (tail, _) = fraction.bytes().fold((0, unit), |(sum, unit), digit| {
            let unit = unit / 10;
            (sum + u64::from(digit - b'0') * unit, unit)
        });
        let nanoseconds = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        sum = nanoseconds
            .and_then(|n| n.checked_add(tail)?.checked_add(sum))
            .ok_or(DurationError::TooLong)?;
        if after.is_empty() {
            return Ok(Duration::from_nanos(sum));
        }
        rest = after;
    }
}

/// Splits `text` before the first byte that matches.
fn split_at_first(text: &str, matches: fn(&u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| matches(&byte));
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        let nanoseconds = |text| parse_duration(text).unwrap().as_nanos();
        assert_eq!(nanoseconds("500ms"), 500_000_000);
        assert_eq!(nanoseconds("5s"), 5_000_000_000);
        assert_eq!(nanoseconds("5"), 5_000_000_000);
        assert_eq!(nanoseconds("0"), 0);
        assert_eq!(nanoseconds("1m"), 60_000_000_000);
        assert_eq!(nanoseconds("2h"), 7_200_000_000_000);
        assert_eq!(nanoseconds("2d"), 172_800_000_000_000);
        assert_eq!(nanoseconds("5min"), nanoseconds("5m"));
        assert_eq!(nanoseconds("5sec"), nanoseconds("5s"));
        assert_eq!(nanoseconds("1d2min3sec"), 86_523_000_000_000);
        assert_eq!(nanoseconds("0.25"), 250_000_000);
        assert_eq!(nanoseconds("1.5m"), 90_000_000_000);
        assert_eq!(nanoseconds("0.0000000019s"), 1);
        assert_eq!(nanoseconds(".5"), 500_000_000);
        assert_eq!(nanoseconds("1m30s"), 90_000_000_000);
        assert_eq!(nanoseconds("1h2m3.5s4ms"), 3_723_504_000_000);
    }

    #[test]
    fn text_that_is_not_a_duration_is_refused() {
        for text in [
            "", ".", "s", "ms", ".s", "5.", "1m30", "1m-1s", "1.2.3", "-1", "+1", "1 s", " 1",
            "1w", "1S", "5secs", "5mins", "5days", "0x10", "1e3", "inf", "NaN", "5ss", "٣",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::Form), "{text:?}");
        }
        for text in [
            "18446744073709551616",
            "18446744074s",
            "18446744073s1s",
            "99999999999999h",
            "213504d",
        ] {
            assert_eq!(parse_duration(text), Err(DurationError::TooLong), "{text}");
        }
    }

    #[test]
    fn an_interval_under_10_ms_is_refused() {
        for text in ["0", "0s", "9ms", "0.009"] {
            assert_eq!(
                text.parse::<Interval>(),
                Err(DurationError::TooShort),
                "{text}"
            );
        }
        assert!("10ms".parse::<Interval>().is_ok());
    }

    /// A simulated clock: polls use CPU time, and time passes between them.
    struct Clock {
        pace: Pace,
        now: Instant,
        cpu_time: Duration,
        /// Each value of `late` that `start_poll` announced.
        said: Vec<Option<Late>>,
    }

    impl Clock {
        fn new(interval: Interval) -> Clock {
            let now = Instant::now();
            let cpu_time = milliseconds(77);
            let pace = Pace::new(interval, now, cpu_time);
            Clock {
                pace,
                now,
                cpu_time,
                said: Vec::new(),
            }
        }

        /// Makes one poll that uses `cost` of CPU time and `takes` this much time. Returns
        /// the time from its start to the next poll.
        fn poll(&mut self, cost: Duration, takes: Duration, has_changed: bool) -> Duration {
            if self.pace.start_poll(self.now) {
                self.said.push(self.pace.late());
            }
            let started = self.now;
            self.now += takes;
            self.cpu_time += cost;
            self.now = self.pace.end_poll(self.now, self.cpu_time, has_changed);
            self.now - started
        }

        /// The number of polls of this cost that start within `time`.
        fn polls_within(&mut self, time: Duration, cost: Duration) -> u32 {
            let end = self.now + time;
            let mut polls = 0;
            while self.now < end {
                self.poll(cost, cost, false);
                polls += 1;
            }
            polls
        }
    }

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    const CHEAP: Duration = Duration::from_micros(100);

    #[test]
    fn a_watcher_polls_ten_times_a_second_after_a_change() {
        let mut clock = Clock::new(Interval::OF_WATCH);
        assert_eq!(clock.polls_within(seconds(30), CHEAP), 300);
        assert_eq!(clock.polls_within(seconds(60), CHEAP), 120);
        clock.poll(CHEAP, CHEAP, true);
        assert_eq!(clock.polls_within(seconds(20), CHEAP), 200);
    }

    #[test]
    fn expensive_polls_are_less_frequent() {
        // The CPU time of a poll in microseconds, and the number of polls within 20 s. From
        // 5 ms on, there is one poll per second, and from 100 ms on, the limit is a tenth
        // of a core.
        let shares = [(400, 200), (1_000, 100), (3_000, 34), (5_000, 20)];
        let seconds_each = [(50_000, 20), (90_000, 20), (200_000, 10), (1_000_000, 2)];
        for (cost, expected) in shares.into_iter().chain(seconds_each) {
            let mut clock = Clock::new(Interval::OF_WATCH);
            let polls = clock.polls_within(seconds(20), Duration::from_micros(cost));
            assert_eq!(polls, expected, "{cost}");
        }
    }

    #[test]
    fn a_wait_polls_every_10_to_100_ms() {
        for (cost, expected) in [
            (100, 991),
            (1_000, 200),
            (2_000, 100),
            (5_000, 100),
            (20_000, 50),
        ] {
            let mut clock = Clock::new(Interval::OF_WAIT);
            let polls = clock.polls_within(seconds(10), Duration::from_micros(cost));
            assert!(polls.abs_diff(expected) <= 1, "{cost}: {polls}");
        }
    }

    #[test]
    fn polls_keep_the_interval_that_was_asked_for() {
        let mut clock = Clock::new("50ms".parse().unwrap());
        for cost in [0, 1, 4, 5] {
            let cost = milliseconds(cost);
            assert_eq!(clock.poll(cost, cost, false), milliseconds(50));
        }
        clock.now += seconds(100);
        assert_eq!(clock.poll(CHEAP, CHEAP, false), milliseconds(50));
    }

    /// Repeats polls with these costs, in milliseconds, for a minute, and checks every window
    /// of ten seconds or ten polls.
    fn assert_within_a_tenth(interval: Interval, costs: &[u64]) {
        let mut clock = Clock::new(interval);
        let mut polls: Vec<(Instant, Duration)> = Vec::new();
        let end = clock.now + seconds(60);
        for cost in costs.iter().cycle() {
            let cost = milliseconds(*cost);
            polls.push((clock.now, cost));
            clock.poll(cost, cost, true);
            if clock.now > end {
                break;
            }
        }
        for first in 0..polls.len() {
            let start = polls[first].0;
            let after = &polls[first..];
            let in_time = after.iter().take_while(|poll| poll.0 < start + seconds(10));
            let number = in_time.count().max(10);
            // The window ends before the next poll.
            let Some((next, _)) = after.get(number) else {
                break;
            };
            let used: Duration = after[..number].iter().map(|poll| poll.1).sum();
            let time = next.saturating_duration_since(start).max(seconds(10));
            assert!(used * 10 <= time, "{costs:?}: {used:?} in {time:?}");
        }
    }

    #[test]
    fn polls_take_at_most_a_tenth_of_a_core() {
        for interval in [
            Interval::OF_WATCH,
            Interval::OF_WAIT,
            "10ms".parse().unwrap(),
        ] {
            for costs in [
                &[0][..],
                &[1],
                &[20],
                &[100],
                &[300],
                &[450],
                &[600],
                &[5000],
            ] {
                assert_within_a_tenth(interval, costs);
            }
            assert_within_a_tenth(interval, &[40, 15]);
            assert_within_a_tenth(interval, &[450, 0, 0]);
            assert_within_a_tenth(interval, &[450, 450, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn one_expensive_poll_does_not_slow_down_cheap_ones() {
        let mut clock = Clock::new(Interval::OF_WATCH);
        clock.poll(CHEAP, CHEAP, false);
        let expensive = milliseconds(300);
        let pauses = [expensive, CHEAP, CHEAP].map(|cost| clock.poll(cost, cost, true));
        assert!(
            pauses.iter().all(|pause| *pause < milliseconds(500)),
            "{pauses:?}"
        );
        clock.polls_within(seconds(5), CHEAP);
        assert_eq!(clock.polls_within(seconds(20), CHEAP), 200);
    }

    /// To the clock, a stopped process, a busy machine and a sleeping ss look the same.
    #[test]
    fn time_without_cpu_use_does_not_delay_polls() {
        let mut clock = Clock::new(Interval::OF_WATCH);
        let (stopped, shortest) = (seconds(12), Interval::SHORTEST);
        assert_eq!(clock.poll(CHEAP, stopped, false), stopped + shortest);
        assert_eq!(clock.poll(CHEAP, CHEAP, false), milliseconds(100));
    }

    #[test]
    fn an_unknown_cpu_time_does_not_delay_polls() {
        let mut clock = Clock::new(Interval::OF_WATCH);
        clock.poll(CHEAP, CHEAP, false);
        let known = std::mem::take(&mut clock.cpu_time);
        assert_eq!(clock.poll(Duration::ZERO, CHEAP, false), milliseconds(100));
        clock.cpu_time = known;
        assert_eq!(clock.poll(CHEAP, CHEAP, false), milliseconds(100));
    }

    /// Makes a number of `polls` that cost and take this many milliseconds, and then as many
    /// that cost and take nothing. Returns each announcement: the time between two polls and
    /// whether CPU time is the reason, or `None` when polls are on time again.
    fn said(interval: Interval, cost: u64, takes: u64, polls: u32) -> Vec<Option<(u128, bool)>> {
        let mut clock = Clock::new(interval);
        for (cost, takes) in [(cost, takes), (0, 0)] {
            for _ in 0..polls {
                clock.poll(milliseconds(cost), milliseconds(takes), false);
            }
        }
        let said =
            |late: &Option<Late>| late.map(|late| (late.between.as_millis(), late.is_costly));
        clock.said.iter().map(said).collect()
    }

    #[test]
    fn late_polls_and_their_end_are_announced_once() {
        let interval = |text: &str| text.parse::<Interval>().unwrap();
        // Polls are more than twice the interval apart, because of their cost or because of
        // waiting.
        assert_eq!(
            said(interval("100ms"), 30, 30, 300),
            [Some((333, true)), None]
        );
        assert_eq!(
            said(interval("100ms"), 0, 200, 300),
            [Some((210, false)), None]
        );
        assert_eq!(
            said(interval("1h"), 0, 7_300_000, 30),
            [Some((7_300_010, false)), None]
        );
        // Polls are less than twice the interval apart, or `Pace` chose the pause itself.
        assert_eq!(said(interval("1s"), 30, 900, 300), []);
        assert_eq!(said(Interval::OF_WATCH, 90, 90, 300), []);
    }

    /// How late rounds are, in seconds, if each consists of this many `polls`. There is one
    /// poll per second, which `takes` this long.
    fn late_rounds(polls: u64, takes: Duration) -> Option<u128> {
        let mut clock = Clock::new("1s".parse().unwrap());
        for poll in 1..=60 {
            clock.poll(CHEAP, takes, false);
            clock.pace.note_turns(poll % polls == 0);
        }
        let late = clock.pace.late_turns();
        late.map(|late| late.between.as_secs_f64().round() as u128)
    }

    #[test]
    fn rounds_of_turns_can_be_late_while_polls_are_not() {
        assert_eq!(late_rounds(1, CHEAP), None);
        assert_eq!(late_rounds(2, CHEAP), None);
        assert_eq!(late_rounds(5, CHEAP), Some(5));
        // No round ends within the minute.
        assert!(late_rounds(100, CHEAP).is_some());
        assert_eq!(late_rounds(1, seconds(3)), None);
    }

    #[test]
    fn one_late_poll_among_many_is_not_announced() {
        let mut clock = Clock::new("100ms".parse().unwrap());
        clock.polls_within(seconds(5), CHEAP);
        clock.poll(CHEAP, seconds(2), false);
        clock.polls_within(seconds(60), CHEAP);
        assert_eq!(clock.said, []);
    }
}
