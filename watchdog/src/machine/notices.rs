//! What people are told: notices, as data, and the words for causes.

#![allow(missing_docs, reason = "the variants say what they are; their fields are named after the JSON members")]

use super::news::Dialect;
use super::verdict::{Sentence, Verdict};
use super::words::*;
use crate::spec::{LimitAction, SignalNumber};
use serde::Serialize;
use std::time::Duration;

/// Why a service left a state or stays in it. The words of product.md section 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It ended by itself with a code.
    Exited,
    /// It died by a signal.
    Signalled,
    /// It could not be started.
    SpawnFailed,
    /// Somebody asked.
    Requested,
    /// It was old enough.
    MaxAge,
    /// No more restarts are allowed.
    RestartLimit,
    /// It was not ready in time.
    StartTimeout,
    /// It stopped beating.
    Hang,
    /// It held more memory than `memory_limit`.
    Memory,
    /// It used more CPU than `cpu_limit`.
    Cpu,
    /// The kernel killed it for want of memory.
    Oom,
    /// Its liveness probe failed too often.
    Probe,
    /// A service that it requires went away, or never came.
    Dependency,
    /// Its settings changed.
    ConfigChanged,
}

impl Cause {
    /// The word in status and events.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Exited => "exited",
            Cause::Signalled => "signalled",
            Cause::SpawnFailed => "spawn-failed",
            Cause::Requested => "requested",
            Cause::MaxAge => "max-age",
            Cause::RestartLimit => "restart-limit",
            Cause::StartTimeout => "start-timeout",
            Cause::Hang => "hang",
            Cause::Memory => "memory",
            Cause::Cpu => "cpu",
            Cause::Oom => "oom",
            Cause::Probe => "probe",
            Cause::Dependency => "dependency",
            Cause::ConfigChanged => "config-changed",
        }
    }
}

/// Something people may want to know, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// About whom; `None`: the watchdog itself.
    pub service: Option<ServiceId>,
    /// Which incarnation.
    pub generation: Option<Generation>,
    /// Its main process.
    pub pid: Option<i32>,
    /// Why.
    pub cause: Option<Cause>,
    /// What.
    pub what: What,
}

