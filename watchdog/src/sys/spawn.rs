//! A new process: everything is prepared by the parent; the child only makes system calls.
//!
//! There are two ways. Where nothing on the way to the exec can be held up by others, `clone` with CLONE_VM and
//! CLONE_VFORK: nothing is copied (56 us against 140 us and more for fork, whatever our size), the parent waits until the
//! exec, and a failure comes back through the shared memory. Where the user or the directory changes, the child is a copy
//! of us that runs beside us: from setresuid on its user may stop it, and a directory may be on a file system that does not
//! answer, and neither may hold up the loop. It writes how far it is into a pipe that the exec closes ([`Status`]); the
//! caller gives it a time and kills it.
//!
//! What the child must not do follows from the shared memory: no allocation, no lock, no libc call that keeps state. All
//! signals are blocked from before the clone until the last step, so no code of ours can run in the child but `child`.
//!
//! With thousands of services, copying our table of descriptors for each child and closing the copies again would cost
//! more than all the rest. So what a child needs is kept below a [`FLOOR`], all else is moved above it, and the child
//! takes a copy of the part below the floor alone (CLONE_FILES and close_range(2) with CLOSE_RANGE_UNSHARE). Where that is
//! refused, it gets a copy of all.

mod child;

use super::signals::{self, Inherited};
use super::{SysError, reap};
use child::{Job, PID_DIGITS};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;
use std::rc::Rc;

/// The child's stack: what it calls needs a few hundred bytes. Below it lies one page more, the guard.
const STACK_BYTES: usize = 64 * 1024;
/// How long a child may take to get a table of descriptors of its own: one call that waits for nothing.
const CUT_WITHIN_MS: u16 = 5000;
/// All that a child may write on its way: a few records and the first bytes of a file.
const STATUS_BYTES: usize = 1024;
/// Where a worker's PATH is missing, as in execvp(3).
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
/// With more than a few services, long-lived descriptors of ours live from here on.
pub(crate) const FLOOR: RawFd = 256;

/// What to run and how to set it up. Plain values: the caller has looked everything up.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// argv; never empty.
    pub command: &'a [OsString],
    /// The environment, `KEY=VALUE` each: what other starts get as well, and the rest.
    pub(crate) given: Rc<Vec<CString>>,
    pub(crate) env: Vec<CString>,
    /// The worker's PATH, to find the program along.
    pub(crate) path: Option<&'a OsStr>,
    /// Variables to add with the child's own number (LISTEN_PID, WATCHDOG_PID).
    pub pid_variables: Vec<&'static str>,
    /// Descriptors that pass on under their own numbers.
    pub keep: Vec<RawFd>,
    /// stdin, stdout, stderr: a descriptor to take instead of the inherited one.
    pub stdio: [Option<RawFd>; 3],
    /// Lead an own process group.
    pub own_group: bool,
    /// `cgroup.procs` of the group to enter.
    pub cgroup: Option<RawFd>,
    /// As in the settings.
    pub umask: Option<u32>,
    /// As in the settings.
    pub nice: Option<i32>,
    /// As in the settings.
    pub oom_score_adj: Option<i32>,
    /// resource, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// uid.
    pub uid: Option<u32>,
    /// gid.
    pub gid: Option<u32>,
    /// Supplementary groups.
    pub groups: Option<Vec<u32>>,
    /// Working directory.
    pub cwd: Option<&'a Path>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// Parent-death signal, 0 for none.
    pub death_signal: i32,
    /// Nothing from [`FLOOR`] on is for the child. Minded only where all that it needs is below.
    pub cut: bool,
}

/// Where in the child a spawn failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Prepare,
    Clone,
    Cut,
    Group,
    Stdio,
    Cgroup,
    Umask,
    Nice,
    OomScore,
    Rlimit,
    User,
    Prctl,
    Chdir,
    Exec,
}

impl Stage {
    const ALL: [Stage; 14] = [
        Stage::Prepare,
        Stage::Clone,
        Stage::Cut,
        Stage::Group,
        Stage::Stdio,
        Stage::Cgroup,
        Stage::Umask,
        Stage::Nice,
        Stage::OomScore,
        Stage::Rlimit,
        Stage::User,
        Stage::Prctl,
        Stage::Chdir,
        Stage::Exec,
    ];
}

