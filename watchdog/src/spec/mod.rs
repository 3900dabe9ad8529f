//! What one service should be, and what the instance that runs it should be: plain, validated, without an `Option`
//! where a default exists. The front door (`src/`) builds these; the machine reads them; nobody changes them.

mod defaults;
mod graph;
mod instance;
mod probe;
mod shared;
mod start;

pub use graph::{Autostart, Condition, Kind, Need, Place, Strategy};
pub use instance::{Control, Form, Http, HttpControl, Instance, Upward};
pub use probe::{Check, HttpCheck, Port, Ports, ProbeSpec, Roles};
pub use shared::Shared;
pub use start::START_TIMEOUT;

use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A signal number as the kernel counts them (1..=64).
pub type SignalNumber = i32;

/// One service: what to run and how to keep it running.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spec {
    /// Service name, `[A-Za-z0-9._-]{1,64}`; of a replica with `@` and its index. Default: the basename of the program.
    pub name: String,
    /// The name without the index: one word for all replicas. Empty: the same as `name`.
    pub base: String,
    /// Which of several replicas. `None`: there is one.
    pub replica: Option<u32>,
    /// Process or not, kept up or run once.
    pub kind: Kind,
    /// How it stands to the others.
    pub place: Shared<Place>,
    /// Left out of `status` and `tree` unless it is named. Default false.
    pub hidden: bool,
    /// Questions put to it from outside. Default none.
    pub probes: Vec<ProbeSpec>,
    /// Ports that it will listen on.
    pub ports: Shared<Ports>,
    /// Files of variables whose change is a reload. Default none.
    pub env_watch: Option<EnvWatch>,
    /// For people; empty when not given.
    pub title: String,
    /// For people; empty when not given.
    pub description: String,
    /// Program and arguments, byte for byte.
    pub command: Vec<OsString>,
    /// How the process is set up before exec.
    pub launch: Shared<Launch>,
    /// When and how often it is started again.
    pub restart: Shared<Restart>,
    /// How it is ended.
    pub stop: Shared<Stop>,
    /// FROM:TO pairs, applied before anything else looks at a received signal; TO 0 drops it. Default none.
    pub rewrite_signal: Vec<(SignalNumber, SignalNumber)>,
    /// Graceful recycle this long after ready. Default none.
    pub max_age: Option<Duration>,
    /// Spread of `max_age`, in percent of it (0..=100). Default 10.
    pub max_age_jitter: u8,
    /// Where its output goes.
    pub log: Shared<Log>,
    /// When it counts as ready. Default `Auto`.
    pub ready: Ready,
    /// From the start to its failure where it is not ready by then; `MAX`: never. Default none given: see `start_limit`.
    pub start_timeout: Option<Duration>,
    /// Signs of life, and what follows when they stop.
    pub heartbeat: Shared<Heartbeat>,
    /// The ways to speak that it is offered.
    pub dialects: Dialects,
    /// Memory and CPU.
    pub limits: Shared<Limits>,
    /// Commands that are run on events. Default none.
    pub hooks: Vec<Hook>,
    /// As whom hooks and the command of `give_up` run. Default `Watchdog`.
    pub hook_user: HookUser,
    /// What `reload` sends. Default none: only a worker that speaks native or node is told.
    pub reload_signal: Option<SignalNumber>,
}

/// When a worker counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// The readiness probe if there is one, else like `Spawned`.
    Auto,
    /// As soon as its program runs.
    Spawned,
    /// When it is still there so long after the exec. An end before that is a failed start, whatever its code.
    Alive(Duration),
    /// When it says so, in any dialect.
    Reported,
    /// When it writes a newline to the descriptor in WATCHDOG_READY_FD, as s6's services do.
    Fd,
    /// When its readiness or startup probes have succeeded.
    Probe,
    /// When a line of its output holds this text. Needs captured output.
    Line(String),
    /// When a process of its tree listens on this TCP port.
    Port(u16),
}

/// Signs of life: when they are asked for, and what follows when they stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// Default `Auto`.
    pub mode: HeartbeatMode,
    /// Between two pings. Default 10 s.
    pub interval: Duration,
    /// A pong may take so long. Default 5 s.
    pub timeout: Duration,
    /// Pings in a row without an answer that count as a hang. Default 3, at least 1.
    pub misses: u32,
    /// Default `Restart`.
    pub on_hang: OnHang,
    /// Makes a hung worker show its stacks. Default ABRT.
    pub hang_signal: SignalNumber,
    /// From that signal to SIGKILL. Default 5 s; 0 kills at once.
    pub hang_dump_timeout: Duration,
}

/// Whether a worker must beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeartbeatMode {
    /// Judged from its first beat on (default). One that never beats is never judged.
    Auto,
    /// Judged from the moment it is ready.
    Required,
    /// Never judged.
    Off,
}

