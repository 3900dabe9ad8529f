//! From specs to a running loop: everything that can go wrong before the first worker, in one place, with one line each.

use super::closers::Closers;
use super::link::Places;
use super::upward::Upward;
use super::{CONTROL, FIRST_TOKEN, Reactor, SIGNALS, Worker, last_words, launch, measure, reload, web};
use crate::Watchdog;
use crate::control::{BindError, Bound, Journal, Server, bind, bind_in, private_dir};
use crate::logs::{FileError, LogFile, Ring, Sink};
use crate::machine::{Actions, Setup, Supervisor};
use crate::recorder::{Owner, Store};
use crate::spec::{Check, Control, Form, GiveUp, Instance, LogMode, Spec};
use crate::sys::clock::{self, Clock};
use crate::sys::paths::Made;
use crate::sys::reap::{self, Rest};
use crate::sys::signals::Signals;
use crate::sys::spawn::Spawner;
use crate::sys::{cgroup, closer, fds, message, panic, proc, tree, tty};
use mio::unix::SourceFd;
use mio::{Interest, Poll};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Descriptors that one service may take: its pidfd, two pipes of output, two ends of its channel, its notify socket, its
/// log file, a probe under way.
const DESCRIPTORS_OF_ONE: u64 = 9;
/// Descriptors of one message over each of its channels. With room for them no channel rests for those of others.
const SENT_BY_ONE: u64 = 3 * 253;
/// The kernel's own limit (fs.nr_open) unless it was changed.
const KERNELS_LIMIT: u64 = 1 << 20;
/// And those of the watchdog itself, below the floor and for its clients.
const DESCRIPTORS_OF_OURS: u64 = 1024;
/// As messages call it.
const CONTROL_SOCKET: &str = "control socket";
/// The watchdog's own failure, as a status.
const OWN_FAILURE: u8 = 125;

/// Supervises until it is over. The status is what the process should end with: the worker's, or 125 with one line on
/// stderr if the watchdog itself cannot start.
#[must_use]
pub(crate) fn run_all(watchdog: Watchdog) -> u8 {
    panic::install_hook();
    let message = watchdog.instance.termination_message.clone();
    if let Some(path) = &message {
        if let Err(e) = message::look(path) {
            log::error!("termination_message {}: {e}", path.display());
            return OWN_FAILURE;
        }
        panic::remember_message(path);
    }
    match Reactor::new(watchdog) {
        Ok(reactor) => reactor.run(),
        Err(why) => {
            log::error!("{why}");
            last_words::of_a_start(message.as_deref(), &why);
            OWN_FAILURE
        }
    }
}

