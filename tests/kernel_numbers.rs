//! Compares the integer constants of `src` with the headers of the kernel, whose values a C
//! program prints.
//!
//! A constant in `src` has the same name as in the headers. A constant `X_SIZE` is the size of
//! `struct x`. A constant that no header defines must be in one of the lists of this file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use syn::visit::Visit;
use syn::{BinOp, Expr, Ident, ImplItemConst, ItemConst, ItemEnum, Lit, Type, UnOp};
use tempfile::TempDir;
use walkdir::WalkDir;

const HEADERS: [&str; 33] = [
    "stdio.h",
    "errno.h",
    "fcntl.h",
    "netinet/in.h",
    "poll.h",
    "sched.h",
    "signal.h",
    "sys/auxv.h",
    "sys/prctl.h",
    "sys/resource.h",
    "sys/socket.h",
    "sys/syscall.h",
    "sys/wait.h",
    "time.h",
    "linux/bpf.h",
    "linux/capability.h",
    "linux/if_ether.h",
    "linux/if_link.h",
    "linux/inet_diag.h",
    "linux/kcmp.h",
    "linux/limits.h",
    "linux/mptcp.h",
    "linux/net.h",
    "linux/netlink.h",
    "linux/netlink_diag.h",
    "linux/openat2.h",
    "linux/packet_diag.h",
    "linux/prctl.h",
    "linux/rtnetlink.h",
    "linux/sock_diag.h",
    "linux/tcp.h",
    "linux/unix_diag.h",
    "linux/vm_sockets_diag.h",
];

/// Constants of the kernel that are in no header for programs.
const IN_NO_HEADER: [&str; 3] = [
    // Defined in include/net/flow.h of the kernel.
    "LOOPBACK_IFINDEX",
    // Defined in include/linux/sched.h of the kernel, to which proc_pid_stat(5) refers.
    "PF_EXITING",
    // Defined in include/linux/threads.h of the kernel.
    "PID_MAX_LIMIT",
];

/// The program also has constants of its own, which have nothing to do with the kernel. Their names
/// start with one of these words.
const OWN: [&str; 35] = [
    "ANY",
    "BOTH",
    "BUDGET",
    "BUFFER",
    "CHAINS",
    "COLUMN",
    "COLUMNS",
    "CONTAINER",
    "DAYS",
    "FIRST",
    "FRUITLESS",
    "ID",
    "INDENT",
    "INDEX",
    "LARGEST",
    "LATE",
    "LEAST",
    "LENGTH",
    "LONGEST",
    "MODE",
    "MOST",
    "MOUNTED",
    "NETID",
    "PAGE",
    "PART",
    "PIECE",
    "REQUEST",
    "SEARCHES",
    "SHORT",
    "SHOWN",
    "SIZE",
    "STATE",
    "STEADY",
    "UNKNOWN",
    "WIDTH",
];

/// The least number of constants that this test must compare. If it finds fewer, its search for
/// constants has a fault.
const FEWEST: usize = 160;

/// A value and its width in bits. The value is `None` if this test cannot compute it.
type Number = (Option<i64>, u32);

/// The integer constants of the program. Several files may define the same name.
#[derive(Default)]
struct Numbers {
    found: BTreeMap<String, BTreeSet<Number>>,
}

impl Numbers {
    fn of_program() -> Numbers {
        let mut numbers = Numbers::default();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for entry in WalkDir::new(source) {
            let path = entry.unwrap().into_path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let file = syn::parse_file(&fs::read_to_string(path).unwrap());
                numbers.visit_file(&file.unwrap());
            }
        }
        numbers
    }

    fn add(&mut self, name: &Ident, kind: &Type, expression: &Expr) {
        if let Some(bits) = bits(kind) {
            let numbers = self.found.entry(name.to_string()).or_default();
            numbers.insert((value(expression), bits));
        }
    }
}

