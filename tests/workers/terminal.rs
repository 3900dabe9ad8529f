//! A terminal's programs: one that reads it, one that handles ^C, and a shell of twenty lines that owns it.

use crate::sys::{self, wait_signal};
use crate::{Args, note};
use std::io::BufRead;
use std::time::Duration;

/// `tty-reader`: says whether it is in the foreground, reads lines, says `got LINE`; `quit` ends it, `crash` ends it badly.
pub(crate) fn reader(_: &Args) -> i32 {
    let foreground = sys::foreground() == Some(sys::families().0);
    println!("foreground={foreground}");
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return 9 };
        println!("got {line}");
        match line.as_str() {
            "quit" => return 0,
            "crash" => return 3,
            _ => {}
        }
    }
    0
}

/// `repl FILE`: notes every INT and goes on; TERM ends it with 0.
pub(crate) fn repl(args: &Args) -> i32 {
    let signals = [libc::SIGINT, libc::SIGTERM];
    sys::block(&signals);
    note(args.word(0), &format!("ready {}", sys::pid()));
    loop {
        let Some(got) = wait_signal(&signals, None) else { continue };
        note(args.word(0), &format!("{} {}", sys::signal_name(got.signal), got.code));
        if got.signal == libc::SIGTERM {
            return 0;
        }
    }
}

/// `mini-shell FILE -- COMMAND`: a session with the terminal on descriptor 0; runs COMMAND as a foreground job and
/// notes `job PID`, `stopped SIG`, `exited CODE`, `killed SIG`. USR1 to it means `fg`. At the end `terminal back`.
pub(crate) fn shell(args: &Args) -> i32 {
    let file = args.word(0);
    sys::setsid();
    sys::take_terminal();
    let own = sys::families().0;
    let signals = [libc::SIGUSR1, libc::SIGCHLD];
    sys::block(&signals);
    // a shell lives through the keys that its jobs die of
    let keys = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    for key in keys {
        sys::set_action(key, true);
    }
    let job = sys::fork(|| {
        sys::setpgid(0, 0);
        sys::set_foreground(sys::pid());
        for key in keys {
            sys::set_action(key, false);
        }
        sys::unblock(&signals);
        crate::inherit::exec(&args.rest)
    });
    sys::setpgid(job, job);
    sys::set_foreground(job);
    note(file, &format!("job {job}"));
    loop {
        let got = wait_signal(&signals, Some(Duration::from_millis(50)));
        if got.is_some_and(|g| g.signal == libc::SIGUSR1) {
            sys::set_foreground(job);
            sys::send(-job, libc::SIGCONT);
        }
        let Some((_, status)) = sys::wait(job, libc::WUNTRACED | libc::WNOHANG) else { continue };
        if libc::WIFSTOPPED(status) {
            sys::set_foreground(own);
            note(file, &format!("stopped {}", sys::signal_name(libc::WSTOPSIG(status))));
            continue;
        }
        if libc::WIFEXITED(status) {
            note(file, &format!("exited {}", libc::WEXITSTATUS(status)));
        } else {
            note(file, &format!("killed {}", sys::signal_name(libc::WTERMSIG(status))));
        }
        let group = sys::foreground();
        note(file, &format!("foreground {}", if group == Some(job) { "job" } else { "other" }));
        sys::set_foreground(own);
        note(file, if sys::foreground() == Some(own) { "terminal back" } else { "terminal lost" });
        return 0;
    }
}
