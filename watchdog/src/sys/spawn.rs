//! A new process: everything is prepared by the parent; the child only makes system calls.
//!
//! `clone` with CLONE_VM and CLONE_VFORK: nothing is copied (56 us against 140 us and more for fork, whatever our size),
//! the parent waits until the exec, and a failure comes back through the shared memory instead of a pipe. What the child
//! must not do follows from the shared memory: no allocation, no lock, no libc call that keeps state. All signals are
//! blocked from before the clone until the last step, so no code of ours can run in the child but `child`.
//!
//! With thousands of services, copying our table of descriptors for each child and closing the copies again would cost
//! more than all the rest. So what a child needs is kept below a [`FLOOR`], all else is moved above it, and the child
//! takes a copy of the part below the floor alone (CLONE_FILES and close_range(2) with CLOSE_RANGE_UNSHARE).

use super::signals::{Inherited, Mask};
use super::{SysError, reap};
use nix::errno::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;

/// The child's stack: what it calls needs a few hundred bytes; the lowest page is a guard.
const STACK_BYTES: usize = 64 * 1024;
const PAGE: usize = 4096;
/// Where a worker's PATH is missing, as in execvp(3).
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
/// Digits reserved for LISTEN_PID, which only the child knows (pid_max is at most 2^22).
const PID_DIGITS: usize = 10;

/// With more than a few services, long-lived descriptors of ours live from here on.
pub(crate) const FLOOR: RawFd = 256;

/// What to run and how to set it up. Plain values: the caller has looked everything up.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// argv; never empty.
    pub command: &'a [OsString],
    /// The whole environment, `KEY=VALUE` each.
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
pub(crate) enum Stage {
    Prepare,
    Clone,
    Group,
    Stdio,
    Cgroup,
    Adjust,
    Rlimit,
    User,
    Prctl,
    Chdir,
    Exec,
}

/// Why there is no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Where.
    pub stage: Stage,
    /// Why.
    pub errno: Errno,
}

/// A process that runs the program.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its number, ours to signal until we reap it.
    pub pid: i32,
    /// Its identity.
    pub pidfd: OwnedFd,
}

/// Keeps the stack between spawns.
#[derive(Debug)]
pub(crate) struct Spawner {
    inherited: Inherited,
    stack: *mut libc::c_void,
}

/// All that the child looks at: raw pointers into what the parent holds until the child is gone from its memory.
struct Job {
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    files: Vec<*const libc::c_char>,
    cwd: *const libc::c_char,
    pid_slots: Vec<*mut u8>,
    keep: Vec<RawFd>,
    stdio: [RawFd; 3],
    own_group: bool,
    cgroup: RawFd,
    umask: Option<u32>,
    nice: Option<i32>,
    oom: [u8; 8],
    oom_len: usize,
    rlimits: Vec<(u32, libc::rlimit64)>,
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Option<Vec<u32>>,
    no_new_privs: bool,
    death_signal: i32,
    parent: i32,
    reset_pipe: bool,
    mask: Mask,
    cut: bool,
    failed: Option<Failed>,
}

