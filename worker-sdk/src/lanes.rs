//! Lanes: the loops inside a worker, each with its own deadline, so that the watchdog can name the one that is stuck.
//!
//! A beat of a lane is one atomic addition in a memory file that the watchdog reads on its own: no system call, no
//! message, no lock. The layout is in `docs/protocol.md`. memfd_create(2), mmap(2) and sendmsg(2) are declared here: std
//! links the C library but does not offer them, and workers shall inherit no other crate.

use crate::stacks::Seat;
use crate::wire::{LANES_MAX, cut};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// First bytes of the file: what it is and its version.
const MAGIC: [u8; 8] = *b"WDLANES1";
/// Bytes of the header, and of each slot.
const SLOT: usize = 64;
/// Where things are in a slot.
const STATE: usize = 0;
const BEATS: usize = 8;
const DEADLINE: usize = 16;
const NAME: usize = 24;
/// Bytes of a lane's name that are kept.
const NAME_BYTES: usize = SLOT - NAME;
const BYTES: usize = SLOT * (1 + LANES_MAX as usize);

/// States of a slot.
const FREE: u32 = 0;
const IDLE: u32 = 1;
const ARMED: u32 = 2;

const MFD_CLOEXEC: c_uint = 1;
const MFD_ALLOW_SEALING: c_uint = 2;
const F_ADD_SEALS: c_int = 1033;
/// No more seals, no shrinking, no growing: neither side can pull the memory from under the other.
const SEALS: c_int = 1 | 2 | 4;
const PROT_READ_WRITE: c_int = 1 | 2;
const MAP_SHARED: c_int = 1;
const SOL_SOCKET: c_int = 1;
const SCM_RIGHTS: c_int = 1;
const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;

#[repr(C)]
struct IoVec {
    base: *const c_void,
    length: usize,
}

#[repr(C)]
struct MsgHdr {
    name: *mut c_void,
    name_length: c_uint,
    parts: *mut IoVec,
    parts_count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: c_int,
}

/// A control message with one descriptor, padded as CMSG_SPACE(3) pads it.
#[repr(C)]
struct Passenger {
    length: usize,
    level: c_int,
    kind: c_int,
    descriptor: c_int,
    padding: [u8; mem::size_of::<usize>() - mem::size_of::<c_int>()],
}

unsafe extern "C" {
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, ...) -> c_int;
    fn mmap(at: *mut c_void, length: usize, protection: c_int, flags: c_int, file: c_int, offset: isize)
    -> *mut c_void;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
    fn sendmsg(socket: c_int, message: *const MsgHdr, flags: c_int) -> isize;
}

