//! The vocabulary of the machine: what comes in and what goes out. What people read about it stands in `notices`.

#![allow(missing_docs, reason = "the variants say what they are; their fields are named after the JSON members")]

use super::news::{Dialect, Evidence, News, Sample, Word};
use super::state::{Ended, Run};
use super::time::MonoTime;
use crate::spec::{Scope, SignalNumber};
use serde::Serialize;
use std::time::Duration;

pub use super::notices::*;

/// Which service, by its place in the list of specs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ServiceId(pub u32);

/// Which incarnation of a service; the first is 1, and a service never has a number twice. News of an older one is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Generation(pub u64);

/// Names a waiting client; the machine gives it back with the one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Ticket(pub u64);

/// What happened outside.
#[derive(Clone, Debug, Serialize)]
pub enum Event {
    /// The exec succeeded.
    Spawned { service: ServiceId, generation: Generation, pid: i32 },
    /// No process came of it.
    SpawnFailed { service: ServiceId, generation: Generation, failure: SpawnFailure },
    /// The main process was reaped. `seen_alive`: the last moment it was known to live, which is not the moment its end
    /// was noticed if we were not running meanwhile. `left`: what of its tree still lives.
    Exited { service: ServiceId, generation: Generation, exit: Exit, seen_alive: MonoTime, left: Vec<i32> },
    /// A new look at what is left of a tree whose main process is gone.
    Tree { service: ServiceId, generation: Generation, left: Vec<i32> },
    /// A worker said something.
    News { service: ServiceId, generation: Generation, dialect: Dialect, news: News },
    /// Another process of its tree is the main one from now on: the one before has named it (MAINPID) and ended. `told`: it
    /// has got the stop signal with that one.
    HandedOver { service: ServiceId, generation: Generation, pid: i32, told: bool },
    /// So many datagrams came to its notify socket from senders that may not speak for it. What they say is not known here;
    /// but they took the room of others.
    Foreign { service: ServiceId, generation: Generation, count: u64 },
    /// It is seen to be ready: by a line of its output, or by its port.
    SeenReady { service: ServiceId, generation: Generation, by: ReadyBy },
    /// The channel of this dialect is at its end: closed by the worker, or by us for what came over it.
    ChannelLost { service: ServiceId, generation: Generation, dialect: Dialect, fault: Option<String> },
    /// What the second look at a worker that does not beat has shown.
    Evidence { service: ServiceId, generation: Generation, evidence: Evidence },
    /// It was measured.
    Sampled { service: ServiceId, generation: Generation, sample: Sample },
    /// A try of a probe is over.
    Probed { service: ServiceId, generation: Generation, probe: u16, answer: Answer },
    /// Whether the file that a start waits for is there.
    FileSeen { service: ServiceId, there: bool },
    /// The give-up command ended or could not be run.
    GiveUpRan { service: ServiceId },
    /// A client asks.
    Asked { ticket: Ticket, by: By, request: Request },
    /// A client that was waiting is gone; its wish stays.
    ClientGone { ticket: Ticket },
    /// We got a signal.
    Signalled { signal: SignalNumber, origin: Origin },
    /// As PID 1: no child of any kind is left.
    Alone,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// Start this generation.
    Spawn { service: ServiceId, generation: Generation },
    /// Nobody waits for this start any more: if it is still held up (by a pre-start hook), it fails.
    CancelSpawn { service: ServiceId, generation: Generation },
    /// Tell the worker something, in this dialect.
    Say { service: ServiceId, generation: Generation, dialect: Dialect, word: Word },
    /// Look at its lanes; comes back as [`News::Lanes`] where it has any.
    LookAtLanes { service: ServiceId, generation: Generation },
    /// Look whether its tree listens on this port; comes back as [`Event::SeenReady`] if it does.
    LookAtPort { service: ServiceId, generation: Generation, port: u16 },
    /// Try one of its probes; comes back as [`Event::Probed`]. There is never a second try of the same one under way.
    Probe { service: ServiceId, generation: Generation, probe: u16 },
    /// Whatever of its probes is under way means nothing any more.
    EndProbes { service: ServiceId, generation: Generation },
    /// Look whether the file is there that its start waits for; comes back as [`Event::FileSeen`].
    LookAtFile { service: ServiceId },
    /// Look at a worker that does not beat; the second look comes back as [`Event::Evidence`].
    Inspect { service: ServiceId, generation: Generation, second: bool },
    /// Measure it; comes back as [`Event::Sampled`].
    Measure { service: ServiceId, generation: Generation },
    /// Before a kill: take down its threads and descriptors for the report.
    Gather { service: ServiceId, generation: Generation },
    /// Write a report of what is known of this run.
    Report(Box<ReportOrder>),
    /// Signal a living main process and, by scope, those around it. `wake`: also CONT whoever of them is stopped, for
    /// else the signal would wait.
    Signal { service: ServiceId, generation: Generation, signal: SignalNumber, scope: Scope, wake: bool },
    /// Signal all that is left of the tree of a dead main process.
    Sweep { service: ServiceId, generation: Generation, signal: SignalNumber },
    /// Look at what is left; comes back as [`Event::Tree`].
    LookAtTree { service: ServiceId, generation: Generation },
    /// Run the give-up command; comes back as [`Event::GiveUpRan`].
    RunGiveUp { service: ServiceId },
    /// End the give-up command: it has had its time.
    EndGiveUp { service: ServiceId },
    /// As PID 1, before leaving: signal every child that is left; [`Event::Alone`] when there is none.
    Farewell { signal: SignalNumber },
    /// The terminal stopped us all: stop ourselves too, so that the shell gets its prompt back.
    Suspend,
    /// Answer a client, once.
    Answer { ticket: Ticket, reply: Reply },
    /// Let people know.
    Tell(Notice),
    /// Read the file of the services again; whoever asked is answered then.
    ReadFileAgain { ticket: Option<Ticket>, restart: bool },
    /// Close the files of output and open them anew: somebody has moved them.
    ReopenLogs,
    /// The end of the watchdog, with this status.
    Exit(u8),
}

