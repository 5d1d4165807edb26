//! The static programs, which run in any image and under any condition.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::*;

/// The Rust target of static binaries. `Dockerfile.scratch` copies from its folder in `target`.
pub fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// The directory of the sources.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The paths of the static programs that go into images.
pub struct Binaries {
    pub lntu: PathBuf,
    pub app: PathBuf,
    pub parser: PathBuf,
}

/// Builds the static programs, once per test run.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let directory = repository().join("target");
        // Build each program on its own, as a user does. If cargo built them together,
        // dev-dependencies could turn on features of lntu's dependencies.
        let programs = [
            ["--bin", "lntu"],
            ["--example", "app"],
            ["--example", "parser"],
        ];
        for what in programs {
            let build = run(
                Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
                    .current_dir(repository())
                    .args(["build", "--quiet", "--release", "--locked"])
                    .args(["--target", &target(), "--target-dir"])
                    .arg(&directory)
                    .args(what),
            );
            assert!(build.status.success(), "{}", build.stderr);
        }
        let release = directory.join(target()).join("release");
        Binaries {
            lntu: release.join("lntu"),
            app: release.join("examples/app"),
            parser: release.join("examples/parser"),
        }
    })
}

/// Returns whether the Rust target for static programs is installed.
pub fn have_static() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let sysroot =
            run(Command::new("rustc").args(["--print", "target-libdir", "--target", &target()]));
        let is_there = Path::new(sysroot.stdout.trim()).is_dir();
        (!is_there).then(|| format!("the target {} is not installed", target()))
    });
    have("musl", missing.clone())
}
