//! New settings while everything runs, and wishes that outlive us.

use super::{ENV_FILES, Reactor, measure, setup};
use crate::api::Reread;
use crate::control::{error, ok};
use crate::logs::{LogFile, Ring};
use crate::machine::*;
use crate::spec::{LogMode, Spec};
use crate::sys::paths::{Home, Last, Place};
use crate::sys::reason;
use crate::sys::watch::Watch;
use mio::unix::SourceFd;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes read of a file of wishes.
const STATE_MAX: u64 = 1024 * 1024;
const STATE_MODE: u32 = 0o600;

impl Reactor {
    /// Reads the services again and applies what differs; whoever asked is told.
    pub(super) fn read_again(&mut self, ticket: Option<Ticket>, restart: bool) {
        if self.loader.is_some() {
            self.say_reloading();
        }
        let Some(loader) = self.loader.as_mut() else {
            return self.answer_reload(ticket, Err(("there is no file to read again".into(), Vec::new())));
        };
        match loader() {
            Ok(Reread { specs, needs_watchdog_restart }) => {
                let applied = self.apply(specs, restart);
                if !needs_watchdog_restart.is_empty() {
                    log::warn!("needs a restart of the watchdog: {}", needs_watchdog_restart.join(", "));
                }
                let told = json!({
                    "added": applied.added, "removed": applied.removed, "changed": applied.changed,
                    "restarted": applied.restarted, "deferred": applied.deferred,
                    "needs_watchdog_restart": needs_watchdog_restart,
                });
                let Applied { added, removed, changed, restarted, deferred } = applied;
                self.tell_own(What::ConfigReloaded { added, removed, changed, restarted, deferred });
                self.answer_reload(ticket, Ok(told));
            }
            Err(errors) => {
                let message = match errors.as_slice() {
                    [only] => format!("nothing was changed: {only}"),
                    several => {
                        format!("nothing was changed, for {} things are wrong:\n{}", several.len(), several.join("\n"))
                    }
                };
                self.tell_own(What::ConfigError { errors: errors.clone() });
                self.answer_reload(ticket, Err((message, errors)));
            }
        }
    }

    fn answer_reload(&mut self, ticket: Option<Ticket>, answer: Result<Value, (String, Vec<String>)>) {
        let Some(waiting) = ticket.and_then(|t| self.tickets.remove(&t)) else { return };
        let value = match answer {
            Ok(told) => ok(&waiting.id, told),
            Err((message, errors)) => {
                let mut refused = error(&waiting.id, "refused", &message, None);
                if !errors.is_empty() {
                    refused["error"]["errors"] = json!(errors);
                }
                refused
            }
        };
        let now = self.clock.now();
        if let Some(server) = self.server.as_mut() {
            server.say(waiting.client, &value);
            server.set_open(waiting.client, false, now);
        }
    }

    fn apply(&mut self, mut specs: Vec<Spec>, restart: bool) -> Applied {
        specs.iter_mut().for_each(measure::resolve_auto);
        let now = self.now();
        // Reports are of the services that have their places now.
        self.write_reports(usize::MAX);
        let mut out = Actions::new();
        let applied = self.machine.apply(now, specs, restart, &mut out);
        for at in 0..self.machine.services().len() {
            self.fit(at);
        }
        self.note_rare();
        self.perform(out);
        self.watch_env_files();
        applied
    }

    /// What is kept for one service, made to fit its settings.
    pub(super) fn fit(&mut self, at: usize) {
        let Some(spec) = self.machine.services().get(at).map(|s| &s.spec) else { return };
        if self.workers.len() <= at {
            self.reports.push(None);
            match setup::worker(spec) {
                Ok(worker) => self.workers.push(worker),
                Err(e) => {
                    log::error!("{}: {} {}: {}", spec.name, e.setting, e.path.display(), e.why);
                    let mut without = spec.clone();
                    (without.log.file, without.log.stderr_file) = (None, None);
                    self.workers.extend(setup::worker(&without));
                }
            }
            return;
        }
        let worker = &mut self.workers[at];
        let somebody_else = worker.name != spec.name;
        if somebody_else {
            // The place of one that is gone.
            self.journal.leave(ServiceId(at as u32), &worker.name);
            if let Some(web) = self.web.as_mut() {
                web.leave(ServiceId(at as u32));
            }
            worker.name.clone_from(&spec.name);
            worker.ring = Ring::new(lines(spec));
            self.reports[at] = None;
        }
        if somebody_else || worker.hooks.len() != spec.hooks.len() {
            let running = worker.hooks.iter().filter_map(super::hooks::Runner::pid);
            self.loose.extend(running);
            worker.hooks = spec.hooks.iter().map(|_| Default::default()).collect();
        }
        worker.ring.keep(lines(spec));
        for (at, (setting, wanted)) in setup::log_files(spec).into_iter().enumerate() {
            let file = &mut worker.files[at];
            let same = |f: &LogFile| wanted.is_some_and(|w| f.is_like(w, spec.log.max_size, spec.log.keep));
            if file.as_ref().is_some_and(|f| same(f)) {
                continue;
            }
            *file = None;
            match wanted.map(|path| LogFile::open(setting, path, spec.log.max_size, spec.log.keep)).transpose() {
                Ok(opened) => *file = opened.map(Box::new),
                Err(e) => log::error!("{}: {} {}: {}", spec.name, e.setting, e.path.display(), e.why),
            }
        }
    }

