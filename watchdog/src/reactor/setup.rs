//! From specs to a running loop: everything that can go wrong before the first worker, in one place, with one line each.

use super::upward::Upward;
use super::{CONTROL, FIRST_TOKEN, Reactor, SIGNALS, Worker, last_words, measure, reload, web};
use crate::Watchdog;
use crate::control::{Journal, Server, bind, private_dir};
use crate::logs::{FileError, LogFile, Ring, Sink};
use crate::machine::{Actions, Setup, Supervisor};
use crate::recorder::Store;
use crate::spec::{Control, Form, Instance, LogMode, Spec};
use crate::sys::clock::{self, Clock};
use crate::sys::reap::{self, Rest};
use crate::sys::signals::Signals;
use crate::sys::spawn::Spawner;
use crate::sys::{cgroup, fds, panic, proc, tree, tty};
use mio::unix::SourceFd;
use mio::{Interest, Poll};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Descriptors that one service may take: its pidfd, two pipes of output, two ends of its channel, its notify socket, its
/// log file, a probe under way.
const DESCRIPTORS_OF_ONE: u64 = 9;
/// And those of the watchdog itself, below the floor and for its clients.
const DESCRIPTORS_OF_OURS: u64 = 1024;
/// The watchdog's own failure, as a status.
const OWN_FAILURE: u8 = 125;

