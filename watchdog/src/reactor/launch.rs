//! From a spec to a process: the worker's environment, its pipes, its group, and what a failure is about.

use super::link::{self, Link, Offer};
use super::outputs::Output;
use super::{Proc, Reactor};
use crate::logs::Stream;
use crate::machine::*;
use crate::spec::{Check, Form, HookUser, Identity, LogMode, OnDeath, RESOURCES, Spec, Stdin};
use crate::sys::spawn::{self, Failed, Plan, Stage, Status};
use crate::sys::{cgroup, closer, fds, tree};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Rewritten at every spawn: the protocol asks for the number of the process itself (sd_listen_fds(3)).
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// Of systemd 259: the number of the process by its pidfd. It is right for one process alone, and LISTEN_PID says the same.
const LISTEN_PIDFDID: &str = "LISTEN_PIDFDID";
/// The first number of a listener (sd_listen_fds(3)).
const FIRST_LISTENER: RawFd = 3;
/// The same for the beats of a worker that was told how often (sd_watchdog_enabled(3)).
const WATCHDOG_PID: &str = "WATCHDOG_PID";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// Its type differs from one libc to the other.
#[allow(clippy::unnecessary_cast, reason = "an i32 in musl")]
pub(super) const NOFILE: u32 = libc::RLIMIT_NOFILE as u32;
/// The same.
#[allow(clippy::unnecessary_cast, reason = "an i32 in musl")]
pub(super) const CORE: u32 = libc::RLIMIT_CORE as u32;
/// As much of a script as the kernel looks at for its interpreter.
const HEAD: usize = 256;
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
    /// Starts one generation. With a status its exec has not come.
    ///
    /// # Errors
    /// No process came of it, and nothing is left.
    pub(super) fn launch(
        &mut self,
        id: ServiceId,
        generation: Generation,
    ) -> Result<(Launched, Option<Status>), SpawnFailure> {
        if self.too_many_killed() {
            return Err(failure(Step::Fork, libc::EAGAIN, OsStr::new("")));
        }
        let control = self.server.as_ref().map(|s| s.path());
        let Some(service) = self.machine.services().get(id.0 as usize) else {
            return Err(failure(Step::Fork, libc::EINVAL, OsStr::new("")));
        };
        let spec = &service.spec;
        let mark = closer::random().unwrap_or_else(|| format!("{}.{}.{}", self.invocation, id.0, generation.0));
        let entry = format!("WATCHDOG_INVOCATION={mark}").into_bytes();
        let (pipes, mut ends) = pipes(spec.log.mode, spec.launch.identity.as_ref())?;
        let offer = link::offer(spec, id, generation, &mut self.places)
            .map_err(|e| io_failure(Step::Channel, &e, "channel"))?;
        if spec.launch.stdin == Stdin::Null && self.null.is_none() {
            self.null = Some(File::open("/dev/null").map_err(|e| io_failure(Step::Stdio, &e, "/dev/null"))?);
        }
        let group = self.cgroups.as_ref().and_then(|home| home.group(&mark));
        let own_group = !self.shared_group;
        let (given, env) = environment(spec, &mark, control, &offer, self.given.as_ref());
        let mut plan = plan(spec, env, own_group);
        plan.given = Rc::clone(&given.entries);
        plan.keep = link::numbers(&offer);
        plan.keep.extend(passing_on(spec, &self.inherited));
        plan.cgroup = group.as_ref().map(|g| g.procs.as_raw_fd());
        if let Some(null) = self.null.as_ref().filter(|_| spec.launch.stdin == Stdin::Null) {
            plan.take(0, null);
        }
        for (stream, end) in [Stream::Stdout, Stream::Stderr].into_iter().zip(ends.iter()) {
            plan.take(stream.index() + 1, end);
        }
        let many = self.instance.form != Form::Prefix;
        plan.cut = many;
        let child = self.spawner.spawn(&plan).map_err(|f| describe(spec, f))?;
        // Not for the one start of a program that may never need another one.
        self.given = Some(given).filter(|_| many || generation.0 > 1);
        ends.clear();
        let raised = |fd| if many { fds::raise(fd, spawn::FLOOR) } else { fd };
        let (pid, pidfd) = (child.pid, child.pidfd.map(raised));
        // A hook or the command of a probe may leave a daemon with us, which is not the worker's.
        let helped = !spec.hooks.is_empty() || spec.probes.iter().any(|p| matches!(p.check, Check::Exec(_)));
        let all_mine = self.workers.len() == 1 && self.before.is_empty() && !self.init && !helped;
        let outputs = pipes
            .into_iter()
            .zip([Stream::Stdout, Stream::Stderr])
            .map(|(pipe, stream)| Output::new(id, generation, stream, raised(pipe)))
            .collect();
        let launched = Launched {
            proc: Proc { generation, pid, pidfd, own_group },
            group,
            marks: tree::Marks { main: pid, entry, all_mine },
            outputs,
            links: offer.links.into_iter().map(|link| link.moved(raised)).collect(),
        };
        Ok((launched, child.status.map(|status| status.moved(raised))))
    }
}

