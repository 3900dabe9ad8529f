//! One life of the program under a watchdog of its own: started, watched by its events, ended to the last process.

use super::marks;
use crate::client::connection::Connection;
use crate::settings::reason;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use watchdog_engine::spec::Spec;

/// The name of the only service.
pub(super) const NAME: &str = "drill";
/// Between two looks at the events.
const LOOK: u16 = 10;
/// How long the watchdog of a case may take to end, beyond the grace of the program.
const SLACK: Duration = Duration::from_secs(10);
/// An answer that takes longer is none.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Lines of the program that are told of a case that has failed.
const TAIL: u64 = 10;
/// Bytes read of the events at once.
const PIECE: u64 = 1 << 20;
/// These break a drill off; everything is ended first.
const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// What all cases are run with.
pub(super) struct Bench {
    /// The first word of the program.
    pub(super) program: String,
    /// What the settings come to.
    pub(super) spec: Spec,
    pub(super) flags: Vec<OsString>,
    pub(super) command: Vec<OsString>,
    pub(super) patience: Duration,
    pub(super) settle: Duration,
    pub(super) slow: Duration,
    pub(super) ground: Ground,
}

/// Where a drill stands: gone when it is over.
pub(super) struct Ground {
    /// Everything that is written.
    dir: PathBuf,
    signals: SignalFd,
}

/// Why a drill ends before its time.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Somebody breaks it off.
    Signal(i32),
    /// It cannot be done here.
    Broken(String),
}

impl Ground {
    /// From now on the signals that break a drill off are read as data.
    pub(super) fn new() -> Result<Ground, String> {
        let mask: SigSet = SIGNALS.into_iter().collect();
        mask.thread_block().map_err(|e| e.to_string())?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&mask, flags).map_err(|e| e.to_string())?;
        Ok(Ground { dir: folder()?, signals })
    }
}