/// The machine's output of one turn.
pub type Actions = Vec<Action>;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// 0..=255, if it exited.
    pub code: Option<i32>,
    /// If it died by a signal.
    pub signal: Option<SignalNumber>,
    /// The kernel wrote a core.
    pub core: bool,
    /// Most memory it held at once.
    pub rss_peak_bytes: Option<u64>,
    /// Whether the kernel killed it or a child of it for want of memory.
    pub oom: Oom,
    /// CPU time it used, with the children that it waited for.
    pub cpu: Duration,
}

/// A kill for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oom {
    /// None that is known of.
    #[default]
    No,
    /// The main process; the counter of its control group says so.
    Worker,
    /// One of its children; the counter says so.
    Child,
    /// It died by a KILL that was not ours, and somewhere on this machine the kernel killed for want of memory.
    Probable,
}

/// How one try of a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// How.
    pub outcome: Outcome,
    /// What was seen, for people: at most 200 characters, no control characters.
    pub message: String,
    /// From the try to the answer.
    pub took: Duration,
}

/// The outcome of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Success,
    /// Not so, or not in time.
    Failure,
    /// It could not be tried; counts as a failure.
    Error,
}

impl Outcome {
    /// The word in status and events.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Error => "error",
        }
    }
}

/// A report to be written, with everything that the machine knows of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportOrder {
    pub service: ServiceId,
    pub generation: Generation,
    pub cause: Cause,
    /// The sentence of the decision, with the rule and its numbers.
    pub rule: String,
    pub run: Run,
    /// How it ended; `None` for a hang that is only recorded.
    pub ended: Option<Box<Ended>>,
}

/// What made a worker ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyBy {
    /// Its program runs.
    Spawned,
    /// It said so.
    Said(Dialect),
    /// A line of its output.
    Line,
    /// Its port.
    Port,
    /// It is still there after the time of `ready = alive`.
    Alive,
    /// Its probes.
    Probe,
    /// All that it requires is there: it has no process of its own.
    Requirements,
}

impl ReadyBy {
    /// The word in status and events.
    pub fn word(self) -> &'static str {
        match self {
            ReadyBy::Spawned => "spawned",
            ReadyBy::Said(dialect) => dialect.word(),
            ReadyBy::Line => "line",
            ReadyBy::Port => "port",
            ReadyBy::Alive => "alive",
            ReadyBy::Probe => "probe",
            ReadyBy::Requirements => "requirements",
        }
    }
}

impl Exit {
    /// As a shell would say it: the code, or 128+n.
    pub fn status(&self) -> u8 {
        let raw = self.code.or(self.signal.map(|s| 128 + s)).unwrap_or(125);
        u8::try_from(raw).unwrap_or(125)
    }
}

/// The step of a spawn that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Making the process.
    Fork,
    /// Pipes or channels for it.
    Channel,
    /// Entering its control group.
    Cgroup,
    /// Its own process group.
    Setpgid,
    /// Standard descriptors.
    Stdio,
    /// umask, nice, oom_score_adj.
    Adjust,
    /// Resource limits.
    Rlimit,
    /// User and groups.
    User,
    /// Working directory.
    Chdir,
    /// no_new_privs, parent-death signal.
    Prctl,
    /// The pre-start hook.
    PreStart,
    /// The program itself.
    Exec,
}