/// Why there is no process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Where.
    pub stage: Stage,
    /// Which of several: the number of a limit in the plan.
    pub which: usize,
    /// Why.
    pub errno: Errno,
    /// The beginning of the program's file, where it is there and could not be executed for a file that is not
    /// (ENOENT), as far as its own user may read it. Empty where the caller can look for itself.
    pub head: Vec<u8>,
}

impl Failed {
    /// In this stage, and no more is known.
    pub(crate) fn at(stage: Stage, errno: Errno) -> Failed {
        Failed { stage, which: 0, errno, head: Vec::new() }
    }
}

/// A process that runs the program, or is on its way to it.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its number, ours to signal until we reap it.
    pub pid: i32,
    /// Its identity. None where the kernel, or a filter, gives none.
    pub pidfd: Option<OwnedFd>,
    /// How far it is. None: it runs the program.
    pub status: Option<Status>,
}

/// How far a child is that runs beside us.
#[derive(Debug)]
pub(crate) struct Status {
    pipe: OwnedFd,
    text: Vec<u8>,
}

/// What a [`Status`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is in this stage, which may take any time.
    At(Stage),
    /// It failed, and has left or is leaving.
    Failed(Failed),
    /// It runs the program, or was killed on its way.
    Over,
}

impl Status {
    /// Reads what has come. Never waits.
    pub(crate) fn look(&mut self) -> Progress {
        let mut buffer = [0; 256];
        let over = loop {
            match nix::unistd::read(&self.pipe, &mut buffer) {
                Ok(0) => break true,
                Ok(n) if self.text.len() < STATUS_BYTES => self.text.extend_from_slice(&buffer[..n]),
                Ok(_) => break true,
                Err(Errno::EINTR) => {}
                Err(_) => break false,
            }
        };
        let (stage, failed) = child::understand(&self.text);
        match failed {
            // The beginning of the file may be on its way.
            Some(failed) if !over && (failed.stage, failed.errno) == (Stage::Exec, Errno::ENOENT) => {
                Progress::At(stage)
            }
            Some(failed) => Progress::Failed(failed),
            None if over => Progress::Over,
            None => Progress::At(stage),
        }
    }

    /// What a child has left behind that was reaped. `None`: it ran the program, or was killed on its way.
    pub(crate) fn failure(&mut self) -> Option<Failed> {
        self.look();
        child::understand(&self.text).1
    }

    /// The same descriptor elsewhere.
    pub(crate) fn moved(self, raised: impl Fn(OwnedFd) -> OwnedFd) -> Status {
        Status { pipe: raised(self.pipe), ..self }
    }
}

