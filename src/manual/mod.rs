//! Generates the man page and the completions from the description of the command line.
//! The program does not use this module, so the linker leaves it out of the binary. The
//! example `manual` prints the texts.
//!
//! - [`man`] fills in the template `lntu.1.in`.
//! - [`bash`], [`fish`] and [`zsh`] generate the completions, with the lists in [`words`].

mod bash;
mod fish;
mod man;
mod words;
mod zsh;

/// A function that generates the text of a part.
type Generate = fn() -> String;

/// The name of each part that the example `manual` can print, with the function that generates
/// the part.
pub const PARTS: [(&str, Generate); 4] = [
    ("man", man::page),
    ("bash", bash::completions),
    ("zsh", zsh::completions),
    ("fish", fish::completions),
];

/// The text of the part with this name. `None` if there is no such part.
pub fn part(name: &str) -> Option<String> {
    let (_, generate) = PARTS.iter().find(|(part, _)| *part == name)?;
    Some(generate())
}