impl Bench {
    /// A little time passes, or a signal ends all of it.
    pub(super) fn pause(&self, ms: u16) -> Result<(), Trouble> {
        let signals = &self.ground.signals;
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(ms));
        match signals.read_signal() {
            Ok(Some(info)) => Err(Trouble::Signal(i32::try_from(info.ssi_signo).unwrap_or(Signal::SIGTERM as i32))),
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A folder that nobody else can have made.
fn folder() -> Result<PathBuf, String> {
    let parent = std::env::temp_dir();
    for n in 0..1000 {
        let path = parent.join(format!("watchdog-drill-{}-{n}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("{}: {}", path.display(), reason(&e))),
        }
    }
    Err(format!("{}: a thousand folders of drills are there already: remove them", parent.display()))
}

/// A watchdog with the program under it.
pub(super) struct Life<'a> {
    pub(super) bench: &'a Bench,
    watchdog: Child,
    /// In the environment of everybody who comes from here.
    pub(super) mark: String,
    socket: PathBuf,
    errors: PathBuf,
    source: File,
    half: Vec<u8>,
    events: Vec<Value>,
    ended: bool,
}

impl<'a> Life<'a> {
    /// Starts it. `late`: the program begins so much later than its process.
    pub(super) fn begin(bench: &'a Bench, case: &str, late: Option<Duration>) -> Result<Life<'a>, Trouble> {
        let broken = |what: &Path, e: &std::io::Error| Trouble::Broken(format!("{}: {}", what.display(), reason(e)));
        let dir = bench.ground.dir.join(case);
        std::fs::create_dir(&dir).map_err(|e| broken(&dir, &e))?;
        let (events, errors) = (dir.join("events"), dir.join("errors"));
        let source = File::options().create(true).append(true).read(true).open(&events);
        let source = source.map_err(|e| broken(&events, &e))?;
        let told = File::create(&errors).map_err(|e| broken(&errors, &e))?;
        // The very file that runs, also where another has taken its place meanwhile.
        let ours = PathBuf::from("/proc/self/exe");
        let mark = format!("{}-{case}", std::process::id());
        let mut command = Command::new(&ours);
        command.arg0("watchdog");
        command.args(&bench.flags).args(words(&dir, &events));
        if late.is_some() && bench.spec.dialects.node {
            // It is offered by itself where the program is called node, and now we are in front of that.
            command.arg("--dialects=native,notify,node");
        }
        command.arg("--");
        if let Some(delay) = late {
            command.arg(&ours).arg("start-late").arg(format!("{}ms", delay.as_millis())).arg("--");
        }
        command.args(&bench.command).env(marks::VARIABLE, &mark);
        // Whoever waits for our own caller to be ready is not told of a drill.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        // A key on our terminal is for us: we end it in order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told).process_group(0);
        let watchdog = spawn(&mut command).map_err(|e| broken(&ours, &e))?;
        let socket = dir.join("sock");
        let (half, events) = (Vec::new(), Vec::new());
        Ok(Life { bench, watchdog, mark, socket, errors, source, half, events, ended: false })
    }

    /// The first event from this place on that is wanted, waited for until then. `None`: it did not come, or cannot any more.
    pub(super) fn wait(
        &mut self,
        from: usize,
        until: Instant,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Option<(usize, Value)>, Trouble> {
        loop {
            // In this order: what was told before the end is read after it is known.
            let over = self.is_over();
            self.read()?;
            let found = self.events.iter().enumerate().skip(from).find(|(_, event)| wanted(event));
            if let Some((at, event)) = found {
                return Ok(Some((at, event.clone())));
            }
            if over || Instant::now() >= until {
                return Ok(None);
            }
            self.bench.pause(LOOK)?;
        }
    }

    /// Events so far.
    pub(super) fn events(&self) -> &[Value] {
        &self.events
    }

    fn read(&mut self) -> Result<(), Trouble> {
        let mut bytes = Vec::new();
        let read = (&self.source).take(PIECE).read_to_end(&mut bytes);
        read.map_err(|e| Trouble::Broken(format!("events: {}", reason(&e))))?;
        self.half.extend_from_slice(&bytes);
        while let Some(end) = self.half.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.half.drain(..=end).collect();
            self.events.extend(serde_json::from_slice::<Value>(&line));
        }
        Ok(())
    }

    fn is_over(&mut self) -> bool {
        self.ended |= !matches!(self.watchdog.try_wait(), Ok(None));
        self.ended
    }

    /// Asks its watchdog; `None`: no answer in time, or a refusal.
    pub(super) fn ask(&self, verb: &str, arguments: Value) -> Option<Value> {
        let names = if verb == "shutdown" { Vec::new() } else { vec![NAME.to_string()] };
        let mut connection = Connection::open(&self.socket).ok()?;
        connection.send(verb, &names, arguments).ok()?;
        connection.answer(Some(ANSWER)).ok()
    }

    /// Asks for something whose end is seen by its events.
    pub(super) fn wish(&self, verb: &str, arguments: Value) -> Option<Connection> {
        let mut connection = Connection::open(&self.socket).ok()?;
        connection.send(verb, &[NAME.to_string()], arguments).ok()?;
        Some(connection)
    }

    /// The service as `status` shows it.
    pub(super) fn service(&self) -> Option<Value> {
        self.ask("status", json!({})).map(|mut answer| answer["services"][0].take())
    }

    /// The last line that its watchdog has to say, for a start that came to nothing.
    pub(super) fn last_error(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.errors).ok()?;
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.trim_start_matches("watchdog: ").to_string())
    }

    /// The last lines of the program.
    pub(super) fn tail(&self) -> Vec<String> {
        let follow = || {
            let mut connection = Connection::open(&self.socket).ok()?;
            connection.send("logs", &[NAME.to_string()], json!({ "n": TAIL })).ok()?;
            let (mut lines, until) = (Vec::new(), Instant::now() + ANSWER);
            while let Ok(crate::client::connection::Next::Item(item)) = connection.next(Some(until)) {
                lines.push(String::from_utf8_lossy(&crate::client::content(&item)).into_owned());
            }
            Some(lines)
        };
        follow().unwrap_or_default()
    }

    /// The end of all of it; who was still there afterwards, which would be a defect of ours.
    pub(super) fn end(mut self) -> Result<Vec<i32>, Trouble> {
        self.tell_to_end();
        let until = self.give_up_at();
        while !self.is_over() && Instant::now() < until {
            self.bench.pause(LOOK)?;
        }
        if !self.is_over() {
            return Err(Trouble::Broken("the watchdog of a case did not end in time: it is killed".to_string()));
        }
        Ok(marks::of(&self.mark).into_iter().map(|process| process.pid).collect())
    }

    fn tell_to_end(&self) {
        if let Ok(pid) = i32::try_from(self.watchdog.id())
            && !self.ended
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    fn give_up_at(&self) -> Instant {
        let stop = &self.bench.spec.stop;
        Instant::now() + stop.timeout.max(stop.shutdown_timeout) + stop.kill_wait + SLACK
    }
}

impl Drop for Life<'_> {
    /// Whatever brought us here, nobody stays: in order as long as that works, then at once.
    fn drop(&mut self) {
        self.tell_to_end();
        let until = self.give_up_at();
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(u64::from(LOOK)));
        }
        if !self.is_over() {
            let _ = self.watchdog.kill();
            let _ = self.watchdog.wait();
        }
        marks::kill_all(&self.mark);
    }
}

/// What has to be so, whatever else was said.
fn words(dir: &Path, events: &Path) -> Vec<OsString> {
    let path = |flag: &str, path: PathBuf| {
        let mut word = OsString::from(flag);
        word.push("=");
        word.push(path);
        word
    };
    let mut words = vec![
        path("--control", dir.join("sock")),
        path("--events-file", events.to_path_buf()),
        path("--report-dir", dir.to_path_buf()),
    ];
    let name = format!("--name={NAME}");
    let fixed = [name.as_str(), "--give-up=stay", "--die-with-parent=TERM", "--log-level=warn", "--log-format=text"];
    words.extend(fixed.map(OsString::from));
    words
}

/// Starts it with the signals as they are for everybody: a mask is inherited.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let mask: SigSet = SIGNALS.into_iter().collect();
    mask.thread_unblock()?;
    let child = command.spawn();
    mask.thread_block()?;
    child
}
