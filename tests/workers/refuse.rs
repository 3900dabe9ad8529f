//! Runs a program for which the kernel refuses certain calls: `worker refuse --calls LIST -- COMMAND`.
//!
//! LIST has entries with commas between them, each `CALL`, `CALL.FLAG` (only with that flag set) or either with `=ERRNO`
//! behind it: `close_range.cloexec=EINVAL` is a kernel before 5.11, `pidfd_open=EPERM` a container's filter. Without an errno
//! it is ENOSYS. The filter passes on to all that the program starts.

use crate::{Args, inherit};

/// From where in `struct seccomp_data` the number of the call and the architecture are read.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// And the low half of its arguments.
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xC000_00B7;

/// Number of a call, and argument and bits for one with a flag.
fn call(name: &str) -> (libc::c_long, Option<(u32, u32)>) {
    match name {
        "close_range" => (libc::SYS_close_range, None),
        "close_range.cloexec" => (libc::SYS_close_range, Some((2, libc::CLOSE_RANGE_CLOEXEC))),
        "close_range.unshare" => (libc::SYS_close_range, Some((2, libc::CLOSE_RANGE_UNSHARE))),
        "clone.pidfd" => (libc::SYS_clone, Some((0, libc::CLONE_PIDFD as u32))),
        "clone.vm" => (libc::SYS_clone, Some((0, libc::CLONE_VM as u32))),
        "pidfd_open" => (libc::SYS_pidfd_open, None),
        "pidfd_send_signal" => (libc::SYS_pidfd_send_signal, None),
        "pidfd_getfd" => (libc::SYS_pidfd_getfd, None),
        "openat2" => (libc::SYS_openat2, None),
        "statx" => (libc::SYS_statx, None),
        "keyctl" => (libc::SYS_keyctl, None),
        "clone3" => (libc::SYS_clone3, None),
        "unshare" => (libc::SYS_unshare, None),
        "prctl" => (libc::SYS_prctl, None),
        "setsid" => (libc::SYS_setsid, None),
        "capset" => (libc::SYS_capset, None),
        other => panic!("no call {other:?} here: add it"),
    }
}

fn errno(name: &str) -> i32 {
    match name {
        "ENOSYS" => libc::ENOSYS,
        "EPERM" => libc::EPERM,
        "EINVAL" => libc::EINVAL,
        "EACCES" => libc::EACCES,
        "EAGAIN" => libc::EAGAIN,
        other => panic!("no errno {other:?} here: add it"),
    }
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Goes over the next `skip` statements unless the condition is met.
fn unless(code: u32, k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | code | libc::BPF_K) as u16, jt: 0, jf: skip, k }
}

fn filter(calls: &str) -> Vec<libc::sock_filter> {
    let load = |at| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at);
    let answer = |with| statement(libc::BPF_RET | libc::BPF_K, with);
    let mut program = vec![load(ARCHITECTURE), unless(libc::BPF_JEQ, OURS, 1), load(NUMBER)];
    // Another architecture's numbers mean something else: nothing is refused there.
    program.insert(2, libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JA) as u16, jt: 0, jf: 0, k: 1 });
    program.insert(3, answer(libc::SECCOMP_RET_ALLOW));
    for entry in calls.split(',') {
        let (name, why) = entry.split_once('=').unwrap_or((entry, "ENOSYS"));
        let refused = answer(libc::SECCOMP_RET_ERRNO | errno(why) as u32);
        let (number, flag) = call(name);
        match flag {
            None => program.extend([unless(libc::BPF_JEQ, number as u32, 1), refused]),
            Some((argument, bits)) => program.extend([
                unless(libc::BPF_JEQ, number as u32, 4),
                load(ARGUMENTS + 8 * argument),
                unless(libc::BPF_JSET, bits, 1),
                refused,
                load(NUMBER),
            ]),
        }
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// `refuse --calls LIST -- COMMAND`
pub(crate) fn refuse(args: &Args) -> i32 {
    let mut program = filter(args.text("calls").unwrap());
    let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: plain numbers, and a program that lives through the call.
    unsafe {
        if libc::geteuid() != 0 {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        }
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const fprog);
        assert_eq!(set, 0, "seccomp: {}", std::io::Error::last_os_error());
    }
    inherit::raw_exec_as_given(&args.rest)
}
