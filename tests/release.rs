//! What scripts/check-binary lets through (B1, B2): tried with small programs, because the release binary takes minutes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs what stands behind `--`, as the watchdog does.
const PROGRAM: &str = "fn main() { let line: Vec<String> = std::env::args().skip(2).collect(); \
    let _ = std::process::Command::new(&line[0]).args(&line[1..]).status(); println!(\"{}\", MORE); }\n\
    const MORE: &str = \"MARK\";\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Builds the program with these flags; `None` where the toolchain cannot (no static C library).
fn built(folder: &Path, name: &str, mark: &str, flags: &[&str]) -> Option<PathBuf> {
    let (source, binary) = (folder.join(format!("{name}.rs")), folder.join(name));
    std::fs::write(&source, PROGRAM.replace("MARK", mark)).unwrap();
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg(format!("{name}.rs")).args(["-C", "strip=symbols", "-o", name]).args(flags).current_dir(folder);
    command.env_remove("RUSTFLAGS").output().unwrap().status.success().then_some(binary)
}

fn checked(binary: &Path) -> (bool, String) {
    let out = Command::new(root().join("scripts/check-binary")).arg(binary).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// B1. Failed before: there was no such check, and the release was linked at a fixed address.
#[test]
fn a_release_is_static_and_loaded_at_another_address_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let statically = ["-C", "target-feature=+crt-static"];
    let Some(good) = built(folder.path(), "good", "x", &statically) else {
        return println!("SKIPPED: no static C library here");
    };
    assert_eq!(checked(&good), (true, String::new()));
    let fixed = built(folder.path(), "fixed", "x", &[&statically[..], &["-C", "relocation-model=static"]].concat());
    assert!(checked(&fixed.unwrap()).1.contains("fixed address"));
    let shared = built(folder.path(), "shared", "x", &["-C", "target-feature=-crt-static"]);
    assert!(checked(&shared.unwrap()).1.contains("needs a dynamic"));
}

/// B2. Failed before.
#[test]
fn a_release_holds_no_path_of_the_machine_it_was_built_on() {
    let folder = tempfile::tempdir().unwrap();
    let mark = root().join("src/main.rs");
    let statically = ["-C", "target-feature=+crt-static"];
    let Some(bad) = built(folder.path(), "bad", &mark.to_string_lossy(), &statically) else {
        return println!("SKIPPED: no static C library here");
    };
    assert!(checked(&bad).1.contains("holds the path"));
}

/// B1: nothing in the settings of the build takes it away again.
#[test]
fn no_target_is_linked_at_a_fixed_address() {
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(!config.contains("relocation-model"), "{config}");
    let release = std::fs::read_to_string(root().join("scripts/release")).unwrap();
    for part in ["remap-path-prefix", "check advisories", "scripts/check-binary"] {
        assert!(release.contains(part), "scripts/release: {part}");
    }
}
