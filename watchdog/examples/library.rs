//! A program that supervises two others: `cargo run -p watchdog-engine --example library`.
//!
//! The second one starts when the first says that it is ready by a line of its output; it is killed once, comes back, and
//! after that all of it goes down in reverse order.

#![allow(clippy::disallowed_methods, reason = "a host program has threads and may sleep in them")]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use watchdog_engine::spec::{Instance, Ready, Spec};
use watchdog_engine::{Handle, Watchdog};

fn main() -> std::process::ExitCode {
    let mut db = Spec::new("db", ["sh", "-c", "sleep 0.2; echo accepting connections; exec sleep 1000"]);
    db.ready = Ready::Line("accepting".into());
    let api = Spec::new("api", ["sh", "-c", "echo hello; exec sleep 1000"]).requires("db");

    let mut watchdog = Watchdog::new(Instance::new("example"), vec![db, api]);
    let handle = watchdog.handle().expect("a descriptor");
    let people = std::thread::spawn(move || people(&handle));

    let events = Rc::new(Cell::new(0));
    let counted = events.clone();
    let status = watchdog
        .on(
            |line| println!("{}: {}", line.service, String::from_utf8_lossy(line.bytes)),
            move |notice, snapshot| {
                counted.set(counted.get() + 1);
                if let Some(service) = snapshot.about(notice) {
                    println!("{}: {} ({})", service.name, notice.what.name(), service.state);
                }
            },
        )
        .run();
    let _ = people.join();
    println!("over: {} events, status {status}", events.get());
    std::process::ExitCode::from(status)
}

/// What somebody else does meanwhile.
fn people(handle: &Handle) {
    let patience = Duration::from_secs(10);
    let until = |what: &str, name: &str, is: &dyn Fn(&watchdog_engine::ServiceState) -> bool| {
        for _ in 0..1000 {
            let all = handle.snapshot(patience).unwrap_or_default();
            if all.iter().any(|s| s.name == name && is(s)) {
                println!("-- {name} is {what}");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("-- {name} is not {what}");
    };
    until("ready", "api", &|s| s.ready);
    handle.restart("api");
    until("ready again", "api", &|s| s.ready && s.generation == 2);
    handle.stop("db");
    until("waiting for db", "api", &|s| s.waiting_on == ["db"]);
    handle.start("db");
    until("back", "api", &|s| s.ready && s.generation == 3);
    handle.shutdown();
}
