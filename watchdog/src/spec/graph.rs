//! How a service stands to the others of its file.

use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// What a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A process that is kept up (default).
    #[default]
    Service,
    /// A process that is run once: done counts as ready.
    Oneshot,
    /// No process: a name for all that it requires.
    Target,
    /// No process: up while its readiness probes succeed.
    Probe,
}

impl Kind {
    /// The word in the file and in status.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Service => "service",
            Kind::Oneshot => "oneshot",
            Kind::Target => "target",
            Kind::Probe => "probe",
        }
    }

    /// Whether a process belongs to it.
    pub fn has_process(self) -> bool {
        match self {
            Kind::Service | Kind::Oneshot => true,
            Kind::Target | Kind::Probe => false,
        }
    }
}

/// What is asked of a required service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Its program runs (or it has run to its end well).
    Started,
    /// It is ready, or done.
    Ready,
    /// It ended well.
    Completed,
}

impl Condition {
    /// The word in the file and in status.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Started => "started",
            Condition::Ready => "ready",
            Condition::Completed => "completed",
        }
    }
}

/// One hard dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The full name of the required service (`db`, `api@0`).
    pub service: String,
    /// What is asked of it. Default: `Completed` for a oneshot, else `Ready`.
    pub condition: Condition,
    /// It need not stay so: once is enough.
    pub once: bool,
}

/// Whether a service starts with the watchdog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Autostart {
    /// It does (default).
    #[default]
    Yes,
    /// Only when another needs it, and it stops with the last one that does.
    No,
    /// By hand alone, whoever needs it: for maintenance.
    Ignore,
}

/// The place of a service among the others. All names are full names of services of the same instance; a name that is not
/// there is passed over by the engine (the front door refuses it).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Hard dependencies. Default none.
    pub requires: Vec<Need>,
    /// Soft ones: started as well and waited for until they are ready or have failed. Default none.
    pub wants: Vec<String>,
    /// Order only: where both are to start, these come first. Default none.
    pub after: Vec<String>,
    /// Never up at the same time as these, whoever names the other. Default none.
    pub conflicts: Vec<String>,
    /// Default `Yes`.
    pub autostart: Autostart,
    /// Others were named where the watchdog was started and this one was not: `autostart` is not what its file says. Default
    /// false.
    pub unnamed: bool,
    /// A file that must be there before a start. Default none.
    pub wait_for_file: Option<PathBuf>,
    /// How long that file is waited for; then the start has failed. Default 60 s; `Duration::MAX` waits for ever.
    pub wait_for_file_timeout: Option<Duration>,
}

impl Place {
    /// Whether a start may have to wait for anything.
    pub fn waits(&self) -> bool {
        !(self.requires.is_empty()
            && self.wants.is_empty()
            && self.after.is_empty()
            && self.conflicts.is_empty()
            && self.wait_for_file.is_none())
    }
}

/// What the failure of one service means for the others, as in OTP's supervisors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Nothing but for its dependents (default).
    #[default]
    OneForOne,
    /// All others are stopped and start again with it.
    OneForAll,
    /// Those behind it in the order of the start are stopped and start again with it.
    RestForOne,
}
