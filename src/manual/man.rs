//! Generates the man page in roff, with the macros of man(7).

use crate::cli::description::{
    ABOUT, COMMANDS, CommandName, DETAILS, GROUPS, OptionSpec, PORT_EXAMPLES, PORT_FORM, options,
};
use crate::cli::port_meaning;
use crate::exit_status::{self, EXIT_STATUSES};

/// The man page without the generated parts, in simplified roff. A line that starts with a dot
/// is a request, and the line after `.TP` is a term. A line `@NAME@` is replaced by the
/// generated part with that name. Every other line is plain text.
const TEMPLATE: &str = include_str!("lntu.1.in");

pub fn page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = Page(format!(
        ".TH LNTU 1 \"\" \"lntu {version}\" \"User Commands\"\n"
    ));
    let mut is_term = false;
    for line in TEMPLATE.lines() {
        match line
            .strip_prefix('@')
            .and_then(|line| line.strip_suffix('@'))
        {
            Some(name) => page.part(name),
            None if line.starts_with('.') => page.request(line),
            None if is_term => page.line(&bold(line)),
            None => page.line(&escaped(line)),
        }
        is_term = line == ".TP";
    }
    page.0
}

/// The source of a page in roff, built line by line.
struct Page(String);

impl Page {
    /// Adds a roff request.
    fn request(&mut self, request: &str) {
        self.0 += request;
        self.0 += "\n";
    }

    /// Adds a line of escaped text. If the line starts with a dot or a quote, escapes that
    /// character, too, because roff would treat the line as a request.
    fn line(&mut self, text: &str) {
        if text.starts_with(['.', '\'']) {
            self.0 += "\\&";
        }
        self.request(text);
    }

    /// Adds text that is not escaped yet. Starts each sentence on a new line.
    fn prose(&mut self, text: &str) {
        for sentence in text.replace(". ", ".\n").lines() {
            self.line(&escaped(sentence));
        }
    }

    /// Adds the generated part with this name, such as `NAME`.
    fn part(&mut self, name: &str) {
        match name {
            "NAME" => self.line(&format!("lntu \\- {}", escaped(ABOUT))),
            "SYNOPSIS" => {
                self.request(".nf");
                for command in &COMMANDS {
                    self.line(&usage(command.usage));
                }
                self.request(".fi");
            }
            "COMMANDS" => {
                for command in &COMMANDS {
                    let name = bold(command.name.text());
                    let default = match command.name == CommandName::default() {
                        true => " (the command if none is named)",
                        false => "",
                    };
                    self.item(&format!("{name}{default}"), command.summary);
                }
            }
            "PORT" => {
                self.line(&format!("A PORT is {}, such as", usage(PORT_FORM)));
                self.line(&format!("{}.", escaped(&PORT_EXAMPLES.join(", "))));
                self.prose(&port_meaning(None));
            }
            "OPTIONS" => self.options(),
            "REPEATABLE" => self.repeatable(),
            "EXIT_STATUS" => {
                for status in EXIT_STATUSES {
                    self.item(&bold(status.number), status.meaning);
                }
                self.request(".PP");
                self.prose(exit_status::COMMAND_STATUS_NOTE);
            }
            _ => panic!("{name} stands for nothing"),
        }
    }

    /// Adds all options, in their groups.
    fn options(&mut self) {
        for (group, details) in GROUPS.iter().zip(DETAILS) {
            self.request(&format!(".SS {}", escaped(group.title)));
            for (option, details) in group.options.iter().zip(details) {
                let commands: Vec<&str> = option.commands.iter().map(|name| name.text()).collect();
                let help = match group.is_for_all() && option.commands == group.commands {
                    true => format!("{}.", option.help),
                    false => format!("{}: {}.", commands.join(", "), option.help),
                };
                self.item(&spelling(option), &help);
                self.prose(details);
            }
        }
    }

    /// Adds a sentence that lists the options that have a value and can be repeated.
    fn repeatable(&mut self) {
        let repeatable =
            options().filter(|option| option.is_repeatable && option.value().is_some());
        let names: Vec<String> = repeatable.map(|o| format!("--{}", o.long)).collect();
        let (last, others) = names.split_last().expect("some option is repeatable");
        let others = others.join(", ");
        self.prose(&format!(
            "Of the options with a value, only {others} and {last} may be repeated."
        ));
    }

    /// Adds a term, which must be escaped already, and its explanation.
    fn item(&mut self, term: &str, explanation: &str) {
        self.request(".TP");
        self.line(term);
        self.prose(explanation);
    }
}

/// Escapes text so that roff prints exactly these ASCII characters and readers can copy them.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' => escaped += "\\e",
            '-' => escaped += "\\-",
            '\'' => escaped += "\\(aq",
            '`' => escaped += "\\(ga",
            '^' => escaped += "\\(ha",
            '~' => escaped += "\\(ti",
            _ => escaped.push(character),
        }
    }
    escaped
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// Formats a usage line. Words in capitals are placeholders and become italic. All other words
/// are typed literally and become bold.
fn usage(text: &str) -> String {
    let is_capital = |character: char| character.is_ascii_uppercase();
    let mut marked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = is_capital(first);
        let is_word = |c: char| c.is_ascii_alphabetic() && is_capital(c) == is_name;
        let end = match first.is_ascii_alphabetic() {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        marked += &match (first.is_ascii_alphabetic(), is_name) {
            (true, true) => format!("\\fI{word}\\fR"),
            (true, false) => bold(word),
            _ => escaped(word),
        };
        rest = after;
    }
    marked
}

/// The term for an option in the man page, such as `-o, --output FILE`.
fn spelling(option: &OptionSpec) -> String {
    let mut text = String::new();
    if let Some(short) = option.short {
        text += &format!("{}, ", bold(&format!("-{short}")));
    }
    text += &bold(&format!("--{}", option.long));
    if let Some(value) = option.value() {
        text += &format!(" \\fI{}\\fR", escaped(value.name));
    }
    text
}