impl AsFd for Status {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Keeps the stack between spawns, and what this kernel refuses.
#[derive(Debug)]
pub(crate) struct Spawner {
    inherited: Inherited,
    stack: *mut libc::c_void,
    /// Bytes of the mapping, the guard page among them.
    mapped: usize,
    /// Limits that were changed for us, as they were: every child gets them back.
    limits: Vec<(u32, u64, u64)>,
    /// Descriptors pass as a copy of the whole table: a kernel before 5.9, or a filter, refuses the cut.
    cannot_cut: bool,
    /// clone gives no pidfd.
    without_pidfd: bool,
    /// Our own number.
    me: i32,
}

impl Spawner {
    /// Maps the child's stack.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new(inherited: Inherited) -> Result<Spawner, SysError> {
        // A kernel that does not say how large its pages are has small ones.
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        let page = page.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096);
        let mapped = STACK_BYTES + page;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let stack = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if stack == libc::MAP_FAILED {
            return Err(SysError { call: "mmap", errno: Errno::last() });
        }
        // SAFETY: the lowest page of the mapping made above; a failure leaves it writable, which is only less strict.
        unsafe { libc::mprotect(stack, page, libc::PROT_NONE) };
        let me = nix::unistd::getpid().as_raw();
        Ok(Spawner { inherited, stack, mapped, limits: Vec::new(), cannot_cut: false, without_pidfd: false, me })
    }

    /// A limit that was changed for us alone: children get it as it was, unless their plan says otherwise.
    pub(crate) fn give_back(&mut self, resource: u32, (soft, hard): (u64, u64)) {
        self.limits.push((resource, soft, hard));
    }

    /// Runs the program. Returns when it runs, when it does not, or when it is on its way beside us ([`Child::status`]).
    ///
    /// # Errors
    /// The step and the kernel's reason; nothing is left of the child then.
    pub(crate) fn spawn(&mut self, plan: &Plan<'_>) -> Result<Child, Failed> {
        match self.attempt(plan) {
            Err(failed) if failed.stage == Stage::Cut => {
                self.cannot_cut = true;
                self.attempt(plan)
            }
            done => done,
        }
    }

    fn attempt(&mut self, plan: &Plan<'_>) -> Result<Child, Failed> {
        let mut prepared = Prepared::new(plan).ok_or(Failed::at(Stage::Prepare, Errno::EINVAL))?;
        let no_pipe = |errno| Failed::at(Stage::Clone, errno);
        let pipe = plan.may_be_held_up().then(status_pipe).transpose().map_err(no_pipe)?;
        let mut job = prepared.job(plan, self, pipe.as_ref().map(|(_, write)| write));
        let (pid, pidfd) = self.clone(&mut job, pipe.is_some()).map_err(no_pipe)?;
        let Some((read, write)) = pipe else {
            // SAFETY: the child wrote this before it left our memory; it is gone from there now.
            let failed = unsafe { ptr::read_volatile(&raw const job.failed) };
            return match failed {
                None => Ok(Child { pid, pidfd, status: None }),
                Some((stage, which, errno)) => {
                    reap::reap_this(pid);
                    Err(Failed { stage, which, errno: Errno::from_raw(errno), head: Vec::new() })
                }
            };
        };
        let mut status = Status { pipe: read, text: Vec::new() };
        if job.cut {
            await_cut(&mut status, pid)?;
        }
        // From here on the child alone holds it: its end is the exec, or the end of the child.
        drop(write);
        Ok(Child { pid, pidfd, status: Some(status) })
    }

    /// The child beside us, or in our memory while we wait.
    fn clone(&mut self, job: &mut Job, beside: bool) -> Result<(i32, Option<OwnedFd>), Errno> {
        let memory = if beside { 0 } else { libc::CLONE_VM | libc::CLONE_VFORK };
        let files = if job.cut { libc::CLONE_FILES } else { 0 };
        let flags = memory | files | libc::SIGCHLD;
        if !self.without_pidfd {
            match self.clone_with(child::child, ptr::from_mut(job).cast(), flags | libc::CLONE_PIDFD) {
                Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => {}
                done => return done,
            }
        }
        let child = self.clone_with(child::child, ptr::from_mut(job).cast(), flags)?;
        self.without_pidfd = true;
        Ok((child.0, signals::pidfd_open(child.0).ok()))
    }

    /// A child that looks whether something is at this path, and ends with 0 if there is. It runs beside us: a file system
    /// that does not answer holds up the child alone. Gives back its number.
    ///
    /// # Errors
    /// EINVAL for a path with a NUL byte; EAGAIN, ENOMEM.
    pub(crate) fn look_for(&mut self, path: &Path) -> Result<i32, Errno> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        // Our own table of descriptors: it opens nothing, and what we close meanwhile is closed.
        let flags = libc::SIGCHLD | libc::CLONE_FILES;
        self.clone_with(child::look, path.as_ptr().cast_mut().cast(), flags).map(|(pid, _)| pid)
    }

    fn clone_with(
        &mut self,
        entry: extern "C" fn(*mut libc::c_void) -> libc::c_int,
        job: *mut libc::c_void,
        flags: i32,
    ) -> Result<(i32, Option<OwnedFd>), Errno> {
        let mut pidfd: RawFd = -1;
        // SAFETY: the stack is mapped for as long as `self` lives. With CLONE_VM it is used by one child at a time, because
        // CLONE_VFORK holds us here until the child has left our memory, and `job` and what it points to live until after
        // that; without CLONE_VM the child has copies of all of it. All signals are blocked, so no handler runs in it.
        let pid = unsafe {
            let top = self.stack.cast::<u8>().add(self.mapped).cast::<libc::c_void>();
            libc::clone(entry, top, flags, job, &raw mut pidfd)
        };
        let pid = Errno::result(pid)?;
        if pidfd < 0 {
            return Ok((pid, None));
        }
        // SAFETY: CLONE_PIDFD stored a new close-on-exec descriptor that is known here alone.
        Ok((pid, Some(unsafe { OwnedFd::from_raw_fd(pidfd) })))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no child is on it (spawn has returned, and one beside us has a copy).
        unsafe { libc::munmap(self.stack, self.mapped) };
    }
}

