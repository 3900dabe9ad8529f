//! What the kernel gave us, looked at before the Rust runtime ignores SIGPIPE and opens missing standard descriptors.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

static STATUS: [AtomicU8; 8192] = [const { AtomicU8::new(0) }; 8192];
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static OPEN: [AtomicU8; 1024] = [const { AtomicU8::new(0) }; 1024];

extern "C" fn look() {
    // SAFETY: plain system calls into a buffer of our own; nothing of the runtime is used before it is up.
    unsafe {
        for (fd, open) in OPEN.iter().enumerate() {
            open.store(u8::from(libc::fcntl(fd as i32, libc::F_GETFD) >= 0), Ordering::Relaxed);
        }
        let fd = libc::open(c"/proc/self/status".as_ptr(), libc::O_RDONLY);
        if fd < 0 {
            return;
        }
        let mut buffer = [0_u8; 8192];
        let n = libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()).max(0) as usize;
        libc::close(fd);
        for (to, from) in STATUS.iter().zip(&buffer[..n]) {
            to.store(*from, Ordering::Relaxed);
        }
        LENGTH.store(n, Ordering::Relaxed);
    }
}

// SAFETY: the loader calls every entry of .init_array once before main.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// One field of /proc/self/status as it was before main.
pub(crate) fn status(key: &str) -> String {
    let bytes: Vec<u8> = STATUS[..LENGTH.load(Ordering::Relaxed)].iter().map(|b| b.load(Ordering::Relaxed)).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':').map(|v| v.trim().to_string())).unwrap_or_default()
}

/// Descriptors that were open before main.
pub(crate) fn open_fds() -> Vec<i32> {
    (0..1024).filter(|fd| OPEN[*fd].load(Ordering::Relaxed) == 1).map(|fd| fd as i32).collect()
}

/// Whether a signal was ignored before main.
pub(crate) fn was_ignored(signal: i32) -> bool {
    u64::from_str_radix(&status("SigIgn"), 16).is_ok_and(|mask| mask & (1 << (signal - 1)) != 0)
}
