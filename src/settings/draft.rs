//! What is being put together from the layers. `rules` looks at it as a whole, `build` makes a spec of it.

use super::environ::Variable;
use super::fault::Fault;
use super::needs::{DependsWish, Named, NeedWish};
use super::probes::ProbeWish;
use super::raw::Raw;
use super::{World, values};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use watchdog_engine::spec::{Dialects, GiveUp, Http, HttpControl, LogMode, SignalNumber, Spec, Stdin, Strategy};

/// How the watchdog's own lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `watchdog: sentence`
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the control socket was asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlWish {
    /// In the runtime directory.
    Usual,
    /// Nowhere.
    Off,
    /// At this path.
    Path(PathBuf),
}

/// Where reports were asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReportWish {
    /// In the state directory.
    Usual,
    /// Nowhere: none are written.
    Off,
    /// In this directory.
    Path(PathBuf),
}

impl ReportWish {
    /// The directory for a watchdog of this name: by default each has one of its own in the state directory.
    pub(crate) fn directory(&self, name: &str, world: &World) -> Option<PathBuf> {
        match self {
            ReportWish::Usual => world.state_dir().map(|dir| dir.join(values::file_name(name))),
            ReportWish::Off => None,
            ReportWish::Path(dir) => Some(dir.clone()),
        }
    }
}

/// What a service of a file is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandWish {
    /// One text: split, or for a shell.
    Text(String),
    /// Word by word.
    Words(Vec<OsString>),
}

/// The settings as far as they are known. Each entry of the table writes its own field.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Everything that has its place in the spec already.
    pub(crate) spec: Box<Spec>,
    /// `name`, where it was given.
    pub(crate) name: Option<String>,
    /// `restart_delay`: one for the growing form, more for a list.
    pub(crate) delays: Vec<Duration>,
    /// Thousandths.
    pub(crate) delay_factor: u32,
    /// Cap of the growing form.
    pub(crate) delay_max: Duration,
    /// `shutdown_timeout`, where it was given.
    pub(crate) shutdown_timeout: Option<Duration>,
    /// `env`, all layers, the stronger one behind.
    pub(crate) env: Vec<Variable>,
    /// `env_file`, in order.
    pub(crate) env_files: Vec<PathBuf>,
    /// `clear_env`.
    pub(crate) clear_env: bool,
    /// `port`: that of the first replica.
    pub(crate) port: Option<u16>,
    /// The port of this replica.
    pub(crate) own_port: Option<u16>,
    /// `user`, not looked up yet.
    pub(crate) user: Option<String>,
    /// `group`, not looked up yet.
    pub(crate) group: Option<String>,
    /// `dialects`, where they were given.
    pub(crate) dialects: Option<Dialects>,
    /// `report_dir`.
    pub(crate) report_dir: ReportWish,
    /// `report_keep`.
    pub(crate) report_keep: u32,
    /// `control`.
    pub(crate) control: ControlWish,
    /// `http`.
    pub(crate) http: Http,
    /// `http_control`.
    pub(crate) http_control: HttpControl,
    /// `events_file`.
    pub(crate) events_file: Option<PathBuf>,
    /// `termination_message`.
    pub(crate) termination_message: Option<PathBuf>,
    /// `die_with_parent`.
    pub(crate) die_with_parent: Option<SignalNumber>,
    /// `command` of a file.
    pub(crate) command: Option<CommandWish>,
    /// `shell`
    pub(crate) shell: bool,
    /// `requires`, names not looked up yet.
    pub(crate) requires: Vec<NeedWish>,
    /// `depends_on`
    pub(crate) depends_on: Vec<DependsWish>,
    /// `wants`
    pub(crate) wants: Vec<Named>,
    /// `after`
    pub(crate) after: Vec<Named>,
    /// `conflicts`
    pub(crate) conflicts: Vec<Named>,
    /// `wait_for_file_timeout`
    pub(crate) wait_for_file_timeout: Duration,
    /// `enabled`
    pub(crate) enabled: bool,
    /// `replicas`
    pub(crate) replicas: u32,
    /// `probe`
    pub(crate) probes: Vec<ProbeWish>,
    /// `start_period` of the probes that have none of their own.
    pub(crate) start_period: Duration,
    /// `env_watch`
    pub(crate) env_watch: Option<Duration>,
    /// `state`
    pub(crate) state: Option<PathBuf>,
    /// `strategy`
    pub(crate) strategy: Strategy,
    /// What else is wrong with a value of which several parts are; its setter gives back only one.
    pub(crate) more: Vec<Fault>,
    /// `log_level`: an env_logger filter.
    pub(crate) log_level: String,
    /// `log_format`.
    pub(crate) log_format: LogFormat,
}

impl Default for Draft {
    fn default() -> Self {
        Draft {
            spec: Box::default(),
            name: None,
            delays: vec![Duration::from_secs(1)],
            delay_factor: 2000,
            delay_max: Duration::from_secs(60),
            shutdown_timeout: None,
            env: Vec::new(),
            env_files: Vec::new(),
            clear_env: false,
            port: None,
            own_port: None,
            user: None,
            group: None,
            dialects: None,
            report_dir: ReportWish::Usual,
            report_keep: 20,
            control: ControlWish::Usual,
            http: Http::Off,
            http_control: HttpControl::Off,
            events_file: None,
            termination_message: None,
            die_with_parent: None,
            command: None,
            shell: false,
            requires: Vec::new(),
            depends_on: Vec::new(),
            wants: Vec::new(),
            after: Vec::new(),
            conflicts: Vec::new(),
            wait_for_file_timeout: Duration::from_secs(60),
            enabled: true,
            replicas: 1,
            probes: Vec::new(),
            start_period: Duration::from_secs(5),
            env_watch: None,
            state: None,
            strategy: Strategy::OneForOne,
            more: Vec::new(),
            log_level: "warn".to_string(),
            log_format: LogFormat::Text,
        }
    }
}

impl Draft {
    /// What holds in `up` when nobody says anything.
    pub(crate) fn for_up() -> Draft {
        let mut draft = Draft { log_level: "info".to_string(), ..Draft::default() };
        draft.spec.launch.stdin = Stdin::Null;
        draft.spec.log.mode = LogMode::Capture;
        draft.spec.restart.give_up = GiveUp::Stay;
        draft
    }

    /// Adds the K=V pairs of one layer to `env`. The value may be a secret: an error shows at most the name.
    pub(crate) fn add_env(&mut self, raw: &Raw) -> Result<(), Fault> {
        for item in raw.pairs() {
            let bytes = item.as_bytes();
            match bytes.iter().position(|b| *b == b'=') {
                Some(0) => return Err(Fault::usage("no name in front of the =")),
                Some(at) => {
                    let (name, value) = (&bytes[..at], &bytes[at + 1..]);
                    let os = |b: &[u8]| std::ffi::OsStr::from_bytes(b).to_os_string();
                    self.env.push((os(name), os(value)));
                }
                None => return Err(Fault::usage("not K=V, such as RUST_LOG=info")),
            }
        }
        Ok(())
    }
}
