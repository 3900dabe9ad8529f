//! The threads that can be asked where they are: the main thread, and that of each lane, by name.

use super::{Answer, thread_id};
use crate::wire::{LANES_MAX, cut};
use std::array;
use std::cell::Cell;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The main thread, and the lanes.
pub(super) const PLACES_MAX: usize = 1 + LANES_MAX as usize;
/// Bytes of a name, as of a lane.
const NAME_BYTES: usize = 40;
/// The name of the main thread when no lane runs there.
pub(super) const MAIN: &str = "main";

/// In a static of a fixed size: a handler may read it at any moment.
pub(super) static PLACES: [Place; PLACES_MAX] = [const { Place::new() }; PLACES_MAX];

thread_local! {
    /// The kernel's number of this thread; 0: not asked for yet.
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// A thread that can be asked where it is.
pub(super) struct Place {
    taken: AtomicBool,
    /// The kernel's number of the thread that was here last; 0: none yet.
    pub(super) thread: AtomicU32,
    /// UTF-8, filled up with zeros; `main` has none.
    name: [AtomicU64; NAME_BYTES / 8],
    /// The thread that has been asked and has not begun to answer; 0: nobody.
    pub(super) asked: AtomicU32,
    pub(super) answer: OnceLock<Answer>,
}

impl Place {
    const fn new() -> Place {
        Place {
            taken: AtomicBool::new(false),
            thread: AtomicU32::new(0),
            name: [const { AtomicU64::new(0) }; NAME_BYTES / 8],
            asked: AtomicU32::new(0),
            answer: OnceLock::new(),
        }
    }

    fn name(&self) -> String {
        let bytes = self.name.each_ref().map(|part| part.load(Ordering::Relaxed).to_le_bytes()).concat();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string()
    }
}

/// A lane's place among those that can be asked. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat(usize);

impl Seat {
    /// `None`: all are taken, as by the lanes of several workers in one process.
    pub(crate) fn take(name: &str) -> Option<Seat> {
        let free =
            |place: &Place| place.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let at = PLACES.iter().skip(1).position(free)? + 1;
        let name = cut(name, NAME_BYTES).as_bytes();
        let byte = |at: usize| name.get(at).copied().unwrap_or(0);
        for (part, stored) in PLACES[at].name.iter().enumerate() {
            stored.store(u64::from_le_bytes(array::from_fn(|i| byte(part * 8 + i))), Ordering::Relaxed);
        }
        Some(Seat(at))
    }

    /// The lane runs on this thread now.
    pub(crate) fn sit(&self) {
        let me = THREAD.get();
        let me = if me == 0 { learn_thread() } else { me };
        let thread = &PLACES[self.0].thread;
        // Looked at before it is written, so that the line of the cache stays clean for others.
        if thread.load(Ordering::Relaxed) != me {
            thread.store(me, Ordering::Relaxed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        PLACES[self.0].thread.store(0, Ordering::Relaxed);
        PLACES[self.0].taken.store(false, Ordering::Release);
    }
}

#[cold]
fn learn_thread() -> u32 {
    let me = thread_id();
    THREAD.set(me);
    me
}

/// The lanes that run on this thread; `main` for a main thread without one.
pub(super) fn names_of(thread: u32) -> Vec<String> {
    let its = |place: &&Place| place.taken.load(Ordering::Acquire) && place.thread.load(Ordering::Relaxed) == thread;
    let mut names: Vec<String> = PLACES.iter().skip(1).filter(its).map(Place::name).collect();
    if names.is_empty() && thread == process::id() {
        names.push(MAIN.to_string());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::{MAIN, Ordering, PLACES, Seat, names_of, thread_id};

    #[test]
    fn a_seat_knows_its_name_and_its_thread_and_is_given_back() {
        let seat = Seat::take(&"ä".repeat(30)).expect("free");
        let place = &PLACES[seat.0];
        assert_eq!((place.name(), place.thread.load(Ordering::Relaxed)), ("ä".repeat(20), 0));
        seat.sit();
        assert_eq!(place.thread.load(Ordering::Relaxed), thread_id());
        let other = Seat::take("other").expect("free");
        other.sit();
        assert_eq!(names_of(thread_id()), ["ä".repeat(20), "other".to_string()], "two lanes of one thread");
        drop((seat, other));
        assert!(names_of(thread_id()).is_empty());
        assert_eq!(names_of(std::process::id()), [MAIN]);
    }
}
