//! What the instance should be: one watchdog process.

use super::{SignalNumber, Strategy};
use std::path::PathBuf;

/// The instance: one watchdog process.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Shown by `ls`; the first service's name unless one was given.
    pub name: String,
    /// True when `name` was given by the user (then `NAME.sock`, else `NAME.PID.sock`).
    pub name_given: bool,
    /// Where the control socket is to be.
    pub control: Control,
    /// JSON lines of every event. Default none.
    pub events_file: Option<PathBuf>,
    /// Parent-death signal for the watchdog itself. Default none.
    pub die_with_parent: Option<SignalNumber>,
    /// The file the services came from, shown in `status`.
    pub file: Option<PathBuf>,
    /// True in the prefix form: the end of the service is the end of the watchdog.
    pub prefix: bool,
    /// What the failure of one service means for the others. Default one-for-one.
    pub strategy: Strategy,
    /// File that keeps wishes over a restart of the watchdog. Default none.
    pub state: Option<PathBuf>,
    /// Version shown in `status`.
    pub version: String,
    /// Where reports go. `None`: only the last one is kept, in memory.
    pub report_dir: Option<PathBuf>,
    /// Reports kept for each service. Default 20; 0 writes none.
    pub report_keep: u32,
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
