//! What the instance should be: one watchdog process.

use super::{SignalNumber, Strategy};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The instance: one watchdog process.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Shown by `ls`; the first service's name unless one was given.
    pub name: String,
    /// True when `name` was given by the user (then `NAME.sock`, else `NAME.PID.sock`).
    pub name_given: bool,
    /// Where the control socket is to be.
    pub control: Control,
    /// The runtime directory: sockets of notify channels are in one beside it (`DIR-notify`). Default none: under /run
    /// for root, else under /tmp.
    pub runtime_dir: Option<PathBuf>,
    /// Where health and metrics are shown over HTTP. Default nowhere.
    pub http: Http,
    /// Whether services can be started and stopped over HTTP. Default off.
    pub http_control: HttpControl,
    /// JSON lines of every event. Default none.
    pub events_file: Option<PathBuf>,
    /// Parent-death signal for the watchdog itself. Default none.
    pub die_with_parent: Option<SignalNumber>,
    /// The file the services came from, shown in `status`.
    pub file: Option<PathBuf>,
    /// When the watchdog comes to its end by itself, and whom signals to it are meant for.
    pub form: Form,
    /// What the failure of one service means for the others. Default one-for-one.
    pub strategy: Strategy,
    /// `run-until-ready`: the end is there as soon as all services are ready, at the latest after this time. Default none.
    pub until_ready: Option<Duration>,
    /// File that keeps wishes over a restart of the watchdog. Default none.
    pub state: Option<PathBuf>,
    /// Version shown in `status`.
    pub version: String,
    /// Where reports go. `None`: only the last one is kept, in memory.
    pub report_dir: Option<PathBuf>,
    /// Reports kept for each service. Default 20; 0 writes none.
    pub report_keep: u32,
    /// File for the reason and the last lines when the end is a failure. Default none.
    pub termination_message: Option<PathBuf>,
    /// Whoever started the watchdog and wants to hear of it as of any other service. Default nobody.
    pub upward: Option<Upward>,
    /// The environment of commands of its own: hooks and `give_up = exec:`. Never shown. `None`: what this process has, without
    /// what is meant for it alone.
    pub environment: Option<Arc<Vec<(OsString, OsString)>>>,
}

/// A service manager above us that listens as sd_notify(3) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upward {
    /// The value of its NOTIFY_SOCKET: a path, or `@` and an abstract name.
    pub socket: OsString,
    /// It wants a sign of life within this time. `None`: it wants none.
    pub watchdog: Option<Duration>,
}

/// Where the control socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// No socket.
    Off,
    /// In the first runtime directory of the contract (`$WATCHDOG_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/watchdog`,
    /// `/run/watchdog` for root, `/tmp/watchdog-UID`).
    RuntimeDir(PathBuf),
    /// At this path.
    Path(PathBuf),
}

/// Where health and metrics are shown over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Http {
    /// Nowhere.
    Off,
    /// At this address; port 0: one that is free, shown in `status`.
    Tcp(SocketAddr),
    /// At a Unix socket with this path.
    Unix(PathBuf),
}

impl std::fmt::Display for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Http::Off => f.write_str("off"),
            Http::Tcp(address) => address.fmt(f),
            Http::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who may start, stop and restart services over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpControl {
    /// Nobody.
    Off,
    /// Whoever has the token that is made beside the control socket (`SOCKET.token`), anew with each start.
    Beside,
    /// Whoever has the token in this file; one that is not there is made.
    File(PathBuf),
}

/// What the watchdog is to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A prefix before one program: the end of that is the end of the watchdog, signals are passed on.
    Prefix,
    /// `up`: many services. It ends when all are done, or by a failure that is the end of all (`give_up`); TERM, INT and
    /// QUIT end it, HUP has it read its file again, USR1 reopens the files of output.
    Up,
    /// Part of another program: it ends when that says so.
    Library,
}
