//! From a spec to a process: the worker's environment, its pipes, its group, and what a failure is about.

use super::link::{self, Link, Offer};
use super::outputs::Output;
use super::{Proc, Reactor};
use crate::logs::Stream;
use crate::machine::*;
use crate::spec::{Check, Form, Identity, LogMode, OnDeath, Spec, Stdin};
use crate::sys::spawn::{self, Failed, Plan, Stage};
use crate::sys::{cgroup, closer, fds, tree};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Rewritten at every spawn: the protocol asks for the number of the process itself (sd_listen_fds(3)).
const LISTEN_PID: &str = "LISTEN_PID";
/// The same for the beats of a worker that was told how often (sd_watchdog_enabled(3)).
const WATCHDOG_PID: &str = "WATCHDOG_PID";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// Its type differs from one libc to the other.
#[allow(clippy::unnecessary_cast, reason = "an i32 in musl")]
const NOFILE: u32 = libc::RLIMIT_NOFILE as u32;
/// Longest path shown in an event.
const SHOWN_PATH: usize = 200;

/// What a successful launch leaves with the reactor.
pub(super) struct Launched {
    pub(super) proc: Proc,
    pub(super) group: Option<cgroup::Group>,
    pub(super) marks: tree::Marks,
    pub(super) outputs: Vec<Output>,
    pub(super) links: Vec<Link>,
}

impl Reactor {
    /// Starts one generation.
    pub(super) fn launch(&mut self, id: ServiceId, generation: Generation) -> Result<Launched, SpawnFailure> {
        let control = self.server.as_ref().map(|s| s.path());
        let Some(service) = self.machine.services().get(id.0 as usize) else {
            return Err(failure(Step::Fork, libc::EINVAL, OsStr::new("")));
        };
        let spec = &service.spec;
        let mark = closer::random().unwrap_or_else(|| format!("{}.{}.{}", self.invocation, id.0, generation.0));
        let entry = format!("WATCHDOG_INVOCATION={mark}").into_bytes();
        let (pipes, mut ends) = pipes(spec.log.mode)?;
        let offer = link::offer(spec, id, generation, &mut self.places)
            .map_err(|e| io_failure(Step::Channel, &e, "channel"))?;
        if spec.launch.stdin == Stdin::Null && self.null.is_none() {
            self.null = Some(File::open("/dev/null").map_err(|e| io_failure(Step::Stdio, &e, "/dev/null"))?);
        }
        let group = self.cgroups.as_ref().and_then(|home| home.group(&mark));
        let own_group = !self.shared_group;
        let mut plan = plan(spec, environment(spec, &mark, control, &offer), own_group);
        plan.keep = link::numbers(&offer);
        plan.cgroup = group.as_ref().map(|g| g.procs.as_raw_fd());
        if let Some(null) = self.null.as_ref().filter(|_| spec.launch.stdin == Stdin::Null) {
            plan.take(0, null);
        }
        for (stream, end) in [Stream::Stdout, Stream::Stderr].into_iter().zip(ends.iter()) {
            plan.take(stream.index() + 1, end);
        }
        let many = self.instance.form != Form::Prefix;
        plan.cut = many;
        if let Some((soft, hard)) = self.descriptors
            && !plan.rlimits.iter().any(|r| r.0 == NOFILE)
        {
            plan.rlimits.push((NOFILE, soft, hard));
        }
        let child = self.spawner.spawn(&plan).map_err(|f| describe(spec, f))?;
        ends.clear();
        let raised = |fd| if many { fds::raise(fd, spawn::FLOOR) } else { fd };
        let (pid, pidfd) = (child.pid, raised(child.pidfd));
        // A hook or the command of a probe may leave a daemon with us, which is not the worker's.
        let helped = !spec.hooks.is_empty() || spec.probes.iter().any(|p| matches!(p.check, Check::Exec(_)));
        let all_mine = self.workers.len() == 1 && self.before.is_empty() && !self.init && !helped;
        let outputs = pipes
            .into_iter()
            .zip([Stream::Stdout, Stream::Stderr])
            .map(|(pipe, stream)| Output::new(id, generation, stream, raised(pipe)))
            .collect();
        Ok(Launched {
            proc: Proc { generation, pid, pidfd, own_group },
            group,
            marks: tree::Marks { main: pid, entry, all_mine },
            outputs,
            links: offer.links.into_iter().map(|link| link.moved(raised)).collect(),
        })
    }
}