impl<'ast> Visit<'ast> for Numbers {
    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        self.add(&item.ident, &item.ty, &item.expr);
    }

    fn visit_impl_item_const(&mut self, item: &'ast ImplItemConst) {
        self.add(&item.ident, &item.ty, &item.expr);
    }

    /// Adds the states of TCP, which are an enumeration. Their values count up from the first.
    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        let discriminant = |variant: &syn::Variant| value(&variant.discriminant.as_ref()?.1);
        let Some(mut next) = item.variants.first().and_then(discriminant) else {
            return;
        };
        if item.ident != "State" {
            assert!(
                item.ident.to_string().ends_with("ExitStatus"),
                "{} has numbers",
                item.ident
            );
            return;
        }
        for variant in &item.variants {
            next = discriminant(variant).unwrap_or(next);
            let name = format!("TCP{}", in_capitals(&variant.ident.to_string()));
            self.found.entry(name).or_default().insert((Some(next), 64));
            next += 1;
        }
    }
}

/// The name of an enum's variant as in C: `FinWait1` becomes `_FIN_WAIT1`.
fn in_capitals(name: &str) -> String {
    let mut capitals = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            capitals.push('_');
        }
        capitals.push(letter.to_ascii_uppercase());
    }
    capitals
}

/// The width of an integer type in bits. Returns `None` if the type is not an integer type.
fn bits(kind: &Type) -> Option<u32> {
    let Type::Path(path) = kind else {
        return None;
    };
    let name = path.path.segments.last()?.ident.to_string();
    Some(match &*name {
        "c_char" => 8,
        "c_short" => 16,
        "c_int" | "c_uint" => 32,
        "c_long" | "c_ulong" | "isize" | "usize" => usize::BITS,
        _ => name.strip_prefix(['i', 'u'])?.parse().ok()?,
    })
}

/// The value of a constant expression on this machine, truncated to 64 bits. Returns `None` if this
/// test cannot compute the expression.
fn value(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Paren(inner) => value(&inner.expr),
        Expr::Unary(unary) => match unary.op {
            UnOp::Neg(_) => Some(-value(&unary.expr)?),
            _ => None,
        },
        Expr::Binary(binary) => {
            let (left, right) = (value(&binary.left)?, value(&binary.right)?);
            match binary.op {
                BinOp::Add(_) => Some(left + right),
                BinOp::Mul(_) => Some(left * right),
                BinOp::BitOr(_) => Some(left | right),
                BinOp::Shl(_) => Some(left << right),
                _ => None,
            }
        }
        Expr::Path(path) => {
            let parts = path.path.segments.iter().map(|part| part.ident.to_string());
            (parts.collect::<Vec<_>>() == ["usize", "MAX"]).then_some(-1)
        }
        Expr::If(choice) => {
            let Expr::Macro(condition) = &*choice.cond else {
                return None;
            };
            let (_, otherwise) = choice.else_branch.as_ref()?;
            match is_for_this_machine(&condition.mac.tokens.to_string())? {
                true => value_of_block(&choice.then_branch),
                false => value(otherwise),
            }
        }
        Expr::Block(block) => value_of_block(&block.block),
        _ => None,
    }
}

fn value_of_block(block: &syn::Block) -> Option<i64> {
    match &block.stmts[..] {
        [syn::Stmt::Expr(expression, None)] => value(expression),
        _ => None,
    }
}

/// Whether the condition of a `cfg!` is true on this architecture. Returns `None` if the condition
/// is not about the architecture.
fn is_for_this_machine(condition: &str) -> Option<bool> {
    let quoted: Vec<&str> = condition.split('"').skip(1).step_by(2).collect();
    let conditions = condition.matches("target_arch").count();
    (conditions == quoted.len() && !condition.contains("not"))
        .then(|| quoted.contains(&std::env::consts::ARCH))
}

/// The C expression for the constant with this name.
fn in_c(name: &str) -> String {
    if let Some(call) = name.strip_prefix("SYS_") {
        return format!("SYS_{}", call.to_ascii_lowercase());
    }
    // netinet/tcp.h has the states TCP_*, but cannot be included together with linux/tcp.h,
    // because both define `struct tcp_info`. The kernel checks that BPF_TCP_* have the same values.
    if name.starts_with("TCP_") {
        return format!("BPF_{name}");
    }
    match name.strip_suffix("_SIZE") {
        Some(structure) => format!("sizeof(struct {})", structure.to_ascii_lowercase()),
        None => name.to_string(),
    }
}