/// What follows a hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHang {
    /// Evidence, dump, kill, restart (default).
    Restart,
    /// Evidence only.
    Record,
}

/// The dialects that a worker is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dialects {
    /// Frames on a socketpair (WATCHDOG_CHANNEL). Default true.
    pub native: bool,
    /// Datagrams (NOTIFY_SOCKET). Default at a path of its own.
    pub notify: Option<NotifyAt>,
    /// JSON lines on a socketpair (NODE_CHANNEL_FD). Default false; the front door offers it when the program is node.
    pub node: bool,
    /// A newline on a pipe (WATCHDOG_READY_FD). Default false; `Ready::Fd` offers it as well.
    pub fd: bool,
}

/// Where a worker sends its datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyAt {
    /// A socket of this run's own, in a directory of the watchdog's: its name is not to be guessed, only the worker's user
    /// and root can send to it, and it is gone with the run.
    Own,
    /// The same at a path that was chosen: for a worker that sees another file system.
    Path(PathBuf),
}

/// Memory and CPU thresholds. Nothing is sampled without one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Resident memory, bytes. Default none.
    pub memory: Option<MemoryLimit>,
    /// The same, for a warning and the word `low on memory`. Default none.
    pub memory_soft: Option<u64>,
    /// Samples in a row above the limit before anything follows. Default 3.
    pub memory_samples: u32,
    /// Default `Restart`.
    pub memory_action: LimitAction,
    /// CPU time, percent of one core. Default none.
    pub cpu: Option<u32>,
    /// Samples whose mean is judged. Default 5.
    pub cpu_samples: u32,
    /// Default `Restart`.
    pub cpu_action: LimitAction,
    /// Default `Tree`.
    pub scope: LimitScope,
    /// Between two samples. Default 5 s.
    pub interval: Duration,
}

/// A limit of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryLimit {
    /// So many bytes.
    Bytes(u64),
    /// 90 % of the control group's limit, found at start; no limit where the group has none.
    Auto,
}

/// What follows when a threshold is crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitAction {
    /// A graceful restart that counts as a failure (default).
    Restart,
    /// An event, each time the threshold is crossed anew.
    Warn,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitScope {
    /// The main process.
    Main,
    /// It and its descendants, summed (default).
    Tree,
}

/// A command that is run on events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Names of events; empty means all.
    pub events: Vec<String>,
    /// Run before each start, which it forbids by any status but 0; not on events then.
    pub pre_start: bool,
    /// Program and arguments; the event comes as JSON on its standard input.
    pub command: Vec<OsString>,
}

/// As whom a command of the watchdog's own runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookUser {
    /// The watchdog's user (default).
    Watchdog,
    /// The user of the service, where it has one of its own.
    Service,
}

/// How a worker is launched. Everything that is `None` is inherited.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Launch {
    /// Working directory, entered as the worker's user.
    pub cwd: Option<PathBuf>,
    /// The worker's whole environment, already resolved (inherited, env_file, env, HOME/USER/LOGNAME). The engine adds
    /// the variables of the contract to it at each spawn. Never shown to anybody.
    #[serde(skip)]
    pub env: Arc<Vec<(OsString, OsString)>>,
    /// User and groups to become.
    pub identity: Option<Identity>,
    /// File mode creation mask (0..=0o777).
    pub umask: Option<u32>,
    /// Nice value (-20..=19).
    pub nice: Option<i32>,
    /// `/proc/PID/oom_score_adj` (-1000..=1000).
    pub oom_score_adj: Option<i32>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// PR_SET_NO_NEW_PRIVS before exec.
    pub no_new_privs: bool,
    /// Standard input. Default: inherit.
    pub stdin: Stdin,
}

/// Files of variables that are looked at for changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnvWatch {
    /// These.
    pub files: Vec<PathBuf>,
    /// From the last change to the reload. 0: at once.
    pub pause: Duration,
}

/// A user as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// User id; `None` leaves the user and only changes the group.
    pub uid: Option<u32>,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, the primary one among them. `None`: leave as they are (only a group was asked for).
    pub groups: Option<Vec<u32>>,
    /// The user as it was asked for, or the group where only that was: for messages.
    pub name: String,
}

/// One resource limit; `u64::MAX` is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// RLIMIT_* number.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Resources by the kernel's number, which is the same on every architecture but MIPS and SPARC.
pub const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// What a worker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stdin {
    /// Ours, byte for byte.
    Inherit,
    /// `/dev/null`.
    Null,
}

/// When a worker that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// After every end.
    Always,
    /// After a failure (default).
    OnFailure,
    /// After a success.
    OnSuccess,
    /// Always, and a stop by hand outlives the watchdog where `state` is set.
    UnlessStopped,
    /// Not at all.
    Never,
}

