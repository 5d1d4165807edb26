//! The exit statuses: each with its number and its meaning. Help and the manual are
//! written from this table, and nothing else names a number.

/// Which commands can end with an exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBy {
    /// Every command.
    All,
    /// `wait`.
    Wait,
    /// The commands that accept `-- COMMAND`.
    Starters,
}

/// An exit status, as help and the manual show it.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// The number, or how it is made.
    pub number: &'static str,
    /// Which commands can end with it.
    pub given_by: GivenBy,
    /// What it says, in less than a sentence.
    pub meaning: &'static str,
}

/// Makes the type and the table that is shown from one list.
macro_rules! exit_statuses {
    ($($name:ident = $number:literal $(+ $what:ident)?, $given_by:ident, $meaning:literal;)*) => {
        /// An exit status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ExitStatus {
            $(#[doc = $meaning] $name = $number,)*
        }

        /// All exit statuses, in the order in which they are shown.
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
    No = 1, All, "no (not listening, or timed out)";
    Unknown = 2, All, "could not tell (bad usage, or nothing could be read)";
    Died = 3, Wait, "the process of --of has exited";
    Signal = 128 + signal, All, "ended by this signal";
    NotExecutable = 126, Starters, "COMMAND cannot be executed";
    NotFound = 127, Starters, "COMMAND was not found";
}

/// What the exit status is once COMMAND runs.
pub const COMMAND_STATUS_NOTE: &str = "Once COMMAND is running, its own exit status counts.";

/// An exit status of the program under the name `ss`, with the number that ss gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SsExitStatus {
    /// The table is complete.
    Done = 0,
    /// Something could not be read or written.
    Failed = 1,
    /// The command line is not understood, or asks for what is not covered.
    Usage = 255,
}