/// Our end, which never waits, and the child's.
fn status_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// Until the child has a table of descriptors of its own, ours is its: nothing may be closed. It has not changed its user
/// yet, so nothing of others can hold it up.
fn await_cut(status: &mut Status, pid: i32) -> Result<(), Failed> {
    loop {
        let mut fds = [PollFd::new(status.as_fd(), PollFlags::POLLIN)];
        let come = match poll(&mut fds, PollTimeout::from(CUT_WITHIN_MS)) {
            Err(Errno::EINTR) => continue,
            come => come.is_ok_and(|n| n > 0),
        };
        match status.look() {
            Progress::At(_) if come => return Ok(()),
            Progress::Failed(failed) => {
                reap::reap_this(pid);
                return Err(failed);
            }
            Progress::At(_) | Progress::Over => {
                let _ = signals::kill(pid, libc::SIGKILL);
                reap::reap_this(pid);
                return Err(Failed::at(Stage::Clone, Errno::ETIMEDOUT));
            }
        }
    }
}

/// The strings behind the job's pointers.
struct Prepared {
    argv: Vec<CString>,
    pid_entries: Vec<Vec<u8>>,
    files: Vec<CString>,
    cwd: Option<CString>,
}

impl Prepared {
    /// `None` for a NUL byte in the middle of a string or an empty command.
    fn new(plan: &Plan<'_>) -> Option<Prepared> {
        let program = plan.command.first()?;
        let argv = plan.command.iter().map(|a| CString::new(a.as_bytes()).ok()).collect::<Option<Vec<_>>>()?;
        let cwd = match plan.cwd {
            Some(dir) => Some(CString::new(dir.as_os_str().as_bytes()).ok()?),
            None => None,
        };
        let entry = |name: &&str| {
            let mut text = format!("{name}=").into_bytes();
            text.resize(text.len() + PID_DIGITS + 1, 0);
            text
        };
        let pid_entries = plan.pid_variables.iter().map(entry).collect();
        Some(Prepared { argv, pid_entries, files: candidates(program, plan.path), cwd })
    }

    fn job(&mut self, plan: &Plan<'_>, spawner: &Spawner, status: Option<&OwnedFd>) -> Job {
        let inherited = &spawner.inherited;
        let pointers =
            |all: &[CString]| all.iter().map(|s| s.as_ptr()).chain(std::iter::once(ptr::null())).collect::<Vec<_>>();
        let env = plan.given.iter().chain(&plan.env).map(|entry| entry.as_ptr());
        let mut envp: Vec<_> = env.chain(std::iter::once(ptr::null())).collect();
        let mut pid_slots = Vec::new();
        for (name, entry) in plan.pid_variables.iter().zip(&mut self.pid_entries) {
            envp.insert(0, entry.as_ptr().cast());
            pid_slots.push(entry.as_mut_ptr().wrapping_add(name.len() + 1));
        }
        let mut oom = [0; 8];
        let text = plan.oom_score_adj.map(|n| n.to_string()).unwrap_or_default();
        let oom_len = text.len().min(oom.len());
        oom[..oom_len].copy_from_slice(&text.as_bytes()[..oom_len]);
        Job {
            argv: pointers(&self.argv),
            envp,
            files: pointers(&self.files),
            cwd: self.cwd.as_ref().map_or(ptr::null(), |c| c.as_ptr()),
            pid_slots,
            keep: sorted(&plan.keep),
            stdio: plan.stdio.map(|fd| fd.unwrap_or(-1)),
            own_group: plan.own_group,
            cgroup: plan.cgroup.unwrap_or(-1),
            umask: plan.umask,
            nice: plan.nice,
            oom,
            oom_len,
            rlimits: plan
                .rlimits
                .iter()
                .chain(spawner.limits.iter().filter(|ours| plan.rlimits.iter().all(|given| given.0 != ours.0)))
                .map(|(r, soft, hard)| (*r, libc::rlimit64 { rlim_cur: *soft, rlim_max: *hard }))
                .collect(),
            uid: plan.uid,
            gid: plan.gid,
            groups: plan.groups.clone(),
            no_new_privs: plan.no_new_privs,
            death_signal: plan.death_signal,
            parent: spawner.me,
            ignored: inherited.ignored,
            mask: inherited.mask,
            cut: plan.cut && !spawner.cannot_cut && plan.is_below_the_floor(status),
            changes_user: plan.changes_user(),
            status: status.map_or(-1, AsRawFd::as_raw_fd),
            failed: None,
        }
    }
}

/// `KEY=VALUE` for a [`Plan`]. `None` where a NUL byte is in the middle.
pub(crate) fn entry(key: &OsStr, value: &OsStr) -> Option<CString> {
    let mut text = Vec::with_capacity(key.len() + value.len() + 2);
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    CString::new(text).ok()
}

