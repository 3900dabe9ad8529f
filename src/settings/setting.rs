//! What a setting is: the form of the entries in `table`.

use super::draft::Draft;
use super::fault::Fault;
use super::fixed::Fixed;
use super::raw::Raw;
use super::table;
use watchdog_engine::spec::Kind;

/// How a value is read and written down.
pub(crate) type Set = fn(&mut Draft, &Raw) -> Result<(), Fault>;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// As in the file; flag and variable are made from it.
    pub(crate) key: Fixed<24>,
    /// Where `--help` shows it.
    pub(crate) group: Group,
    /// What a value looks like, for `--help`; empty for a plain switch.
    pub(crate) value: Fixed<40>,
    /// How the flag is given.
    pub(crate) shape: Shape,
    /// Whose setting it is, and so in which table of a file it stands.
    pub(crate) scope: Scope,
    /// What holds when nobody says anything.
    pub(crate) default: Standard,
    /// The same for a service of a file, where that differs.
    pub(crate) up: Option<Fixed<8>>,
    /// One line for people.
    pub(crate) meaning: Fixed<96>,
    /// Its place in the table.
    pub(crate) at: usize,
}

/// How a flag is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--flag VALUE`.
    One,
    /// `--flag A,B`, and the flag may be repeated: each adds to the list.
    List,
    /// `--flag` or `--flag=false`.
    Switch,
    /// `--flag` alone means this, `--flag=VALUE` another.
    Optional(Fixed<8>),
    /// No flag: a value of a file that is more than words.
    Tree,
}

/// What holds when nobody says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    /// This value; a test proves that it is the engine's default too.
    Value(Fixed<32>),
    /// Something that is no value, said in words.
    Words(Fixed<32>),
}

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of each service: `[defaults]` and `[service.NAME]`.
    Service,
    /// Of one service and no other: only `[service.NAME]`, no flag and no variable.
    OneService,
    /// Of the watchdog: `[watchdog]`.
    Instance,
    /// Of the command line: flag and variable only.
    CommandLine,
}

/// The parts of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Who it is.
    Name,
    /// How a worker is started.
    Launch,
    /// How it stands to the others of its file.
    Place,
    /// When it is started again.
    Restart,
    /// How it is ended.
    Stop,
    /// When it counts as up, and as alive.
    Ready,
    /// How it is asked from outside.
    Probes,
    /// What it may use.
    Limits,
    /// Where its output goes.
    Log,
    /// What is kept and told.
    Reports,
    /// The watchdog itself.
    Watchdog,
}

/// The groups in their order, with their headings.
pub(crate) const GROUPS: [(Group, &str); 11] = [
    (Group::Name, "name"),
    (Group::Launch, "launch"),
    (Group::Place, "several services (watchdog up)"),
    (Group::Restart, "restart"),
    (Group::Stop, "stop and signals"),
    (Group::Ready, "ready and alive"),
    (Group::Probes, "probes and ports"),
    (Group::Limits, "limits"),
    (Group::Log, "output"),
    (Group::Reports, "reports and hooks"),
    (Group::Watchdog, "the watchdog itself"),
];

impl Setting {
    /// Reads a value and writes it down.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn set(&self, draft: &mut Draft, raw: &Raw) -> Result<(), Fault> {
        table::SETS.get(self.at).map_or(Ok(()), |set| set(draft, raw))
    }

    /// `--stop-timeout`.
    pub(crate) fn flag(&self) -> String {
        flag(&self.key)
    }

    /// `WATCHDOG_STOP_TIMEOUT`.
    pub(crate) fn variable(&self) -> String {
        variable(&self.key)
    }

    /// Whether it has a flag and a variable. What names one thing stands in a file alone.
    pub(crate) fn has_flag(&self) -> bool {
        match self.scope {
            Scope::Service | Scope::Instance | Scope::CommandLine => true,
            Scope::OneService => false,
        }
    }

    /// Whether its texts may hold what one replica knows of itself: not where it decides what the replicas are, and where they
    /// stand.
    pub(crate) fn knows_its_replica(&self) -> bool {
        let of_one = matches!(self.scope, Scope::Service | Scope::OneService) && self.group != Group::Place;
        (of_one && self.key != "port") || self.key == "wait_for_file"
    }

    /// Whether it means something to a service of this kind: most are about a process.
    pub(crate) fn fits(&self, kind: Kind) -> bool {
        let asked = kind == Kind::Probe;
        match self.group {
            Group::Name | Group::Reports | Group::Watchdog => true,
            Group::Place => kind.has_process() || self.key != "replicas",
            // What a target says of probes is refused in words of its own.
            Group::Probes => kind.has_process() || self.key == "probe" || (asked && self.key == "start_period"),
            Group::Ready => kind.has_process() || (asked && self.key == "start_timeout"),
            Group::Launch | Group::Restart | Group::Stop | Group::Limits | Group::Log => kind.has_process(),
        }
    }

    /// The default as people read it.
    pub(crate) fn default_text(&self) -> &str {
        match &self.default {
            Standard::Value(text) | Standard::Words(text) => text,
        }
    }
}

/// The flag of a key.
pub(crate) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("WATCHDOG_{}", key.to_ascii_uppercase())
}
