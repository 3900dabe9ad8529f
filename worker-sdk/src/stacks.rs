//! What a hung worker can still say: where its threads are. The watchdog sends SIGABRT and waits for a while before it
//! kills; a handler uses that time.
//!
//! The thread that gets the signal asks the thread of each lane, and the main thread, with a signal of its own; each of
//! them captures its stack in the handler. The first thread hands over what comes, and the process then dies of SIGABRT, as
//! it would have without a handler.
//!
//! **A handler may do little, and capturing a stack is more than that**: it takes the lock that std has for it, and
//! memory. A thread that was interrupted inside the allocator, or while it captured a stack, waits in its handler for ever,
//! and so may those that want the same lock. Then their stacks are missing, after [`WAIT`] the process dies all the same,
//! and if even that does not happen, the watchdog's SIGKILL ends it: nothing is lost but the dump. So what needs no memory
//! (asking, and handing over the stacks of others) is done before the first thread captures its own.
//!
//! sigaction(2) and its like are declared here: std links the C library but does not offer them, and workers shall
//! inherit no other crate.

mod places;

pub(crate) use places::Seat;

use crate::clock;
use crate::wire::{self, STACK_MAX, ToWatchdog, cut};
use places::{MAIN, PLACES, PLACES_MAX, Place, names_of};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::os::unix::process::parent_id;
use std::process;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the threads have for their answers.
const WAIT: Duration = Duration::from_secs(3);
/// How long the channel may take to be free, and then to take what is said. With [`WAIT`] less than the 5 s that a
/// watchdog waits by default.
const HAND_OVER: Duration = Duration::from_millis(500);
const PAUSE_MS: c_int = 5;
/// What is said instead of nothing. musl says neither how a stack goes on below a handler nor below its own functions, and
/// a thread that waits is in one of those: to describe the handler's frame here would not be enough.
const NO_FRAMES: &str = "no frames: this C library does not say how a stack goes on below a signal (musl)\n";

const SIGABRT: c_int = 6;
const SIG_DFL: *const () = ptr::null();
const SA_SIGINFO: c_int = 4;
const SA_RESTART: c_int = 0x1000_0000;
/// Sent by kill(2) or by way of a pidfd, and by tgkill(2) as raise(3) and abort(3) use it.
const SI_USER: c_int = 0;
const SI_TKILL: c_int = -6;

#[cfg(target_arch = "aarch64")]
const SYS: [c_long; 2] = [131, 178];
#[cfg(not(target_arch = "aarch64"))]
const SYS: [c_long; 2] = [234, 186];
const SYS_TGKILL: c_long = SYS[0];
const SYS_GETTID: c_long = SYS[1];

/// struct sigaction of the C libraries, which glibc and musl lay out alike on these machines.
#[repr(C)]
struct SigAction {
    handler: *const (),
    mask: [u64; 16],
    flags: c_int,
    restorer: *const (),
}

/// The start of siginfo_t, as the kernel fills it in for a signal that a process has sent.
#[repr(C)]
struct SigInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    sender: c_int,
}

