//! A worker and a fake watchdog in one process.

mod fake;

use fake::Fake;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::fs::File;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::Duration;
use worker_sdk::wire::{self, Check, FrameError, ToWatchdog, ToWorker};
use worker_sdk::{DrainPhase, Ended, WatchdogGone, Worker};

fn pair() -> (Fake, Worker) {
    let (mut fake, theirs) = Fake::new();
    let worker = Worker::on(theirs).expect("a worker");
    fake.expect(&ToWatchdog::Hello { protocol: wire::PROTOCOL });
    (fake, worker)
}

fn beat_and_hear(fake: &mut Fake, worker: &Worker) -> ToWatchdog {
    worker.beat();
    fake.hear().expect("an answer")
}

#[test]
fn what_a_worker_says_arrives_in_order() {
    let (mut fake, worker) = pair();
    worker.status(&"ä".repeat(4000));
    worker.extend(Duration::from_millis(1500));
    worker.reloading();
    worker.ready();
    worker.stopping();
    fake.expect(&ToWatchdog::Status { text: "ä".repeat(2048) });
    fake.expect(&ToWatchdog::Extend { millis: 1500 });
    for message in [ToWatchdog::Reloading, ToWatchdog::Ready, ToWatchdog::Stopping] {
        fake.expect(&message);
    }
    drop(worker);
    assert_eq!(fake.hear(), None);
}

#[test]
fn only_a_beat_answers_a_ping() {
    let (mut fake, worker) = pair();
    fake.say(&ToWorker::Ping { nonce: 7 });
    worker.look();
    worker.ready();
    fake.expect(&ToWatchdog::Ready);
    assert_eq!(beat_and_hear(&mut fake, &worker), ToWatchdog::Beat);
    fake.expect(&ToWatchdog::Pong { nonce: 7 });
    fake.say(&ToWorker::Ping { nonce: 8 });
    assert_eq!(beat_and_hear(&mut fake, &worker), ToWatchdog::Pong { nonce: 8 });
}

#[test]
fn a_shutdown_is_seen_called_back_and_drains() {
    let (mut fake, worker) = pair();
    let (tell, told) = mpsc::channel();
    let early = tell.clone();
    worker.on_shutdown(move |grace| early.send(grace).expect("heard"));
    let connections = worker.connections();
    let connection = connections.add("http", "::1").expect("welcome");
    fake.say(&ToWorker::Shutdown { grace_ms: 10_000 });
    fake.say(&ToWorker::Shutdown { grace_ms: 1 });
    assert_eq!(worker.shutdown_requested(), Some(Duration::from_secs(10)), "the first one counts");
    assert_eq!(told.try_recv(), Ok(Duration::from_secs(10)));
    assert!(told.try_recv().is_err(), "once");
    worker.on_shutdown(move |grace| tell.send(grace).expect("heard"));
    assert_eq!(told.try_recv(), Ok(Duration::from_secs(10)), "late, so at once");
    assert_eq!(connection.phase(), DrainPhase::Notice);
    assert_eq!(connections.add("http", "::1").expect_err("refused").retry_after, Duration::from_secs(60));
    drop(connection);
    assert_eq!(connections.turn(), DrainPhase::Drained);

    let (mut fake, worker) = pair();
    fake.say(&ToWorker::Shutdown { grace_ms: 10_000 });
    assert!(worker.should_stop());
    assert_eq!(worker.connections().turn(), DrainPhase::Drained, "first asked for too late to welcome anybody");
}

#[test]
fn whoever_acts_on_a_shutdown_says_so_once_whichever_way() {
    type Way = fn(&Worker);
    let ways: [(&str, Way); 4] = [
        ("on_shutdown", |worker| worker.on_shutdown(|_| {})),
        ("should_stop", |worker| assert!(!worker.should_stop())),
        ("shutdown_requested", |worker| assert_eq!(worker.shutdown_requested(), None)),
        ("connections", |worker| drop(worker.connections())),
    ];
    for (name, way) in ways {
        let (mut fake, worker) = pair();
        worker.ready();
        fake.expect(&ToWatchdog::Ready);
        way(&worker);
        way(&worker);
        drop(worker);
        assert_eq!((fake.hear(), fake.hear()), (Some(ToWatchdog::TakesShutdown), None), "{name}");
    }
    let (mut fake, worker) = pair();
    worker.beat();
    worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::ZERO));
    drop(worker);
    assert_eq!((fake.hear(), fake.hear()), (Some(ToWatchdog::Beat), None), "no use, no word");
}