/// What the settings give to a worker, as the exec takes it: made once for all starts that get the same.
pub(super) struct Given {
    /// Held, so that nothing else can be at its address.
    of: Arc<Vec<(OsString, OsString)>>,
    /// Variables of ours that take the place of those of the settings.
    without: Vec<&'static str>,
    entries: Rc<Vec<CString>>,
}

impl Given {
    fn is(&self, of: &Arc<Vec<(OsString, OsString)>>, without: &[&'static str]) -> bool {
        Arc::ptr_eq(&self.of, of) && self.without == without
    }
}

/// The worker's variables: what the settings gave, and what the contract promises. `before`: those of the last start, which
/// serve again if they are the same.
fn environment(
    spec: &Spec,
    mark: &str,
    control: Option<&Path>,
    offer: &Offer,
    before: Option<&Given>,
) -> (Given, Vec<CString>) {
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
    let ours: Vec<(&'static str, Option<&OsStr>)> =
        ours.into_iter().chain(link::variable(offer).map(|(key, value)| (key, Some(value)))).collect();
    let at_spawn = [LISTEN_PID, LISTEN_PIDFDID, WATCHDOG_PID];
    let without: Vec<&'static str> = at_spawn.into_iter().chain(ours.iter().map(|(name, _)| *name)).collect();
    let ours = ours.iter().filter_map(|(key, value)| value.and_then(|v| spawn::entry(OsStr::new(*key), v))).collect();
    let env = &spec.launch.env;
    let entries = match before.filter(|given| given.is(env, &without)) {
        Some(given) => Rc::clone(&given.entries),
        None => {
            let taken = |key: &OsStr| without.iter().any(|name| key == *name);
            // A value with a NUL byte cannot come from an environment, and settings are read as text without one.
            let given = env.iter().filter(|(key, _)| !taken(key)).filter_map(|(key, value)| spawn::entry(key, value));
            Rc::new(given.collect())
        }
    };
    (Given { of: Arc::clone(env), without, entries }, ours)
}

fn path_of(spec: &Spec) -> Option<&OsStr> {
    path_in(&spec.launch.env)
}

fn path_in(environment: &[(OsString, OsString)]) -> Option<&OsStr> {
    environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_os_str())
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

/// What surrounds the commands of the watchdog's own.
pub(super) struct Surroundings<'a> {
    /// Its own environment. Never a service's: a list of variables that others may write would decide what root runs.
    pub(super) environment: &'a [(OsString, OsString)],
    pub(super) control: Option<&'a Path>,
    /// Where a report is read that is not to be asked for: the end of the watchdog may be what it is told of.
    pub(super) reports: Option<&'a Path>,
}

/// The login of a user: all that a command which runs as the service's user takes from the service's environment.
const LOGIN: [&str; 3] = ["HOME", "USER", "LOGNAME"];

/// A short-lived command of the watchdog's own on an event of a service, in the watchdog's environment; it does not outlive us.
pub(super) fn helper<'a>(
    spec: &'a Spec,
    command: &'a [OsString],
    around: &Surroundings<'a>,
    event: &str,
    mark: Option<(&str, &str)>,
) -> Plan<'a> {
    let identity = spec.launch.identity.as_ref().filter(|i| spec.hook_user == HookUser::Service && !is_ours(i));
    let replica = spec.replica.unwrap_or(0).to_string();
    let ours = [
        ("WATCHDOG_SERVICE", Some(OsStr::new(&spec.name))),
        ("WATCHDOG_REPLICA", Some(OsStr::new(&replica))),
        ("WATCHDOG_EVENT", Some(OsStr::new(event))),
        ("WATCHDOG_SOCKET", around.control.map(Path::as_os_str)),
        ("WATCHDOG_REPORT_DIR", around.reports.map(Path::as_os_str)),
    ];
    let ours = ours.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let ours: Vec<(&str, &OsStr)> = ours.chain(mark.map(|(key, value)| (key, OsStr::new(value)))).collect();
    let is_login = |key: &OsStr| identity.is_some() && LOGIN.iter().any(|name| key == *name);
    let login = spec.launch.env.iter().filter(|(key, _)| is_login(key));
    let taken = |key: &OsStr| is_login(key) || ours.iter().any(|(name, _)| key == *name);
    let own = around.environment.iter().filter(|(key, _)| !taken(key));
    let own = own.chain(login).map(|(key, value)| (key.as_os_str(), value.as_os_str()));
    let all = own.chain(ours.iter().map(|(key, value)| (OsStr::new(*key), *value)));
    Plan {
        command,
        env: all.filter_map(|(key, value)| spawn::entry(key, value)).collect(),
        path: path_in(around.environment),
        own_group: true,
        death_signal: libc::SIGKILL,
        uid: identity.and_then(|i| i.uid),
        gid: identity.map(|i| i.gid),
        groups: identity.and_then(|i| i.groups.clone()),
        no_new_privs: identity.is_some() && spec.launch.no_new_privs,
        ..Plan::default()
    }
}