/// Supervises until it is over. The status is what the process should end with: the worker's, or 125 with one line on
/// stderr if the watchdog itself cannot start.
#[must_use]
pub(crate) fn run_all(watchdog: Watchdog) -> u8 {
    panic::install_hook();
    let message = watchdog.instance.termination_message.clone();
    message.iter().for_each(|path| panic::remember_message(path));
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
    fn new(watchdog: Watchdog) -> Result<Reactor, String> {
        let Watchdog { instance, mut specs, loader, observer, inbox } = watchdog;
        if instance.form == Form::Up {
            fds::keep_to_ourselves();
        }
        let (poll, wishes, signals, inherited) = match inbox {
            Some(inbox) => (inbox.poll, Some((inbox.wishes, inbox.waker)), inbox.signals, inbox.inherited),
            None => {
                let (signals, inherited) = Signals::open().map_err(|e| e.to_string())?;
                (Poll::new().map_err(|e| format!("epoll: {e}"))?, None, signals, inherited)
            }
        };
        adopt(&instance)?;
        let spawner = Spawner::new(inherited).map_err(|e| e.to_string())?;
        poll.registry()
            .register(&mut SourceFd(&signals.as_fd().as_raw_fd()), SIGNALS, Interest::READABLE)
            .map_err(|e| format!("epoll: {e}"))?;
        let descriptors = match instance.form {
            Form::Prefix => None,
            Form::Up | Form::Library => fds::raise_limit(DESCRIPTORS_OF_ONE * specs.len() as u64 + DESCRIPTORS_OF_OURS),
        };
        let me = nix::unistd::getpid().as_raw();
        let init = me == 1;
        if !proc::is_there() {
            log::warn!("no /proc here: what a worker leaves behind cannot be seen and is not ended");
        }
        let journal = Journal::open(instance.events_file.as_deref()).map_err(|e| file_error("events_file", &e))?;
        let mut workers = Vec::with_capacity(specs.len());
        for spec in &specs {
            workers.push(worker(spec).map_err(|e| file_error(&log_file_of(spec, instance.form), &e))?);
        }
        let server = control(&instance, &poll, me)?;
        let web = web::open(&instance, server.as_ref().map(Server::path), &poll)?;
        // Of many services none has the terminal.
        let shared_group = instance.form == Form::Prefix && tty::is_ours();
        let setup = Setup {
            prefix: instance.form == Form::Prefix,
            up: instance.form == Form::Up,
            shared_group,
            init,
            seed: seed(),
            strategy: instance.strategy,
            until_ready: instance.until_ready,
        };
        specs.iter_mut().for_each(|spec| measure::resolve_auto(spec));
        let store = Store::new(instance.report_dir.clone(), instance.report_keep);
        let reports = vec![None; specs.len()];
        let upward = Upward::of(&instance);
        let tee = specs.iter().any(|s| s.log.mode == LogMode::Tee);
        let mut reactor = Reactor {
            clock: Clock::start(),
            poll,
            signals,
            spawner,
            machine: Supervisor::new(specs, setup),
            instance,
            workers,
            mains: BTreeMap::new(),
            filed: Vec::new(),
            hooked: Vec::new(),
            journal,
            server,
            tickets: BTreeMap::new(),
            followers: Vec::new(),
            next_ticket: 0,
            next_token: FIRST_TOKEN,
            outputs: BTreeMap::new(),
            links: BTreeMap::new(),
            scratch: Vec::new(),
            heard: Vec::new(),
            spare: Actions::new(),
            lines_seen: Vec::new(),
            store,
            pending: Vec::new(),
            sampler: None,
            watched: None,
            oom_before: None,
            oom_round: None,
            null: None,
            to_measure: Vec::new(),
            tries: Default::default(),
            orphans: Default::default(),
            freeing: Vec::new(),
            called_off: Vec::new(),
            loose: Vec::new(),
            reports,
            sinks: [tee.then(|| Sink::open(false)), tee.then(|| Sink::open(true))],
            again: Vec::new(),
            before: children_before_us(me),
            cgroups: cgroup::Home::find(init),
            init,
            shared_group,
            farewell: false,
            me,
            invocation: format!("{me:x}.{:x}", setup.seed),
            awake: Duration::ZERO,
            exit: None,
            held_up: false,
            loader,
            observer,
            screen: Vec::new(),
            told_lost: false,
            wishes,
            kept_wishes: String::new(),
            descriptors,
            env_files: None,
            env_due: None,
            upward,
            web,
        };
        reactor.register_sinks();
        reactor.note_rare();
        if let Some(path) = &reactor.instance.state {
            for (name, goal) in reload::kept_wishes(path) {
                reactor.machine.recall(&name, goal);
            }
        }
        reactor.watch_env_files();
        Ok(reactor)
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

pub(super) fn worker(spec: &Spec) -> Result<Worker, FileError> {
    let log = &spec.log;
    let file = match (&log.file, log.mode) {
        (Some(path), LogMode::Tee | LogMode::Capture) => Some(Box::new(LogFile::open(path, log.max_size, log.keep)?)),
        _ => None,
    };
    let ring = Ring::new(if log.mode == LogMode::Inherit { 0 } else { log.lines });
    Ok(Worker {
        name: spec.name.clone(),
        proc: None,
        group: None,
        marks: tree::Marks::default(),
        ring,
        file,
        give_up: None,
        told: Vec::new(),
        told_group: None,
        links: Vec::new(),
        lanes: None,
        denied: Default::default(),
        hooks: spec.hooks.iter().map(|_| Default::default()).collect(),
        held: None,
        first_look: None,
        gathered: None,
        slept: clock::slept_offset(),
        main_next: None,
    })
}

/// The key that people look for: of many services each has its own, replicas have that of their service.
fn log_file_of(spec: &Spec, form: Form) -> String {
    match form {
        Form::Prefix => "log_file".into(),
        Form::Up | Form::Library if spec.replica.is_some() => format!("service.{}.log_file", spec.base),
        Form::Up | Form::Library => format!("service.{}.log_file", spec.name),
    }
}

fn file_error(setting: &str, e: &FileError) -> String {
    format!("{setting} {}: {}", e.path.display(), e.why)
}

/// The control socket, there before the first worker is. A place that was named and cannot be had is the end; a default
/// place that cannot be had is one warning.
fn control(instance: &Instance, poll: &Poll, me: i32) -> Result<Option<Server>, String> {
    match &instance.control {
        Control::Off => Ok(None),
        Control::Path(path) => listen(path, false, poll).map(Some),
        Control::RuntimeDir(dir) => {
            let server = private_dir(dir).map_err(|e| (e.to_string(), false)).and_then(|()| {
                listen(&dir.join(socket_name(instance, me)), !instance.name_given, poll)
                    .map_err(|e| (e, instance.name_given))
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

/// `unique`: the name holds our pid, so that nobody else can be about to take it.
fn listen(path: &Path, unique: bool, poll: &Poll) -> Result<Server, String> {
    let bound = bind("control socket", path, unique).map_err(|e| e.to_string())?;
    panic::remember_socket(path);
    Server::new(bound, poll.registry(), CONTROL).map_err(|e| format!("control socket: {e}"))
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