#[test]
fn that_a_shutdown_is_acted_on_is_said_later_when_there_is_no_room() {
    let (mut fake, worker) = pair();
    let text = "x".repeat(4000);
    while worker.dropped() == 0 {
        worker.status(&text);
    }
    while worker.dropped() < 10_000 {
        worker.ready(); // the last bytes of room
    }
    let fill = worker.dropped();
    assert!(!worker.should_stop());
    assert!(worker.dropped() > fill, "no room");
    loop {
        worker.look();
        if fake.hear() == Some(ToWatchdog::TakesShutdown) {
            return;
        }
    }
}

#[test]
fn the_descriptor_is_readable_when_there_is_something_to_act_on() {
    let (mut fake, worker) = pair();
    let readable = |worker: &Worker| {
        let mut descriptors = [PollFd::new(worker.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, PollTimeout::ZERO).expect("polled") == 1
    };
    worker.beat();
    assert!(!readable(&worker));
    fake.say(&ToWorker::Ping { nonce: 1 });
    assert!(readable(&worker) && worker.as_raw_fd() == worker.as_fd().as_raw_fd());
    worker.beat();
    assert!(!readable(&worker));
    fake.say(&ToWorker::Shutdown { grace_ms: 1 });
    assert!(readable(&worker) && worker.should_stop() && !readable(&worker));
    assert!(!readable(&Worker::unsupervised().expect("descriptors")), "never alone");
}

#[test]
fn words_reloads_and_low_memory_are_called_back() {
    let (mut fake, worker) = pair();
    let (tell, told) = mpsc::channel();
    let (words, reloads, inner) = (tell.clone(), tell.clone(), worker.clone());
    worker.on_tell(move |word| words.send(word.to_string()).expect("heard"));
    worker.on_reload(move || {
        // A callback may use the worker.
        inner.status("again");
        reloads.send("reload".into()).expect("heard");
    });
    worker.on_low_memory(move || tell.send("low".into()).expect("heard"));
    for message in [ToWorker::Tell { word: "flush".into() }, ToWorker::Reload, ToWorker::LowMemory] {
        fake.say(&message);
    }
    worker.look();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["flush", "reload", "low"]);
    for message in [ToWatchdog::Reloading, ToWatchdog::Status { text: "again".into() }, ToWatchdog::Ready] {
        fake.expect(&message);
    }
}

#[test]
fn health_and_numbers_are_told_when_asked() {
    let (mut fake, worker) = pair();
    worker.health_check("db", || Err("x".repeat(1000)));
    worker.counter("jobs").add(3);
    worker.gauge("depth").set(1.5);
    worker.histogram("sizes", &[10.0, 100.0]).observe(11.0);
    (0..5).for_each(|_| worker.requests().record(500, Duration::from_millis(3), None));
    drop(worker.connections());
    fake.expect(&ToWatchdog::TakesShutdown);
    fake.say(&ToWorker::AskHealth);
    fake.say(&ToWorker::AskMetrics);
    worker.look();
    let db = Check { name: "db".into(), pass: false, message: "x".repeat(wire::MESSAGE_MAX) };
    let message = "5 errors in 5 requests of the last 60 s".to_string();
    let requests = Check { name: "requests".into(), pass: false, message };
    fake.expect(&ToWatchdog::Health { checks: vec![db, requests] });
    let Some(ToWatchdog::Metrics { counters, gauges }) = fake.hear() else { panic!("no numbers") };
    let counter = |name: &str| counters.iter().find(|c| c.name == name).map(|c| c.value);
    assert_eq!((counter("jobs"), counter("request_errors_total")), (Some(3), Some(5)));
    assert_eq!((counter("requests_5xx_total"), counter("requests_2xx_total")), (Some(5), Some(0)));
    assert_eq!((counter("requests_within_2_ms_total"), counter("requests_within_10_ms_total")), (Some(0), Some(5)));
    assert!(gauges.iter().any(|g| g.name == "depth" && g.value == 1.5));
    let Some(ToWatchdog::Histograms { histograms }) = fake.hear() else { panic!("no histograms") };
    let sizes = histograms.iter().find(|h| h.name == "sizes").expect("its own");
    assert_eq!((sizes.counts.as_slice(), sizes.sum), (&[0, 1, 0][..], 11.0));
    let took = histograms.iter().find(|h| h.name == "request_duration_seconds").expect("that of requests");
    assert_eq!((took.bounds[2], took.counts[2]), (0.005, 5), "3 ms each");
}