impl Step {
    /// The word in events and messages.
    pub fn word(self) -> &'static str {
        match self {
            Step::Fork => "fork",
            Step::Channel => "channel",
            Step::Cgroup => "cgroup",
            Step::Setpgid => "setpgid",
            Step::Stdio => "stdio",
            Step::Adjust => "adjust",
            Step::Rlimit => "rlimit",
            Step::User => "user",
            Step::Chdir => "chdir",
            Step::Prctl => "prctl",
            Step::PreStart => "pre-start",
            Step::Exec => "exec",
        }
    }
}

/// Why no process came of a spawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpawnFailure {
    /// Where it failed.
    pub step: Step,
    /// The kernel's reason.
    pub errno: i32,
    /// The program, directory or interpreter it is about; cut to 200 characters.
    pub path: String,
}

/// Whether a spawn failure may be cured by trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The program is not there: 127.
    Missing,
    /// It is there and cannot be executed: 126.
    Unusable,
    /// It is being written (ETXTBSY): 126 in the end.
    Busy,
    /// The machine is short of something, or the exec has not come in its time: tried again.
    Shortage,
    /// Any other step: 125.
    Setup,
}

impl SpawnFailure {
    /// What kind of failure this is.
    pub fn kind(&self) -> FailureKind {
        match (self.step, self.errno) {
            (Step::PreStart, _) => FailureKind::Setup,
            (_, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ETIMEDOUT) => FailureKind::Shortage,
            (Step::Exec, libc::ENOENT | libc::ENOTDIR) => FailureKind::Missing,
            (Step::Exec, libc::ETXTBSY) => FailureKind::Busy,
            (Step::Exec, _) => FailureKind::Unusable,
            _ => FailureKind::Setup,
        }
    }

    /// The status of a watchdog that ends for this.
    pub fn status(&self) -> u8 {
        match self.kind() {
            FailureKind::Missing => 127,
            FailureKind::Unusable | FailureKind::Busy => 126,
            FailureKind::Shortage | FailureKind::Setup => 125,
        }
    }
}

/// Where a signal came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// The kernel's terminal (SI_KERNEL).
    Kernel,
    /// A process.
    Process {
        /// Its pid, 0 if it is not in our namespace.
        pid: i32,
        /// Its real user id.
        uid: u32,
    },
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct By {
    /// How.
    pub kind: ByKind,
    /// The signal, where it was one.
    pub signal: Option<SignalNumber>,
    /// The asking process.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: Option<u32>,
}

/// How somebody asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ByKind {
    /// A signal to the watchdog, or a key of the terminal.
    Signal,
    /// The control socket.
    Control,
    /// A setting (`max_age`).
    Policy,
}

/// A wish from the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Request {
    /// Up, and ready.
    Start { services: Vec<ServiceId> },
    /// Down, with another grace than the setting's if one is given.
    Stop { services: Vec<ServiceId>, timeout: Option<Duration> },
    /// A new generation, free of limits and without delay; `force` skips the grace, `alone` leaves dependents as they are.
    Restart { services: Vec<ServiceId>, force: bool, alone: bool },
    /// A signal to the workers.
    Signal { services: Vec<ServiceId>, signal: SignalNumber },
    /// Its own configuration, read again.
    Reload { services: Vec<ServiceId> },
    /// The file of the services, read again; `restart`: whoever needs it is restarted at once.
    ReadFileAgain { restart: bool },
    /// A word of the operator's own.
    Tell { services: Vec<ServiceId>, word: String },
    /// The end of the watchdog.
    Shutdown,
    /// Tell me when it is so.
    Wait { services: Vec<ServiceId>, want: Want, timeout: Option<Duration> },
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Ready (or ended well).
    Ready,
    /// No process, and none to come.
    Stopped,
    /// Ended well.
    Completed,
}

/// The one answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reply {
    /// It is so.
    Done { services: Vec<ServiceId> },
    /// It was tried, and it is not so and will not be (the worker failed; somebody else wished otherwise).
    NotSo { service: ServiceId, reason: String },
    /// It is not tried: a wrong state.
    Refused { service: Option<ServiceId>, reason: String },
    /// It did not become so in time (a stop that ended in `stuck`).
    TimedOut { service: ServiceId, reason: String },
    /// The end of a `Wait`; `reason`: why it is not so.
    Waited { service: ServiceId, want: Want, reached: bool, waited: Duration, reason: Option<String> },
}
