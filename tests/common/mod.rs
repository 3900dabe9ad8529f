//! The street outside: starts the binary as people do, waits for conditions, believes the worker's own evidence, and
//! ends every process it started, also when a test fails.
//!
//! Every run has its own folder, runtime directory and events file, and a mark in the environment by which its
//! processes are found wherever they have gone (a new session, another parent, a pid namespace).
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod browser;
pub mod cgroup;
pub mod control;
pub mod file;
pub mod finish;
pub mod flaky;
pub mod folder;
pub mod grid;
pub mod probes;
pub mod procs;
pub mod talk;
pub mod terminal;
pub mod tmux;
pub mod web;

pub use control::{Control, Verb};
pub use file::victim;
pub use finish::Ended;
pub use procs::{Proc, marked};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a condition may take before the test fails: long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(25);

/// The binary under test: the one that cargo built with the tests, or another one by `WDTEST_BINARY` (the mutants of
/// `scripts/simulate.sh --mutants --street`, for which the tests are built only once).
pub fn watchdog() -> &'static str {
    static OTHER: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let other = OTHER.get_or_init(|| std::env::var("WDTEST_BINARY").ok());
    other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_watchdog"))
}

/// The victim, built by `cargo test` as an example beside our own executable.
pub fn worker() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/worker");
    assert!(path.exists(), "build the victim first: cargo build --example worker");
    path
}

/// Says that a test could not run. In CI as root nothing may be skipped.
pub fn skip(reason: &str) {
    let strict = std::env::var_os("CI").is_some_and(|v| v == "true") && nix::unistd::geteuid().is_root();
    assert!(!strict, "must not be skipped in CI: {reason}");
    println!("SKIPPED: {reason}");
}

/// Whether this user may make namespaces of this kind (`--pid`, `--mount`..).
pub fn can_unshare(kinds: &[&str]) -> bool {
    Command::new("unshare").args(kinds).arg("true").stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Asks until the answer is there; fails the test after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// Whether `condition` becomes true before `limit`.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < limit {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    condition()
}

