//! The man page and the completions, made from the description of the command line.
//! The program uses none of this, so it does not carry it; the example `manual` prints
//! it.
//!
//! - [`man`] is the man page: the template `lntu.1.in`, filled in.
//! - [`bash`], [`fish`] and [`zsh`] are the completions, and [`words`] is what all of
//!   them need.

mod bash;
mod fish;
mod man;
mod words;
mod zsh;

/// Makes one part.
type Maker = fn() -> String;

/// All parts, each with its name.
pub const PARTS: [(&str, Maker); 4] = [
    ("man", man::page),
    ("bash", bash::completions),
    ("zsh", zsh::completions),
    ("fish", fish::completions),
];

/// The text of the part with this name, if there is one.
pub fn part(name: &str) -> Option<String> {
    let (_, make) = PARTS.iter().find(|(part, _)| *part == name)?;
    Some(make())
}
