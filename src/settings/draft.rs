//! What is being put together from the layers, and the last checks that turn it into specs.

use super::environ::{self, Variable};
use super::fault::Fault;
use super::language::{self, Language};
use super::raw::Raw;
use super::{World, env_file, values};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use watchdog_engine::spec::{
    Control, Delays, Dialects, Form, Heartbeat, HeartbeatMode, Instance, LogMode, MemoryLimit, Ready, SignalNumber,
    Spec,
};

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

/// The settings as far as they are known. Each entry of the table writes its own field.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Everything that has its place in the spec already.
    pub(crate) spec: Spec,
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
    /// `events_file`.
    pub(crate) events_file: Option<PathBuf>,
    /// `die_with_parent`.
    pub(crate) die_with_parent: Option<SignalNumber>,
    /// `log_level`: an env_logger filter.
    pub(crate) log_level: String,
    /// `log_format`.
    pub(crate) log_format: LogFormat,
}

impl Default for Draft {
    fn default() -> Self {
        Draft {
            spec: Spec::default(),
            name: None,
            delays: vec![Duration::from_secs(1)],
            delay_factor: 2000,
            delay_max: Duration::from_secs(60),
            shutdown_timeout: None,
            env: Vec::new(),
            env_files: Vec::new(),
            clear_env: false,
            user: None,
            group: None,
            dialects: None,
            report_dir: ReportWish::Usual,
            report_keep: 20,
            control: ControlWish::Usual,
            events_file: None,
            die_with_parent: None,
            log_level: "warn".to_string(),
            log_format: LogFormat::Text,
        }
    }
}

impl Draft {
    /// Settings that are right one by one and wrong together.
    fn contradictions(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let text = |d: Duration| humantime::format_duration(d).to_string().replace(' ', "");
        if self.delays.len() == 1 && self.delay_factor > 1000 && self.delays[0] > self.delay_max {
            faults.push(Fault::usage(format!(
                "restart_delay is {}, more than restart_delay_max {}: raise the second, or set restart_delay_factor to 1",
                text(self.delays[0]),
                text(self.delay_max)
            )));
        }
        let log = &self.spec.log;
        if log.file.is_some() && log.mode == LogMode::Inherit {
            let message = "log_file needs output that passes through the watchdog: set log to tee or capture";
            faults.push(Fault::usage(message.to_string()));
        }
        faults.extend(self.unheard());
        if let (Some(MemoryLimit::Bytes(hard)), Some(soft)) = (self.spec.limits.memory, self.spec.limits.memory_soft)
            && soft >= hard
        {
            let message = format!(
                "memory_soft_limit is {soft}B, not below memory_limit {hard}B: lower the first or raise the second"
            );
            faults.push(Fault::usage(message));
        }
        faults
    }

    /// What waits for words of the worker that could never arrive.
    fn unheard(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if matches!(self.spec.ready, Ready::Line(_)) && self.spec.log.mode == LogMode::Inherit {
            let message = "ready = line:TEXT needs output that passes through the watchdog: set log to tee or capture";
            faults.push(Fault::usage(message));
        }
        let Some(dialects) = &self.dialects else { return faults };
        let beats = dialects.native || dialects.notify.is_some() || dialects.node;
        if self.spec.heartbeat.mode == HeartbeatMode::Required && !beats {
            let message = "heartbeat = required needs a dialect that has beats: add native, notify or node to dialects";
            faults.push(Fault::usage(message));
        }
        if self.spec.ready == Ready::Reported && !beats && !dialects.fd {
            let message = "ready = reported needs a dialect: add native, notify, node or fd to dialects";
            faults.push(Fault::usage(message));
        }
        faults
    }

    /// The dialects that are offered: those that were asked for, or the usual ones and node's to node.
    fn offered(&self, language: Option<Language>) -> Dialects {
        let mut dialects = self
            .dialects
            .clone()
            .unwrap_or_else(|| Dialects { node: language == Some(Language::Node), ..Dialects::default() });
        dialects.fd |= self.spec.ready == Ready::Fd;
        dialects
    }

    /// Python shows its stacks on ABRT only if it is told to before it starts. Said to it only where heartbeats were asked
    /// for by a setting: with none, its environment is as without us.
    fn prepare_dump(&self, language: Option<Language>, env: &mut Vec<Variable>) {
        const NAME: &str = "PYTHONFAULTHANDLER";
        let rules = &self.spec.heartbeat;
        let wanted = *rules != Heartbeat::default() && rules.mode != HeartbeatMode::Off;
        if wanted && language == Some(Language::Python) && !env.iter().any(|(name, _)| name == NAME) {
            env.push((NAME.into(), "1".into()));
        }
    }

    /// Where reports go and how many are kept.
    fn reports(&self, world: &World) -> (Option<PathBuf>, u32) {
        match &self.report_dir {
            ReportWish::Usual => (world.state_dir(), self.report_keep),
            ReportWish::Off => (None, 0),
            ReportWish::Path(dir) => (Some(dir.clone()), self.report_keep),
        }
    }

    /// The specs the engine runs.
    pub(crate) fn build(mut self, command: Vec<OsString>, world: &World) -> Result<(Instance, Spec), Vec<Fault>> {
        let mut faults = self.contradictions();
        let mut from_files = Vec::new();
        for file in &self.env_files {
            match env_file::read(file) {
                Ok(variables) => from_files.extend(variables),
                Err(fault) => faults.push(fault),
            }
        }
        let user = world.accounts.resolve(self.user.as_deref(), self.group.as_deref()).unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let base = if self.clear_env { Vec::new() } else { environ::inherited(&world.environment, world.pid) };
        let mut env = environ::compose(base, user.as_ref(), from_files, std::mem::take(&mut self.env));
        let cwd = self.spec.launch.cwd.as_deref();
        let language = command.first().and_then(|program| language::of(program, cwd, &env));
        self.prepare_dump(language, &mut env);
        let dialects = self.offered(language);
        let (report_dir, report_keep) = self.reports(world);
        let mut spec = self.spec;
        spec.dialects = dialects;
        spec.launch.env = std::sync::Arc::new(env);
        spec.launch.identity = user.map(|u| u.identity);
        spec.restart.delays = match self.delays.as_slice() {
            [first] => Delays::Growing { first: *first, factor_milli: self.delay_factor, max: self.delay_max },
            _ => Delays::List(self.delays),
        };
        spec.stop.shutdown_timeout = self.shutdown_timeout.unwrap_or(spec.stop.timeout);
        let program = command.first().map(|p| p.as_bytes()).unwrap_or_default();
        spec.name = self.name.clone().unwrap_or_else(|| values::default_name(program));
        spec.command = command;
        let instance = Instance {
            name: spec.name.clone(),
            name_given: self.name.is_some(),
            control: match self.control {
                ControlWish::Usual => Control::RuntimeDir(world.runtime_dir()),
                ControlWish::Off => Control::Off,
                ControlWish::Path(path) => Control::Path(path),
            },
            events_file: self.events_file,
            die_with_parent: self.die_with_parent,
            file: None,
            form: Form::Prefix,
            strategy: Default::default(),
            until_ready: None,
            state: None,
            version: env!("CARGO_PKG_VERSION").to_string(),
            report_dir,
            report_keep,
        };
        Ok((instance, spec))
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
