//! Closing descriptors that somebody else chose. close(2) may wait as long as it likes: a socket with SO_LINGER and
//! unsent data, a file of a file system in user space, a pipe whose lock is held. So a process that shares our table of
//! descriptors (CLONE_FILES) closes them in our place: what waits is that process, and never the loop.
//!
//! Nothing of this may be avoided by a look at what the descriptor is: any call on it may wait as well, and what closes
//! at once now may not do so a moment later.

use nix::errno::Errno;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Memory that both processes see: how many descriptors were begun.
#[derive(Debug)]
struct Shared(ptr::NonNull<AtomicU32>);

const SHARED_BYTES: usize = size_of::<AtomicU32>();

impl Shared {
    fn new() -> Option<Shared> {
        let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice; zeros are a valid AtomicU32.
        let memory = unsafe { libc::mmap(ptr::null_mut(), SHARED_BYTES, read_write, shared, -1, 0) };
        (memory != libc::MAP_FAILED).then(|| ptr::NonNull::new(memory.cast())).flatten().map(Shared)
    }

    fn number(&self) -> &AtomicU32 {
        // SAFETY: mapped for as long as `self` lives, aligned to a page, and only ever used as an atomic.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping of just this size; the child has one of its own.
        unsafe { libc::munmap(self.0.as_ptr().cast(), SHARED_BYTES) };
    }
}

/// A process that closes descriptors. It is a child of ours, to be reaped as any other; it ends with us.
#[derive(Debug)]
pub(crate) struct Closer {
    /// Its number, ours to signal until it is reaped.
    pub pid: i32,
    numbers: Vec<RawFd>,
    begun: Shared,
}

impl Closer {
    /// Begins to close these, in their order.
    ///
    /// # Errors
    /// They are given back: no process or no memory for it.
    pub(crate) fn start(descriptors: Vec<OwnedFd>) -> Result<Closer, Vec<OwnedFd>> {
        let Some(begun) = Shared::new() else { return Err(descriptors) };
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let parent = nix::unistd::getpid().as_raw();
        let flags = libc::CLONE_FILES | libc::SIGCHLD;
        // SAFETY: like fork(2), on a copy of our memory and stack; the child makes raw system calls only and leaves.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match i32::try_from(pid) {
            Ok(0) => close_all(&numbers, begun.number(), parent),
            Ok(pid) if pid > 0 => {
                // Theirs to close from here on.
                descriptors.into_iter().for_each(|fd| {
                    let _ = ManuallyDrop::new(fd);
                });
                Ok(Closer { pid, numbers, begun })
            }
            Ok(_) | Err(_) => Err(descriptors),
        }
    }

    /// How many it has begun to close: one of them may still wait.
    pub(crate) fn begun(&self) -> usize {
        self.begun.number().load(Ordering::Acquire) as usize
    }

    /// How many it was given.
    pub(crate) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Those that it had not begun when it ended. To be called when it was reaped.
    pub(crate) fn rest(self) -> Vec<OwnedFd> {
        let rest = self.numbers.get(self.begun()..).unwrap_or_default();
        // SAFETY: they were ours when this value was made, were given up then, and the child, which is gone, closed only
        // what it had begun; nothing else knows these numbers, which are open and so were not given out again.
        rest.iter().map(|number| unsafe { OwnedFd::from_raw_fd(*number) }).collect()
    }
}

/// The child. A number is free in the shared table as soon as its close has begun, and so it is counted before: one that is
/// killed between the two leaves that descriptor open, which is better than closing another one that got its number.
fn close_all(numbers: &[RawFd], begun: &AtomicU32, parent: i32) -> ! {
    // SAFETY: numbers alone; nothing of the memory that was copied is changed but the mapping that is meant for it.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // Another parent: it has died already.
        if libc::syscall(libc::SYS_getppid) == libc::c_long::from(parent) {
            for number in numbers {
                begun.fetch_add(1, Ordering::AcqRel);
                libc::syscall(libc::SYS_close, *number);
            }
        }
        loop {
            libc::syscall(libc::SYS_exit_group, 0);
        }
    }
}

/// 128 random bits of the kernel, as 32 digits. `None`: it gives none (no getrandom(2), not enough of it yet).
pub(crate) fn random() -> Option<String> {
    let mut bytes = [0u8; 16];
    loop {
        // SAFETY: a buffer that is writable for the length given with it. So few bytes come at once or not at all. The call by
        // its number: std names the C function as one that may be missing, and in a static binary that is what it then is.
        let got = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK) };
        if got == bytes.len() as libc::c_long {
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
            return Some(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect());
        }
        if Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{reap, signals};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn ends(what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..6000 {
            if is_so() {
                return;
            }
            let _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::from(5u8));
        }
        panic!("waited in vain: {what}");
    }

    /// A connection whose close waits, and its other end.
    fn lingering() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 65_536]).is_ok() {}
        let linger = libc::linger { l_onoff: 1, l_linger: 30_000 };
        nix::sys::socket::setsockopt(&near, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        near.set_nonblocking(false).unwrap();
        (near.into(), far)
    }

    #[test]
    fn all_are_closed_and_nothing_is_left() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let closer = Closer::start(vec![writer.try_clone().unwrap().into(), writer.into()]).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the last writer is gone");
        reap::reap_this(closer.pid);
        assert_eq!((closer.begun(), closer.rest().len()), (2, 0));
    }

    #[test]
    fn what_waits_is_left_behind_and_the_rest_comes_back() {
        let (waits, _far) = lingering();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let closer = Closer::start(vec![waits, writer.into()]).unwrap();
        ends("it waits", || closer.begun() == 1);
        signals::kill(closer.pid, libc::SIGKILL).unwrap();
        reap::reap_this(closer.pid);
        let rest = closer.rest();
        assert_eq!(rest.len(), 1);
        drop(rest);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn random_names_are_long_and_differ() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert!(one.len() == 32 && one != other && one.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
