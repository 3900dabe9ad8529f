//! Children that try to get away, and crowds of orphans.

use crate::sys::{self, mono_ns, wait_signal};
use crate::{Args, note};
use std::time::Duration;

fn record(file: &str, role: &str) {
    note(file, &format!("{} {} {role}", sys::pid(), sys::start_time(sys::pid())));
}

/// What an escaped process does with its life: until TERM, or past it.
fn live(args: &Args) -> i32 {
    sys::block(&[libc::SIGTERM]);
    if !args.has("hold-fds") {
        for fd in 0..3 {
            sys::close(fd);
        }
    }
    loop {
        if wait_signal(&[libc::SIGTERM], None).is_none() {
            continue;
        }
        if let Some(file) = args.text("term-file") {
            note(file, &format!("TERM {}", mono_ns()));
        }
        if args.has("ignore-term") {
            continue;
        }
        if let Some(slow) = args.millis("slow") {
            std::thread::sleep(slow);
        }
        if let Some(file) = args.text("done-file") {
            note(file, "done");
        }
        return 0;
    }
}

/// A process that forks its successor and ends, again and again.
fn chain(args: &Args, file: &str) -> i32 {
    sys::setsid();
    if args.has("ignore-term") {
        sys::set_action(libc::SIGTERM, true);
    }
    loop {
        record(file, "link");
        std::thread::sleep(Duration::from_millis(args.number("step", 10) as u64));
        // the parent leaves as soon as the next link exists
        // SAFETY: one thread; both sides go on in plain Rust code that allocates nothing shared.
        if unsafe { libc::fork() } != 0 {
            return 0;
        }
    }
}

/// `escape-tree FILE --how pgrp|setsid|daemon|chain|child [--ignore-term] [--main-exits MS] [--main-code C]
/// [--hold-fds] [--term-file F] [--slow MS] [--done-file F] [--main-ignores]`: `pid start role` lines in FILE; the
/// main process writes its own line last, when the others are in place.
pub(crate) fn escape(args: &Args) -> i32 {
    let file = args.word(0).to_string();
    let how = args.text("how").unwrap_or("setsid").to_string();
    let escaped = {
        let file = file.clone();
        move || {
            record(&file, "escaped");
            live(args)
        }
    };
    match how.as_str() {
        "child" => {
            sys::fork(escaped);
        }
        "pgrp" => {
            sys::fork(|| {
                sys::setpgid(0, 0);
                escaped()
            });
        }
        "setsid" => {
            sys::fork(|| {
                sys::setsid();
                escaped()
            });
        }
        "daemon" => {
            let middle = sys::fork(|| {
                sys::setsid();
                sys::fork(escaped);
                0
            });
            sys::wait(middle, 0);
        }
        "chain" => {
            let first = sys::fork(|| chain(args, &file));
            sys::wait(first, 0);
        }
        other => panic!("how {other}"),
    }
    while !std::fs::read_to_string(&file).unwrap_or_default().contains('\n') {
        std::thread::sleep(Duration::from_millis(2));
    }
    record(&file, "main");
    match args.millis("main-exits") {
        Some(time) => {
            std::thread::sleep(time);
            args.number("main-code", 0) as i32
        }
        None if args.has("main-ignores") => {
            sys::block(&[libc::SIGTERM]);
            loop {
                wait_signal(&[libc::SIGTERM], None);
            }
        }
        None => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}

/// `zombies N [--kind orphans|storm|own] [--codes] [--then-exit C]`: makes N dead processes, says `made`, and stays.
/// orphans: their parent is gone, so that the subreaper gets them. own: they stay with us. --codes: exit 0..250.
pub(crate) fn zombies(args: &Args) -> i32 {
    let count: i64 = args.word(0).parse().unwrap();
    let code = |i: i64| if args.has("codes") { (i % 251) as i32 } else { 0 };
    match args.text("kind").unwrap_or("orphans") {
        "own" => {
            for i in 0..count {
                sys::fork(|| code(i));
            }
        }
        _ => {
            let middle = sys::fork(|| {
                for i in 0..count {
                    sys::fork(|| code(i));
                }
                0
            });
            if !args.has("then-exit") {
                sys::wait(middle, 0);
            }
        }
    }
    if args.has("then-exit") {
        return args.number("then-exit", 0) as i32;
    }
    sys::write_fd(1, b"made\n");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// `port FILE PORT N`: binds PORT (exit 98 when it is taken), leaves a deaf daemon that holds it and crashes, N times;
/// then stays. `start`, `taken` and `bound` lines in FILE.
pub(crate) fn port(args: &Args) -> i32 {
    let file = args.word(0);
    let port: u16 = args.word(1).parse().unwrap();
    let crashes: usize = args.word(2).parse().unwrap();
    let before = std::fs::read_to_string(file).unwrap_or_default().matches("start").count();
    note(file, &format!("start {} {}", sys::pid(), mono_ns()));
    let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port)) else {
        note(file, "taken");
        return 98;
    };
    note(file, "bound");
    if before < crashes {
        sys::fork(|| {
            sys::setsid();
            let _held = &listener;
            sys::set_action(libc::SIGTERM, true);
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        return 1;
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