/// Our own environment for such commands, where nobody gave one: without what is meant for this very process.
pub(super) fn own_environment() -> Vec<(OsString, OsString)> {
    let ours = |key: &OsStr| ITS_OWN.iter().chain(&["NOTIFY_SOCKET", "NODE_CHANNEL_FD"]).any(|name| key == *name);
    std::env::vars_os().filter(|(key, _)| !ours(key)).collect()
}

/// What a worker's environment may hold that is meant for itself alone.
const ITS_OWN: [&str; 6] = [LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PIDFDID, WATCHDOG_PID, WATCHDOG_USEC];

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

/// Whether its worker runs as another user than we do.
pub(super) fn is_of_another_user(spec: &Spec) -> bool {
    let uid = spec.launch.identity.as_ref().and_then(|i| i.uid);
    uid.is_some_and(|uid| uid != nix::unistd::geteuid().as_raw())
}

/// Of what was open before us: to a worker of our own user all of it, as without us; to one of another user the listeners
/// that were passed to us for it, and nothing else.
fn passing_on<'a>(spec: &Spec, inherited: &'a [RawFd]) -> impl Iterator<Item = RawFd> + use<'a> {
    let all = !is_of_another_user(spec);
    let listeners = spec.launch.env.iter().find(|(key, _)| key == LISTEN_FDS);
    let count: RawFd = listeners.and_then(|(_, n)| n.to_str()?.parse().ok()).unwrap_or(0);
    inherited
        .iter()
        .copied()
        .filter(move |fd| all || (FIRST_LISTENER..FIRST_LISTENER.saturating_add(count)).contains(fd))
}

/// Our ends and the worker's, for stdout and stderr. None for `inherit`.
fn pipes(mode: LogMode, user: Option<&Identity>) -> Result<(Vec<OwnedFd>, Vec<OwnedFd>), SpawnFailure> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    if mode != LogMode::Inherit {
        for _ in 0..2 {
            let (read, write) =
                pipe2(OFlag::O_CLOEXEC).map_err(|e| failure(Step::Channel, e as i32, OsStr::new("pipe")))?;
            // Only our end: the worker's must wait as any pipe does.
            let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
            nix::fcntl::fcntl(&read, flags).map_err(|e| failure(Step::Channel, e as i32, OsStr::new("pipe")))?;
            give_to(&write, user.and_then(|user| user.uid));
            ours.push(read);
            theirs.push(write);
        }
    }
    Ok((ours, theirs))
}

/// A pipe is opened again by its user alone (/dev/stdout, /dev/stderr), so it has to be that of the process that writes
/// to it. Where that is refused it is as it was.
pub(super) fn give_to(pipe: &OwnedFd, uid: Option<u32>) {
    if let Some(uid) = uid {
        let _ = nix::unistd::fchown(pipe, Some(uid.into()), None);
    }
}

/// Of control characters an interpreter line may have a carriage return at its end, and that is what has to be seen: all
/// that shows it writes it as `\r`.
fn failure(step: Step, errno: i32, about: &OsStr) -> SpawnFailure {
    let path = about.to_string_lossy().chars().filter(|c| !c.is_control() || *c == '\r').take(SHOWN_PATH).collect();
    SpawnFailure { step, errno, path }
}

fn io_failure(step: Step, e: &std::io::Error, about: &str) -> SpawnFailure {
    failure(step, e.raw_os_error().unwrap_or(libc::EIO), OsStr::new(about))
}