impl Reactor {
    /// Apart from the loop: what is on its stack here would stay for all its life.
    #[inline(never)]
    fn new(watchdog: Watchdog) -> Result<Box<Reactor>, String> {
        let Watchdog { instance, mut specs, loader, observer, inbox } = watchdog;
        let inherited = take_descriptors(instance.form, &specs)?;
        let (poll, wishes, signals, given) = match inbox {
            Some(inbox) => (inbox.poll, Some((inbox.wishes, inbox.waker)), inbox.signals, inbox.inherited),
            None => {
                let (signals, given) = Signals::open().map_err(|e| e.to_string())?;
                (Poll::new().map_err(|e| format!("epoll: {e}"))?, None, signals, given)
            }
        };
        adopt(&instance)?;
        let mut spawner = Spawner::new(given).map_err(|e| e.to_string())?;
        poll.registry()
            .register(&mut SourceFd(&signals.as_fd().as_raw_fd()), SIGNALS, Interest::READABLE)
            .map_err(|e| format!("epoll: {e}"))?;
        own_limits(instance.form, specs.len() as u64, &mut spawner);
        let me = nix::unistd::getpid().as_raw();
        let init = me == 1;
        if !proc::is_there() {
            log::warn!("no /proc here: what a worker leaves behind cannot be seen and is not ended");
        }
        let kept = instance.state.as_deref().map(reload::kept_wishes).transpose()?.unwrap_or_default();
        let (journal, workers, made) = files(&instance, &specs)?;
        let (server, web) = match sockets(&instance, &poll, me) {
            Ok(sockets) => sockets,
            Err(why) => {
                made.undo();
                return Err(why);
            }
        };
        // Of many services none has the terminal.
        let on_terminal = instance.form == Form::Prefix && tty::is_ours();
        let apart = on_terminal && specs.iter().any(|spec| launch::is_of_another_user(spec));
        let shared_group = on_terminal && !apart;
        let setup = Setup {
            prefix: instance.form == Form::Prefix,
            up: instance.form == Form::Up,
            shared_group,
            apart,
            init,
            seed: seed(),
            strategy: instance.strategy,
            until_ready: instance.until_ready,
        };
        specs.iter_mut().for_each(|spec| measure::resolve_auto(spec));
        let store = Store::new(
            instance.report_dir.clone(),
            instance.report_keep,
            Some(Owner { name: instance.name.clone(), pid: me }),
        );
        let reports = vec![None; specs.len()];
        let upward = Upward::of(&instance);
        let places = Places::new(instance.runtime_dir.as_deref());
        let tee = specs.iter().any(|s| s.log.mode == LogMode::Tee);
        let environment = instance.environment.clone().unwrap_or_else(|| Arc::new(launch::own_environment()));
        let mut reactor = Box::new(Reactor {
            environment,
            clock: Clock::start(),
            poll,
            signals,
            spawner,
            machine: Supervisor::new(specs, setup),
            instance,
            workers,
            mains: BTreeMap::new(),
            give_ups: BTreeMap::new(),
            hooked: Vec::new(),
            journal,
            server,
            tickets: BTreeMap::new(),
            followers: Vec::new(),
            next_ticket: 0,
            next_token: FIRST_TOKEN,
            outputs: BTreeMap::new(),
            reads: Default::default(),
            links: BTreeMap::new(),
            places,
            closers: Closers::new(fds::limit()),
            naming: Default::default(),
            scratch: Vec::new(),
            heard: Vec::new(),
            spare: Actions::new(),
            lines_seen: Vec::new(),
            store,
            pending: Default::default(),
            sampler: None,
            watched: None,
            oom_before: None,
            own_kills: Default::default(),
            oom_round: None,
            tidy_due: None,
            wakes: Default::default(),
            speaks_to: None,
            only_deaths: false,
            after: Default::default(),
            given: None,
            null: None,
            to_measure: Vec::new(),
            tries: Default::default(),
            orphans: Default::default(),
            freeing: Vec::new(),
            called_off: Vec::new(),
            looks: BTreeMap::new(),
            launching: BTreeMap::new(),
            loose: Vec::new(),
            inherited,
            reports,
            sinks: [tee.then(|| Sink::open(false)), tee.then(|| Sink::open(true))],
            again: Vec::new(),
            before: children_before_us(me),
            cgroups: cgroup::Home::find(init),
            init,
            shared_group,
            apart,
            farewell: false,
            me,
            invocation: closer::random().unwrap_or_else(|| format!("{me:x}.{:x}", setup.seed)),
            awake: Duration::ZERO,
            exit: None,
            held_up: false,
            loader,
            observer,
            screen: Vec::new(),
            told_lost: false,
            wishes,
            kept_wishes: String::new(),
            env_files: None,
            env_due: None,
            upward,
            web,
        });
        reactor.register_sinks();
        reactor.note_rare();
        for (name, goal) in kept {
            reactor.machine.recall(&name, goal);
        }
        reactor.watch_env_files();
        Ok(reactor)
    }
}

/// What was open before us is not for hooks, commands of probes, workers of another user and services of a file. In the
/// prefix form it passes on to the worker all the same: those that do are given back. Where there is none but the worker,
/// nothing is to be done. Descriptors of a host program are its own matter.
fn take_descriptors(form: Form, specs: &[Box<Spec>]) -> Result<Vec<i32>, String> {
    let commands = |spec: &Spec| {
        let runs = !spec.hooks.is_empty() || matches!(spec.restart.give_up, GiveUp::Exec(_));
        runs || spec.probes.iter().any(|p| matches!(p.check, Check::Exec(_)))
    };
    match form {
        Form::Up => fds::keep_to_ourselves().map(|()| Vec::new()),
        Form::Prefix if specs.iter().any(|s| commands(s) || launch::is_of_another_user(s)) => fds::take_over(),
        Form::Prefix | Form::Library => Ok(Vec::new()),
    }
    .map_err(|e| e.to_string())
}

