//! The child's way from clone to exec: system calls alone, on a stack that the parent made, with memory that the parent
//! prepared. It tells how far it is by records of eight bytes, where it runs beside the parent.

use super::{Failed, Stage};
use crate::sys::signals::{Mask, bit};
use nix::errno::Errno;
use std::os::fd::RawFd;
use std::ptr;

/// Digits reserved for LISTEN_PID, which only the child knows (pid_max is at most 2^22).
pub(super) const PID_DIGITS: usize = 10;
/// Bytes of a record: kind, stage, which of several, errno.
const RECORD: usize = 8;
/// It has a table of descriptors of its own.
const CUT: u8 = 1;
/// It has come to a stage that others can hold up.
const AT: u8 = 2;
/// It failed.
const FAILED: u8 = 3;
/// So many bytes of a file follow.
const HEAD: u8 = 4;
/// As much of a file as the kernel looks at for an interpreter.
const HEAD_BYTES: usize = 256;

/// All that the child looks at: raw pointers into what the parent holds until the child is gone from its memory.
pub(super) struct Job {
    pub(super) argv: Vec<*const libc::c_char>,
    pub(super) envp: Vec<*const libc::c_char>,
    pub(super) files: Vec<*const libc::c_char>,
    pub(super) cwd: *const libc::c_char,
    pub(super) pid_slots: Vec<*mut u8>,
    pub(super) keep: Vec<RawFd>,
    pub(super) stdio: [RawFd; 3],
    pub(super) own_group: bool,
    pub(super) cgroup: RawFd,
    pub(super) umask: Option<u32>,
    pub(super) nice: Option<i32>,
    pub(super) oom: [u8; 8],
    pub(super) oom_len: usize,
    pub(super) rlimits: Vec<(u32, libc::rlimit64)>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) no_new_privs: bool,
    pub(super) death_signal: i32,
    pub(super) parent: i32,
    /// Of the signals whose actions we change: those that were ignored before.
    pub(super) ignored: Mask,
    pub(super) mask: Mask,
    pub(super) cut: bool,
    pub(super) changes_user: bool,
    /// Where the records go; -1 where the parent waits in the same memory.
    pub(super) status: RawFd,
    /// Stage, which of several, errno: for a parent in the same memory.
    pub(super) failed: Option<(Stage, usize, i32)>,
}

/// The child's way from clone to exec. Never returns to its caller's frame in the parent: it execs or leaves.
pub(super) extern "C" fn child(arg: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the parent passes a Job that lives until we have left its memory, and waits meanwhile; or it is our own copy.
    let job = unsafe { &mut *arg.cast::<Job>() };
    let (stage, which, errno) = match set_up(job) {
        Err(failed) => failed,
        Ok(()) => (Stage::Exec, 0, exec(job)),
    };
    tell(job, FAILED, stage, which, errno);
    if job.changes_user && stage == Stage::Exec && errno == libc::ENOENT {
        tell_head(job);
    }
    // SAFETY: `job.failed` is in the parent's memory, which is ours too; volatile because only the parent reads it.
    unsafe { ptr::write_volatile(&raw mut job.failed, Some((stage, which, errno))) };
    // SAFETY: leaves without running anything of the parent's (no destructors, no atexit).
    unsafe { libc::_exit(127) }
}

/// Looks whether something is at a path; ends with 0 if there is.
pub(super) extern "C" fn look(path: *mut libc::c_void) -> libc::c_int {
    // SAFETY: numbers, and a C string of which we have a copy; leaves without running anything of the parent's.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        let there = libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) == 0;
        libc::_exit(i32::from(!there))
    }
}

type Step = Result<(), (Stage, usize, i32)>;

/// Runs one raw system call; its errno is read at once, before anything else could change it.
macro_rules! call {
    ([$stage:expr, $which:expr], $number:ident $(, $arg:expr)*) => {{
        // SAFETY: numbers, or pointers into the job that the parent keeps alive.
        let r = unsafe { libc::syscall(libc::$number $(, $arg)*) };
        if r < 0 {
            return Err(($stage, $which, Errno::last_raw()));
        }
        r
    }};
    ($stage:expr, $number:ident $(, $arg:expr)*) => { call!([$stage, 0], $number $(, $arg)*) };
}

