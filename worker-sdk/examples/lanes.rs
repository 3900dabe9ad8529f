//! A service of two loops, each with a deadline of its own, so that the watchdog can name the one that is stuck.
//!
//! ```text
//! lanes           a producer hands numbers to a consumer, until it is asked to end
//! lanes stuck     the consumer deadlocks after its first numbers
//! ```
//!
//! Under `watchdog --ready reported -- lanes stuck` the report of the hang names the lane `consumer` and shows its stack
//! with `stuck_in_here`: the SDK answers the watchdog's SIGABRT with the stack of every lane.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;
use worker_sdk::{Counter, Lane, WatchdogGone, Worker};

/// Each loop goes round at least so often.
const ROUND: Duration = Duration::from_secs(2);
/// Pause between two numbers.
const PAUSE: Duration = Duration::from_millis(50);
/// Numbers that the consumer takes before it is stuck.
const FIRST: u64 = 3;

static END: AtomicBool = AtomicBool::new(false);

fn main() -> io::Result<()> {
    let worker = Worker::from_env()?;
    worker.report_panics();
    worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::from_secs(5)));
    let stuck = std::env::args().nth(1).as_deref() == Some("stuck");
    // A full queue holds the producer up: then the producer is late too, but the consumer is the reason.
    let (sender, receiver) = mpsc::sync_channel(1000);
    let (consumer, producer) = (worker.lane("consumer", ROUND), worker.lane("producer", ROUND));
    let consumed = worker.counter("consumed_total");
    let threads = [
        thread::Builder::new()
            .name("consumer".into())
            .spawn(move || consume(&consumer, &receiver, &consumed, stuck))?,
        thread::Builder::new().name("producer".into()).spawn(move || produce(&producer, &sender))?,
    ];
    worker.ready();
    while !worker.should_stop() {
        worker.beat();
        thread::park_timeout(PAUSE);
    }
    worker.stopping();
    END.store(true, Ordering::Relaxed);
    for thread in threads {
        // A loop that is stuck would hold up the end for ever: it is left behind.
        if !stuck && thread.join().is_err() {
            return Err(io::Error::other("a loop has panicked"));
        }
    }
    Ok(())
}

fn produce(lane: &Lane, sender: &SyncSender<u64>) {
    for number in 0.. {
        lane.beat();
        if END.load(Ordering::Relaxed) || sender.send(number).is_err() {
            return;
        }
        thread::park_timeout(PAUSE);
    }
}

fn consume(lane: &Lane, receiver: &Receiver<u64>, consumed: &Counter, stuck: bool) {
    lane.beat();
    while let Ok(number) = receiver.recv() {
        lane.beat();
        consumed.increment();
        if stuck && number == FIRST {
            stuck_in_here(&Mutex::new(number));
        }
    }
}

/// Takes a lock that this very thread holds: it waits for itself.
#[inline(never)]
fn stuck_in_here(number: &Mutex<u64>) {
    let first = number.lock();
    let second = number.lock();
    println!("never said: {first:?} {second:?}");
}