/// More than the watchdog itself has open.
pub(super) fn own_descriptors(services: u64) -> u64 {
    DESCRIPTORS_OF_ONE * services + DESCRIPTORS_OF_OURS
}

/// What the watchdog needs, and beside it what so many workers may send at once.
fn descriptors_for(services: u64) -> u64 {
    let needed = own_descriptors(services);
    needed.max(KERNELS_LIMIT.min(needed + SENT_BY_ONE * services))
}

/// More descriptors, and no core: of us it would hold the environments of all services. Children get the limits as they
/// were. A host program's core is its own matter.
fn own_limits(form: Form, services: u64, spawner: &mut Spawner) {
    if form != Form::Prefix
        && let Some(before) = fds::raise_limit(descriptors_for(services))
    {
        spawner.give_back(launch::NOFILE, before);
    }
    if form != Form::Library
        && let Some(before) = fds::refuse_core()
    {
        spawner.give_back(launch::CORE, before);
    }
}

/// We are the parent of whoever loses its own, and die with ours if that was asked for.
fn adopt(instance: &Instance) -> Result<(), String> {
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| format!("subreaper: {}", e.desc()))?;
    if let Some(signal) = instance.die_with_parent {
        let signal =
            nix::sys::signal::Signal::try_from(signal).map_err(|e| format!("die_with_parent: {}", e.desc()))?;
        let parent = nix::unistd::getppid();
        nix::sys::prctl::set_pdeathsig(signal).map_err(|e| format!("die_with_parent: {}", e.desc()))?;
        if nix::unistd::getppid() != parent {
            return Err("die_with_parent: the parent is dead already".into());
        }
    }
    Ok(())
}

/// Whoever exec'ed us may have had children: they are not our worker's tree.
fn children_before_us(me: i32) -> Vec<i32> {
    loop {
        match reap::reap_one() {
            Ok(_) => {}
            Err(Rest::Alone) => return Vec::new(),
            Err(Rest::Some) => return tree::children(me),
        }
    }
}

/// All files that are written to, and what was made for them. When one can not be had, nothing of the others is left.
fn files(instance: &Instance, specs: &[Box<Spec>]) -> Result<(Journal, Vec<Worker>, Made), String> {
    let mut journal = Journal::open(instance.events_file.as_deref()).map_err(|e| file_error("events_file", &e))?;
    let mut made = journal.take_made();
    let mut workers = Vec::with_capacity(specs.len());
    for spec in specs {
        match worker(spec) {
            Ok(mut worker) => {
                worker.files.iter_mut().flatten().for_each(|file| made.append(file.take_made()));
                workers.push(worker);
            }
            Err(e) => {
                made.undo();
                return Err(file_error(&key_of(spec, instance.form, e.setting), &e));
            }
        }
    }
    Ok((journal, workers, made))
}

/// Both sockets or none.
fn sockets(instance: &Instance, poll: &Poll, me: i32) -> Result<(Option<Server>, Option<web::Web>), String> {
    let server = control(instance, poll, me)?;
    match web::open(instance, server.as_ref().map(Server::path), poll) {
        Ok(web) => Ok((server, web)),
        Err(why) => {
            server.into_iter().for_each(Server::close);
            Err(why)
        }
    }
}