/// What a notice is about: one variant per event name of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A process runs the program.
    Spawn,
    /// None does.
    SpawnFailed { path: String, step: Step, errno: i32 },
    /// It counts as ready.
    Ready { by: ReadyBy },
    /// It stopped beating, as far as can be seen from here.
    Hang { dialect: Option<Dialect>, lane: Option<String>, silent: Duration, misses: u32 },
    /// Why, by the evidence, and what follows.
    Verdict { verdict: Verdict, sentence: Sentence, record: bool, because: String },
    /// A threshold was crossed.
    Threshold { what: Measure, value: u64, limit: u64, samples: u32, action: LimitAction, soft: bool },
    /// The kernel killed it or a child of it for want of memory.
    Oom { oom: Oom },
    /// A channel is at its end and the worker is not.
    ChannelLost { dialect: Dialect },
    /// Something came that is no word of the dialect; the channel was closed for it.
    ProtoError { dialect: Dialect, error: String },
    /// A datagram of a stranger was ignored.
    NotifyDenied { sender: i32, uid: u32, count: u64 },
    /// The worker says what it is doing.
    Status { text: String },
    /// The worker reads its configuration again.
    Reload,
    /// Somebody wants it to.
    ReloadRequested { by: By },
    /// It ended.
    Exit { exit: Exit, uptime: Duration, requested: bool },
    /// It will be started again; `rule` says by which numbers.
    RestartScheduled { attempt: u32, limit: u32, delay: Duration, rule: String },
    /// It will not; `rule` says why.
    GaveUp { restarts: u32, exit_status: u8, rule: String },
    /// Too many restarts in the window: a pause.
    CrashLoop { restarts: u32, window: Duration, pause: Duration },
    /// Somebody wants it down.
    StopRequested { by: By },
    /// Somebody wants it up.
    StartRequested { by: By },
    /// Somebody wants it anew.
    RestartRequested { by: By },
    /// Somebody wants it signalled.
    SignalRequested { by: By, signal: SignalNumber },
    /// A signal went out.
    SignalSent { signal: SignalNumber, scope: &'static str, pids: Vec<i32> },
    /// The grace is over.
    KillEscalated { grace: Duration },
    /// It is down, and nothing of its tree lives.
    Stopped,
    /// It was killed and is not gone.
    Stuck { pids: Vec<i32> },
    /// These outlived their main process and are being ended; `background`: it looks as if the program had put itself into
    /// the background, where it cannot be supervised, and this is the first time that it does.
    LeftoverKilled { pids: Vec<i32>, background: bool },
    /// As PID 1 or subreaper: a stranger was reaped.
    OrphanReaped { pid: i32 },
    /// Output was not kept.
    LogDropped { stream: &'static str, lines: u64, bytes: u64 },
    /// Somebody was refused at the socket.
    ControlDenied { pid: i32, uid: u32 },
    /// Our own loop was late.
    Stall { late: Duration },
    /// The result of a probe has changed.
    Probe { probe: String, role: &'static str, result: &'static str, message: String, failures: u32 },
    /// Its start waits for these; `hopeless`: nothing that will happen by itself helps.
    Blocked { waiting_on: Vec<String>, hopeless: bool, reason: String },
    /// It waits no longer.
    Unblocked,
    /// The file was read again; these changed, by name.
    ConfigReloaded {
        added: Vec<String>,
        removed: Vec<String>,
        changed: Vec<String>,
        restarted: Vec<String>,
        deferred: Vec<String>,
    },
    /// The file cannot be used; nothing was changed.
    ConfigError { errors: Vec<String> },
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Resident memory, bytes.
    Memory,
    /// CPU time, thousandths of one core.
    Cpu,
}

/// The names of events, each variant in one place: whoever takes a name can see all that are ever told.
macro_rules! names {
    ($($what:pat => $name:literal,)*) => {
        impl What {
            /// The names of all events that are told.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The event's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $($what => $name,)*
                }
            }
        }
    };
}

names! {
    What::Spawn => "spawn",
    What::SpawnFailed { .. } => "spawn-failed",
    What::Ready { .. } => "ready",
    What::Hang { .. } => "hang",
    What::Verdict { .. } => "verdict",
    What::Threshold { .. } => "threshold",
    What::Oom { .. } => "oom",
    What::ChannelLost { .. } => "channel-lost",
    What::ProtoError { .. } => "proto-error",
    What::NotifyDenied { .. } => "notify-denied",
    What::Status { .. } => "status",
    What::Reload | What::ConfigReloaded { .. } => "reload",
    What::ReloadRequested { .. } => "reload-requested",
    What::Exit { .. } => "exit",
    What::RestartScheduled { .. } => "restart-scheduled",
    What::GaveUp { .. } => "gave-up",
    What::CrashLoop { .. } => "crash-loop",
    What::StopRequested { .. } => "stop-requested",
    What::StartRequested { .. } => "start-requested",
    What::RestartRequested { .. } => "restart-requested",
    What::SignalRequested { .. } => "signal-requested",
    What::SignalSent { .. } => "signal-sent",
    What::KillEscalated { .. } => "kill-escalated",
    What::Stopped => "stopped",
    What::Stuck { .. } => "stuck",
    What::LeftoverKilled { .. } => "leftover-killed",
    What::OrphanReaped { .. } => "orphan-reaped",
    What::LogDropped { .. } => "log-dropped",
    What::ControlDenied { .. } => "control-denied",
    What::Stall { .. } => "stall",
    What::Probe { .. } => "probe",
    What::Blocked { .. } => "blocked",
    What::Unblocked => "unblocked",
    What::ConfigError { .. } => "config-error",
}