/// The values of these names in the headers. A name that no header defines is left out. Returns
/// `None` if there is no compiler.
fn defined<'a>(names: impl Iterator<Item = &'a String>) -> Option<BTreeMap<&'a str, i64>> {
    let directory = TempDir::new().unwrap();
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    let run = |program: &mut Command| match program.env("LC_ALL", "C").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        output => Some(output.unwrap()),
    };
    let binary = directory.path().join("numbers");
    loop {
        let source = directory.path().join("numbers.c");
        let text = program(&names);
        fs::write(&source, &text).unwrap();
        let compiled = run(Command::new("cc")
            .args(["-w", "-o"])
            .args([&binary, &source]))?;
        if compiled.status.success() {
            break;
        }
        let errors = String::from_utf8(compiled.stderr).unwrap();
        let wrong = lines_with_errors(&errors);
        let before = names.len();
        let lines: Vec<&str> = text.lines().collect();
        let is_wrong = |name: &str| {
            wrong
                .iter()
                .any(|line| lines[line - 1].contains(&return_statement(name)))
        };
        names.retain(|name| !is_wrong(name));
        assert!(names.len() < before, "{errors}");
    }
    let printed = run(&mut Command::new(binary)).unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let values = printed.lines().map(|line| line.parse().unwrap());
    Some(names.into_iter().zip(values).collect())
}

/// A C program that prints the constants with these names, one per line.
fn program(names: &[&str]) -> String {
    let includes = HEADERS
        .map(|header| format!("#include <{header}>\n"))
        .concat();
    // Each constant is in a function of its own, because a compiler reports an undefined name
    // only once per function.
    let functions = |(index, name): (usize, &&str)| {
        let statement = return_statement(name);
        format!("long long f{index}(void) {{ {statement} }}\n")
    };
    let functions: String = names.iter().enumerate().map(functions).collect();
    let calls = (0..names.len()).map(|index| format!("printf(\"%lld\\n\", f{index}());\n"));
    let calls: String = calls.collect();
    format!("#define _GNU_SOURCE\n{includes}{functions}int main(void) {{\n{calls}}}\n")
}

fn return_statement(name: &str) -> String {
    format!("return (long long)({});", in_c(name))
}

/// The lines of `numbers.c` that have errors, counted from 1.
fn lines_with_errors(errors: &str) -> BTreeSet<usize> {
    let errors = errors.lines().filter(|line| line.contains(": error: "));
    let line = |error: &str| {
        let (_, position) = error.split_once("numbers.c:")?;
        position.split(':').next()?.parse().ok()
    };
    errors.filter_map(line).collect()
}

fn is_own(name: &str) -> bool {
    let first = name.split('_').next().unwrap();
    OWN.contains(&first) || IN_NO_HEADER.contains(&name)
}

#[test]
fn constants_have_the_values_of_the_kernel_headers() {
    let numbers = Numbers::of_program().found;
    let Some(defined) = defined(numbers.keys()) else {
        let required = std::env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|required| required == "cc"),
            "this needs cc"
        );
        eprintln!("skipped: needs cc");
        return;
    };
    let mut wrong = Vec::new();
    for (name, found) in &numbers {
        let Some(expected) = defined.get(&**name) else {
            if !is_own(name) {
                wrong.push(format!("{name} is in no header here"));
            }
            continue;
        };
        for (value, bits) in found {
            let truncate = |value: i64| value as u64 & u64::MAX >> (64 - bits);
            if value.map(truncate) != Some(truncate(*expected)) {
                wrong.push(format!(
                    "{name} is {value:?}, and in the headers {expected}"
                ));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(defined.len() >= FEWEST, "{} of {FEWEST}", defined.len());
}
