//! A supervised program: it says that it is ready, beats from its own loop, and ends when it is asked to.

use std::io;
use std::time::Duration;
use worker_sdk::{WatchdogGone, Worker};

fn main() -> io::Result<()> {
    let worker = Worker::from_env()?;
    worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::from_secs(5)));
    worker.ready();
    // Alone it works for a second; supervised until it is asked to end.
    for round in 1.. {
        worker.beat();
        if worker.should_stop() || (round == 20 && !worker.is_supervised()) {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(50)); // the work
    }
    worker.stopping();
    Ok(())
}