/// Writes one record. What cannot be written is lost: the parent sees the end of the pipe.
fn tell(job: &Job, kind: u8, stage: Stage, which: usize, errno: i32) {
    if job.status < 0 {
        return;
    }
    let (w, e) = ((which as u16).to_ne_bytes(), errno.to_ne_bytes());
    let record: [u8; RECORD] = [kind, stage as u8, w[0], w[1], e[0], e[1], e[2], e[3]];
    // SAFETY: a record on our own stack.
    unsafe { libc::syscall(libc::SYS_write, job.status, record.as_ptr(), RECORD) };
}

/// The beginning of the program's file: as the user that it was to run as, who may have put anything there.
fn tell_head(job: &Job) {
    let mut text = [0u8; RECORD + HEAD_BYTES];
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    for file in job.files.iter().take_while(|file| !file.is_null()) {
        // SAFETY: a C string that the parent keeps alive, and a buffer of our own with room for what is asked for.
        let got = unsafe {
            let fd = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, *file, flags);
            if fd < 0 { 0 } else { libc::syscall(libc::SYS_read, fd, text.as_mut_ptr().add(RECORD), HEAD_BYTES) }
        };
        let Some(got) = usize::try_from(got).ok().filter(|n| *n > 0) else { continue };
        let length = (got as u16).to_ne_bytes();
        (text[0], text[1], text[2], text[3]) = (HEAD, Stage::Exec as u8, length[0], length[1]);
        // SAFETY: the first bytes of a buffer of our own.
        unsafe { libc::syscall(libc::SYS_write, job.status, text.as_ptr(), RECORD + got.min(HEAD_BYTES)) };
        return;
    }
}

/// What the records say: the stage that was reached, and the failure if there was one. A record that is cut short, or is
/// none, is the last.
pub(super) fn understand(mut text: &[u8]) -> (Stage, Option<Failed>) {
    let (mut stage, mut failed) = (Stage::Clone, None::<Failed>);
    while let Some((record, rest)) = text.split_first_chunk::<RECORD>() {
        text = rest;
        let [kind, number, w0, w1, errno @ ..] = *record;
        let which = usize::from(u16::from_ne_bytes([w0, w1]));
        let Some(at) = Stage::ALL.get(usize::from(number)).copied() else { break };
        match kind {
            CUT => {}
            AT => stage = at,
            FAILED => {
                let errno = Errno::from_raw(i32::from_ne_bytes(errno));
                failed = Some(Failed { stage: at, which, errno, head: Vec::new() });
            }
            HEAD => {
                let head = text.get(..which).unwrap_or(text);
                failed.iter_mut().for_each(|f| f.head = head.to_vec());
                break;
            }
            _ => break,
        }
    }
    (stage, failed)
}

