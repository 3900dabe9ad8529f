//! From a draft to what the engine runs: files of variables, users, the environment, the language of the program.

use super::draft::{ControlWish, Draft, ReportWish};
use super::environ::{self, Variable};
use super::fault::Fault;
use super::language::{self, Language};
use super::users::Resolved;
use super::{World, env_file};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use watchdog_engine::spec::{
    Control, Delays, Dialects, EnvWatch, Form, Heartbeat, HeartbeatMode, Instance, Launch, ProbeSpec, Ready, Restart,
    Shared as Part, Spec, Stop,
};

/// Parts of specs that are compared with each new one.
const REMEMBERED: usize = 4;

/// `user` and `group`.
type Login = (Option<String>, Option<String>);
/// A program, its working directory and its PATH.
type Program = (OsString, Option<PathBuf>, Option<OsString>);

/// Parts of specs, each of which stands once for all that have it: the last few are remembered.
struct Alike<T>(Vec<Part<T>>);

impl<T: PartialEq> Alike<T> {
    fn alike(&mut self, part: T) -> Part<T> {
        if let Some(known) = self.0.iter().find(|known| ***known == part) {
            return known.clone();
        }
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        let part = Part::from(part);
        self.0.push(part.clone());
        part
    }
}

/// What many services of one file have in common: each environment, user and file of variables is looked at once. Ordered,
/// not hashed: the prefix form comes by here too, and the first hash costs it a call for random bytes.
pub(crate) struct Shared<'a> {
    world: &'a World,
    /// One copy for all that lay nothing over it.
    pub(super) inherited: Arc<Vec<Variable>>,
    environments: BTreeSet<Arc<Vec<Variable>>>,
    restarts: Alike<Restart>,
    launches: Alike<Launch>,
    stops: Alike<Stop>,
    files: BTreeMap<PathBuf, Result<Vec<Variable>, Fault>>,
    users: BTreeMap<Login, Result<Option<Resolved>, Fault>>,
    languages: BTreeMap<Program, Option<Language>>,
}

