//! Expands environment variables in a PORT. Docker and Kubernetes do not expand variables in
//! the exec form, and a minimal image has no shell to do it.

use std::ffi::OsString;

/// Expands `$NAME`, `${NAME}` and `${NAME:-DEFAULT}` in `text`, as a POSIX shell does.
/// `variable` looks up a variable. A `$` in a value is not expanded again.
///
/// # Errors
/// If a variable without a default is unset or empty, or if `$` is followed by anything else.
/// The error is the reason, and names the variable.
pub fn expand(text: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, default, remainder) = split_reference(after)
            .ok_or("write a variable as $NAME, ${NAME} or ${NAME:-DEFAULT}")?;
        let value = match variable(name) {
            None => Err(format!("the variable {name} is not set")),
            Some(value) if value.is_empty() => Err(format!("the variable {name} is empty")),
            Some(value) => Ok(value.to_string_lossy().into_owned()),
        };
        match (value, default) {
            (Ok(value), _) => expanded.push_str(&value),
            (Err(_), Some(default)) => expanded.push_str(default),
            (Err(why), None) => return Err(format!("{why} (for a default, ${{{name}:-8080}})")),
        }
        rest = remainder;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Splits the text after a `$` into the name, the default and the remainder.
fn split_reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (name, default, rest) = match text.strip_prefix('{') {
        None => {
            let end = text
                .find(|c: char| !is_name_character(c))
                .unwrap_or(text.len());
            (&text[..end], None, &text[end..])
        }
        Some(text) => {
            let (inside, rest) = text.split_once('}')?;
            match inside.split_once(':') {
                None => (inside, None, rest),
                Some((name, default)) => (name, Some(default.strip_prefix('-')?), rest),
            }
        }
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(is_name_character);
    is_name.then_some((name, default, rest))
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, |name| match name {
            "PORT" => Some("8080".into()),
            "HOST_2" => Some("127.0.0.1".into()),
            "EMPTY" => Some("".into()),
            "DOLLAR" => Some("$PORT".into()),
            _ => None,
        })
    }

    #[test]
    fn every_form_is_expanded_anywhere_in_the_text() {
        for (text, expected) in [
            ("8080", "8080"),
            ("$PORT", "8080"),
            ("${PORT}", "8080"),
            ("${PORT}0/tcp", "80800/tcp"),
            ("$HOST_2:$PORT/tcp", "127.0.0.1:8080/tcp"),
            ("${PORT:-1}", "8080"),
            ("${NONE:-1}-${EMPTY:-2}", "1-2"),
            ("${NONE:-}", ""),
            ("${NONE:-[::1]:-}", "[::1]:-"),
            ("$DOLLAR", "$PORT"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_error_names_a_variable_without_a_value() {
        let why = |what| format!("the variable {what} (for a default, ${{NONE:-8080}})");
        assert_eq!(expanded("$NONE"), Err(why("NONE is not set")));
        assert_eq!(expanded("80${NONE}"), Err(why("NONE is not set")));
        let empty = expanded("$EMPTY").unwrap_err();
        assert!(empty.starts_with("the variable EMPTY is empty"), "{empty}");
    }

    #[test]
    fn other_text_after_a_dollar_sign_is_refused() {
        for text in [
            "$",
            "$$",
            "${",
            "${}",
            "${PORT",
            "$1",
            "${PORT-1}",
            "${PORT:1}",
            "${PORT:+:-1}",
            "$(id)",
            "${A B}",
            "$-",
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.starts_with("write a variable as"), "{text}: {error}");
        }
    }
}