fn set_up(job: &mut Job) -> Step {
    if job.cut {
        // Before anything else: until then the table is the parent's own. Linux 5.9; elsewhere the parent tries again.
        call!(Stage::Cut, SYS_close_range, super::FLOOR, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE);
        tell(job, CUT, Stage::Cut, 0, 0);
    }
    // First, so that from here on it does not outlive the watchdog; again after the user has changed, which clears it.
    parent_death(job)?;
    if job.changes_user {
        // A session of its own has no terminal: TIOCSTI would type into the shell that we were started from.
        call!(Stage::Group, SYS_setsid);
    } else if job.own_group {
        call!(Stage::Group, SYS_setpgid, 0, 0);
    }
    stdio(job)?;
    if job.cgroup >= 0 {
        call!(Stage::Cgroup, SYS_write, job.cgroup, c"0".as_ptr(), 1);
    }
    adjust(job)?;
    for (at, (resource, limit)) in job.rlimits.iter().enumerate() {
        let none = ptr::null::<libc::rlimit64>();
        call!([Stage::Rlimit, at], SYS_prlimit64, 0, *resource, ptr::from_ref(limit), none);
    }
    if job.status >= 0 {
        close_the_rest(job);
    }
    tell(job, AT, Stage::User, 0, 0);
    identity(job)?;
    if job.no_new_privs {
        call!(Stage::Prctl, SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    if !job.cwd.is_null() {
        tell(job, AT, Stage::Chdir, 0, 0);
        call!(Stage::Chdir, SYS_chdir, job.cwd);
    }
    tell(job, AT, Stage::Exec, 0, 0);
    for slot in &job.pid_slots {
        write_pid(*slot);
    }
    // The table of descriptors is our own copy by now: the parent's stay close-on-exec.
    for fd in &job.keep {
        call!(Stage::Stdio, SYS_fcntl, *fd, libc::F_SETFD, 0);
    }
    dispositions(job)
}

/// It may take long from here on: what the parent closes meanwhile must not stay open here (a client waits for that).
/// Where the call is refused, the exec closes it.
fn close_the_rest(job: &Job) {
    let mut from: RawFd = 3;
    let until = |from: RawFd, to: libc::c_uint| {
        if to >= from as libc::c_uint {
            // SAFETY: numbers alone; this table is our own, and nothing of it is used any more but what is kept.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    };
    let mut told = false;
    let mut at = 0;
    loop {
        let next = job.keep.get(at).copied();
        let stays = match next {
            Some(fd) if told || fd < job.status => {
                at += 1;
                fd
            }
            _ if !told => {
                told = true;
                job.status
            }
            _ => break,
        };
        until(from, (stays - 1).max(0) as libc::c_uint);
        from = from.max(stays + 1);
    }
    until(from, libc::c_uint::MAX);
}

fn parent_death(job: &Job) -> Step {
    if job.death_signal != 0 {
        call!(Stage::Prctl, SYS_prctl, libc::PR_SET_PDEATHSIG, job.death_signal, 0, 0, 0);
        // It fires on the parent's death, not on the fact: if that was a moment ago, it never will.
        if call!(Stage::Prctl, SYS_getppid) != libc::c_long::from(job.parent) {
            return Err((Stage::Prctl, 0, libc::ESRCH));
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
        call!(Stage::Umask, SYS_umask, mask);
    }
    if let Some(nice) = job.nice {
        call!(Stage::Nice, SYS_setpriority, libc::PRIO_PROCESS, 0, nice);
    }
    if job.oom_len > 0 {
        let path = c"/proc/self/oom_score_adj".as_ptr();
        let fd = call!(Stage::OomScore, SYS_openat, libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_CLOEXEC);
        call!(Stage::OomScore, SYS_write, fd, job.oom.as_ptr(), job.oom_len);
        call!(Stage::OomScore, SYS_close, fd);
    }
    Ok(())
}

fn identity(job: &Job) -> Step {
    if job.changes_user {
        no_capabilities()?;
        own_keyring(job)?;
    }
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

/// `struct __user_cap_header_struct` and two `__user_cap_data_struct` of capget(2), version 3.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

/// What the kernel takes away by itself when root becomes another user are the capabilities in force. The inheritable ones
/// stay, and with them the ambient ones of a watchdog that is not root: another user's program gets neither.
fn no_capabilities() -> Step {
    let header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [CapData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    call!(Stage::User, SYS_capget, ptr::from_ref(&header), data.as_mut_ptr());
    if data.iter().any(|part| part.inheritable != 0) {
        // Ambient ones go with the inheritable ones.
        data.iter_mut().for_each(|part| part.inheritable = 0);
        call!(Stage::User, SYS_capset, ptr::from_ref(&header), data.as_ptr());
    }
    Ok(())
}

/// A session keyring of its own, while we may still make one: that of whoever started us may hold keys of that user.
/// Where the calls are refused, they are refused to the program as well.
fn own_keyring(job: &Job) -> Step {
    let none = ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, none) };
    if keyring < 0 {
        return match Errno::last_raw() {
            libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP => Ok(()),
            errno => Err((Stage::User, 0, errno)),
        };
    }
    if let (Some(uid), Some(gid)) = (job.uid, job.gid) {
        // A user without room for one more key has a keyring that is not its own to manage, but its to use.
        // SAFETY: plain numbers.
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_CHOWN, keyring, uid, gid) };
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

fn act(signal: i32, handler: usize) -> Step {
    let action = KernelAction { handler, flags: 0, restorer: 0, mask: 0 };
    let none = ptr::null::<KernelAction>();
    call!(Stage::Exec, SYS_rt_sigaction, signal, ptr::from_ref(&action), none, size_of::<Mask>());
    Ok(())
}

/// Signals whose actions the runtime or we have changed: as they were. All others are as they came.
fn dispositions(job: &Job) -> Step {
    if job.status >= 0 {
        // A record that nothing reads any more has raised SIGPIPE, which waits behind the mask: ignoring it drops it.
        act(libc::SIGPIPE, libc::SIG_IGN)?;
    }
    for signal in [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS] {
        let ignored = job.ignored & bit(signal) != 0;
        // A handler becomes the default by the exec itself. SIGPIPE is ignored in us, and that would pass on.
        if ignored || signal == libc::SIGPIPE {
            act(signal, if ignored { libc::SIG_IGN } else { libc::SIG_DFL })?;
        }
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
