//! Applies each deliberate bug of `scripts/mutants/table.txt` to a copy of the tree, builds the simulator there and lets
//! it run: `mutants WORKDIR [--street] [NAME..]`, from the root of the repository. Every one must break a law (at opt-level
//! 1, within 100000 seeds). A text that is not there exactly once is an error, so that the table cannot rot.
//!
//! With `--street` the binary is built with each bug as well and the black-box tests, which are built only once, are run
//! against it. One of them must fail, twice, or the bug is listed with a reason in `scripts/mutants/simulator-only.txt`.
//! The results go into `docs/mutants.md`. Without it, that page and that list are compared with the table.

#![allow(clippy::disallowed_methods, reason = "runs cargo; no part of the watchdog")]

#[path = "mutants/street.rs"]
mod street;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SEEDS: &str = "100000";
/// Before that.
const FIRST: &str = "300";

struct Mutant {
    name: String,
    rule: String,
    file: String,
    from: String,
    to: String,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(work) = args.next().map(PathBuf::from) else {
        eprintln!("usage: mutants WORKDIR [--street] [NAME..]");
        return ExitCode::from(2);
    };
    let mut names: Vec<String> = args.collect();
    let street = names.first().is_some_and(|n| n == "--street");
    if street {
        names.remove(0);
    }
    match all(&work, street, &names) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(e) => {
            eprintln!("mutants: {e}");
            ExitCode::from(2)
        }
    }
}

fn all(work: &Path, street: bool, names: &[String]) -> Result<usize, String> {
    let table = fs::read_to_string("scripts/mutants/table.txt").map_err(|e| e.to_string())?;
    let mutants: Vec<Mutant> = table.split("\n== ").skip(1).map(parse).collect::<Result<_, _>>()?;
    let mut chosen = mutants.iter().filter(|m| names.is_empty() || names.contains(&m.name)).peekable();
    if chosen.peek().is_none() {
        return Err("no such mutant".into());
    }
    for m in &mutants {
        let text = read(Path::new("watchdog/src/machine"), &m.file)?;
        if text.matches(&m.from).count() != 1 {
            return Err(format!("{}: its text is there {} times", m.name, text.matches(&m.from).count()));
        }
    }
    let machine = work.join("watchdog/src/machine");
    let mut street = match street {
        true => Some(street::Street::open(work)?),
        false if names.is_empty() => street::check(&mutants).map(|()| None)?,
        false => None,
    };
    let (mut passed, mut failed) = (0, 0);
    for m in chosen {
        let original = read(&machine, &m.file)?;
        write(&machine, &m.file, &original.replacen(&m.from, &m.to, 1))?;
        let mut verdict = judge(work);
        if let (Some(street), Ok(law)) = (&mut street, &verdict) {
            verdict = street.judge(m, law);
        }
        write(&machine, &m.file, &original)?;
        let (word, how) = match &verdict {
            Ok(how) => ("found", how),
            Err(how) => ("MISSED", how),
        };
        println!("{word:<7} {:<38} {:<52} {how}", m.name, m.rule);
        if verdict.is_ok() {
            passed += 1
        } else {
            failed += 1
        }
        if let Some(street) = &street {
            street.write(&mutants)?;
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed)
}

/// How it was found, or why not. Most are found by the first few worlds, for which building well is not worth its time.
fn judge(work: &Path) -> Result<String, String> {
    judge_with(work, "0", FIRST).or_else(|_| judge_with(work, "1", SEEDS))
}

fn judge_with(work: &Path, level: &str, seeds: &str) -> Result<String, String> {
    let mut build = Command::new("cargo");
    build.args([
        "build",
        "--quiet",
        "--offline",
        "-p",
        "watchdog-engine",
        "--features",
        "sim",
        "--example",
        "simulate",
    ]);
    build.current_dir(work).env("CARGO_PROFILE_DEV_OPT_LEVEL", level);
    let built = build.env("RUSTFLAGS", "-Awarnings --cfg machine_alone").output().map_err(|e| e.to_string())?;
    if !built.status.success() {
        return Err(format!("does not build: {}", String::from_utf8_lossy(&built.stderr)));
    }
    let run = Command::new(target(work).join("debug/examples/simulate")).args(["0", seeds, "--partial"]).output();
    let run = run.map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&run.stdout);
    match said.lines().find_map(|l| l.strip_prefix("BROKEN ")) {
        Some(law) => {
            let seed = said.lines().find_map(|l| l.strip_prefix("seed ")).and_then(|l| l.split(':').next());
            let law: String = law.chars().take(60).collect();
            Ok(format!("seed {}: {law}", seed.unwrap_or("?")))
        }
        None if !run.status.success() => Ok("a panic".into()),
        None => Err(format!("survives {seeds} seeds")),
    }
}

fn target(work: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| work.join("target"), PathBuf::from)
}

fn parse(entry: &str) -> Result<Mutant, String> {
    let bad = || format!("cannot read the entry {:?}", entry.lines().next());
    let (head, rest) = entry.split_once('\n').ok_or_else(bad)?;
    let (name, rule) = head.split_once(": ").ok_or_else(bad)?;
    let (file, rest) = rest.split_once("\n<<<<\n").ok_or_else(bad)?;
    let (from, rest) = rest.split_once("\n====\n").ok_or_else(bad)?;
    let (to, _) = rest.split_once("\n>>>>").ok_or_else(bad)?;
    let file = file.strip_prefix("in ").ok_or_else(bad)?;
    Ok(Mutant { name: name.into(), rule: rule.into(), file: file.into(), from: from.into(), to: to.into() })
}

fn read(folder: &Path, file: &str) -> Result<String, String> {
    fs::read_to_string(folder.join(file)).map_err(|e| format!("{file}: {e}"))
}

fn write(folder: &Path, file: &str, text: &str) -> Result<(), String> {
    fs::write(folder.join(file), text).map_err(|e| format!("{file}: {e}"))
}
