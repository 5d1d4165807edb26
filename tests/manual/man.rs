//! The man page, in roff with the man(7) macros.

use lntu::cli::description::{
    ABOUT, COMMANDS, CommandName, EXIT_STATUS, EXIT_STATUS_OF_COMMAND, GROUPS, OptionSpec,
    PORT_EXAMPLES, PORT_FORM, PORT_MEANING,
};

/// What only the manual says, one paragraph per item.
const DESCRIPTION: &[&str] = &[
    "lntu says which TCP ports are listening and which UDP ports are bound in a network \
     namespace, and says so again whenever that changes. It is one static binary, for containers \
     that may hold nothing else: a health check, a way to wait for a port, and a port watcher.",
    "It asks \"ss -lntu\" and, where that is missing or fails, reads /proc/net itself. The answer \
     is the same either way. It never connects to a port.",
    "Under the name ss, as a link or a copy, it takes the options of ss(8) and prints what that \
     prints of listening TCP and UDP sockets, or refuses in one line.",
];

const OUTPUT: &[&str] = &[
    "A listener is a line in the columns of ss(8): protocol, state, the two queues, local and \
     peer address. Wildcards are written \"*\". watch prints the listeners that are there, then a \
     line for each change: one that opened as a plain line, one that closed as the same line with \
     the state CLOSED.",
    "With --json, each listener is an object on a line of its own, whose \"type\" is \
     \"listening\", \"opened\" or \"closed\".",
    "With --processes, a last column, or the member \"processes\", names those that hold the \
     socket.",
    "Only data goes to standard output. An error is one line on standard error, \
     \"lntu: WHAT: WHY\".",
];

const EXAMPLES: &[(&str, &str)] = &[
    ("Print the listeners once:", "lntu list"),
    (
        "Follow all TCP ports from 3000 to 3999, as JSON Lines:",
        "lntu --json 3000-3999/tcp",
    ),
    (
        "Be the health check of a container, in its Dockerfile:",
        "HEALTHCHECK CMD [\"/lntu\", \"check\", \"8080\"]",
    ),
    (
        "Start an application once a database in the same network namespace listens:",
        "lntu wait --timeout 60s 5432 -- /app",
    ),
    (
        "Start an application, and report its ports beside it:",
        "lntu --json --output /dev/stderr -- /app",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[(
    "PATH",
    "The absolute directories in which ss and COMMAND are looked for. ss is never taken from a \
     relative or empty entry.",
)];

const FILES: &[(&str, &str)] = &[
    (
        "/proc/net/tcp, /proc/net/tcp6, /proc/net/udp, /proc/net/udp6",
        "The tables that are read where ss does not answer. tcp must be readable; the others may \
         be absent.",
    ),
    (
        "/proc/net/sockstat, /proc/net/sockstat6",
        "How many sockets there are, which can spare the reading of a table.",
    ),
    (
        "/proc/PID/fd, /proc/PID/comm",
        "Where --processes finds who holds a socket, and what it is called.",
    ),
    (
        "/proc/sys/net/ipv4/ip_local_port_range",
        "The ports that --exclude ephemeral leaves out.",
    ),
];

pub fn page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = Page(format!(
        ".TH LNTU 1 \"\" \"lntu {version}\" \"User Commands\"\n"
    ));
    page.request(".SH NAME");
    page.line(&format!("lntu \\- {}", escaped(ABOUT)));

    page.request(".SH SYNOPSIS");
    page.request(".nf");
    for command in &COMMANDS {
        page.line(&usage(command.usage));
    }
    page.request(".fi");

    page.request(".SH DESCRIPTION");
    page.paragraphs(DESCRIPTION);

    page.request(".SH COMMANDS");
    for command in &COMMANDS {
        let name = command.name.text();
        let default = match command.name == CommandName::default() {
            true => " (the command if none is named)",
            false => "",
        };
        page.item(&format!("\\fB{name}\\fR{default}"), command.summary);
    }

    page.request(".SH PORT");
    page.line(&format!("A PORT is {}, such as", usage(PORT_FORM)));
    page.line(&format!("{}.", escaped(&PORT_EXAMPLES.join(", "))));
    page.prose(PORT_MEANING);

    page.request(".SH OPTIONS");
    for group in &GROUPS {
        page.request(&format!(".SS {}", escaped(group.title)));
        for option in group.options {
            let commands: Vec<&str> = option.commands.iter().map(|name| name.text()).collect();
            let help = match group.is_for_all() && option.commands == group.commands {
                true => option.help.to_string(),
                false => format!("{}: {}", commands.join(", "), option.help),
            };
            page.item(&spelling(option), &help);
        }
    }

    page.request(".SH OUTPUT");
    page.paragraphs(OUTPUT);

    page.request(".SH \"EXIT STATUS\"");
    for (status, meaning) in EXIT_STATUS {
        page.item(&bold(status), meaning);
    }
    page.request(".PP");
    page.prose(EXIT_STATUS_OF_COMMAND);

    page.request(".SH EXAMPLES");
    for (index, (what, typed)) in EXAMPLES.iter().enumerate() {
        if index > 0 {
            page.request(".PP");
        }
        page.prose(what);
        page.request(".PP\n.RS 4\n.nf");
        page.line(&bold(typed));
        page.request(".fi\n.RE");
    }

    page.request(".SH ENVIRONMENT");
    for (name, meaning) in ENVIRONMENT {
        page.item(&bold(name), meaning);
    }
    page.request(".SH FILES");
    for (name, meaning) in FILES {
        page.item(&format!("\\fI{}\\fR", escaped(name)), meaning);
    }
    page.request(".SH \"SEE ALSO\"");
    page.line("\\fBss\\fR(8), \\fBproc\\fR(5)");
    page.0
}

/// Roff source, built line by line.
struct Page(String);

impl Page {
    fn request(&mut self, request: &str) {
        self.0 += request;
        self.0 += "\n";
    }

    /// Adds a line of escaped text. A dot or a quote at its start would make it
    /// a request, so that is escaped too.
    fn line(&mut self, text: &str) {
        if text.starts_with(['.', '\'']) {
            self.0 += "\\&";
        }
        self.request(text);
    }

    /// Adds sentences. Each starts on a new line.
    fn prose(&mut self, text: &str) {
        for sentence in text.replace(". ", ".\n").lines() {
            self.line(&escaped(sentence));
        }
    }

    fn paragraphs(&mut self, texts: &[&str]) {
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.request(".PP");
            }
            self.prose(text);
        }
    }

    /// Adds a term, already escaped, and its explanation.
    fn item(&mut self, term: &str, explanation: &str) {
        self.request(".TP");
        self.line(term);
        self.prose(explanation);
    }
}

/// Escapes text so that roff prints it unchanged and readers can copy it.
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

/// Formats a usage line. Words in capitals stand for something else, the rest
/// is typed as it is.
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

/// `-o, --output FILE`
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