#[test]
fn the_fullest_health_and_numbers_fit_into_a_frame() {
    let (mut fake, worker) = pair();
    for n in 0..1000 {
        let name = format!("{n:0100}").chars().rev().collect::<String>();
        worker.health_check(&name, || Ok("x".repeat(1000)));
        worker.counter(&name).add(1);
        worker.gauge(&name).set(1.0);
        worker.histogram(&name, &[1.0; 100]).observe(2.0);
    }
    drop((worker.requests(), worker.connections()));
    fake.expect(&ToWatchdog::TakesShutdown);
    fake.say(&ToWorker::AskHealth);
    fake.say(&ToWorker::AskMetrics);
    worker.look();
    assert!(matches!(fake.hear(), Some(ToWatchdog::Health { checks }) if checks.len() == wire::CHECKS_MAX));
    assert!(matches!(fake.hear(), Some(ToWatchdog::Metrics { counters, .. }) if counters.len() > 344));
    let full = wire::HISTOGRAMS_MAX;
    assert!(matches!(fake.hear(), Some(ToWatchdog::Histograms { histograms }) if histograms.len() == full));
    assert_eq!(worker.dropped(), 0);
}

#[test]
fn a_watchdog_that_does_not_read_costs_nothing_but_news() {
    let (mut fake, worker) = pair();
    let text = "x".repeat(4000);
    while worker.dropped() == 0 {
        worker.status(&text);
    }
    worker.beat();
    // What was taken arrives whole, and the channel goes on.
    let mut heard = 0;
    fake.say(&ToWorker::Ping { nonce: 9 });
    loop {
        worker.beat();
        match fake.hear() {
            Some(ToWatchdog::Status { text: told }) => assert_eq!(told, text),
            Some(ToWatchdog::Pong { nonce: 9 }) => break,
            other => assert_eq!(other, Some(ToWatchdog::Beat)),
        }
        heard += 1;
        assert!(heard < 10_000, "bounded");
    }
}

#[test]
fn the_end_of_the_channel_is_a_choice() {
    let (fake, worker) = pair();
    drop(fake);
    assert!(!worker.should_stop(), "goes on by default");
    assert_eq!((worker.ended(), worker.is_supervised()), (Some(Ended::Gone), false));
    worker.ready();
    worker.beat();

    let (mut fake, worker) = pair();
    worker.when_watchdog_is_gone(WatchdogGone::Stop(Duration::from_secs(3)));
    fake.say(&ToWorker::Tell { word: "last".into() });
    drop(fake);
    // Writing to it finds a closed socket: what it said before is heard all the same.
    worker.status("still here");
    let (tell, told) = mpsc::channel();
    worker.on_tell(move |word| tell.send(word.to_string()).expect("heard"));
    worker.beat();
    assert_eq!(worker.shutdown_requested(), Some(Duration::from_secs(3)));
    assert_eq!(told.try_recv().as_deref(), Ok("last"));
}

