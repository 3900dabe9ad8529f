//! What a worker says and what it is told, whatever the dialect; and the facts that a verdict is read from.

#![allow(missing_docs, reason = "the variants say what they are; their fields are named after the JSON members")]

use super::time::MonoTime;
use serde::Serialize;
use std::time::Duration;

/// How a worker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// bincode frames on a socketpair.
    Native,
    /// sd_notify datagrams.
    Notify,
    /// JSON lines on Node's channel.
    Node,
    /// A newline on a descriptor.
    Fd,
}

impl Dialect {
    /// The word in status and events.
    pub fn word(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Notify => "notify",
            Dialect::Node => "node",
            Dialect::Fd => "fd",
        }
    }

    /// Whether its signs of life are answers to pings of ours. The others beat by themselves.
    pub fn is_asked(self) -> bool {
        match self {
            Dialect::Native | Dialect::Node => true,
            Dialect::Notify | Dialect::Fd => false,
        }
    }
}

/// One thing a worker said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum News {
    /// It speaks this dialect, and nothing else yet (the greeting of the native one).
    Hello,
    /// It can do its work; also the end of `Reloading`.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It is ending.
    Stopping,
    /// What it is doing, for people. Bounded by the decoder.
    Status(String),
    /// A sign of life that nobody asked for.
    Beat,
    /// The answer to the ping with this nonce; `None` where the dialect carries none.
    Pong(Option<u64>),
    /// It wants to be treated as hung (WATCHDOG=trigger).
    Trigger,
    /// It needs so long for what it is doing.
    Extend(Duration),
    /// From now on so long between two signs of life (WATCHDOG_USEC).
    BeatEvery(Duration),
    /// Another process of its tree is the main one when the present one ends. It comes back as
    /// [`super::words::Event::HandedOver`] then, if it is so.
    MainPid(i32),
    /// Why it fails (ERRNO).
    Errno(i32),
    /// It acts on the word `Shutdown`.
    TakesShutdown,
    /// Its checks.
    Health(Vec<HealthCheck>),
    /// Its numbers.
    Metrics(Numbers),
    /// How its values are distributed.
    Histograms(Vec<Spread>),
    /// Last words of a panic.
    Panic(String),
    /// The stack of one of its threads.
    Stack { thread: String, text: String },
    /// The loops it has, as they are now. Only those that are not free.
    Lanes(Vec<LaneView>),
}

/// One check of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    pub name: String,
    pub pass: bool,
    pub message: String,
}

/// A worker's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Numbers {
    pub counters: Vec<(String, u64)>,
    pub gauges: Vec<(String, f64)>,
}

/// How values of a worker are distributed: bounds ascend, and there is one count more than bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub name: String,
    pub bounds: Vec<f64>,
    pub counts: Vec<u64>,
    pub sum: f64,
}

/// A loop of a worker, as its memory file shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneView {
    /// Its place in the file.
    pub slot: u32,
    pub name: String,
    /// Judged (else idle).
    pub armed: bool,
    pub beats: u64,
    pub deadline: Duration,
}

/// One thing a worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Word {
    /// Are you there?
    Ping(u64),
    /// End in order, within this time.
    Shutdown(Duration),
    /// Read the configuration again.
    Reload,
    /// A word of the operator's own.
    Tell(String),
    /// Memory is getting short.
    LowMemory,
    AskHealth,
    AskMetrics,
}

/// One measurement of a worker or its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub at: MonoTime,
    /// Resident memory; `None`: it could not be measured (a leader that is a zombie, no /proc).
    pub rss_bytes: Option<u64>,
    /// CPU time since the sample before, thousandths of one core; `None` for the first.
    pub cpu_permille: Option<u32>,
}

/// What the kernel shows of a worker that does not beat, over the short time between two looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Between the two looks.
    pub span: Duration,
    /// CPU time of all its threads meanwhile.
    pub cpu: Duration,
    /// Longest time that one of its threads waited for a processor meanwhile, being ready to run.
    pub waited: Duration,
    /// Its control group was held back for so long meanwhile (cpu.max).
    pub throttled: Duration,
    /// Share of the time in which tasks of this machine waited for a processor, percent (PSI `some avg10`).
    pub pressure_percent: u8,
    pub threads: u32,
    /// Threads in uninterruptible sleep at both looks.
    pub blocked: u32,
    /// Stopped by a signal.
    pub stopped: bool,
    /// A debugger holds it.
    pub traced: bool,
    /// How late our own timer was.
    pub late: Duration,
    /// The machine slept for so long since the last sign of life (BOOTTIME ahead of MONOTONIC).
    pub suspended: Duration,
    /// Nothing could be seen (no /proc, gone).
    pub blind: bool,
}
