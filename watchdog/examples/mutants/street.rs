//! The street outside: the real binary with a deliberate bug in it, and the black-box tests against it.

use super::{Mutant, target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The files of tests, the most telling first.
const FILES: [&str; 11] =
    ["replay", "policy", "restart", "stop", "signals", "control", "clock", "exit", "pid1", "death", "launch"];
/// They wait more than they work.
const AT_ONCE: &str = "--test-threads=8";
const PAGE: &str = "docs/mutants.md";
const LIST: &str = "scripts/mutants/simulator-only.txt";
const ALONE: &str = "simulator only: ";
const HEAD: &str = "# Mutants

Written by `scripts/simulate.sh --mutants --street`. Each deliberate bug of `scripts/mutants/table.txt` breaks a law of the
simulator, and makes a black-box test fail or is listed with the reason in `scripts/mutants/simulator-only.txt`.

| mutant | rule | simulator | black-box test, or why there is none |
|---|---|---|---|
";

/// The tests, built once, and what is known of the mutants.
pub(crate) struct Street {
    work: PathBuf,
    tests: Vec<(&'static str, PathBuf)>,
    simulator_only: BTreeMap<String, String>,
    /// Law and test by the mutant's name: of this run, and of earlier ones from the page.
    rows: BTreeMap<String, (String, String)>,
}

impl Street {
    pub(crate) fn open(work: &Path) -> Result<Street, String> {
        let (simulator_only, rows) = (simulator_only()?, rows());
        let street = Street { work: work.to_path_buf(), tests: build_tests()?, simulator_only, rows };
        // A test that fails without a bug says nothing about one.
        build_binary(work)?;
        match street.first_failure()? {
            None => Ok(street),
            Some(test) => Err(format!("without any bug: {test} fails")),
        }
    }

    /// Which test fails, or why none can.
    pub(crate) fn judge(&mut self, mutant: &Mutant, law: &str) -> Result<String, String> {
        build_binary(&self.work)?;
        let killed_by = self.first_failure()?;
        let reason = self.simulator_only.get(&mutant.name);
        let verdict = match (killed_by, reason) {
            (Some(test), None) => Ok(test),
            (None, Some(reason)) => Ok(format!("{ALONE}{reason}")),
            (Some(test), Some(_)) => Err(format!("listed as simulator only, and yet {test} fails")),
            (None, None) => Err("no black-box test fails".to_string()),
        };
        let cell = verdict.clone().unwrap_or_else(|e| format!("**{e}**"));
        self.rows.insert(mutant.name.clone(), (law.replace('|', "/"), cell));
        verdict
    }

    /// The page, with the rows of all mutants that were ever judged and are still in the table.
    pub(crate) fn write(&self, mutants: &[Mutant]) -> Result<(), String> {
        let row = |m: &Mutant| {
            let (law, test) = self.rows.get(&m.name)?;
            Some(format!("| `{}` | {} | {law} | {test} |\n", m.name, m.rule))
        };
        let rows: Vec<String> = mutants.iter().filter_map(row).collect();
        let alone = rows.iter().filter(|r| r.contains(&format!("| {ALONE}"))).count();
        let missed = rows.iter().filter(|r| r.contains("| **")).count();
        let killed = rows.len() - alone - missed;
        let sum = format!("\n{} mutants: {killed} die in a black-box test, {alone} are simulator only.\n", rows.len());
        fs::write(PAGE, format!("{HEAD}{}{sum}", rows.concat())).map_err(|e| format!("{PAGE}: {e}"))
    }

    /// The first test that fails, and fails again when it is run alone.
    fn first_failure(&self) -> Result<Option<String>, String> {
        let binary = target(&self.work).join("debug/watchdog");
        for (file, test) in &self.tests {
            let mut failed = run(test, &binary, &[AT_ONCE], *file != "replay")?;
            for Failure { name, seed } in failed.drain(..) {
                let mut again = Command::new(test);
                again.args(["--exact", &name]);
                if let Some(seed) = &seed {
                    again.env("WDTEST_SEED", seed);
                }
                if !watch(again, &binary, false)?.is_empty() {
                    let seed = seed.map(|s| format!(", seed {s}")).unwrap_or_default();
                    return Ok(Some(format!("`{file}::{name}`{seed}")));
                }
            }
        }
        Ok(None)
    }
}

/// The list and the page speak of all mutants of the table, and of no other.
pub(crate) fn check(mutants: &[Mutant]) -> Result<(), String> {
    let (listed, rows) = (simulator_only()?, rows());
    for name in listed.keys().chain(rows.keys()) {
        if !mutants.iter().any(|m| m.name == *name) {
            return Err(format!("{name} is in {LIST} or {PAGE}, and not in the table"));
        }
    }
    for m in mutants {
        let Some((_, test)) = rows.get(&m.name) else {
            return Err(format!("{} is not in {PAGE}: scripts/simulate.sh --mutants --street {}", m.name, m.name));
        };
        // One that no test sees yet stands on the page in bold: visible there, and refused by `--street` itself.
        if test.starts_with(ALONE) != listed.contains_key(&m.name) {
            return Err(format!("{}: {PAGE} says {test:?}, {LIST} something else", m.name));
        }
    }
    Ok(())
}

/// Reasons by name.
fn simulator_only() -> Result<BTreeMap<String, String>, String> {
    let listed = fs::read_to_string(LIST).map_err(|e| format!("{LIST}: {e}"))?;
    let entry = |line: &str| match line.split_once(": ") {
        Some((name, why)) => Ok((name.to_string(), why.to_string())),
        None => Err(format!("{LIST}: {line:?} has no reason")),
    };
    listed.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(entry).collect()
}

/// Law and test by name, from the page.
fn rows() -> BTreeMap<String, (String, String)> {
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, _, law, test] = cells.as_slice() else { return None };
        Some((name.trim_matches('`').to_string(), ((*law).to_string(), (*test).to_string())))
    };
    page.lines().filter(|l| l.starts_with("| `")).filter_map(row).collect()
}