#[test]
fn a_watchdog_that_speaks_nonsense_loses_the_channel_only() {
    use std::io::Write;
    let (mut fake, worker) = pair();
    fake.stream.write_all(&[0xff; 8]).expect("written");
    worker.beat();
    assert_eq!(worker.ended(), Some(Ended::Broken(FrameError::TooLong(0xffff_ffff))));
    assert!(!worker.should_stop(), "it is not gone");
    let (mut fake, worker) = pair();
    fake.stream.write_all(&[4, 0, 0, 0, 99, 0, 0, 0]).expect("written");
    fake.say(&ToWorker::Ping { nonce: 1 });
    assert_eq!(beat_and_hear(&mut fake, &worker), ToWatchdog::Beat);
    fake.expect(&ToWatchdog::Pong { nonce: 1 });
}

#[test]
fn lanes_travel_as_a_file() {
    let (mut fake, worker) = pair();
    worker.status("before");
    let lane = worker.lane("consumer", Duration::from_secs(5));
    let other = worker.lane("producer", Duration::from_secs(1));
    assert!(lane.is_watched());
    lane.beat();
    let file = take_file(&mut fake);
    fake.expect(&ToWatchdog::Status { text: "before".into() });
    fake.expect(&ToWatchdog::Lanes { count: 64 });
    let mut slot = [0; 64];
    file.read_exact_at(&mut slot, 64).expect("the first slot");
    assert_eq!((slot[0], slot[8], &slot[24..32]), (2, 1, &b"consumer"[..]));
    drop(other);
    worker.ready();
    fake.expect(&ToWatchdog::Ready);
}

#[test]
fn the_file_of_the_lanes_stays_with_its_frame_when_the_watchdog_is_slow() {
    let (mut fake, worker) = pair();
    let text = "x".repeat(4000);
    while worker.dropped() == 0 {
        worker.status(&text);
    }
    let lane = worker.lane("late", Duration::from_secs(5));
    assert!(lane.is_watched());
    fake.stream.set_nonblocking(true).expect("the flag");
    let mut file = None;
    while file.is_none() {
        worker.look();
        file = try_take_file(&mut fake);
    }
    // A read ends behind the bytes that a descriptor came with: they were the frame of the lanes, and nothing before it.
    let mut last = None;
    while let Some(message) = fake.next() {
        last = Some(message);
    }
    assert_eq!(last, Some(ToWatchdog::Lanes { count: 64 }));
}

/// Reads until a descriptor comes.
fn take_file(fake: &mut Fake) -> File {
    loop {
        if let Some(file) = try_take_file(fake) {
            return file;
        }
    }
}

/// One read.
fn try_take_file(fake: &mut Fake) -> Option<File> {
    let mut bytes = [0; 4096];
    let mut room = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let (count, number) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let got = match recvmsg::<()>(fake.stream.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty()) {
            Ok(got) => got,
            Err(nix::errno::Errno::EAGAIN) => return None,
            Err(e) => panic!("{e}"),
        };
        let mut number = None;
        for message in got.cmsgs().expect("whole") {
            if let ControlMessageOwned::ScmRights(numbers) = message {
                number = numbers.first().copied();
            }
        }
        (got.bytes, number)
    };
    fake.push(&bytes[..count]);
    // Opened once more by way of /proc: a bare number is nothing that safe code can own.
    number.map(|number| File::open(format!("/proc/self/fd/{number}")).expect("the file of the lanes"))
}

#[test]
fn a_helper_answers_for_a_worker_without_a_loop() {
    let (mut fake, worker) = pair();
    let helper = worker.answer_in_background().expect("a thread");
    fake.say(&ToWorker::Ping { nonce: 5 });
    fake.expect(&ToWatchdog::Beat);
    fake.expect(&ToWatchdog::Pong { nonce: 5 });
    drop(helper);
    drop(worker);
    assert_eq!(fake.hear(), None);
}

#[test]
fn without_a_watchdog_nothing_happens() {
    let worker = Worker::unsupervised().expect("descriptors");
    worker.ready();
    worker.beat();
    assert!(!worker.is_supervised() && !worker.should_stop() && worker.as_fd().as_raw_fd() >= 0);
    let lane = worker.lane("x", Duration::ZERO);
    lane.beat();
    assert!(!lane.is_watched());
    assert!(worker.answer_in_background().is_ok());
    assert_eq!((worker.ended(), worker.dropped()), (None, 0));
}
