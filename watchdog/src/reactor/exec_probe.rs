//! The command of a probe: its own process group, as the service's user in the service's environment, and the first of
//! what it says.

use super::orphans::MARK;
use super::{Reactor, launch};
use crate::machine::{Generation, ServiceId, errno_name};
use crate::probe::{Seen, reason};
use crate::spec::Form;
use crate::sys::fds;
use crate::sys::reap::Dead;
use crate::sys::spawn::{self, Failed, Stage, Status};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Kept of each of its two outputs; the rest is read and dropped, so that it is not held up.
const KEPT: usize = 4096;
/// Read of one of them in one turn.
const SHARE: usize = 256 * 1024;

/// A command that runs.
pub(super) struct Exec {
    pub(super) pid: i32,
    pipes: [Option<Pipe>; 2],
    /// How far it is, where it runs as another user or in another directory; and what it is then that could not be run.
    status: Option<(Status, OsString, Option<PathBuf>)>,
}

struct Pipe {
    fd: OwnedFd,
    token: usize,
    kept: Vec<u8>,
}

impl Exec {
    /// Of its two pipes.
    pub(super) fn tokens(&self) -> impl Iterator<Item = usize> + use<> {
        self.pipes.each_ref().map(|p| p.as_ref().map(|p| p.token)).into_iter().flatten()
    }

    /// What has come through one of them. True: it has had its share of this turn, and there may be more.
    pub(super) fn read(&mut self, token: usize) -> bool {
        let mut buffer = [0; 8192];
        let mut taken = 0;
        let Some(pipe) = self.pipes.iter_mut().flatten().find(|p| p.token == token) else { return false };
        while taken < SHARE {
            match nix::unistd::read(&pipe.fd, &mut buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    taken += n;
                    let room = KEPT.saturating_sub(pipe.kept.len()).min(n);
                    pipe.kept.extend_from_slice(&buffer[..room]);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Takes the pipes out of the loop.
    pub(super) fn close(&mut self, registry: &Registry) {
        for pipe in self.pipes.iter_mut().filter_map(Option::take) {
            let _ = registry.deregister(&mut SourceFd(&pipe.fd.as_raw_fd()));
        }
    }

    fn said(&self, which: usize) -> String {
        let kept = self.pipes[which].as_ref().map_or(&[][..], |p| &p.kept);
        let text = String::from_utf8_lossy(kept);
        text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().to_string()
    }
}

/// What the end of a command says.
pub(super) fn answer_of(exec: &mut Exec, dead: &Dead) -> Seen {
    if let Some((status, program, cwd)) = &mut exec.status
        && let Some(failed) = status.failure()
    {
        return cannot_run(program, cwd.as_deref(), &failed);
    }
    for token in exec.tokens() {
        exec.read(token);
    }
    let (out, err) = (exec.said(0), exec.said(1));
    let or = |said: String, else_: String| if said.is_empty() { else_ } else { said };
    match (dead.code, dead.signal) {
        (Some(0), _) => Seen::success(or(out, "exit code: 0".into())),
        (Some(code), _) => Seen::failure(or(err, format!("exit code: {code}"))),
        (None, signal) => Seen::failure(or(err, format!("died by SIG{}", crate::signal_name(signal.unwrap_or(0))))),
    }
}

impl Reactor {
    /// Starts the command of a probe; its second pipe gets the token behind `token`.
    #[inline(never)]
    pub(super) fn start_command(
        &mut self,
        id: ServiceId,
        generation: Generation,
        command: &[OsString],
        token: usize,
    ) -> Result<Exec, Seen> {
        let cannot = |what: &str, e: io::Error| Seen::error(format!("{what}: {}", reason(&e)));
        self.next_token += 1;
        let second = self.next_token;
        let many = self.instance.form != Form::Prefix;
        let mark = self.mark_of_try(token);
        let Reactor { machine, spawner, workers, server, poll, .. } = self;
        let Some(spec) = machine.services().get(id.0 as usize).map(|s| &s.spec) else {
            return Err(Seen::error("no such service"));
        };
        let null = File::open("/dev/null").map_err(|e| cannot("/dev/null", e))?;
        let (out, out_end) = pipe().map_err(|e| cannot("pipe", e.into()))?;
        let (err, err_end) = pipe().map_err(|e| cannot("pipe", e.into()))?;
        let generation = generation.0.to_string();
        let worker = workers.get(id.0 as usize).and_then(|w| w.proc.as_ref()).map(|p| p.pid.to_string());
        let replica = spec.replica.unwrap_or(0).to_string();
        let more = [
            ("WATCHDOG_SERVICE", Some(OsStr::new(&spec.name))),
            ("WATCHDOG_REPLICA", Some(OsStr::new(&replica))),
            ("WATCHDOG_GENERATION", Some(OsStr::new(&generation))),
            // WATCHDOG_PID has another meaning: sd_watchdog_enabled(3).
            ("WATCHDOG_WORKER_PID", worker.as_deref().map(OsStr::new)),
            ("WATCHDOG_SOCKET", server.as_ref().map(|s| s.path().as_os_str())),
            (MARK, Some(OsStr::new(&mark))),
        ];
        let mut plan = launch::as_the_service(spec, command, &more);
        plan.cut = many;
        plan.stdio = [Some(null.as_raw_fd()), Some(out_end.as_raw_fd()), Some(err_end.as_raw_fd())];
        let program = command.first().cloned().unwrap_or_default();
        for end in [&out_end, &err_end] {
            launch::give_to(end, plan.uid);
        }
        let child = spawner.spawn(&plan).map_err(|failed| cannot_run(&program, plan.cwd, &failed))?;
        let raised = |fd| if many { fds::raise(fd, spawn::FLOOR) } else { fd };
        let status = child.status.map(|status| (status.moved(raised), program, plan.cwd.map(Path::to_owned)));
        let mut pipes =
            [(out, token), (err, second)].map(|(fd, token)| Some(Pipe { fd: raised(fd), token, kept: Vec::new() }));
        for pipe in pipes.iter_mut().flatten() {
            let number = pipe.fd.as_raw_fd();
            // Where that fails it is read when the command ends, or is killed when its time is over.
            let _ = poll.registry().register(&mut SourceFd(&number), Token(pipe.token), Interest::READABLE);
        }
        Ok(Exec { pid: child.pid, pipes, status })
    }
}

/// What it is about, and why.
fn cannot_run(program: &OsStr, cwd: Option<&Path>, failed: &Failed) -> Seen {
    let why = errno_name(failed.errno as i32);
    match (failed.stage, cwd) {
        (Stage::Chdir, Some(dir)) => Seen::error(format!("{program:?} could not be run in {}: {why}", dir.display())),
        (Stage::User, _) => Seen::error(format!("{program:?} could not be run as its user: {why}")),
        _ => Seen::error(format!("{program:?} could not be run: {why}")),
    }
}

/// Our end, which never waits, and the command's.
fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}