/// Fails when `condition` stops being true during `time`. For what must not happen, the only place that takes time.
pub fn stays(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while began.elapsed() < time {
        assert!(condition(), "did not stay: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// B(x): strict below (0.95 x - 50 ms), generous above (1.25 x + 4 s).
#[track_caller]
pub fn about(measured: Duration, wanted_ms: u64) {
    let low = (wanted_ms * 95 / 100).saturating_sub(50);
    let high = wanted_ms * 125 / 100 + 4000;
    let ms = measured.as_millis() as u64;
    assert!((low..=high).contains(&ms), "took {ms} ms, wanted about {wanted_ms} ms ({low}..={high})");
}

/// Lines of a file; empty while it is not there.
pub fn lines(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(str::to_string).collect()
}

pub fn wait_lines(path: &Path, count: usize) -> Vec<String> {
    wait_for(&format!("{count} lines in {}", path.display()), || Some(lines(path)).filter(|l| l.len() >= count))
}

pub fn wait_line(path: &Path, part: &str) -> String {
    wait_for(&format!("{part:?} in {}", path.display()), || lines(path).into_iter().find(|l| l.contains(part)))
}

/// One run in preparation.
pub struct Run {
    pub dir: tempfile::TempDir,
    pub(crate) mark: String,
    settings: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    command: Vec<OsString>,
    before: Vec<OsString>,
    stdin: Stdio,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    events: bool,
    runtime_dir: bool,
    namespaced: bool,
    pub(crate) leaves_alive: bool,
    /// The services of a file, not one program.
    of_a_file: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// A run with the defaults of the product: only an events file and a runtime directory of its own.
    pub fn new() -> Run {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::Builder::new().prefix("wd-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Run {
            dir,
            mark,
            settings: Vec::new(),
            env: Vec::new(),
            command: Vec::new(),
            before: Vec::new(),
            stdin: Stdio::null(),
            stdout: None,
            stderr: None,
            events: true,
            runtime_dir: true,
            namespaced: false,
            leaves_alive: false,
            of_a_file: false,
        }
    }

    /// Short pauses and a short grace, so that a test takes no time.
    pub fn quick() -> Run {
        Run::new().flag("--restart-delay", "50ms").flag("--restart-delay-jitter", "0%").flag("--stop-timeout", "500ms")
    }

    /// One run, never restarted.
    pub fn once() -> Run {
        Run::quick().flag("--restart", "never")
    }

    /// What its processes have in WDTEST, for one that is started beside it and to be ended with it.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// A path in the folder of this run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for an argument.
    pub fn at(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// A flag with its value; a later one takes the place of an earlier one (but `--env`, which is repeatable).
    pub fn flag(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        let before = self.settings.iter().position(|s| s == name).filter(|_| name != "--env");
        match before {
            Some(at) => self.settings[at + 1] = value.as_ref().into(),
            None => self.settings.extend([name.into(), value.as_ref().into()]),
        }
        self
    }

    pub fn switch(mut self, name: &str) -> Run {
        self.settings.push(name.into());
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Run {
        self.env.push((key.as_ref().into(), Some(value.as_ref().into())));
        self
    }

    pub fn without_env(mut self, key: &str) -> Run {
        self.env.push((key.into(), None));
        self
    }

    pub fn no_events(mut self) -> Run {
        self.events = false;
        self
    }

    pub fn no_runtime_dir(mut self) -> Run {
        self.runtime_dir = false;
        self
    }

    /// For runs that may end with workers alive (a killed watchdog).
    pub fn leaves_alive(mut self) -> Run {
        self.leaves_alive = true;
        self
    }

    pub fn stdin(mut self, stdin: Stdio) -> Run {
        self.stdin = stdin;
        self
    }

    pub fn stdout(mut self, stdout: Stdio) -> Run {
        self.stdout = Some(stdout);
        self
    }

    pub fn stderr(mut self, stderr: Stdio) -> Run {
        self.stderr = Some(stderr);
        self
    }

    /// The program to supervise.
    pub fn program<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Run {
        self.command = words.into_iter().map(|w| w.as_ref().into()).collect();
        self
    }

    /// The victim with these arguments.
    pub fn worker<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Run {
        self.command = vec![worker().into()];
        self.command.extend(words.into_iter().map(|w| w.as_ref().to_os_string()));
        self
    }

    /// A program that runs the watchdog by exec (`prlimit`, `setpriv`).
    pub fn under<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Run {
        self.before = words.into_iter().map(|w| w.as_ref().into()).collect();
        self
    }

    /// The caller's surroundings as the victim's `arrange` makes them.
    pub fn arranged<S: AsRef<OsStr>>(self, words: impl IntoIterator<Item = S>) -> Run {
        let mut before: Vec<OsString> = vec![worker().into(), "arrange".into()];
        before.extend(words.into_iter().map(|w| w.as_ref().to_os_string()));
        before.push("--".into());
        self.under(before)
    }

    /// On a kernel that refuses these calls: `close_range.cloexec=EINVAL`, `pidfd_open` (see tests/workers/refuse.rs).
    /// Beside what runs before the watchdog already.
    pub fn refusing(mut self, calls: &str) -> Run {
        let mut before: Vec<OsString> = vec![worker().into()];
        before.extend(["refuse", "--calls", calls, "--"].map(Into::into));
        before.append(&mut self.before);
        self.before = before;
        self
    }

    /// As PID 1 of a namespace of its own. The caller has asked [`can_unshare`].
    pub fn pid_1(mut self) -> Run {
        self.namespaced = true;
        self.under(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
    }

    /// The whole command line, for a harness that starts it in its own way.
    pub(crate) fn line(&self) -> Vec<OsString> {
        let mut line = self.before.clone();
        line.push(watchdog().into());
        if self.of_a_file {
            line.extend(["up", "--file", "watchdog.toml"].map(Into::into));
        }
        if self.events {
            line.extend(["--events-file".into(), self.path("events").into_os_string()]);
        }
        line.extend(self.settings.iter().cloned());
        if !self.command.is_empty() {
            line.push("--".into());
            line.extend(self.command.iter().cloned());
        }
        line
    }

    /// A command with the environment of this run and nothing of an outer supervisor.
    pub(crate) fn command(&self, line: &[OsString]) -> Command {
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).current_dir(self.dir.path());
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            let outer = ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NODE_CHANNEL_FD", "CI"];
            if name.starts_with("WATCHDOG_") || outer.contains(&&*name) {
                command.env_remove(&key);
            }
        }
        command.env("WDTEST", &self.mark).env("XDG_STATE_HOME", self.path("state"));
        command.env_remove("XDG_RUNTIME_DIR");
        if self.runtime_dir {
            command.env("WATCHDOG_RUNTIME_DIR", self.path("run"));
        }
        for (key, value) in &self.env {
            match value {
                Some(v) => command.env(key, v),
                None => command.env_remove(key),
            };
        }
        command
    }

    /// Starts it. Output goes to files, so that no pipe of ours is anybody's back-pressure.
    pub fn spawn(mut self) -> Dog {
        let mut command = self.command(&self.line());
        let (out, err) = (self.path("out"), self.path("err"));
        let file = |path| Stdio::from(std::fs::File::create(path).unwrap());
        command.stdout(self.stdout.take().unwrap_or_else(|| file(out)));
        command.stderr(self.stderr.take().unwrap_or_else(|| file(err)));
        command.stdin(std::mem::replace(&mut self.stdin, Stdio::null()));
        let began = Instant::now();
        let child = command.spawn().unwrap();
        let pid = if self.namespaced { 0 } else { child.id() as i32 };
        Dog { run: self, child, began, pid: Cell::new(pid), reaped: None }
    }

    /// Starts it, waits for its end and makes the four checks.
    pub fn run(self) -> Ended {
        self.spawn().wait()
    }
}

/// A running watchdog.
pub struct Dog {
    pub run: Run,
    pub child: Child,
    pub began: Instant,
    pub(crate) pid: Cell<i32>,
    pub(crate) reaped: Option<std::process::ExitStatus>,
}

impl Dog {
    pub fn path(&self, name: &str) -> PathBuf {
        self.run.path(name)
    }

    /// The watchdog's own pid as seen from here (under `unshare` it is a child of what we started).
    pub fn pid(&self) -> i32 {
        if self.pid.get() == 0 {
            let parent = self.child.id() as i32;
            let found = wait_for("the watchdog in its namespace", || {
                marked(&self.run.mark).into_iter().find(|p| p.parent == parent && p.is(watchdog())).map(|p| p.pid)
            });
            self.pid.set(found);
        }
        self.pid.get()
    }

    /// Sends a signal to the watchdog.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Sends any signal by number, real-time ones too.
    pub fn signal_number(&self, number: i32) {
        let pid = self.pid().to_string();
        let status = Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "sh", &number.to_string(), &pid]).status();
        assert!(status.unwrap().success());
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("out")).unwrap_or_default()).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("err")).unwrap_or_default()).into_owned()
    }

    /// Every whole event so far.
    pub fn events(&self) -> Vec<Value> {
        finish::events(&self.path("events"))
    }

    /// Events of one kind so far.
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|e| e["event"] == kind).collect()
    }

    /// Waits for the n-th event of a kind (the first is 1).
    pub fn event(&self, kind: &str, nth: usize) -> Value {
        wait_for(&format!("event {kind} number {nth}"), || self.events_of(kind).into_iter().nth(nth - 1))
    }

    /// Pid of the worker of the n-th spawn, as the watchdog sees it.
    pub fn worker_pid(&self, nth: usize) -> i32 {
        self.event("spawn", nth)["pid"].as_i64().unwrap() as i32
    }

    pub fn wait_out(&self, part: &str) {
        wait_for(&format!("{part:?} on stdout"), || self.out().contains(part).then_some(()));
    }

    pub fn wait_err(&self, part: &str) {
        wait_for(&format!("{part:?} on stderr"), || self.err().contains(part).then_some(()));
    }

    pub fn alive(&mut self) -> bool {
        self.reaped = self.reaped.or_else(|| self.child.try_wait().unwrap());
        self.reaped.is_none()
    }

    /// Exit code of a watchdog whose end was seen by [`Dog::alive`].
    pub fn reaped_code(&self) -> Option<i32> {
        self.reaped.and_then(|s| s.code())
    }

    /// TERM, the end, the four checks.
    pub fn stop(self) -> Ended {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// The end and the four checks.
    pub fn wait(mut self) -> Ended {
        let status = wait_for("the end of the watchdog", || {
            self.alive();
            self.reaped
        });
        finish::check(self, status)
    }
}

impl Drop for Dog {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of the watchdog\n{}", self.err());
            eprintln!("--- events\n{}", std::fs::read_to_string(self.path("events")).unwrap_or_default());
        }
        if self.reaped.is_none() {
            let _ = self.child.kill();
        }
        procs::end_all(&self.run.mark);
        if self.reaped.is_none() {
            let _ = self.child.wait();
        }
    }
}
