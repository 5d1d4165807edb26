//! Tests of the structure of `src`. Every module is on a floor, and a file imports only modules on
//! floors below its own. No files import each other in a circle, and functions are short. The
//! imports of a file are all paths outside of unit tests that start with `crate`, `super`, `self`
//! or the name of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree};
use walkdir::WalkDir;

/// The top-level modules of `src` by floor, from the top floor down. Modules on one floor do not
/// import each other. `lib` is missing, because it only declares the other modules.
const FLOORS: &[&[&str]] = &[
    &["main", "manual"],
    &["as_ss"],
    &["cli"],
    &["command"],
    &["error"],
    &["output", "source"],
    &["snapshot", "port"],
    &["kernel"],
    &["listener"],
    &["numbers", "report", "sys"],
    &["exit_status"],
];

/// The modules of the folder `as_ss` by floor, from the top floor down.
const FLOORS_OF_AS_SS: &[&[&str]] = &[
    &["kinds"],
    &["show"],
    &["ask"],
    &["paths"],
    &["names"],
    &["error"],
];

/// The path of a file's module, such as `["source", "ss"]`.
type Module = Vec<String>;

/// The modules that each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn files_import_only_from_floors_below() {
    assert_eq!(upward(&imports(&source_directory())), [""; 0]);
}

#[test]
fn an_import_from_the_same_floor_or_above_is_found() {
    let module = |text: &str| -> Module { text.split("::").map(String::from).collect() };
    let imports = |from, to| Imports::from([(module(from), BTreeSet::from([module(to)]))]);
    assert_eq!(upward(&imports("command::watch", "source::ss")), [""; 0]);
    assert_eq!(upward(&imports("source", "source::ss")), [""; 0]);
    for (from, to) in [
        ("source::ss", "command::watch"),
        ("as_ss::ask::filter", "as_ss::show::rows"),
        ("as_ss::error", "as_ss"),
        ("output", "source"),
        ("sys", "main"),
    ] {
        assert_eq!(upward(&imports(from, to)), [format!("{from} imports {to}")]);
    }
}

/// Returns a line for each import of a module that is not on a lower floor.
fn upward(imports: &Imports) -> Vec<String> {
    let mut upward = Vec::new();
    for (module, imported) in imports {
        for other in imported {
            let is_upward = match (&module[..], &other[..]) {
                ([top, child, ..], [other_top, other_child, ..]) if top == other_top => {
                    top == "as_ss"
                        && child != other_child
                        && floor(FLOORS_OF_AS_SS, other_child) <= floor(FLOORS_OF_AS_SS, child)
                }
                // The module of the folder `as_ss` is above the files of the folder.
                ([top, ..], [other_top]) if top == other_top => top == "as_ss",
                ([top, ..], [other_top, ..]) => {
                    top != other_top && floor(FLOORS, other_top) <= floor(FLOORS, top)
                }
                _ => false,
            };
            if is_upward {
                upward.push(format!("{} imports {}", shown(module), shown(other)));
            }
        }
    }
    upward
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_eq!(circle(&imports(&source_directory())), None);
}

/// In this test, the circle goes through three files of a folder. Imports in unit tests do not
/// count.
#[test]
fn an_import_circle_is_found_in_every_spelling() {
    let directory = tempfile::TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("a/mod.rs", "pub mod b; pub mod c; use self::b::B;");
    write("a/b.rs", "use super::c; use crate::{d};");
    write("a/c.rs", "fn f() -> crate::d::D { crate::d::D }");
    write("d.rs", "#[cfg(test)] mod tests { use crate::a; }");
    assert_eq!(circle(&imports(directory.path())), None);
    write("d.rs", "fn f() { assert!(matches!(1, crate::a::b::B)); }");
    assert!(circle(&imports(directory.path())).is_some());
    write("d.rs", "use crate::a::{b::{B}, c as x};");
    let found = circle(&imports(directory.path())).unwrap();
    assert!(
        ["a::b, a::c, d", "a::c, d"].contains(&found.as_str()),
        "{found}"
    );
}

fn source_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The index of the floor that has this module. 0 is the top.
fn floor(floors: &[&[&str]], module: &str) -> usize {
    let floor = floors.iter().position(|modules| modules.contains(&module));
    floor.unwrap_or_else(|| panic!("{module} is on no floor"))
}

fn shown(module: &Module) -> String {
    module.join("::")
}