/// The worker's variables: what the settings gave, and what the contract promises.
fn environment(spec: &Spec, mark: &str, control: Option<&Path>, offer: &Offer) -> Vec<CString> {
    let beat = link::beat_variable(spec);
    let replica = spec.replica.unwrap_or(0).to_string();
    let ours = [
        ("WATCHDOG_ENABLED", Some(OsStr::new("true"))),
        ("WATCHDOG_SERVICE", Some(OsStr::new(&spec.name))),
        ("WATCHDOG_REPLICA", Some(OsStr::new(&replica))),
        ("WATCHDOG_INVOCATION", Some(OsStr::new(mark))),
        ("WATCHDOG_SOCKET", control.map(Path::as_os_str)),
        (WATCHDOG_USEC, beat.as_deref()),
    ];
    let ours: Vec<(&str, Option<&OsStr>)> =
        ours.into_iter().chain(link::variable(offer).map(|(key, value)| (key, Some(value)))).collect();
    let taken = |key: &OsStr| key == LISTEN_PID || key == WATCHDOG_PID || ours.iter().any(|(name, _)| key == *name);
    let given = spec.launch.env.iter().filter(|(key, _)| !taken(key)).map(|(k, v)| (k.as_os_str(), v.as_os_str()));
    let ours = ours.iter().filter_map(|(key, value)| value.map(|v| (OsStr::new(*key), v)));
    // A value with a NUL byte cannot come from an environment, and settings are read as text without one.
    given.chain(ours).filter_map(|(key, value)| spawn::entry(key, value)).collect()
}

fn path_of(spec: &Spec) -> Option<&OsStr> {
    spec.launch.env.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str())
}

fn plan(spec: &Spec, env: Vec<CString>, own_group: bool) -> Plan<'_> {
    let launch = &spec.launch;
    let identity = launch.identity.as_ref().filter(|i| !is_ours(i));
    Plan {
        command: &spec.command,
        env,
        path: path_of(spec),
        pid_variables: spec
            .launch
            .env
            .iter()
            .any(|(key, _)| key == LISTEN_PID)
            .then_some(LISTEN_PID)
            .into_iter()
            .chain(link::beat_variable(spec).is_some().then_some(WATCHDOG_PID))
            .collect(),
        own_group,
        umask: launch.umask,
        nice: launch.nice,
        oom_score_adj: launch.oom_score_adj,
        rlimits: launch.rlimits.iter().map(|r| (r.resource, r.soft, r.hard)).collect(),
        uid: identity.and_then(|i| i.uid),
        gid: identity.map(|i| i.gid),
        groups: identity.and_then(|i| i.groups.clone()),
        cwd: launch.cwd.as_deref(),
        no_new_privs: launch.no_new_privs,
        death_signal: death_signal(spec),
        ..Plan::default()
    }
}

/// What the main process gets when we die; 0 for nothing.
pub(super) fn death_signal(spec: &Spec) -> i32 {
    match spec.stop.on_watchdog_death {
        OnDeath::Stop => spec.stop.signal.unwrap_or(libc::SIGTERM),
        OnDeath::Kill => libc::SIGKILL,
        OnDeath::Keep => 0,
    }
}

/// A short-lived command of the watchdog's own, in the worker's environment; it does not outlive us.
pub(super) fn helper<'a>(spec: &'a Spec, command: &'a [OsString]) -> Plan<'a> {
    let env = spec.launch.env.iter().filter_map(|(key, value)| spawn::entry(key, value)).collect();
    Plan { command, env, path: path_of(spec), own_group: true, death_signal: libc::SIGKILL, ..Plan::default() }
}

/// What a worker's environment may hold that is meant for itself alone.
const ITS_OWN: [&str; 5] = [LISTEN_PID, "LISTEN_FDS", "LISTEN_FDNAMES", WATCHDOG_PID, WATCHDOG_USEC];

