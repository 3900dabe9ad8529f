//! What a process was given: shown as JSON, or arranged for a program that is run next.

use crate::{Args, early, sys};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// Prints everything as one JSON object; names and values that may be any bytes are hex.
pub(crate) fn print() {
    let fds = list(early::open_fds().into_iter().map(|fd| {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        let target = target.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
        let (flags, cloexec) = sys::fd_flags(fd);
        let nonblock = flags & libc::O_NONBLOCK != 0;
        format!("{{\"fd\":{fd},\"target\":{target:?},\"nonblock\":{nonblock},\"cloexec\":{cloexec}}}")
    }));
    let limits = list((0..16).map(|r| {
        let (soft, hard) = sys::rlimit(r);
        format!("[{soft},{hard}]")
    }));
    let environment =
        list(std::env::vars_os().map(|(k, v)| format!("\"{}\"", hex(&[k.as_bytes(), b"=", v.as_bytes()].concat()))));
    let argv = list(std::env::args_os().map(|a| format!("\"{}\"", hex(a.as_bytes()))));
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_string();
    let mask = sys::umask(0);
    let (group, session) = sys::families();
    let cwd = std::env::current_dir().map(|d| d.to_string_lossy().into_owned()).unwrap_or_default();
    let mut members = vec![
        format!("\"fds\":{fds}"),
        format!("\"rlimits\":{limits}"),
        format!("\"env\":{environment}"),
        format!("\"argv\":{argv}"),
        format!("\"umask\":{mask}"),
        format!("\"nice\":{}", sys::nice()),
        format!("\"oom_score_adj\":{}", read("/proc/self/oom_score_adj")),
        format!("\"ids\":{:?}", sys::ids()),
        format!("\"groups\":{:?}", sys::groups()),
        format!("\"cwd\":{cwd:?}"),
        format!("\"pid\":{},\"pgid\":{group},\"sid\":{session}", sys::pid()),
        format!("\"foreground\":{}", sys::foreground() == Some(group)),
        format!("\"alarm\":{}", sys::alarm_seconds()),
        format!("\"keyring\":{}", sys::session_keyring()),
        format!("\"cgroup\":{:?}", read("/proc/self/cgroup")),
    ];
    for key in
        ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Cpus_allowed", "NoNewPrivs", "Threads", "CapInh", "CapAmb"]
    {
        members.push(format!("\"{key}\":\"{}\"", early::status(key)));
    }
    println!("{{{}}}", members.join(","));
}

/// Becomes `command`; returns the shell's code when it can not.
pub(crate) fn exec(command: &[String]) -> i32 {
    let error = std::process::Command::new(&command[0]).args(&command[1..]).exec();
    eprintln!("worker: exec {}: {error}", command[0]);
    127
}

fn words(args: &Args, key: &str) -> Vec<String> {
    args.text(key).map(|t| t.split(',').map(str::to_string).collect()).unwrap_or_default()
}

/// `arrange [--block S,S] [--ignore S,S] [--close N,N] [--open N=PATH,..] [--umask OCTAL] [--nice N]
/// [--rlimit R=SOFT:HARD,..] [--oom N] [--cwd DIR] [--uid N] [--setsid] [--keyring] -- COMMAND`
pub(crate) fn arrange(args: &Args) -> i32 {
    let signals: Vec<i32> = words(args, "block").iter().map(|s| sys::signal_number(s)).collect();
    sys::block(&signals);
    for name in words(args, "ignore") {
        sys::set_action(sys::signal_number(&name), true);
    }
    if let Some(mask) = args.text("umask") {
        sys::umask(u32::from_str_radix(mask, 8).unwrap());
    }
    if args.has("nice") {
        sys::set_nice(args.number("nice", 0) as i32);
    }
    if let Some(oom) = args.text("oom") {
        std::fs::write("/proc/self/oom_score_adj", oom).unwrap();
    }
    if let Some(dir) = args.text("cwd") {
        std::env::set_current_dir(dir).unwrap();
    }
    for limit in words(args, "rlimit") {
        let (resource, values) = limit.split_once('=').unwrap();
        let (soft, hard) = values.split_once(':').unwrap();
        sys::set_rlimit(resource.parse().unwrap(), soft.parse().unwrap(), hard.parse().unwrap());
    }
    for open in words(args, "open") {
        let (fd, path) = open.split_once('=').unwrap();
        sys::open_as(path, fd.parse().unwrap());
    }
    if args.has("keyring") {
        sys::join_keyring();
    }
    if args.has("setsid") {
        sys::setsid();
    }
    if args.has("uid") {
        let id = args.number("uid", 0) as u32;
        sys::become_user(id, id);
    }
    // the runtime ignored SIGPIPE in us; Command would reset it to default, which is what the caller had
    let pipe = early::was_ignored(libc::SIGPIPE) || words(args, "ignore").iter().any(|s| s == "PIPE");
    for fd in words(args, "close") {
        sys::close(fd.parse().unwrap());
    }
    raw_exec(&args.rest, pipe)
}

/// Becomes `command` with all that was given to us, an ignored SIGPIPE among it.
pub(crate) fn raw_exec_as_given(command: &[String]) -> i32 {
    raw_exec(command, early::was_ignored(libc::SIGPIPE))
}

/// execvp without the care of `Command` (which empties the blocked mask and resets SIGPIPE).
fn raw_exec(command: &[String], ignore_pipe: bool) -> i32 {
    sys::set_action(libc::SIGPIPE, ignore_pipe);
    let words: Vec<std::ffi::CString> = command.iter().map(|w| std::ffi::CString::new(w.as_bytes()).unwrap()).collect();
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|w| w.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: a null-terminated array of C strings that outlive the call.
    unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
    127
}
