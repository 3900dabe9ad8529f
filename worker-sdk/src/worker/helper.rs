//! A thread that answers in the worker's place: for programs that have no loop of their own.

use super::{Shared, Worker};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pause between two looks: what a ping waits at most, far below any sensible timeout.
const PAUSE: Duration = Duration::from_millis(100);

/// The helper thread. It ends when this is dropped, or when the worker is.
#[derive(Debug)]
pub struct Helper {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Beats from a thread of its own, ten times a second.
    ///
    /// **Weaker than [`Worker::beat`] from the loop that does the work**: it proves that the process lives and is
    /// scheduled, not that anything gets done. A deadlock elsewhere stays unseen; give the loops that matter a
    /// [`Worker::lane`] each. Without a watchdog no thread is started.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn answer_in_background(&self) -> io::Result<Helper> {
        let end = Arc::new(AtomicBool::new(false));
        if self.0.nobody.is_some() {
            return Ok(Helper { end, thread: None });
        }
        let (shared, stop) = (Arc::downgrade(&self.0), Arc::clone(&end));
        let thread = thread::Builder::new().name("watchdog-beat".to_string()).spawn(move || answer(&shared, &stop))?;
        Ok(Helper { end, thread: Some(thread) })
    }
}

fn answer(shared: &Weak<Shared>, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let Some(shared) = shared.upgrade() else { return };
        let worker = Worker(shared);
        worker.beat();
        // A drain goes on after the watchdog is gone.
        if worker.ended().is_some() && worker.0.connections.get().is_none() {
            return;
        }
        drop(worker);
        thread::park_timeout(PAUSE);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A callback on the helper thread may drop it: a thread cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                // A callback that panicked has said so.
                drop(thread.join());
            }
        }
    }
}