/// The files to try, as execvp(3) would: a name with a slash as it stands, else along the worker's own PATH.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<CString> {
    let name = program.as_bytes();
    if name.contains(&b'/') || name.is_empty() {
        return CString::new(name).into_iter().collect();
    }
    let path = path.map_or(DEFAULT_PATH, |p| p.as_bytes());
    path.split(|b| *b == b':')
        .filter_map(|dir| {
            let mut file = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
            file.push(b'/');
            file.extend_from_slice(name);
            CString::new(file).ok()
        })
        .collect()
}

/// The file that an exec of this command would use, for messages: the first that is there.
#[must_use]
pub(crate) fn resolve(command: &[OsString], path: Option<&OsStr>) -> OsString {
    let Some(program) = command.first() else { return OsString::new() };
    let files = candidates(program, path);
    let there = files.iter().find(|f| Path::new(OsStr::from_bytes(f.as_bytes())).exists());
    there.map_or_else(|| program.clone(), |f| OsString::from_vec(f.as_bytes().to_vec()))
}

/// In the order of their numbers: what lies between them is closed.
fn sorted(numbers: &[RawFd]) -> Vec<RawFd> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers
}

impl Plan<'_> {
    fn is_below_the_floor(&self, status: Option<&OwnedFd>) -> bool {
        let status = status.map(AsRawFd::as_raw_fd);
        self.stdio.iter().flatten().chain(&self.keep).chain(&self.cgroup).chain(&status).all(|fd| *fd < FLOOR)
    }

    /// Whether others can hold the child up on its way: the user that it becomes, a directory that does not answer.
    fn may_be_held_up(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.groups.is_some() || self.cwd.is_some()
    }

    /// Whether it will run as another user than we do.
    pub(crate) fn changes_user(&self) -> bool {
        self.uid.is_some_and(|uid| uid != nix::unistd::geteuid().as_raw())
    }

    /// Takes a descriptor for one of 0, 1, 2.
    pub(crate) fn take(&mut self, target: usize, fd: &impl AsRawFd) {
        if let Some(slot) = self.stdio.get_mut(target) {
            *slot = Some(fd.as_raw_fd());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawner() -> Spawner {
        Spawner::new(Inherited { mask: 0, ignored: 0 }).expect("memory for a stack")
    }

    /// Where pages have 64 KiB, a guard of one page in a mapping of 64 KiB would leave no stack at all.
    #[test]
    fn the_guard_lies_below_the_whole_stack() {
        let spawner = spawner();
        let (begin, end) = (spawner.stack as usize, spawner.stack as usize + spawner.mapped);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("our own map");
        let parse = |text: &str| usize::from_str_radix(text, 16).expect("an address");
        let usable: usize = maps
            .lines()
            .filter(|line| line.split_whitespace().nth(1).is_some_and(|mode| mode.starts_with("rw")))
            .filter_map(|line| line.split_whitespace().next()?.split_once('-'))
            .map(|(from, to)| parse(to).min(end).saturating_sub(parse(from).max(begin)))
            .sum();
        assert_eq!(usable, STACK_BYTES);
        assert!(spawner.mapped > STACK_BYTES);
    }

    #[test]
    fn what_a_child_writes_is_understood_as_far_as_it_is_whole() {
        let at = |stage: Stage| [2, stage as u8, 0, 0, 0, 0, 0, 0];
        let mut text = [at(Stage::User), at(Stage::Exec)].concat();
        assert_eq!(child::understand(&text), (Stage::Exec, None));
        text.extend([3, Stage::Rlimit as u8, 2, 0]);
        assert_eq!(child::understand(&text), (Stage::Exec, None), "half a record");
        text.extend(libc::EPERM.to_ne_bytes());
        let failed = Failed { which: 2, ..Failed::at(Stage::Rlimit, Errno::EPERM) };
        assert_eq!(child::understand(&text).1, Some(failed.clone()));
        text.extend([4, Stage::Exec as u8, 200, 0, 0, 0, 0, 0]);
        text.extend(b"#!/x");
        assert_eq!(child::understand(&text).1, Some(Failed { head: b"#!/x".to_vec(), ..failed }));
        assert_eq!(child::understand(&[9; 64]), (Stage::Clone, None), "no record of ours");
    }

    #[test]
    fn every_stage_is_known_by_its_number() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number);
        }
    }
}
