//! The exit statuses with their numbers and meanings. `--help` and the manual are generated
//! from the table in this file, and no other code contains these numbers.

/// The commands that can end with an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBy {
    /// Every command can end with this status.
    All,
    /// Only commands that answer a yes-or-no question can end with this status.
    Questions,
    /// Only `wait` can end with this status.
    Wait,
    /// Only commands that accept `-- COMMAND` can end with this status.
    Starters,
}

/// The description of an exit status in `--help` and the manual.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// The number, or a sum such as `128 + signal`.
    pub number: &'static str,
    /// The commands that can end with this status.
    pub given_by: GivenBy,
    /// The meaning, as a phrase that is shorter than a sentence.
    pub meaning: &'static str,
}

/// Generates the enum and the table of descriptions from one list.
macro_rules! exit_statuses {
    ($($name:ident = $number:literal $(+ $what:ident)?, $given_by:ident, $meaning:literal;)*) => {
        /// An exit status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ExitStatus {
            $(#[doc = $meaning] $name = $number,)*
        }

        /// The descriptions of all exit statuses, in the order in which `--help` and the manual
        /// print them.
        pub static EXIT_STATUSES: &[Explained] = &[$(
            Explained {
                number: concat!(stringify!($number) $(, " + ", stringify!($what))?),
                given_by: GivenBy::$given_by,
                meaning: $meaning,
            },
        )*];
    };
}

exit_statuses! {
    Yes = 0, All, "yes, or done";
    No = 1, Questions, "no (not listening, or timed out)";
    Unknown = 2, All, "could not tell (bad usage, or something could not be read or written)";
    Died = 3, Wait, "the process given with --of has exited";
    Signal = 128 + signal, All, "ended by that signal";
    NotExecutable = 126, Starters, "COMMAND cannot be executed";
    NotFound = 127, Starters, "COMMAND was not found";
}

/// The note in `--help` and the manual about the exit status while COMMAND is running.
pub const COMMAND_STATUS_NOTE: &str =
    "Once COMMAND has started, the exit status is that of COMMAND.";

/// An exit status of the program under the name `ss`. The numbers are the same as those of the
/// real ss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SsExitStatus {
    /// The table is complete.
    Done = 0,
    /// Something could not be read or written.
    Failed = 1,
    /// The command line is invalid or is not supported.
    Usage = 255,
}