pub(super) fn worker(spec: &Spec) -> Result<Worker, FileError> {
    let log = &spec.log;
    let mut files = [None, None];
    for (file, (setting, path)) in files.iter_mut().zip(log_files(spec)) {
        let opened = path.map(|path| LogFile::open(setting, path, log.max_size, log.keep)).transpose();
        match opened {
            Ok(opened) => *file = opened.map(Box::new),
            Err(e) => {
                files.iter_mut().flatten().for_each(|file: &mut Box<LogFile>| file.take_made().undo());
                return Err(e);
            }
        }
    }
    let ring = Ring::new(if log.mode == LogMode::Inherit { 0 } else { log.lines });
    Ok(Worker {
        name: spec.name.clone(),
        proc: None,
        group: None,
        marks: tree::Marks::default(),
        ring,
        files,
        told: Vec::new(),
        told_group: None,
        told_at: Duration::ZERO,
        pipes: Vec::new(),
        links: Vec::new(),
        lanes: None,
        denied: Default::default(),
        hooks: spec.hooks.iter().map(|_| Default::default()).collect(),
        held: None,
        launching: None,
        first_look: None,
        gathered: None,
        slept: clock::slept_offset(),
        named: Default::default(),
    })
}

/// The files that output of a service is written to, each with its setting. None where it does not pass through us.
pub(super) fn log_files(spec: &Spec) -> [(&'static str, Option<&Path>); 2] {
    let ours = |path: &'_ Option<PathBuf>| path.is_some() && spec.log.mode != LogMode::Inherit;
    let [all, stderr] = [&spec.log.file, &spec.log.stderr_file];
    let path = |path| Option::as_deref(path).filter(|_| ours(path));
    [("log_file", path(all)), ("log_file_stderr", path(stderr))]
}

/// The key that people look for: of many services each has its own, replicas have that of their service.
fn key_of(spec: &Spec, form: Form, setting: &str) -> String {
    match form {
        Form::Prefix => setting.into(),
        Form::Up | Form::Library if spec.replica.is_some() => format!("service.{}.{setting}", spec.base),
        Form::Up | Form::Library => format!("service.{}.{setting}", spec.name),
    }
}

fn file_error(key: &str, e: &FileError) -> String {
    format!("{key} {}: {}", e.path.display(), e.why)
}

/// The control socket, there before the first worker is. A place that was named and cannot be had is the end; a default
/// place that cannot be had is one warning.
fn control(instance: &Instance, poll: &Poll, me: i32) -> Result<Option<Server>, String> {
    match &instance.control {
        Control::Off => Ok(None),
        Control::Path(path) => {
            listen(bind(CONTROL_SOCKET, path, false), poll).map(Some).map_err(|e| running(instance, path).unwrap_or(e))
        }
        Control::RuntimeDir(dir) => {
            let server = private_dir(dir).map_err(|e| (e.to_string(), false)).and_then(|held| {
                // With our pid in its name no other watchdog can be about to take it.
                let (name, unique) = (socket_name(instance, me), !instance.name_given);
                let path = dir.join(&name);
                let bound = match held {
                    Some(held) => bind_in(held.place(OsStr::new(&name)), CONTROL_SOCKET, &path, unique),
                    None => bind(CONTROL_SOCKET, &path, unique),
                };
                listen(bound, poll).map_err(|e| (running(instance, &path).unwrap_or(e), instance.name_given))
            });
            match server {
                Ok(server) => Ok(Some(server)),
                Err((why, true)) => Err(why),
                Err((why, false)) => {
                    log::warn!("{why}; going on without control (--control off says so on purpose)");
                    Ok(None)
                }
            }
        }
    }
}

/// A better reason than that a socket is in use, where that is so.
fn running(instance: &Instance, path: &Path) -> Option<String> {
    crate::control::already_runs(&instance.name, path)
}

fn listen(bound: Result<Bound, BindError>, poll: &Poll) -> Result<Server, String> {
    let bound = bound.map_err(|e| e.to_string())?;
    panic::remember_socket(&bound.home.path);
    Server::new(bound, poll.registry(), CONTROL).map_err(|e| format!("{CONTROL_SOCKET}: {e}"))
}

fn socket_name(instance: &Instance, me: i32) -> PathBuf {
    let name = &instance.name;
    PathBuf::from(if instance.name_given { format!("{name}.sock") } else { format!("{name}.{me}.sock") })
}

/// For the jitter and the marks: different for every start, which is all that is needed.
fn seed() -> u64 {
    let since = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}