/// The same in the service's place: as its user, in its directory, with these variables on top of its environment. No part
/// of its tree all the same.
pub(super) fn as_the_service<'a>(spec: &'a Spec, command: &'a [OsString], more: &[(&str, Option<&OsStr>)]) -> Plan<'a> {
    let identity = spec.launch.identity.as_ref().filter(|i| !is_ours(i));
    let taken = |key: &OsStr| ITS_OWN.iter().any(|n| key == *n) || more.iter().any(|(n, _)| key == *n);
    let given = spec.launch.env.iter().filter(|(key, _)| !taken(key)).map(|(k, v)| (k.as_os_str(), v.as_os_str()));
    let more = more.iter().filter_map(|(key, value)| value.map(|v| (OsStr::new(*key), v)));
    Plan {
        command,
        env: given.chain(more).filter_map(|(key, value)| spawn::entry(key, value)).collect(),
        path: path_of(spec),
        own_group: true,
        death_signal: libc::SIGKILL,
        uid: identity.and_then(|i| i.uid),
        gid: identity.map(|i| i.gid),
        groups: identity.and_then(|i| i.groups.clone()),
        cwd: spec.launch.cwd.as_deref(),
        no_new_privs: spec.launch.no_new_privs,
        umask: spec.launch.umask,
        ..Plan::default()
    }
}

/// An unprivileged caller may name itself: then there is nothing to change, and asking the kernel would be refused.
fn is_ours(identity: &Identity) -> bool {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    !uid.is_root() && identity.uid.is_none_or(|u| u == uid.as_raw()) && identity.gid == gid.as_raw()
}

/// Our ends and the worker's, for stdout and stderr. None for `inherit`.
fn pipes(mode: LogMode) -> Result<(Vec<OwnedFd>, Vec<OwnedFd>), SpawnFailure> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    if mode != LogMode::Inherit {
        for _ in 0..2 {
            let (read, write) =
                pipe2(OFlag::O_CLOEXEC).map_err(|e| failure(Step::Channel, e as i32, OsStr::new("pipe")))?;
            // Only our end: the worker's must wait as any pipe does.
            let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
            nix::fcntl::fcntl(&read, flags).map_err(|e| failure(Step::Channel, e as i32, OsStr::new("pipe")))?;
            ours.push(read);
            theirs.push(write);
        }
    }
    Ok((ours, theirs))
}

fn failure(step: Step, errno: i32, about: &OsStr) -> SpawnFailure {
    let path = about.to_string_lossy().chars().filter(|c| !c.is_control()).take(SHOWN_PATH).collect();
    SpawnFailure { step, errno, path }
}

fn io_failure(step: Step, e: &std::io::Error, about: &str) -> SpawnFailure {
    failure(step, e.raw_os_error().unwrap_or(libc::EIO), OsStr::new(about))
}

/// Which step, and which file or directory it is about: the interpreter, where it is that which is missing.
fn describe(spec: &Spec, failed: Failed) -> SpawnFailure {
    let errno = failed.errno as i32;
    let program = || spawn::resolve(&spec.command, path_of(spec));
    let (step, about) = match failed.stage {
        Stage::Prepare => (Step::Exec, program()),
        Stage::Clone => (Step::Fork, program()),
        Stage::Group => (Step::Setpgid, program()),
        Stage::Stdio => (Step::Stdio, program()),
        Stage::Cgroup => (Step::Cgroup, program()),
        Stage::Adjust => (Step::Adjust, program()),
        Stage::Rlimit => (Step::Rlimit, program()),
        Stage::User => (Step::User, program()),
        Stage::Prctl => (Step::Prctl, program()),
        Stage::Chdir => (Step::Chdir, spec.launch.cwd.clone().unwrap_or_default().into_os_string()),
        Stage::Exec => (Step::Exec, program()),
    };
    let mut told = failure(step, errno, &about);
    if step == Step::Exec && errno == libc::ENOENT {
        let file = spec.launch.cwd.clone().unwrap_or_default().join(&about);
        if let Some(interpreter) = interpreter(&file) {
            told.path = format!("{}: interpreter {interpreter}", told.path);
        }
    }
    told
}

/// The missing interpreter of a script that is there itself (case LAU-04), or of a program that wants a loader.
fn interpreter(file: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    if head.starts_with(b"\x7fELF") {
        return Some("(the program's dynamic loader)".into());
    }
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.split(|b| b.is_ascii_whitespace()).find(|w| !w.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)).display().to_string())
}