/// A test that failed, and on which seed.
struct Failure {
    name: String,
    seed: Option<String>,
}

fn run(test: &Path, binary: &Path, args: &[&str], only_first: bool) -> Result<Vec<Failure>, String> {
    let mut command = Command::new(test);
    command.args(args);
    watch(command, binary, only_first)
}

/// Reads along; with `only_first` the first failure is the end of it.
fn watch(mut command: Command, binary: &Path, only_first: bool) -> Result<Vec<Failure>, String> {
    command.env("WDTEST_BINARY", binary).env("RUST_BACKTRACE", "0").env_remove("CI");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    let mut failed: Vec<Failure> = Vec::new();
    let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            failed.push(Failure { name: name.to_string(), seed: None });
            if only_first {
                let _ = child.kill();
                break;
            }
        }
        let seed = line.strip_prefix("seed ").and_then(|l| l.split_once(':'));
        if let (Some((seed, _)), Some(last)) = (seed, failed.last_mut()) {
            last.seed.get_or_insert_with(|| seed.to_string());
        }
    }
    child.wait().map_err(|e| e.to_string())?;
    end_all(child.id());
    Ok(failed)
}

/// Ends what a test left that was ended itself: everybody with its mark, until nobody is left.
fn end_all(test: u32) {
    let mark = format!("WDTEST={test}-");
    let marked = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|v| v.starts_with(mark.as_bytes()))
    };
    for _ in 0..100 {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let left: Vec<i32> =
            all.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|pid| marked(pid)).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The tests of the tree itself, which has no bug of the table in it: where cargo put them.
fn build_tests() -> Result<Vec<(&'static str, PathBuf)>, String> {
    let mut build = Command::new("cargo");
    build.args(["test", "--quiet", "--offline", "--no-run", "--message-format=json", "-p", "watchdog"]);
    // the victim is an example; with the other targets named it has to be named too
    build.args(["--example", "worker"]);
    for file in FILES {
        build.args(["--test", file]);
    }
    // Not into the folder of the mutants.
    if let Some(folder) = std::env::var_os("MUTANTS_TESTS_IN") {
        build.env("CARGO_TARGET_DIR", folder);
    }
    let built = build.stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&built.stdout);
    let messages: Vec<serde_json::Value> = said.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let find = |file: &&'static str| {
        let of = messages.iter().find(|m| m["target"]["name"] == **file && m["executable"].is_string());
        let path =
            of.and_then(|m| m["executable"].as_str()).ok_or_else(|| format!("tests/{file}.rs does not build"))?;
        Ok((*file, PathBuf::from(path)))
    };
    FILES.iter().map(find).collect()
}

/// The binary of the copy, whatever bug is in it now.
fn build_binary(work: &Path) -> Result<(), String> {
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--offline", "-p", "watchdog", "--bin", "watchdog"]).current_dir(work);
    build.env("CARGO_PROFILE_DEV_DEBUG", "0").env("RUSTFLAGS", "-Awarnings");
    let built = build.output().map_err(|e| e.to_string())?;
    if built.status.success() {
        return Ok(());
    }
    Err(format!("does not build: {}", String::from_utf8_lossy(&built.stderr)))
}
