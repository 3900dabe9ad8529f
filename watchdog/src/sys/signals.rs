//! Signals to the watchdog, as plain values from a signalfd, and signals from it, by pidfd.
//!
//! Every catchable signal is blocked and read from one descriptor: 3 microseconds at start against 1 ms for as many
//! handlers through signal-hook-registry (measured), no handler that could run between clone and exec, no EINTR. The
//! worker gets back the mask and the ignored signals that we were given ourselves.

use super::{SysError, at};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of signals as the kernel has it: bit n-1 is signal n.
pub(crate) type Mask = u64;

/// Signals by which the kernel reports a fault, and that of `abort`. They are blocked like all others, because a process
/// that sends one means the worker (`docker kill -s ABRT`). A fault of our own still ends us: the kernel unblocks the
/// signal of a fault and resets its action, and `abort` of libc does the same.
const FAULTS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT];
/// Numbers that libc keeps for itself (cancellation, set-id calls): blocked so that they cannot end us, never passed on.
const LIBCS_OWN: std::ops::RangeInclusive<i32> = 32..=33;
/// Bytes of a kernel signal set.
const MASK_BYTES: usize = 8;

/// The bit of one signal.
#[must_use]
pub(crate) fn bit(signal: i32) -> Mask {
    u32::try_from(signal - 1).ok().filter(|n| *n < 64).map_or(0, |n| 1 << n)
}

/// Signals whose actions the Rust runtime or we change at our start, and whose workers must get what we got.
const CHANGED: [i32; 3] = [libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS];
/// Those of them that were ignored.
static WERE_IGNORED: AtomicU64 = AtomicU64::new(0);

/// Runs before main, because the Rust runtime sets SIGPIPE to ignored and handles SEGV and BUS before any code of ours, and
/// does not say what they were.
extern "C" fn look_at_actions() {
    let mut ignored = 0;
    for signal in CHANGED {
        let mut old = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a null new action only reads; `old` is valid for a write of its type.
        let ok = unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) };
        // SAFETY: zeroed is a valid sigaction, whether or not the call filled it.
        let old = unsafe { old.assume_init() };
        if ok == 0 && old.sa_sigaction == libc::SIG_IGN {
            ignored |= bit(signal);
        }
    }
    WERE_IGNORED.store(ignored, Ordering::Relaxed);
}

#[used]
// SAFETY: the section holds pointers to functions without arguments that the C runtime calls once before main.
#[unsafe(link_section = ".init_array")]
static LOOK_AT_ACTIONS: extern "C" fn() = look_at_actions;

/// What we were given and every worker gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    /// Blocked signals.
    pub mask: Mask,
    /// Of the signals whose actions we or the runtime change: those that our caller ignored.
    pub ignored: Mask,
}

/// One signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its number.
    pub signal: i32,
    /// Sent by the kernel itself (a key of the terminal), not by a process.
    pub from_kernel: bool,
    /// Sender, 0 if outside of our namespace.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

/// The descriptor from which all signals are read.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
    /// Our own number: asked for once, and not at each wake-up.
    me: i32,
}