fn imports(directory: &Path) -> Imports {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(directory) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap();
            files.insert(module_of(path.strip_prefix(directory).unwrap()), file);
        }
    }
    files.remove(&vec!["lib".to_string()]);
    let modules: BTreeSet<Module> = files.keys().cloned().collect();
    let imports_of = |(module, file): (&Module, &syn::File)| {
        let mut finder = ImportFinder {
            module,
            modules: &modules,
            found: BTreeSet::new(),
        };
        finder.visit_file(file);
        finder.found.remove(module);
        (module.clone(), finder.found)
    };
    files.iter().map(imports_of).collect()
}

/// The module in a file: `source/ss.rs` is `source::ss`, and `source/mod.rs` is `source`.
fn module_of(file: &Path) -> Module {
    let parts = file.with_extension("");
    let mut module: Module = parts
        .iter()
        .map(|part| part.to_str().unwrap().into())
        .collect();
    module.pop_if(|last| last == "mod");
    module
}

/// Collects the modules that one file imports.
struct ImportFinder<'a> {
    module: &'a Module,
    modules: &'a BTreeSet<Module>,
    found: BTreeSet<Module>,
}

impl ImportFinder<'_> {
    /// Adds the module that a path leads to, which is the longest prefix of the path that names a
    /// module.
    fn add(&mut self, path: &[String]) {
        let mut absolute: Module = match path.first().map(String::as_str) {
            Some("crate" | "lntu") => Vec::new(),
            Some("super") => self.module[..self.module.len() - 1].to_vec(),
            Some("self") => self.module.clone(),
            // The module of a folder can name its children without `self`.
            Some(first) if self.is_child(first) => {
                [self.module.clone(), vec![first.into()]].concat()
            }
            _ => return,
        };
        let rest = path.iter().skip(1).skip_while(|part| *part == "super");
        for part in rest {
            absolute.push(part.clone());
            if !self.modules.contains(&absolute) {
                absolute.pop();
                break;
            }
        }
        if self.modules.contains(&absolute) {
            self.found.insert(absolute);
        }
    }

    fn is_child(&self, name: &str) -> bool {
        self.modules
            .contains(&[self.module.clone(), vec![name.into()]].concat())
    }

    fn add_tree(&mut self, start: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [start, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => {
                assert!(
                    start != ["crate"],
                    "a glob hides what {:?} imports",
                    self.module
                );
                self.add(start);
            }
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.add_tree(start, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for ImportFinder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(item) => self.add_tree(&[], &item.tree),
            Item::Mod(ItemMod { attrs, .. }) if attrs.iter().any(is_for_tests) => {}
            _ => visit::visit_item(self, item),
        }
    }

    /// Looks for paths in the text of a macro, because syn does not parse the arguments of macros.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string().replace(" :: ", "::");
        let is_in_path = |letter: char| letter.is_alphanumeric() || "_:".contains(letter);
        for word in text
            .split(|letter| !is_in_path(letter))
            .filter(|word| word.contains("::"))
        {
            self.add(&word.split("::").map(String::from).collect::<Vec<_>>());
        }
        visit::visit_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter().map(|part| part.ident.to_string());
        let parts: Vec<String> = parts.collect();
        if parts.len() > 1 {
            self.add(&parts);
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let is_test = |condition: syn::Path| condition.is_ident("test");
    attribute.path().is_ident("cfg") && attribute.parse_args().is_ok_and(is_test)
}

/// The highest number of lines that a function may have.
const MOST_LINES: usize = 80;
/// The highest number of branches, loops and closures that may be nested in each other.
const MOST_LEVELS: usize = 4;

#[test]
fn functions_are_short_and_flat() {
    let mut found = Vec::new();
    for entry in WalkDir::new(source_directory()) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(source_directory()).unwrap().display();
            let text = fs::read_to_string(&path).unwrap();
            found.extend(long_or_deep(&file.to_string(), &text));
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_function_that_is_too_long_is_found() {
    let long = |lines: usize| format!("fn long() {{\n{}}}\n", "call();\n".repeat(lines - 2));
    assert_eq!(long_or_deep("a.rs", &long(MOST_LINES)), [""; 0]);
    assert_eq!(
        long_or_deep("a.rs", &long(MOST_LINES + 1)),
        ["a.rs: long has 81 lines"]
    );
}

#[test]
fn a_function_that_is_too_deep_is_found() {
    let deep = |levels: usize| {
        let (open, close) = ("loop {".repeat(levels), "}".repeat(levels));
        format!("impl A {{ fn deep() {{ {open} {close} }} }}")
    };
    assert_eq!(long_or_deep("a.rs", &deep(MOST_LEVELS)), [""; 0]);
    assert_eq!(
        long_or_deep("a.rs", &deep(MOST_LEVELS + 1)),
        ["a.rs: deep has 5 levels"]
    );
}

#[test]
fn an_else_if_chain_counts_as_one_level() {
    let chain = "fn f() { if a {} else if b {} else if c {} else if d {} else if e {} }";
    assert_eq!(long_or_deep("a.rs", chain), [""; 0]);
}

/// Returns a line for each function outside of unit tests that is too long or too deeply nested.
fn long_or_deep(file: &str, text: &str) -> Vec<String> {
    let mut finder = FunctionFinder::default();
    finder.visit_file(&syn::parse_file(text).unwrap());
    let describe = |function: &Function| {
        let Function {
            name,
            lines,
            levels,
        } = function;
        if *lines > MOST_LINES {
            Some(format!("{file}: {name} has {lines} lines"))
        } else if *levels > MOST_LEVELS {
            Some(format!("{file}: {name} has {levels} levels"))
        } else {
            None
        }
    };
    finder.functions.iter().filter_map(describe).collect()
}

/// The name and size of a function.
struct Function {
    name: String,
    lines: usize,
    levels: usize,
}

/// Collects the functions of a file.
#[derive(Default)]
struct FunctionFinder {
    functions: Vec<Function>,
    /// The level of the expression that is being visited.
    level: usize,
    /// The deepest level in the current function so far.
    deepest: usize,
}

impl FunctionFinder {
    fn add(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let outer = (self.level, self.deepest);
        (self.level, self.deepest) = (0, 0);
        visit::visit_block(self, body);
        let first = signature.fn_token.span.start().line;
        self.functions.push(Function {
            name: signature.ident.to_string(),
            lines: body.brace_token.span.close().end().line + 1 - first,
            levels: self.deepest,
        });
        (self.level, self.deepest) = outer;
    }

    /// Calls `visit` for code that is nested one level deeper than the current code.
    fn deeper(&mut self, visit: impl FnOnce(&mut Self)) {
        self.level += 1;
        self.deepest = self.deepest.max(self.level);
        visit(self);
        self.level -= 1;
    }
}

impl<'ast> Visit<'ast> for FunctionFinder {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(ItemMod { attrs, .. }) if attrs.iter().any(is_for_tests) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.sig, body);
        }
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.visit_expr(&expression.cond);
        self.deeper(|finder| visit::visit_block(finder, &expression.then_branch));
        match expression.else_branch.as_ref().map(|(_, branch)| &**branch) {
            // An `else if` is on the same level as its `if`.
            Some(syn::Expr::If(next)) => self.visit_expr_if(next),
            Some(other) => self.deeper(|finder| finder.visit_expr(other)),
            None => {}
        }
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        self.deeper(|finder| visit::visit_expr_match(finder, expression));
    }

    fn visit_expr_loop(&mut self, expression: &'ast syn::ExprLoop) {
        self.deeper(|finder| visit::visit_expr_loop(finder, expression));
    }

    fn visit_expr_while(&mut self, expression: &'ast syn::ExprWhile) {
        self.deeper(|finder| visit::visit_expr_while(finder, expression));
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast syn::ExprForLoop) {
        self.deeper(|finder| visit::visit_expr_for_loop(finder, expression));
    }

    fn visit_expr_closure(&mut self, expression: &'ast syn::ExprClosure) {
        match &*expression.body {
            syn::Expr::Block(_) => {
                self.deeper(|finder| visit::visit_expr_closure(finder, expression));
            }
            _ => visit::visit_expr_closure(self, expression),
        }
    }
}

/// The modules of one circle, if there is a circle.
fn circle(imports: &Imports) -> Option<String> {
    let mut candidates = imports.clone();
    // Repeatedly remove modules that import no candidate, because they are on no circle.
    loop {
        let before = candidates.len();
        let remaining: BTreeSet<Module> = candidates.keys().cloned().collect();
        candidates.retain(|_, imported| imported.iter().any(|other| remaining.contains(other)));
        if candidates.len() == before {
            break;
        }
    }
    // Each remaining module imports a remaining module. So a walk along the imports must reach a
    // module for the second time, which closes a circle.
    let mut walk: Vec<&Module> = vec![candidates.keys().next()?];
    loop {
        let next = candidates[*walk.last()?]
            .iter()
            .find(|other| candidates.contains_key(*other))?;
        if let Some(start) = walk.iter().position(|seen| *seen == next) {
            let mut names: Vec<String> = walk[start..].iter().map(|module| shown(module)).collect();
            names.sort();
            return Some(names.join(", "));
        }
        walk.push(next);
    }
}