/// Sends bytes, and a descriptor with the first of them. Never waits, never raises SIGPIPE.
pub(crate) fn send_with(stream: &UnixStream, bytes: &[u8], file: &OwnedFd) -> io::Result<usize> {
    let mut passenger = Passenger {
        length: mem::offset_of!(Passenger, descriptor) + mem::size_of::<c_int>(),
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        descriptor: file.as_raw_fd(),
        padding: [0; mem::size_of::<usize>() - mem::size_of::<c_int>()],
    };
    let mut part = IoVec { base: bytes.as_ptr().cast(), length: bytes.len() };
    let message = MsgHdr {
        name: ptr::null_mut(),
        name_length: 0,
        parts: &raw mut part,
        parts_count: 1,
        control: (&raw mut passenger).cast(),
        control_length: mem::size_of::<Passenger>(),
        flags: 0,
    };
    // SAFETY: every pointer is to something that lives until after the call; sendmsg(2) only reads them. The layouts are
    // those of 64-bit Linux, where the C libraries differ only in the width of counts, which little endian makes the same;
    // there is no file to send anywhere else.
    let sent = unsafe { sendmsg(stream.as_raw_fd(), &raw const message, MSG_DONTWAIT | MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// The file of all lanes, mapped.
#[derive(Debug)]
pub(crate) struct LaneFile {
    memory: NonNull<u8>,
    file: OwnedFd,
}

// SAFETY: the memory is only touched through atomics, except by `reserve`, which owns its slot (state FREE, under the
// worker's lock); it stays mapped as long as this value lives.
unsafe impl Send for LaneFile {}
// SAFETY: as above.
unsafe impl Sync for LaneFile {}

impl LaneFile {
    pub(crate) fn new() -> io::Result<LaneFile> {
        // What is declared above is true of these machines. Elsewhere workers have no lanes.
        if !cfg!(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the name is a C string.
        let number = unsafe { memfd_create(c"watchdog-lanes".as_ptr(), MFD_CLOEXEC | MFD_ALLOW_SEALING) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(number) });
        file.set_len(BYTES as u64)?;
        // A kernel that cannot seal is no reason to have no lanes.
        // SAFETY: a plain command with one integer.
        unsafe { fcntl(number, F_ADD_SEALS, SEALS) };
        // SAFETY: a new mapping, wherever the kernel puts it, of a file that is as long as the mapping.
        let memory = unsafe { mmap(ptr::null_mut(), BYTES, PROT_READ_WRITE, MAP_SHARED, number, 0) };
        // MAP_FAILED is -1.
        if memory.addr() == usize::MAX {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        let lanes = LaneFile { memory, file: file.into() };
        let header = [MAGIC, u64::from(LANES_MAX).to_le_bytes(), (SLOT as u64).to_le_bytes()].concat();
        lanes.write(0, &header);
        Ok(lanes)
    }

    /// The file once more, to be sent away.
    pub(crate) fn to_send(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }

    /// A free slot becomes a lane; the caller holds the worker's lock. `None`: all are taken.
    fn reserve(&self, name: &str, deadline: Duration) -> Option<u32> {
        let slot = (0..LANES_MAX).find(|slot| self.state(*slot).load(Ordering::Acquire) == FREE)?;
        let mut bytes = [0; NAME_BYTES];
        let name = cut(name, NAME_BYTES).as_bytes();
        bytes[..name.len()].copy_from_slice(name);
        self.write(offset(slot) + NAME, &bytes);
        self.number(slot, BEATS).store(0, Ordering::Relaxed);
        let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.number(slot, DEADLINE).store(millis, Ordering::Relaxed);
        // The name is written before the state says that there is one.
        self.state(slot).store(IDLE, Ordering::Release);
        Some(slot)
    }

    fn state(&self, slot: u32) -> &AtomicU32 {
        // SAFETY: inside the mapping (slot < LANES_MAX), aligned to 64 bytes, and never touched but as this atomic.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(offset(slot) + STATE).cast()) }
    }

    fn number(&self, slot: u32, field: usize) -> &AtomicU64 {
        // SAFETY: inside the mapping, aligned to 8 bytes (BEATS or DEADLINE), and never touched but as this atomic.
        unsafe { AtomicU64::from_ptr(self.memory.as_ptr().add(offset(slot) + field).cast()) }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= BYTES, "inside the file");
        // SAFETY: inside the mapping, as just checked; header and names are no atomics, and only written by who owns them.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_ptr().add(at), bytes.len()) };
    }
}

impl Drop for LaneFile {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length; no lane is left, they hold the file by an Arc.
        unsafe { munmap(self.memory.as_ptr().cast(), BYTES) };
    }
}

fn offset(slot: u32) -> usize {
    SLOT * (1 + slot as usize)
}

/// One loop of the worker. Dropping it ends the lane. Given by [`Worker::lane`](crate::Worker::lane).
///
/// A forked child shares the memory: it must not beat its parent's lanes.
#[derive(Debug, Default)]
pub struct Lane {
    place: Option<(Arc<LaneFile>, u32)>,
    /// What its thread is asked by when it hangs.
    seat: Option<Seat>,
}

impl Lane {
    /// The caller holds the worker's lock.
    pub(crate) fn in_file(file: &Arc<LaneFile>, name: &str, deadline: Duration) -> Lane {
        let place = file.reserve(name, deadline).map(|slot| (Arc::clone(file), slot));
        let seat = place.as_ref().and_then(|_| Seat::take(name));
        Lane { place, seat }
    }

    /// The loop has gone round. The first beat arms the deadline; it is late when the next one does not come in time.
    /// An atomic addition and a few reads: it may be called a million times a second. Whose stack is shown when the lane
    /// hangs is the thread that called it last.
    pub fn beat(&self) {
        if let Some(seat) = &self.seat {
            seat.sit();
        }
        if let Some((file, slot)) = &self.place {
            file.number(*slot, BEATS).fetch_add(1, Ordering::Relaxed);
            let state = file.state(*slot);
            // Looked at before it is written, so that the line of the cache stays clean for others.
            if state.load(Ordering::Relaxed) != ARMED {
                state.store(ARMED, Ordering::Release);
            }
        }
    }

    /// The loop has nothing to do and may wait for as long as it likes; the next beat arms the deadline again.
    pub fn idle(&self) {
        if let Some((file, slot)) = &self.place {
            file.state(*slot).store(IDLE, Ordering::Release);
        }
    }

    /// Whether anybody can see it: not when nobody supervises, when there is no memory file to be had, or beyond 64 lanes.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.place.is_some()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some((file, slot)) = &self.place {
            file.state(*slot).store(FREE, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lane, LaneFile};
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;
    use std::time::Duration;

    fn read(file: &LaneFile) -> Vec<u8> {
        let mut bytes = vec![0; super::BYTES];
        std::fs::File::from(file.to_send().expect("a descriptor")).read_exact_at(&mut bytes, 0).expect("read");
        bytes
    }

    #[test]
    fn a_lane_as_the_watchdog_reads_it() {
        let file = Arc::new(LaneFile::new().expect("a memory file"));
        let lane = Lane::in_file(&file, "consumer", Duration::from_secs(5));
        assert_eq!(&read(&file)[..24], b"WDLANES1\x40\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0");
        let slot = |n: usize| read(&file)[64 * (1 + n)..64 * (2 + n)].to_vec();
        assert_eq!(&slot(0)[..33], b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x88\x13\0\0\0\0\0\0consumer\0");
        lane.beat();
        lane.beat();
        assert_eq!(&slot(0)[..16], b"\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        let other = Lane::in_file(&file, "ä".repeat(30).as_str(), Duration::ZERO);
        assert_eq!(slot(1)[24..], *"ä".repeat(20).as_bytes());
        lane.idle();
        assert_eq!(slot(0)[0], 1);
        drop(lane);
        assert_eq!(slot(0)[0], 0);
        drop(other);
    }

    #[test]
    fn the_file_cannot_be_cut_and_lanes_run_out_quietly() {
        let file = Arc::new(LaneFile::new().expect("a memory file"));
        assert!(std::fs::File::from(file.to_send().expect("a descriptor")).set_len(0).is_err());
        let lanes: Vec<Lane> = (0..65).map(|_| Lane::in_file(&file, "x", Duration::ZERO)).collect();
        assert!(lanes[63].is_watched() && !lanes[64].is_watched());
        lanes[64].beat();
    }
}