impl Signals {
    /// Blocks all and opens the descriptor.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub(crate) fn open() -> Result<(Signals, Inherited), SysError> {
        // A caller that ignores SIGCHLD would have the kernel throw every exit status away (case INH-04).
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // The Rust runtime's handlers for SEGV and BUS would run code of ours at a fault: it has to end us at once, so that
        // the worker's parent-death signal comes (case DEA-04).
        for signal in [Signal::SIGCHLD, Signal::SIGSEGV, Signal::SIGBUS] {
            // SAFETY: the default disposition runs no code of ours.
            unsafe { sigaction(signal, &default) }.map_err(at("sigaction"))?;
        }
        let ours: Mask = !0;
        let mask = set_mask(libc::SIG_SETMASK, ours)?;
        // SAFETY: a raw signalfd4 on a mask of the kernel's size; the result is a new descriptor or -1.
        let fd = unsafe {
            libc::syscall(libc::SYS_signalfd4, -1, &raw const ours, MASK_BYTES, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        let fd = Errno::result(fd).map_err(at("signalfd"))?;
        let fd = i32::try_from(fd).map_err(|_| SysError { call: "signalfd", errno: Errno::EBADF })?;
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let me = nix::unistd::getpid().as_raw();
        Ok((Signals { fd, me }, Inherited { mask, ignored: WERE_IGNORED.load(Ordering::Relaxed) }))
    }

    /// Reads all that is pending into `out`. Not inlined, for the size of its buffer.
    #[inline(never)]
    pub(crate) fn drain(&self, out: &mut Vec<Received>) {
        const BATCH: usize = 16;
        loop {
            let mut info = [MaybeUninit::<libc::signalfd_siginfo>::zeroed(); BATCH];
            let size = size_of_val(&info);
            // SAFETY: `info` is writable for `size` bytes, and any bytes are a valid signalfd_siginfo.
            let got = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            let Ok(got) = usize::try_from(got) else { return };
            let count = got / size_of::<libc::signalfd_siginfo>();
            for one in &info[..count] {
                // SAFETY: zeroed at first and then filled by the kernel.
                let one = unsafe { one.assume_init() };
                let signal = i32::try_from(one.ssi_signo).unwrap_or(0);
                let pid = i32::try_from(one.ssi_pid).unwrap_or(0);
                // Our own write to a reader that is gone raises SIGPIPE for us: not a message for the worker.
                if LIBCS_OWN.contains(&signal) || pid == self.me {
                    continue;
                }
                // A code above 0 is the kernel's: a fault that it did not have to force on us (a damaged page) is ours too.
                if FAULTS.contains(&signal) && one.ssi_code > 0 {
                    end_by(signal);
                }
                out.push(Received { signal, from_kernel: one.ssi_code == libc::SI_KERNEL, pid, uid: one.ssi_uid });
            }
            if count < BATCH {
                return;
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Changes our mask; the old one comes back.
fn set_mask(how: i32, mask: Mask) -> Result<Mask, SysError> {
    let mut old: Mask = 0;
    // SAFETY: both sets have the kernel's size and live through the call.
    let r = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, &raw mut old, MASK_BYTES) };
    Errno::result(r).map(|_| old).map_err(at("sigprocmask"))
}

/// Ends us as a fault does.
fn end_by(signal: i32) {
    let Ok(name) = Signal::try_from(signal) else { return };
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code of ours.
    let reset = unsafe { sigaction(name, &default) };
    if reset.is_ok() && raise(name).is_ok() {
        let _ = set_mask(libc::SIG_UNBLOCK, bit(signal));
    }
}

/// Stops ourselves as the terminal's ^Z would, until somebody continues us. With the real SIGTSTP and its default
/// action, so that the kernel's rules hold for us as for the worker: nobody stops where no shell could continue it
/// (an orphaned group, PID 1).
pub(crate) fn suspend() {
    let tstp = bit(libc::SIGTSTP);
    if raise(Signal::SIGTSTP).is_ok() && set_mask(libc::SIG_UNBLOCK, tstp).is_ok() {
        let _ = set_mask(libc::SIG_BLOCK, tstp);
    }
}

/// A descriptor for a process that is not reaped yet.
///
/// # Errors
/// ESRCH when it is gone; EMFILE, ENFILE.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, SysError> {
    // SAFETY: plain numbers; the result is a new close-on-exec descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd).map_err(at("pidfd_open"))?;
    let fd = i32::try_from(fd).map_err(|_| SysError { call: "pidfd_open", errno: Errno::EBADF })?;
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Signals exactly the process the descriptor stands for, never one that has its number later.
///
/// # Errors
/// ESRCH when it was reaped, EPERM, EINVAL for a number that is no signal.
pub(crate) fn pidfd_send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), SysError> {
    // SAFETY: a valid descriptor, plain numbers, and a null siginfo as documented in pidfd_send_signal(2).
    let r = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    Errno::result(r).map(|_| ()).map_err(at("pidfd_send_signal"))
}

/// Signals a process that the caller knows not to be reaped yet, or has just looked at: by its descriptor, and by its number
/// where there is none, or where a filter refuses the call (ENOSYS, EPERM; an EPERM of the target is the same for both).
///
/// # Errors
/// ESRCH, EPERM, EINVAL.
pub(crate) fn send(pid: i32, pidfd: Option<BorrowedFd<'_>>, signal: i32) -> Result<(), SysError> {
    match pidfd.map(|fd| pidfd_send(fd, signal)) {
        None => kill(pid, signal),
        Some(Err(e)) if matches!(e.errno, Errno::ENOSYS | Errno::EPERM) => kill(pid, signal),
        Some(done) => done,
    }
}

/// Ends this process without what libc does at an exit.
pub(crate) fn end(status: u8) -> ! {
    // SAFETY: does not return, and runs nothing of ours.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Signals a pid (or, negative, a group) of which the caller knows that it is not reaped. Numbers that nix has no name
/// for (real-time signals) are why this is not nix's `kill`.
///
/// # Errors
/// ESRCH, EPERM, EINVAL. Pids -1, 0 and 1 are refused: nothing here ever means everybody, our own group or init.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), SysError> {
    if (-1..=1).contains(&pid) {
        return Err(SysError { call: "kill", errno: Errno::EINVAL });
    }
    // SAFETY: plain numbers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(|_| ()).map_err(at("kill"))
}