/// The pauses before consecutive restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Delays {
    /// `first * factor^n`, at most `max`; factor in thousandths (2000 = 2.0, 1000 = fixed).
    Growing {
        /// Before the first restart of a streak. Default 1 s.
        first: Duration,
        /// Thousandths. Default 2000.
        factor_milli: u32,
        /// Cap. Default 60 s.
        max: Duration,
    },
    /// Taken as it stands; the last entry repeats. Never empty.
    List(Vec<Duration>),
}

/// The restart policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restart {
    /// Default `OnFailure`.
    pub policy: Policy,
    /// Default growing 1 s, 2, 60 s.
    pub delays: Delays,
    /// Spread of a delay, in percent of it (0..=100), both ways. Default 20.
    pub jitter: u8,
    /// The first failure after a stable run restarts at once. Default true.
    pub fast_first: bool,
    /// Ready for max(this, last delay) resets the streak. Default 30 s.
    pub stable_after: Duration,
    /// Consecutive unstable restarts, then give up; 0 = never. Default 5.
    pub limit: u32,
    /// Automatic restarts inside the window, then a pause; 0 = off. Default 5.
    pub crash_loop_limit: u32,
    /// Default 60 s.
    pub crash_loop_window: Duration,
    /// Default 60 s.
    pub crash_loop_pause: Duration,
    /// Restarts in all, then give up. Default none.
    pub total: Option<u32>,
    /// What giving up means. Default `Exit` (prefix form).
    pub give_up: GiveUp,
    /// Ends that count as success. Default code 0, death by HUP INT TERM PIPE.
    pub success_on: Ends,
    /// Ends that forbid a restart, whatever the policy. Default codes 78 and 125.
    pub no_restart_on: Ends,
}

/// A set of exit codes and of signals a worker may die by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// Exit codes, 0..=255.
    pub codes: Vec<i32>,
    /// Signal numbers.
    pub signals: Vec<SignalNumber>,
}

/// What follows when the watchdog stops trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum GiveUp {
    /// End the watchdog with the worker's status (1 if that was 0).
    Exit,
    /// Stay failed, wait for `start`.
    Stay,
    /// Stop every service, end with the status of the first failed one.
    StopAll,
    /// Run a command (argv, no shell; 30 s at most), then end as `Exit` does.
    Exec(Vec<OsString>),
}

/// Who gets the first signal of a stop, and the forwarded ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The main process.
    Main,
    /// Its process group (default); in a group shared with us, the worker and its descendants one by one.
    Group,
    /// Every descendant.
    Tree,
}

/// How a worker is ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stop {
    /// `stop_signal` where it was set. `None`: TERM, and a received INT stays INT.
    pub signal: Option<SignalNumber>,
    /// Signal to SIGKILL. Default 10 s; 0 kills at once.
    pub timeout: Duration,
    /// The same for the watchdog's own end. Default: `timeout`.
    pub shutdown_timeout: Duration,
    /// Default `Group`.
    pub scope: Scope,
    /// SIGKILL to the state `stuck`. Default 1 s.
    pub kill_wait: Duration,
    /// What the main process gets when the watchdog dies. Default `Stop`.
    pub on_watchdog_death: OnDeath,
}

/// What a worker's main process gets as parent-death signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeath {
    /// The stop signal (default).
    Stop,
    /// SIGKILL.
    Kill,
    /// Nothing: it goes on.
    Keep,
}

/// Where a worker's output goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    /// Default `Inherit` (prefix form).
    pub mode: LogMode,
    /// Also written here, raw, with rotation. Needs tee or capture. Default none.
    pub file: Option<PathBuf>,
    /// What comes from stderr is written here instead. Default none: with the rest.
    pub stderr_file: Option<PathBuf>,
    /// Size at which each of them is rotated, bytes. Default 10 MiB.
    pub max_size: u64,
    /// Rotated files kept. Default 10.
    pub keep: u32,
    /// Lines kept in memory (with 256 KiB in all). Default 1000.
    pub lines: usize,
}

/// The three ways of a worker's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogMode {
    /// The worker writes to our stdout and stderr itself; we see nothing.
    Inherit,
    /// Through us: ring, file, and byte for byte to our stdout and stderr.
    Tee,
    /// Through us: ring and file only.
    Capture,
}

/// The grace a descendant gets between TERM and KILL when its worker is gone: this, or `stop_timeout` if that is less.
pub const SWEEP_GRACE: Duration = Duration::from_secs(2);
/// How long a text file that is busy (ETXTBSY) is tried again at the first start. Case LAU-05.
pub const TEXT_BUSY_FOR: Duration = Duration::from_secs(5);