impl<'a> Shared<'a> {
    /// Nothing looked at yet.
    pub(crate) fn new(world: &'a World) -> Shared<'a> {
        Shared {
            world,
            inherited: Arc::new(environ::inherited(&world.environment, world.pid)),
            environments: BTreeSet::new(),
            restarts: Alike(Vec::new()),
            launches: Alike(Vec::new()),
            stops: Alike(Vec::new()),
            files: BTreeMap::new(),
            users: BTreeMap::new(),
            languages: BTreeMap::new(),
        }
    }

    /// For the services of a file.
    pub(crate) fn for_many(world: &'a World) -> Shared<'a> {
        let mut shared = Shared::new(world);
        shared.inherited = environ::of_commands(&shared.inherited);
        shared
    }

    /// One allocation for all environments that are equal: a thousand services mostly have the same.
    fn interned(&mut self, env: Arc<Vec<Variable>>) -> Arc<Vec<Variable>> {
        if let Some(known) = self.environments.get(&env) {
            return Arc::clone(known);
        }
        self.environments.insert(Arc::clone(&env));
        env
    }

    fn variables(&mut self, draft: &Draft, faults: &mut Vec<Fault>) -> Vec<Variable> {
        match draft.env_files.as_slice() {
            [] => Vec::new(),
            [..] => self.read_variables(draft, faults),
        }
    }

    #[inline(never)]
    fn read_variables(&mut self, draft: &Draft, faults: &mut Vec<Fault>) -> Vec<Variable> {
        let mut all = Vec::new();
        for written in &draft.env_files {
            let (path, optional) = env_file::named(written);
            let read = self.files.entry(path.clone()).or_insert_with(|| env_file::read(&path));
            match read {
                Ok(variables) => all.extend(variables.iter().cloned()),
                Err(_) if optional && !path.exists() => {}
                Err(fault) => faults.push(fault.clone().about("env_file")),
            }
        }
        all
    }

    fn user(&mut self, draft: &Draft) -> Result<Option<Resolved>, Fault> {
        match (&draft.user, &draft.group) {
            (None, None) => Ok(None),
            (Some(_), _) | (_, Some(_)) => self.looked_up(draft),
        }
    }

    #[inline(never)]
    fn looked_up(&mut self, draft: &Draft) -> Result<Option<Resolved>, Fault> {
        let key = (draft.user.clone(), draft.group.clone());
        let accounts = &self.world.accounts;
        let found = self.users.entry(key).or_insert_with_key(|(user, group)| {
            let about = if user.is_some() { "user" } else { "group" };
            accounts.resolve(user.as_deref(), group.as_deref()).map_err(|f| f.about(about))
        });
        found.clone()
    }

    fn language(&mut self, draft: &Draft, command: &[OsString], env: &[Variable]) -> Option<Language> {
        let program = command.first()?;
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let cwd = draft.spec.launch.cwd.clone();
        let key = (program.clone(), cwd, path);
        *self.languages.entry(key).or_insert_with_key(|(program, cwd, _)| language::of(program, cwd.as_deref(), env))
    }
}

impl Draft {
    /// The spec of one service, not yet named, or everything of the world that is against it.
    pub(crate) fn spec(self, command: Vec<OsString>, shared: &mut Shared<'_>) -> Result<Box<Spec>, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut from_files = shared.variables(&self, &mut faults);
        // Stronger than a file that others may use too, weaker than what was said of this very variable.
        from_files.extend(self.own_port.map(|port| ("PORT".into(), port.to_string().into())));
        let user = shared.user(&self).unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let base = if self.clear_env { Arc::default() } else { Arc::clone(&shared.inherited) };
        let mut env = environ::compose(base, user.as_ref(), from_files, self.env.clone());
        let language = shared.language(&self, &command, &env);
        self.prepare_dump(language, &mut env);
        let (dialects, probes, env_watch) = (self.offered(language), self.probe_specs(), self.watched());
        let mut spec = self.spec;
        spec.dialects = dialects;
        spec.probes = probes;
        spec.env_watch = env_watch;
        let delays = match self.delays.as_slice() {
            [first] => Delays::Growing { first: *first, factor_milli: self.delay_factor, max: self.delay_max },
            _ => Delays::List(self.delays),
        };
        spec.restart = shared.restarts.alike(Restart { delays, ..(*spec.restart).clone() });
        let (env, identity) = (shared.interned(env), user.map(|u| u.identity));
        spec.launch = shared.launches.alike(Launch { env, identity, ..(*spec.launch).clone() });
        let shutdown_timeout = self.shutdown_timeout.unwrap_or(spec.stop.timeout);
        spec.stop = shared.stops.alike(Stop { shutdown_timeout, ..(*spec.stop).clone() });
        if spec.place.wait_for_file.is_some() {
            spec.place.wait_for_file_timeout = Some(self.wait_for_file_timeout);
        }
        spec.command = command;
        Ok(spec)
    }

    /// The watchdog itself, not yet named: where its reports go follows from its name. `environment` is what its own commands
    /// get.
    pub(crate) fn instance(&self, world: &World, environment: Arc<Vec<Variable>>) -> Instance {
        let report_keep = if self.report_dir == ReportWish::Off { 0 } else { self.report_keep };
        Instance {
            name: self.name.clone().unwrap_or_default(),
            name_given: self.name.is_some(),
            control: match &self.control {
                ControlWish::Usual => Control::RuntimeDir(world.runtime_dir()),
                ControlWish::Off => Control::Off,
                ControlWish::Path(path) => Control::Path(path.clone()),
            },
            runtime_dir: Some(world.runtime_dir()),
            http: self.http.clone(),
            http_control: self.http_control.clone(),
            events_file: self.events_file.clone(),
            die_with_parent: self.die_with_parent,
            file: None,
            form: Form::Prefix,
            strategy: self.strategy,
            until_ready: None,
            state: self.state.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            report_dir: None,
            report_keep,
            termination_message: self.termination_message.clone(),
            upward: environ::upward(&world.environment, world.pid),
            environment: Some(environment),
        }
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
    fn prepare_dump(&self, language: Option<Language>, env: &mut Arc<Vec<Variable>>) {
        const NAME: &str = "PYTHONFAULTHANDLER";
        let rules = &self.spec.heartbeat;
        let wanted = *rules != Heartbeat::default().into() && rules.mode != HeartbeatMode::Off;
        if wanted && language == Some(Language::Python) && !env.iter().any(|(name, _)| name == NAME) {
            Arc::make_mut(env).push((NAME.into(), "1".into()));
        }
    }

    /// The probes with their names: one without is called by the kind of its check, and the next such one has a number.
    fn probe_specs(&self) -> Vec<ProbeSpec> {
        let mut probes: Vec<ProbeSpec> = Vec::new();
        let given = |name: &str| self.probes.iter().any(|p| p.spec.name == name);
        for wish in &self.probes {
            let mut probe = wish.spec.clone();
            if !wish.own_start_period {
                probe.start_period = self.start_period;
            }
            if probe.name.is_empty() {
                let word = probe.check.word();
                let numbered = (2..).map(|n| format!("{word}-{n}"));
                let free = |name: &String| !given(name) && probes.iter().all(|p| p.name != *name);
                probe.name = std::iter::once(word.to_string()).chain(numbered).find(free).unwrap_or_default();
            }
            probes.push(probe);
        }
        probes
    }

    fn watched(&self) -> Option<EnvWatch> {
        let pause = self.env_watch?;
        let files: Vec<PathBuf> = self.env_files.iter().map(|written| env_file::named(written).0).collect();
        (!files.is_empty()).then_some(EnvWatch { files, pause })
    }
}