    /// Who has what few have: the loop looks at these alone.
    pub(super) fn note_rare(&mut self) {
        let hooked = |at: &usize| {
            let worker = &self.workers[*at];
            worker.held.is_some() || !worker.hooks.is_empty()
        };
        self.hooked = (0..self.workers.len()).filter(hooked).collect();
    }

    /// Somebody has moved the files of output (logrotate): the next line goes into new ones.
    pub(super) fn reopen_logs(&mut self) {
        for file in self.workers.iter_mut().flat_map(|worker| worker.files.iter_mut().flatten()) {
            if let Err(e) = file.reopen() {
                log::error!("{} {}: {}", e.setting, e.path.display(), e.why);
            }
        }
        self.journal.reopen();
    }

    /// Writes down what people wish of the services, if that has changed and somebody wants it kept.
    pub(super) fn keep_wishes(&mut self) {
        let Some(path) = self.instance.state.clone() else { return };
        let word = |goal| if goal == Goal::Up { "up" } else { "down" };
        let wishes: BTreeMap<String, &str> =
            self.machine.wishes().into_iter().map(|(name, goal)| (name.to_owned(), word(goal))).collect();
        let text = json!({"version": 1, "wishes": wishes}).to_string();
        if text != self.kept_wishes {
            match write_whole(&path, &text) {
                Ok(()) => self.kept_wishes = text,
                Err(e) => log::error!("state {}: {e}", path.display()),
            }
        }
    }
}

fn lines(spec: &Spec) -> usize {
    if spec.log.mode == LogMode::Inherit { 0 } else { spec.log.lines }
}

/// All of it or nothing, whatever happens meanwhile: a new file, made durable, takes the place of the old one.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let place = Place::find(path, Home::Ours, Last::Link)?;
    place.replace(format!("{text}\n").as_bytes(), STATE_MODE, true)
}

fn read_wishes(path: &Path) -> std::io::Result<String> {
    let place = Place::find(path, Home::Ours, Last::Link)?;
    place.could_be_written()?;
    let mut text = String::new();
    place.read(place.name())?.take(STATE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The wishes that a watchdog before us has kept. A file that is not there says nothing; one that makes no sense is told
/// of and passed over.
///
/// # Errors
/// Others control the file, or it is none.
#[inline(never)]
pub(super) fn kept_wishes(path: &Path) -> Result<Vec<(String, Goal)>, String> {
    let text = match read_wishes(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) if e.kind() == std::io::ErrorKind::Other => return Err(format!("state {}: {e}", path.display())),
        Err(e) => {
            log::error!("state {}: {}: passed over", path.display(), reason(&e));
            return Ok(Vec::new());
        }
    };
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(wishes) = value.get("wishes").and_then(Value::as_object) else {
        log::error!("state {}: not a file of wishes: passed over", path.display());
        return Ok(Vec::new());
    };
    let goal = |v: &Value| match v.as_str() {
        Some("up") => Some(Goal::Up),
        Some("down") => Some(Goal::Down),
        _ => None,
    };
    Ok(wishes.iter().filter_map(|(name, v)| Some((name.clone(), goal(v)?))).collect())
}

impl Reactor {
    /// Looks at the files of variables for changes, where a service wants that.
    pub(super) fn watch_env_files(&mut self) {
        let all = self.machine.services().iter().filter(|s| !s.removed);
        let files: BTreeSet<PathBuf> =
            all.filter_map(|s| s.spec.env_watch.as_ref()).flat_map(|w| w.files.iter().cloned()).collect();
        self.env_files = None;
        if !files.is_empty() && self.loader.is_some() {
            self.watch(&files);
        }
    }

    #[inline(never)]
    fn watch(&mut self, files: &BTreeSet<PathBuf>) {
        self.env_files = match Watch::open() {
            Ok(mut watch) => {
                for file in files {
                    if let Err(e) = watch.add(file) {
                        log::error!("env_watch {}: {e}: a change of it is not seen", file.display());
                    }
                }
                let interest = mio::Interest::READABLE;
                let _ = self.poll.registry().register(&mut SourceFd(&watch.fd()), ENV_FILES, interest);
                Some(watch)
            }
            Err(e) => {
                log::error!("env_watch: {e}: a change of the files is not seen");
                None
            }
        };
    }

    /// A change of them is a reload, a while after the last one: whoever writes several of them is done then.
    #[inline(never)]
    pub(super) fn on_env_files(&mut self, something: bool) {
        let now = self.clock.now();
        if something && self.env_files.as_mut().is_some_and(Watch::changed) {
            let pauses = self.machine.services().iter().filter_map(|s| s.spec.env_watch.as_ref().map(|w| w.pause));
            self.env_due = pauses.min().map(|pause| now + pause);
        }
        if self.env_due.take_if(|at| *at <= now).is_some() {
            log::info!("a file of variables has changed");
            self.read_again(None, true);
        }
    }
}
