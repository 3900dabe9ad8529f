//! Short and long lives: exit, die, ignore, count signals, crash n times, stop slowly.

use crate::sys::{self, mono_ns, signal_name, signal_number, wait_signal};
use crate::{Args, note};
use std::time::Duration;

fn pause(time: Option<Duration>) {
    if let Some(t) = time {
        std::thread::sleep(t);
    }
}

fn announce(args: &Args) {
    if let Some(file) = args.text("pid-file") {
        note(file, &format!("{} {}", sys::pid(), sys::start_time(sys::pid())));
    }
}

/// `exit CODE [--after MS] [--say TEXT] [--say-err TEXT] [--touch FILE]`
pub(crate) fn exit(args: &Args) -> i32 {
    announce(args);
    if let Some(file) = args.text("touch") {
        note(file, "here");
    }
    if let Some(text) = args.text("say") {
        sys::write_fd(1, text.as_bytes());
    }
    if let Some(text) = args.text("say-err") {
        sys::write_fd(2, text.as_bytes());
    }
    pause(args.millis("after"));
    args.word(0).parse().unwrap()
}

/// `die SIGNAL [--core] [--after MS]`: ends by the signal's default action.
pub(crate) fn die(args: &Args) -> i32 {
    announce(args);
    pause(args.millis("after"));
    let signal = signal_number(args.word(0));
    let hard = sys::rlimit(libc::RLIMIT_CORE).1;
    sys::set_rlimit(libc::RLIMIT_CORE, if args.has("core") { hard } else { 0 }, hard);
    if signal != libc::SIGKILL {
        sys::set_action(signal, false);
    }
    sys::send(sys::pid(), signal);
    std::thread::sleep(Duration::from_secs(5));
    99
}

/// `sleep [--pid-file FILE]`: lives until a signal ends it.
pub(crate) fn sleep(args: &Args) -> i32 {
    announce(args);
    if let Some(text) = args.text("say") {
        sys::write_fd(1, text.as_bytes());
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// `ignore-term [--children N] [--count FILE] [--pid-file FILE]`: one line in FILE per TERM, and goes on.
pub(crate) fn ignore_term(args: &Args) -> i32 {
    sys::block(&[libc::SIGTERM]);
    for _ in 0..args.number("children", 0) {
        sys::fork(|| {
            announce(args);
            loop {
                wait_signal(&[libc::SIGTERM], None);
            }
        });
    }
    announce(args);
    loop {
        if wait_signal(&[libc::SIGTERM], None).is_some()
            && let Some(file) = args.text("count")
        {
            note(file, &format!("TERM {}", mono_ns()));
        }
    }
}

/// `signal-log FILE [--exit-on NAME] [--code N] [--slow MS]`: `NAME si_code sender ns`, one line per signal; the
/// first line is `READY 0 pid ns`.
pub(crate) fn signal_log(args: &Args) -> i32 {
    let file = args.word(0);
    let signals = sys::all_signals();
    sys::block(&signals);
    note(file, &format!("READY 0 {} {}", sys::pid(), mono_ns()));
    let exit_on = args.text("exit-on").map(signal_number);
    loop {
        let Some(got) = wait_signal(&signals, None) else { continue };
        note(file, &format!("{} {} {} {}", signal_name(got.signal), got.code, got.sender, mono_ns()));
        if Some(got.signal) == exit_on {
            pause(args.millis("slow"));
            return args.number("code", 0) as i32;
        }
    }
}

/// `flaky FILE N [--code C] [--signal S] [--up MS] [--slow-end MS] [--then-exit C]`: crashes N times (counted in
/// FILE.count), then stays until TERM. `start pid ns` and `end pid ns` lines in FILE.
pub(crate) fn flaky(args: &Args) -> i32 {
    let file = args.word(0);
    let crashes: u64 = args.word(1).parse().unwrap();
    sys::block(&[libc::SIGTERM]);
    note(file, &format!("start {} {}", sys::pid(), mono_ns()));
    let counter = format!("{file}.count");
    let done: u64 = std::fs::read_to_string(&counter).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    std::fs::write(&counter, (done + 1).to_string()).unwrap();
    let end = || note(file, &format!("end {} {}", sys::pid(), mono_ns()));
    let crash = done < crashes;
    let patience = if crash { Some(args.millis("up").unwrap_or_default()) } else { None };
    if !crash && args.has("then-exit") {
        end();
        return args.number("then-exit", 0) as i32;
    }
    if wait_signal(&[libc::SIGTERM], patience).is_some() {
        pause(args.millis("slow-end"));
        end();
        return args.number("stop-code", 0) as i32;
    }
    end();
    if let Some(signal) = args.text("signal") {
        sys::set_rlimit(libc::RLIMIT_CORE, 0, sys::rlimit(libc::RLIMIT_CORE).1);
        sys::unblock(&[libc::SIGTERM]);
        sys::send(sys::pid(), signal_number(signal));
        std::thread::sleep(Duration::from_secs(5));
    }
    args.number("code", 1) as i32
}

/// `graceful FILE [--after MS] [--code C] [--on SIG]`: on TERM works for MS, then writes FILE and exits.
pub(crate) fn graceful(args: &Args) -> i32 {
    let signal = args.text("on").map_or(libc::SIGTERM, signal_number);
    sys::block(&[signal]);
    announce(args);
    wait_signal(&[signal], None);
    pause(args.millis("after"));
    note(args.word(0), "finished");
    args.number("code", 0) as i32
}

/// `stop-self FILE`: stops itself once by SIGSTOP; writes `awake` when it was continued, `term` at TERM.
pub(crate) fn stop_self(args: &Args) -> i32 {
    sys::block(&[libc::SIGTERM]);
    note(args.word(0), &format!("start {}", sys::pid()));
    sys::send(sys::pid(), libc::SIGSTOP);
    note(args.word(0), "awake");
    wait_signal(&[libc::SIGTERM], None);
    note(args.word(0), "term");
    0
}

/// `zombie-leader MS CODE`: the main thread ends, another one exits later.
pub(crate) fn zombie_leader(args: &Args) -> i32 {
    announce(args);
    let after = Duration::from_millis(args.word(0).parse().unwrap());
    let code = args.word(1).parse().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(after);
        std::process::exit(code);
    });
    sys::end_main_thread()
}