/// Which step, and what was refused: the interpreter, where it is that which is missing; the program, where it is that.
pub(super) fn describe(spec: &Spec, failed: Failed) -> SpawnFailure {
    let errno = failed.errno as i32;
    let launch = &spec.launch;
    let text = |text: String| OsString::from(text);
    let (step, about) = match failed.stage {
        Stage::Clone | Stage::Cut | Stage::Prctl if elsewhere(&failed) => {
            let about = "a process in our own pid namespace: unshare --pid needs --fork";
            return failure(Step::Fork, libc::EINVAL, OsStr::new(about));
        }
        Stage::Prepare => (Step::Exec, program(spec)),
        Stage::Clone | Stage::Cut => (Step::Fork, program(spec)),
        Stage::Group if is_of_another_user(spec) => (Step::Setpgid, "a session of its own".into()),
        Stage::Group => (Step::Setpgid, "a process group of its own".into()),
        Stage::Stdio => (Step::Stdio, "stdin, stdout, stderr".into()),
        Stage::Cgroup => (Step::Cgroup, "its control group".into()),
        Stage::Umask => (Step::Adjust, text(format!("umask {:03o}", launch.umask.unwrap_or(0)))),
        Stage::Nice => (Step::Adjust, text(format!("nice {}", launch.nice.unwrap_or(0)))),
        Stage::OomScore => (Step::Adjust, text(format!("oom_score_adj {}", launch.oom_score_adj.unwrap_or(0)))),
        Stage::Rlimit => (Step::Rlimit, text(limit(spec, failed.which))),
        Stage::User => (Step::User, launch.identity.as_ref().map_or_else(OsString::new, |i| text(i.name.clone()))),
        Stage::Prctl if launch.no_new_privs => (Step::Prctl, "no_new_privs".into()),
        Stage::Prctl => (Step::Prctl, "the signal at the death of the watchdog".into()),
        Stage::Chdir => (Step::Chdir, launch.cwd.clone().unwrap_or_default().into_os_string()),
        Stage::Exec => (Step::Exec, program(spec)),
    };
    let mut told = failure(step, errno, &about);
    if step == Step::Exec && errno == libc::ENOENT {
        let head = match is_of_another_user(spec) {
            true => failed.head,
            false => head_of(&launch.cwd.clone().unwrap_or_default().join(&about)).unwrap_or_default(),
        };
        if let Some(interpreter) = interpreter(&head) {
            told = failure(step, errno, OsStr::new(&format!("{}: interpreter {interpreter}", told.path)));
        }
    }
    told
}

/// The file that an exec would use. Along the directories of another user nothing is looked for: a directory of its own
/// may not answer.
fn program(spec: &Spec) -> OsString {
    match is_of_another_user(spec) {
        true => spec.command.first().cloned().unwrap_or_default(),
        false => spawn::resolve(&spec.command, path_of(spec)),
    }
}

/// A limit as it is written in the settings.
fn limit(spec: &Spec, which: usize) -> String {
    let amount = |n: u64| if n == u64::MAX { "unlimited".into() } else { n.to_string() };
    match spec.launch.rlimits.get(which) {
        Some(r) => {
            let name = RESOURCES.get(r.resource as usize).copied().unwrap_or_default();
            format!("{name}={}:{}", amount(r.soft), amount(r.hard))
        }
        // One of ours, given back.
        None => "nofile, core".into(),
    }
}

/// Whether our children would be in another pid namespace than we are: then nothing of what we promise is possible.
/// ESRCH: its parent is none that it could see. ENOMEM: the first process of that namespace is dead.
fn elsewhere(failed: &Failed) -> bool {
    let ours = std::fs::read_link("/proc/self/ns/pid");
    let theirs = std::fs::read_link("/proc/self/ns/pid_for_children");
    let may_be = matches!((failed.stage, failed.errno), (Stage::Prctl, Errno::ESRCH) | (Stage::Clone, Errno::ENOMEM));
    may_be && ours.is_ok_and(|ours| theirs.map_or(true, |theirs| theirs != ours))
}

/// The beginning of a file that our own user was to execute. It is looked at before it is opened: a path may lead to
/// anything by now (a pipe, a device), and opening those waits or does something.
fn head_of(file: &Path) -> Option<Vec<u8>> {
    use nix::sys::stat::{Mode, SFlag, fstat};
    let found = nix::fcntl::open(file, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let kind = SFlag::from_bits_truncate(fstat(&found).ok()?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return None;
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let open = nix::fcntl::open(again.as_str(), flags, Mode::empty()).ok()?;
    let mut head = vec![0; HEAD];
    let n = nix::unistd::read(&open, &mut head).ok()?;
    head.truncate(n);
    Some(head)
}

/// The missing interpreter of a script that is there itself (case LAU-04), or of a program that wants a loader. Blanks and
/// tabs end its name, as for the kernel: a carriage return does not.
fn interpreter(head: &[u8]) -> Option<String> {
    if head.starts_with(b"\x7fELF") {
        return Some("(the program's dynamic loader)".into());
    }
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.split(|b| matches!(b, b' ' | b'\t' | 0)).find(|w| !w.is_empty())?;
    Some(String::from_utf8_lossy(word).into_owned())
}