unsafe extern "C" {
    fn sigaction(signal: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
    fn raise(signal: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn poll(descriptors: *mut c_void, count: c_ulong, timeout_ms: c_int) -> c_int;
    fn write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize;
    fn __errno_location() -> *mut c_int;
}

struct Answer {
    names: Vec<String>,
    text: String,
    /// The same as frames, one for each name.
    frames: Vec<u8>,
}

/// The process that the handler was installed for: a forked child inherits it, but not the watchdog.
static HOME: AtomicU32 = AtomicU32::new(0);
static COLLECTING: AtomicBool = AtomicBool::new(false);
/// Whether the question came when its thread had the lock.
static POSTPONED: AtomicBool = AtomicBool::new(false);
type HandOver = Box<dyn Fn(&[u8], Instant) -> bool + Send + Sync>;
static HAND: OnceLock<HandOver> = OnceLock::new();

thread_local! {
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// As long as it is there this thread has the lock that handing over needs, or waits for it: the watchdog's question waits
/// until it is dropped.
pub(crate) struct Hold(());

impl Hold {
    pub(crate) fn begin() -> Hold {
        HOLDS.set(true);
        Hold(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HOLDS.set(false);
        if POSTPONED.load(Ordering::Relaxed) && POSTPONED.swap(false, Ordering::AcqRel) {
            collect(thread_id());
            die();
        }
    }
}

/// Installs the handler, unless this process has one of its own for SIGABRT, or ours already. `hand_over` takes frames and
/// a moment to be done by, must not need memory, and says whether they are on their way.
pub(crate) fn install(hand_over: impl Fn(&[u8], Instant) -> bool + Send + Sync + 'static) {
    // What is declared above is true of these machines. Elsewhere a hung worker dies silently.
    let known = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
        && cfg!(all(target_pointer_width = "64", target_endian = "little"));
    if !known || HAND.set(Box::new(hand_over)).is_err() {
        return;
    }
    let mut old = SigAction { handler: SIG_DFL, mask: [0; 16], flags: 0, restorer: ptr::null() };
    // SAFETY: both pointers are as sigaction(2) wants them: nothing new, and room for the old one.
    let asked = unsafe { sigaction(SIGABRT, ptr::null(), &raw mut old) };
    if asked != 0 || old.handler != SIG_DFL {
        return;
    }
    HOME.store(process::id(), Ordering::Relaxed);
    PLACES[0].thread.store(process::id(), Ordering::Relaxed);
    let handler = on_abort as extern "C" fn(c_int, *const SigInfo, *mut c_void) as *const ();
    // Interrupted calls go on: a thread that answers returns to what it did.
    set_action(&SigAction { handler, mask: [0; 16], flags: SA_SIGINFO | SA_RESTART, restorer: ptr::null() });
}

fn set_action(new: &SigAction) {
    // SAFETY: `new` lives until after the call; the handler has the signature that SA_SIGINFO asks for, or is SIG_DFL. The
    // C library puts in its own restorer. SIGABRT can be handled, so it does not fail.
    unsafe { sigaction(SIGABRT, new, ptr::null_mut()) };
}

/// Waits for a moment, also in a handler, where std's ways to wait are not allowed.
pub(crate) fn pause() {
    // SAFETY: no descriptors, so no pointer is looked at.
    unsafe { poll(ptr::null_mut(), 0, PAUSE_MS) };
}

extern "C" fn on_abort(_signal: c_int, info: *const SigInfo, _context: *mut c_void) {
    // SAFETY: the kernel hands a siginfo to a handler that was installed with SA_SIGINFO, valid until it returns.
    let (code, sender) = unsafe { ((*info).code, (*info).sender) };
    // SAFETY: the C library's own place for this thread's errno, which the interrupted code may be about to look at.
    let errno = unsafe { *__errno_location() };
    react(code, u32::try_from(sender).unwrap_or(0));
    // SAFETY: as above.
    unsafe { *__errno_location() = errno };
}

/// Three who may send it: the watchdog, which wants to know; ourselves, passing the question on; and anybody else, abort(3)
/// among them, who gets what he would get without a handler.
fn react(code: c_int, sender: u32) {
    let (home, me) = (process::id(), thread_id());
    let asks = |place: &Place| place.asked.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if code == SI_TKILL && sender == home {
        return match PLACES.iter().find(|place| asks(place)) {
            Some(place) => drop(place.answer.set(capture(me))),
            None => die(),
        };
    }
    if code != SI_USER || sender != parent_id() || HOME.load(Ordering::Relaxed) != home {
        return die();
    }
    // Asked twice: the first question is being answered.
    if COLLECTING.swap(true, Ordering::AcqRel) {
        return;
    }
    if HOLDS.get() {
        return POSTPONED.store(true, Ordering::Release);
    }
    collect(me);
    die();
}

/// SIGABRT as it is without a handler. In a handler it comes when that returns, because until then it is blocked.
fn die() {
    set_action(&SigAction { handler: SIG_DFL, mask: [0; 16], flags: 0, restorer: ptr::null() });
    // SAFETY: raise(3) may be called in a handler.
    unsafe { raise(SIGABRT) };
}

fn collect(me: u32) {
    let end = clock::now() + WAIT;
    let mut waiting = ask_others(me);
    let mut channel = true;
    while waiting.contains(&true) && clock::now() < end {
        for (place, waiting) in PLACES.iter().zip(&mut waiting) {
            if let Some(answer) = place.answer.get().filter(|_| *waiting) {
                channel = hand_over(answer, channel);
                *waiting = false;
            }
        }
        pause();
    }
    // Last, because it may never return.
    hand_over(&capture(me), channel);
}

/// Asks each thread once and says at which place it was. One that has ended is passed over.
fn ask_others(me: u32) -> [bool; PLACES_MAX] {
    let mut waiting = [false; PLACES_MAX];
    let mut asked = [0; PLACES_MAX];
    for (at, place) in PLACES.iter().enumerate() {
        let thread = place.thread.load(Ordering::Relaxed);
        if thread == 0 || thread == me || asked.contains(&thread) {
            continue;
        }
        asked[at] = thread;
        place.asked.store(thread, Ordering::Release);
        // SAFETY: three integers; a number that is no thread of this process is answered with ESRCH.
        let sent = unsafe { syscall(SYS_TGKILL, process::id() as c_int, thread as c_int, SIGABRT) };
        waiting[at] = sent == 0;
    }
    waiting
}

/// By the channel, as long as that can be had; then people get it. `false`: not to be tried again, there is no time.
fn hand_over(answer: &Answer, channel: bool) -> bool {
    let done = channel && HAND.get().is_some_and(|hand| hand(&answer.frames, clock::now() + HAND_OVER));
    if !done {
        for name in &answer.names {
            say(&["stack of ", if name == MAIN { "" } else { "lane " }, name, ":\n"]);
        }
        answer.text.lines().for_each(|line| say(&[line, "\n"]));
    }
    done
}

/// A line on standard error, past std's lock, which the stuck thread may hold.
fn say(parts: &[&str]) {
    for part in ["watchdog: "].iter().chain(parts) {
        // SAFETY: that many bytes are there to be read.
        unsafe { write(2, part.as_ptr().cast(), part.len()) };
    }
}

/// Where this thread is. Needs memory and std's lock: see above.
fn capture(me: u32) -> Answer {
    answer(names_of(me), below_the_handler(&Backtrace::force_capture().to_string()))
}

/// A stack under the name of each lane that runs on its thread.
fn answer(names: Vec<String>, text: &str) -> Answer {
    let text = cut(text, STACK_MAX).to_string();
    let mut frames = Vec::new();
    for thread in &names {
        let stack = ToWatchdog::Stack { thread: thread.clone(), text: text.clone() };
        // Name and text are cut to what fits, so this cannot fail.
        let _ = wire::append(&stack, &mut frames);
    }
    Answer { names, text, frames }
}

/// Without the frames of this module and what it calls, if their names are known.
fn below_the_handler(text: &str) -> &str {
    let Some(at) = text.rfind("worker_sdk::stacks::") else { return text };
    let is_place = |line: &&str| line.trim_start().starts_with("at ");
    let mut lines = text[at..].split_inclusive('\n');
    let name = lines.next().map_or(0, str::len);
    let places: usize = lines.take_while(is_place).map(str::len).sum();
    let rest = &text[at + name + places..];
    if rest.is_empty() { NO_FRAMES } else { rest }
}

fn thread_id() -> u32 {
    // SAFETY: no arguments, cannot fail.
    let number = unsafe { syscall(SYS_GETTID) };
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{NO_FRAMES, answer, below_the_handler};
    use crate::wire::{Decoder, STACK_MAX, ToWatchdog};

    #[test]
    fn a_deep_stack_is_cut_to_what_a_frame_takes() {
        let deep = answer(vec!["one".to_string(), "n".repeat(40)], &"ä".repeat(STACK_MAX));
        assert_eq!(deep.text.len(), STACK_MAX);
        let mut decoder = Decoder::<ToWatchdog>::new();
        decoder.push(&[8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        decoder.push(&deep.frames);
        assert!(matches!(decoder.next_frame(), Ok(Some(ToWatchdog::Hello { .. }))));
        for name in deep.names {
            let stack = ToWatchdog::Stack { thread: name, text: deep.text.clone() };
            assert_eq!(decoder.next_frame(), Ok(Some(stack)));
        }
        assert_eq!(decoder.pending(), 0);
    }

    #[test]
    fn the_frames_of_the_handler_are_left_out() {
        let text = "0: std::backtrace\n   at x.rs\n1: worker_sdk::stacks::on_abort\n   at y.rs\n2: stuck\n   at z.rs\n";
        assert_eq!(below_the_handler(text), "2: stuck\n   at z.rs\n");
        assert_eq!(below_the_handler("0: <unknown>\n"), "0: <unknown>\n");
        assert_eq!(below_the_handler("0: worker_sdk::stacks::on_abort\n  at y.rs\n"), NO_FRAMES);
    }
}
