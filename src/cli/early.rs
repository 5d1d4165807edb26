//! Reads as much of a command line as is possible without allocating memory.

use std::ffi::OsStr;

use super::description::CommandName;

/// The `-- COMMAND` of a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The number of arguments at the end of the command line that are COMMAND and its own
    /// arguments.
    pub words: usize,
    /// Whether warnings are unwanted.
    pub is_quiet: bool,
}

/// Finds the COMMAND that has to start even if there is no memory for the watcher. Does not
/// allocate memory. `arguments` are those after the program's name.
///
/// The search does not know which arguments are values of options. Therefore it finds no
/// COMMAND after a word that may be the name of another command: after `wait`, COMMAND must
/// not start before its ports are listening. A `q` among short options counts as `-q`.
pub fn beside<'a>(mut arguments: impl Iterator<Item = &'a OsStr> + Clone) -> Option<Beside> {
    let mut is_quiet = false;
    while let Some(argument) = arguments.next() {
        match argument.as_encoded_bytes() {
            b"--" => {
                let has_program = arguments
                    .clone()
                    .next()
                    .is_some_and(|word| !word.is_empty());
                let words = arguments.count();
                return has_program.then_some(Beside { words, is_quiet });
            }
            b"--quiet" => is_quiet = true,
            [b'-', letter, rest @ ..] if *letter != b'-' => {
                is_quiet |= *letter == b'q' || rest.contains(&b'q');
            }
            _ if CommandName::of(argument).is_some_and(|name| name != CommandName::Watch) => {
                return None;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside_of(line: &str) -> Option<(usize, bool)> {
        beside(line.split(' ').map(OsStr::new)).map(|beside| (beside.words, beside.is_quiet))
    }

    #[test]
    fn the_command_of_a_watcher_is_found() {
        assert_eq!(beside_of("-- /app"), Some((1, false)));
        assert_eq!(beside_of("watch 80 -- /app wait -- -q"), Some((4, false)));
        assert_eq!(beside_of("-tqo/dev/null -- /app"), Some((1, true)));
        assert_eq!(beside_of("--quiet -p -- /app x"), Some((2, true)));
    }

    #[test]
    fn a_line_that_names_another_command_gives_none() {
        for line in [
            "wait 80 -- /app",
            "-q wait 80 -- /app",
            "-o list -- /app",
            "check 80 -- /app",
            "help -- /app",
        ] {
            assert_eq!(beside_of(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_command_gives_none() {
        for line in ["80", "--", "-- ", "--quiet"] {
            assert_eq!(beside_of(line), None, "{line}");
        }
    }
}
