//! Probes: questions put to a service from outside.

use serde::Serialize;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One probe of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeSpec {
    /// Shown in status and events. Default: the kind of its check.
    pub name: String,
    /// What is tried.
    pub check: Check,
    /// What its results decide. Default readiness and liveness.
    pub roles: Roles,
    /// From the start of the process: failures within it do not count, a success does. Default 5 s.
    pub start_period: Duration,
    /// From one result to the next try, once it has succeeded. Default 10 s.
    pub interval: Duration,
    /// The same before the first success. Default 1 s.
    pub starting_interval: Duration,
    /// One try takes no longer than this in all. Default 5 s.
    pub timeout: Duration,
    /// Failures in a row that count. Default 3, at least 1.
    pub failures: u32,
    /// Successes in a row that count. Default 1, at least 1.
    pub successes: u32,
}

/// What the results of a probe decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Roles {
    /// The others are not tried before this one has succeeded.
    pub startup: bool,
    /// The service is ready when it succeeds; failures later only say that it is not.
    pub readiness: bool,
    /// A streak of failures restarts the service.
    pub liveness: bool,
}

/// What a probe tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Check {
    /// One request; the status and, where asked for, a part of the body decide.
    Http(HttpCheck),
    /// One of these addresses takes a connection (`localhost` is both loopbacks).
    Tcp(Vec<SocketAddr>),
    /// The socket takes a connection.
    Unix(PathBuf),
    /// A command that exits with 0, in the service's environment. Never through a shell.
    Exec(Vec<OsString>),
    /// A process of the service listens on it (any process, for a probe without one); nothing is connected to.
    Port {
        /// Its number.
        port: u16,
        /// UDP rather than TCP.
        udp: bool,
    },
}

impl Check {
    /// The word for its kind.
    pub fn word(&self) -> &'static str {
        match self {
            Check::Http(_) => "http",
            Check::Tcp(_) => "tcp",
            Check::Unix(_) => "unix",
            Check::Exec(_) => "exec",
            Check::Port { .. } => "port",
        }
    }
}

/// A request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpCheck {
    /// Where to; the first that takes a connection is asked.
    pub addresses: Vec<SocketAddr>,
    /// The `Host` header, as it was written.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Default GET.
    pub method: String,
    /// More headers. Not shown anywhere: they may hold secrets.
    #[serde(skip)]
    pub headers: Vec<(String, String)>,
    /// Ranges of statuses that are a success, both ends included. Default 200-399.
    pub status: Vec<(u16, u16)>,
    /// A text that the body must hold. Default none.
    pub body: Option<String>,
}

/// A port that a service will listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// UDP rather than TCP.
    pub udp: bool,
}

/// The ports that a service will need, and what to do where others hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// Who holds one of these before a start is always said. Default none.
    pub declared: Vec<Port>,
    /// End whoever holds one. Default false.
    pub kill_others: bool,
    /// Only processes whose name holds one of these texts (case does not matter) are ended. Default: any.
    pub process_filters: Vec<String>,
}

impl Default for ProbeSpec {
    fn default() -> Self {
        ProbeSpec {
            name: String::new(),
            check: Check::Tcp(Vec::new()),
            roles: Roles { startup: false, readiness: true, liveness: true },
            start_period: Duration::from_secs(5),
            interval: Duration::from_secs(10),
            starting_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            failures: 3,
            successes: 1,
        }
    }
}
