//! What a worker uses, step by step: memory of its own, of its descendants, shared or only cached; and processor time.

use crate::sys::{self, wait_signal};
use crate::{Args, note};
use std::time::{Duration, Instant};

const MB: usize = 1 << 20;
/// One turn of a burner that works for a part of the time.
const TURN: Duration = Duration::from_millis(50);

fn ms(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or_else(|_| panic!("no milliseconds: {text:?}")))
}

/// Memory that is really there: every page was written to.
fn hold(mb: usize) -> Vec<u8> {
    let mut held = vec![0_u8; mb * MB];
    held.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(held)
}

fn for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Works for this part of the time, for ever; with all of it, without a pause.
fn burn(percent: u32) -> ! {
    loop {
        let began = Instant::now();
        while percent >= 100 || began.elapsed() < TURN * percent / 100 {
            std::hint::spin_loop();
        }
        std::thread::sleep(TURN.saturating_sub(began.elapsed()));
    }
}

/// `usage [--log FILE] [--once FILE] [--code C] [--term-after MS] STEP..`, then lives until TERM: `term` in the log and
/// exit C. With `--once` the steps are those of the first life alone.
///
/// hold:MB drop grow:MB:MS:MAX sleep:MS child:MB grandchild:MB escaped:MB spread:N:MB shared:N:MB file:PATH:MB threads:N
/// burn:N:PERCENT burst:ON:OFF name:TEXT headless note:TEXT exit:CODE abort segv
pub(crate) fn usage(args: &Args) -> i32 {
    sys::set_rlimit(libc::RLIMIT_CORE, 0, sys::rlimit(libc::RLIMIT_CORE).1);
    sys::block(&[libc::SIGTERM]);
    let log = |line: &str| {
        if let Some(file) = args.text("log") {
            note(file, line);
        }
    };
    log(&format!("start {}", sys::pid()));
    let first = args.text("once").is_none_or(|file| !std::path::Path::new(file).exists());
    if let Some(file) = args.text("once") {
        note(file, "here");
    }
    let mut held = Vec::new();
    for step in args.words.iter().filter(|_| first) {
        match one(step, &mut held, &log) {
            Next::Step => {}
            Next::Exit(code) => return code,
            Next::Term => return term(args, &log),
        }
    }
    log("done");
    wait_signal(&[libc::SIGTERM], None);
    term(args, &log)
}

/// It was asked to end.
fn term(args: &Args, log: &dyn Fn(&str)) -> i32 {
    log("term");
    std::thread::sleep(args.millis("term-after").unwrap_or_default());
    args.number("code", 0) as i32
}

/// What follows a step.
enum Next {
    Step,
    Exit(i32),
    Term,
}

/// A pause that a TERM ends.
fn pause(text: &str) -> Next {
    if wait_signal(&[libc::SIGTERM], Some(ms(text))).is_some() { Next::Term } else { Next::Step }
}

/// A child that a TERM ends.
fn child(work: impl FnOnce()) -> i32 {
    sys::fork(|| {
        sys::unblock(&[libc::SIGTERM]);
        work();
        for_ever()
    })
}

fn one(step: &str, held: &mut Vec<Vec<u8>>, log: &dyn Fn(&str)) -> Next {
    let (name, value) = step.split_once(':').unwrap_or((step, ""));
    let parts: Vec<&str> = value.split(':').collect();
    let number = |at: usize| parts[at].parse::<usize>().unwrap_or_else(|_| panic!("{step}"));
    match name {
        "hold" => held.push(hold(number(0))),
        "drop" => held.clear(),
        "grow" => {
            for _ in 0..number(2) / number(0) {
                held.push(hold(number(0)));
                if let Next::Term = pause(parts[1]) {
                    return Next::Term;
                }
            }
        }
        "sleep" => return pause(value),
        "child" => spread(1, number(0), log),
        "grandchild" => {
            child(|| spread(1, number(0), log));
        }
        // in a session of its own, its parent gone
        "escaped" => {
            let middle = sys::fork(|| {
                sys::setsid();
                spread(1, number(0), log);
                0
            });
            sys::wait(middle, 0);
        }
        "spread" => spread(number(0), number(1), log),
        "shared" => {
            let memory = sys::shared(number(1) * MB);
            for _ in 0..number(0) {
                child(|| {
                    sys::touch(memory, number(1) * MB);
                    log("touched");
                });
            }
        }
        "file" => {
            let mut file = std::fs::File::create(parts[0]).unwrap();
            for _ in 0..number(1) {
                std::io::Write::write_all(&mut file, &[1; MB]).unwrap();
            }
        }
        "threads" => {
            for _ in 0..number(0) {
                std::thread::spawn(|| for_ever());
            }
        }
        "burn" => {
            for _ in 0..number(0) {
                child(|| {
                    log(&format!("burner {}", sys::pid()));
                    burn(number(1) as u32)
                });
            }
        }
        "burst" => loop {
            let began = Instant::now();
            while began.elapsed() < ms(parts[0]) {
                std::hint::spin_loop();
            }
            if let Next::Term = pause(parts[1]) {
                return Next::Term;
            }
        },
        "name" => sys::set_name(value),
        "headless" => {
            sys::unblock(&[libc::SIGTERM]);
            std::thread::spawn(|| for_ever());
            log("headless");
            std::mem::forget(std::mem::take(held));
            sys::end_main_thread();
        }
        "note" => log(value),
        "exit" => return Next::Exit(number(0) as i32),
        "abort" => std::process::abort(),
        "segv" => {
            sys::set_action(libc::SIGSEGV, false);
            sys::send(sys::pid(), libc::SIGSEGV);
            for_ever();
        }
        _ => panic!("no step {step:?}"),
    }
    Next::Step
}

fn spread(count: usize, mb: usize, log: &dyn Fn(&str)) {
    for _ in 0..count {
        child(|| {
            std::mem::forget(hold(mb));
            log("child");
        });
    }
}