impl Spawner {
    /// Maps the child's stack.
    ///
    /// # Errors
    /// ENOMEM.
    pub(crate) fn new(inherited: Inherited) -> Result<Spawner, SysError> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let stack = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STACK_BYTES,
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
        unsafe { libc::mprotect(stack, PAGE, libc::PROT_NONE) };
        Ok(Spawner { inherited, stack })
    }

    /// Runs the program. Returns when it runs (the exec succeeded) or when it does not.
    ///
    /// # Errors
    /// The step and the kernel's reason; nothing is left of the child then.
    pub(crate) fn spawn(&mut self, plan: &Plan<'_>) -> Result<Child, Failed> {
        let mut prepared = Prepared::new(plan).ok_or(Failed { stage: Stage::Prepare, errno: Errno::EINVAL })?;
        let mut job = prepared.job(plan, &self.inherited);
        let mut pidfd: RawFd = -1;
        let files = if job.cut { libc::CLONE_FILES } else { 0 };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | files;
        // SAFETY: the stack is mapped for as long as `self` lives and used by one child at a time, because CLONE_VFORK
        // holds us here until the child has left our memory; `job` and `prepared` live until after that; all signals
        // are blocked, so no handler runs on the shared memory.
        let pid = unsafe {
            let top = self.stack.cast::<u8>().add(STACK_BYTES).cast::<libc::c_void>();
            libc::clone(child, top, flags, (&raw mut job).cast(), &raw mut pidfd)
        };
        let pid = Errno::result(pid).map_err(|errno| Failed { stage: Stage::Clone, errno })?;
        // SAFETY: CLONE_PIDFD stored a new close-on-exec descriptor that nobody else knows.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        // SAFETY: the child wrote this before it left our memory; it is gone from there now.
        let failed = unsafe { ptr::read_volatile(&raw const job.failed) };
        match failed {
            None => Ok(Child { pid, pidfd }),
            Some(failed) => {
                reap::reap_this(pid);
                Err(failed)
            }
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no child is on it (spawn has returned).
        unsafe { libc::munmap(self.stack, STACK_BYTES) };
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

    fn job(&mut self, plan: &Plan<'_>, inherited: &Inherited) -> Job {
        let pointers =
            |all: &[CString]| all.iter().map(|s| s.as_ptr()).chain(std::iter::once(ptr::null())).collect::<Vec<_>>();
        let mut envp = pointers(&plan.env);
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
            keep: plan.keep.clone(),
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
                .map(|(r, soft, hard)| (*r, libc::rlimit64 { rlim_cur: *soft, rlim_max: *hard }))
                .collect(),
            uid: plan.uid,
            gid: plan.gid,
            groups: plan.groups.clone(),
            no_new_privs: plan.no_new_privs,
            death_signal: plan.death_signal,
            parent: nix::unistd::getpid().as_raw(),
            reset_pipe: !inherited.pipe_ignored,
            mask: inherited.mask,
            cut: plan.cut && plan.is_below_the_floor(),
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

/// The child's way from clone to exec. Never returns to its caller's frame in the parent: it execs or leaves.
extern "C" fn child(arg: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent passes a Job that lives until we have left its memory, and waits meanwhile.
    let job = unsafe { &mut *arg.cast::<Job>() };
    let (stage, errno) = match set_up(job) {
        Err(failed) => failed,
        Ok(()) => (Stage::Exec, exec(job)),
    };
    // SAFETY: `job.failed` is in the parent's memory, which is ours too; volatile because only the parent reads it.
    unsafe { ptr::write_volatile(&raw mut job.failed, Some(Failed { stage, errno: Errno::from_raw(errno) })) };
    // SAFETY: leaves without running anything of the parent's (no destructors, no atexit).
    unsafe { libc::_exit(127) }
}

type Step = Result<(), (Stage, i32)>;

/// Runs one raw system call; its errno is read at once, before anything else could change it.
macro_rules! call {
    ($stage:expr, $number:ident $(, $arg:expr)*) => {{
        // SAFETY: numbers, or pointers into the job that the parent keeps alive.
        let r = unsafe { libc::syscall(libc::$number $(, $arg)*) };
        if r < 0 {
            return Err(($stage, Errno::last_raw()));
        }
        r
    }};
}

fn set_up(job: &mut Job) -> Step {
    if job.cut {
        // Before anything else: until then the table is the parent's own. Linux 5.9; we ask for 5.10.
        call!(Stage::Clone, SYS_close_range, FLOOR, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE);
    }
    // First, so that from here on nobody outlives the watchdog; again after the user has changed, which clears it.
    parent_death(job)?;
    if job.own_group {
        call!(Stage::Group, SYS_setpgid, 0, 0);
    }
    stdio(job)?;
    if job.cgroup >= 0 {
        call!(Stage::Cgroup, SYS_write, job.cgroup, c"0".as_ptr(), 1);
    }
    adjust(job)?;
    for (resource, limit) in &job.rlimits {
        call!(Stage::Rlimit, SYS_prlimit64, 0, *resource, ptr::from_ref(limit), ptr::null::<libc::rlimit64>());
    }
    identity(job)?;
    if job.no_new_privs {
        call!(Stage::Prctl, SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    if !job.cwd.is_null() {
        call!(Stage::Chdir, SYS_chdir, job.cwd);
    }
    for slot in &job.pid_slots {
        write_pid(*slot);
    }
    // The table of descriptors is our own copy by now: the parent's stay close-on-exec.
    for fd in &job.keep {
        call!(Stage::Stdio, SYS_fcntl, *fd, libc::F_SETFD, 0);
    }
    dispositions(job)
}

fn parent_death(job: &Job) -> Step {
    if job.death_signal != 0 {
        call!(Stage::Prctl, SYS_prctl, libc::PR_SET_PDEATHSIG, job.death_signal, 0, 0, 0);
        // It fires on the parent's death, not on the fact: if that was a moment ago, it never will.
        if call!(Stage::Prctl, SYS_getppid) != libc::c_long::from(job.parent) {
            return Err((Stage::Prctl, libc::ESRCH));
        }
    }
    Ok(())
}

fn stdio(job: &Job) -> Step {
    for (target, source) in job.stdio.iter().enumerate() {
        if *source >= 0 {
            // The sources are close-on-exec and above 2 (the runtime opens 0 to 2 if they were closed).
            call!(Stage::Stdio, SYS_dup3, *source, target, 0);
        }
    }
    Ok(())
}

fn adjust(job: &Job) -> Step {
    if let Some(mask) = job.umask {
        call!(Stage::Adjust, SYS_umask, mask);
    }
    if let Some(nice) = job.nice {
        call!(Stage::Adjust, SYS_setpriority, libc::PRIO_PROCESS, 0, nice);
    }
    if job.oom_len > 0 {
        let path = c"/proc/self/oom_score_adj".as_ptr();
        let fd = call!(Stage::Adjust, SYS_openat, libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_CLOEXEC);
        call!(Stage::Adjust, SYS_write, fd, job.oom.as_ptr(), job.oom_len);
        call!(Stage::Adjust, SYS_close, fd);
    }
    Ok(())
}

fn identity(job: &Job) -> Step {
    if let Some(groups) = &job.groups {
        call!(Stage::User, SYS_setgroups, groups.len(), groups.as_ptr());
    }
    if let Some(gid) = job.gid {
        call!(Stage::User, SYS_setresgid, gid, gid, gid);
    }
    if let Some(uid) = job.uid {
        call!(Stage::User, SYS_setresuid, uid, uid, uid);
    }
    if job.gid.is_some() || job.uid.is_some() {
        parent_death(job)?;
    }
    Ok(())
}

/// Decimal digits into the slot that was kept for them; the rest stays NUL.
fn write_pid(slot: *mut u8) {
    // SAFETY: no arguments; the number of this process, which getpid of libc might have cached.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    let mut digits = [0u8; PID_DIGITS];
    let (mut n, mut rest) = (0, pid);
    while rest > 0 && n < PID_DIGITS {
        digits[n] = b'0' + (rest % 10) as u8;
        rest /= 10;
        n += 1;
    }
    for (at, digit) in digits[..n].iter().rev().enumerate() {
        // SAFETY: the slot has PID_DIGITS bytes and one for the end, and `at` < PID_DIGITS.
        unsafe { slot.add(at).write(*digit) };
    }
}

/// The kernel's own form of a signal action: libc's wrapper refuses numbers and keeps state.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: Mask,
}

fn dispositions(job: &Job) -> Step {
    if job.reset_pipe {
        let default = KernelAction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
        let none = ptr::null::<KernelAction>();
        call!(Stage::Exec, SYS_rt_sigaction, libc::SIGPIPE, ptr::from_ref(&default), none, size_of::<Mask>());
    }
    let none = ptr::null::<Mask>();
    call!(Stage::Exec, SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const job.mask, none, size_of::<Mask>());
    Ok(())
}

/// Tries the files in order, as execvp(3), but never hands a file to a shell (case LAU-03). Gives back the errno that
/// says most.
fn exec(job: &Job) -> i32 {
    let mut denied = false;
    let mut last = libc::ENOENT;
    for file in &job.files {
        if file.is_null() {
            break;
        }
        // SAFETY: C strings and null-terminated arrays of them, kept alive by the parent.
        unsafe { libc::syscall(libc::SYS_execve, *file, job.argv.as_ptr(), job.envp.as_ptr()) };
        last = Errno::last_raw();
        match last {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => denied = true,
            _ => return last,
        }
    }
    if denied { libc::EACCES } else { last }
}

impl Plan<'_> {
    fn is_below_the_floor(&self) -> bool {
        self.stdio.iter().flatten().chain(&self.keep).chain(&self.cgroup).all(|fd| *fd < FLOOR)
    }

    /// Takes a descriptor for one of 0, 1, 2.
    pub(crate) fn take(&mut self, target: usize, fd: &impl AsRawFd) {
        if let Some(slot) = self.stdio.get_mut(target) {
            *slot = Some(fd.as_raw_fd());
        }
    }
}
