//! A worker that does nothing but answer, as soon as it is asked: it waits for its channel with poll(2). For measuring what a
//! beat costs, and the smallest example of [`AsFd`](std::os::fd::AsFd) in a loop of one's own. `pulse N` hangs after N beats.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use worker_sdk::{WatchdogGone, Worker};

fn main() -> io::Result<()> {
    let worker = Worker::from_env()?;
    worker.when_watchdog_is_gone(WatchdogGone::Stop(std::time::Duration::ZERO));
    let hangs_after: Option<u64> = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let mut beats = 1;
    worker.ready();
    worker.beat();
    while !worker.should_stop() && worker.is_supervised() {
        if hangs_after.is_some_and(|n| beats >= n) {
            std::thread::park(); // nobody will wake it
        }
        beats += 1;
        poll(&mut [PollFd::new(worker.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        worker.beat();
    }
    Ok(())
}
