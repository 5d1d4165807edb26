//! The exit statuses with their numbers and meanings. Help and the manual are generated from
//! this table, and no other code contains these numbers.

/// Which commands can end with an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBy {
    /// Every command.
    All,
    /// The commands that can answer no.
    Questions,
    /// `wait`.
    Wait,
    /// The commands that accept `-- COMMAND`.
    Starters,
}

/// The description of an exit status in help and the manual.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// The number, or a sum such as `128 + signal`.
    pub number: &'static str,
    /// The commands that can end with this status.
    pub given_by: GivenBy,
    /// The meaning, in less than a sentence.
    pub meaning: &'static str,
}

/// Generates the type and the table of descriptions from one list.
macro_rules! exit_statuses {
    ($($name:ident = $number:literal $(+ $what:ident)?, $given_by:ident, $meaning:literal;)*) => {
        /// An exit status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ExitStatus {
            $(#[doc = $meaning] $name = $number,)*
        }

        /// The descriptions of all exit statuses, in the order of help and the manual.
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

/// The note in help and the manual about the exit status while COMMAND is running.
pub const COMMAND_STATUS_NOTE: &str = "Once COMMAND runs, the exit status is its own.";

/// An exit status of the program under the name `ss`. The numbers are those of ss.
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
