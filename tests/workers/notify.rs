//! Steps of `talk` in the dialect of sd_notify(3), and ways to be ready that are no dialect.
//!
//! `n:TEXT` (a datagram; `|` parts its lines, `%P` is the own pid, `%F` that of the last fork), `n-beats:MS:N`, `zero`,
//! `huge`, `n-flood:N`, `n-mains:N` (datagrams of nothing but MAINPID, of the last two that `deep` forked), `n-descriptors:N`, `barrier`, `child:TEXT` and `brief-child:TEXT` (a child sends it and ends), `fork`
//! (a child that lives on), `deep:N` (N of them, each the child of the one before), `hand-over:MS:CODE` (the same, ends after MS with CODE), `fd:TEXT` (on
//! WATCHDOG_READY_FD), `heir-waits:CODE` (a child that ends with CODE at its first TERM, or with 99 if there is a second one),
//! `daemon:MS:CODE` (as `hand-over`, forked twice and in a session of its own), `n-lingering:TEXT` (with a descriptor whose close waits), `recycle` (another child with the pid of the last, which is
//! killed), `say:TEXT` and `err:TEXT` (a line of output), `listen:PORT`, `listen6:PORT`, `child-listen:PORT`.

use crate::sys;
use crate::talk::Talker;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

static FORKED: AtomicI32 = AtomicI32::new(0);
/// The parent of that one, where `deep` forked it.
static PARENT: AtomicI32 = AtomicI32::new(0);

/// The address in NOTIFY_SOCKET.
fn address() -> SocketAddr {
    let name = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes()).unwrap(),
        None => SocketAddr::from_pathname(&name).unwrap(),
    }
}

fn sent(bytes: &[u8]) -> bool {
    UnixDatagram::unbound().unwrap().send_to_addr(bytes, &address()).is_ok()
}

fn send(bytes: &[u8]) {
    // a full queue makes us wait; one that is gone is an error that the test sees by what is missing
    let _ = sent(bytes);
}

/// With a descriptor whose close waits, of which no other process has another one.
fn send_lingering(bytes: &[u8]) {
    let socket = UnixDatagram::unbound().unwrap();
    let which = sys::lingering();
    sys::send_descriptors(sys::raw(&socket), Some(&address()), bytes, which, 1);
    // whoever closes it last waits, and that must not be us: the watchdog is stopped
    sys::close(which);
}

/// With these descriptors.
pub(crate) fn send_all(flags: i32, bytes: &[u8], all: &[i32]) -> bool {
    let socket = UnixDatagram::unbound().unwrap();
    sys::send_all(flags, sys::raw(&socket), Some(&address()), bytes, all)
}

/// `notify-once TEXT [--times N] [--lingering]`: datagrams from whoever runs this; 1 if it may not send them. With the
/// last it stays.
pub(crate) fn once(args: &crate::Args) -> i32 {
    let text = args.word(0).replace('|', "\n");
    if args.has("lingering") {
        send_lingering(text.as_bytes());
        println!("sent");
        live();
    }
    let all = (0..args.number("times", 1)).all(|_| sent(text.as_bytes()));
    i32::from(!all)
}

fn pair(value: &str) -> (u64, u64) {
    let (first, second) = value.split_once(':').unwrap_or((value, "0"));
    (first.parse().unwrap(), second.parse().unwrap())
}

fn listen(port: &str) -> std::net::TcpListener {
    std::net::TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap()
}

fn line(fd: i32, text: &str) {
    sys::write_fd(fd, format!("{text}\n").as_bytes());
}

fn live() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn forked(talker: &Talker<'_>, life: impl FnOnce() -> i32) {
    let pid = sys::fork(life);
    FORKED.store(pid, Ordering::Relaxed);
    talker.log(&format!("forked {pid}"));
}

/// So many more generations; the last but one says who it and its child are.
fn deeper(more: u32, to: i32) {
    let child = sys::fork(|| {
        if more > 1 {
            deeper(more - 1, to);
        }
        live()
    });
    if more == 1 {
        sys::write_fd(to, &[sys::pid().to_le_bytes(), child.to_le_bytes()].concat());
    }
}

pub(crate) fn step(talker: &Talker<'_>, name: &str, value: &str) {
    match name {
        "n" => {
            let text = value.replace('|', "\n").replace("%P", &sys::pid().to_string());
            send(text.replace("%F", &FORKED.load(Ordering::Relaxed).to_string()).as_bytes());
        }
        "n-lingering" => {
            sys::behind_the_back_of_the_parent(|| send_lingering(value.replace('|', "\n").as_bytes()));
        }
        "heir-waits" => {
            // of TERM, which is blocked in whoever waits for it
            let code = value.parse().unwrap();
            forked(talker, || {
                sys::wait_signal(&[libc::SIGTERM], None);
                let second = sys::wait_signal(&[libc::SIGTERM], Some(Duration::from_millis(500)));
                if second.is_some() { 99 } else { code }
            });
        }
        "daemon" => {
            // twice forked, in a session of its own, and so nobody's child but the subreaper's
            let (time, code) = pair(value);
            let (mine, theirs) = sys::pipe();
            let between = sys::fork(|| {
                sys::setsid();
                let pid = sys::fork(|| {
                    std::thread::sleep(Duration::from_millis(time));
                    code as i32
                });
                sys::write_fd(theirs, &pid.to_le_bytes());
                0
            });
            sys::wait(between, 0);
            let mut pid = [0; 4];
            assert_eq!(sys::read_fd(mine, &mut pid), 4);
            FORKED.store(i32::from_le_bytes(pid), Ordering::Relaxed);
            talker.log(&format!("forked {}", i32::from_le_bytes(pid)));
        }
        "recycle" => {
            let before = FORKED.load(Ordering::Relaxed);
            sys::send(before, libc::SIGKILL);
            sys::wait(before, 0);
            loop {
                std::fs::write("/proc/sys/kernel/ns_last_pid", (before - 1).to_string()).unwrap();
                let pid = sys::fork(|| live());
                if pid == before {
                    talker.log(&format!("recycled {pid}"));
                    break;
                }
                sys::send(pid, libc::SIGKILL);
                sys::wait(pid, 0);
            }
        }
        "n-beats" => {
            let (every, count) = pair(value);
            for _ in 0..count {
                send(b"WATCHDOG=1");
                std::thread::sleep(Duration::from_millis(every));
            }
        }
        "zero" => send(b""),
        "huge" => send(&[b"READY=1\nSTATUS=".as_slice(), &[b'h'; 100_000]].concat()),
        "n-flood" => {
            let socket = UnixDatagram::unbound().unwrap();
            for _ in 0..value.parse::<u64>().unwrap() {
                let _ = socket.send_to_addr(b"WATCHDOG=1", &address());
            }
        }
        "n-mains" => {
            let socket = UnixDatagram::unbound().unwrap();
            let last = FORKED.load(Ordering::Relaxed);
            let two = format!("MAINPID={}\nMAINPID={last}\n", PARENT.load(Ordering::Relaxed)).repeat(32);
            // each datagram ends with another one than the datagram before
            let turned = two.split_once('\n').map(|(first, rest)| format!("{rest}{first}\n")).unwrap();
            for n in 0..value.parse::<u64>().unwrap() {
                let text = if n % 2 == 0 { &two } else { &turned };
                let _ = socket.send_to_addr(text.as_bytes(), &address());
            }
        }
        "n-descriptors" => {
            let socket = UnixDatagram::unbound().unwrap();
            for _ in 0..value.parse::<u64>().unwrap() {
                sys::send_descriptors(sys::raw(&socket), Some(&address()), b"FDSTORE=1", 0, 3);
            }
        }
        "barrier" => {
            let (mine, theirs) = sys::pipe();
            let socket = UnixDatagram::unbound().unwrap();
            sys::send_descriptors(sys::raw(&socket), Some(&address()), b"BARRIER=1", theirs, 1);
            sys::close(theirs);
            // the end of the file comes when the other side has closed what it was sent
            let closed =
                sys::wait_readable(mine, Some(Duration::from_secs(10))) && sys::read_fd(mine, &mut [0; 1]) == 0;
            talker.log(if closed { "barrier closed" } else { "barrier open" });
        }
        "child" => {
            let child = sys::fork(|| {
                send(value.replace('|', "\n").as_bytes());
                // so that it can be looked at while it speaks
                std::thread::sleep(Duration::from_millis(300));
                0
            });
            sys::wait(child, 0);
        }
        "brief-child" => {
            let child = sys::fork(|| {
                send(value.replace('|', "\n").as_bytes());
                0
            });
            sys::wait(child, 0);
        }
        "fork" => forked(talker, || live()),
        "deep" => {
            let (mine, theirs) = sys::pipe();
            deeper(value.parse().unwrap(), theirs);
            let mut pids = [0; 8];
            assert_eq!(sys::read_fd(mine, &mut pids), 8);
            let [parent, last] = [0, 4].map(|at| i32::from_le_bytes(pids[at..at + 4].try_into().unwrap()));
            PARENT.store(parent, Ordering::Relaxed);
            FORKED.store(last, Ordering::Relaxed);
            talker.log(&format!("forked {last}"));
        }
        "hand-over" => {
            let (time, code) = pair(value);
            forked(talker, || {
                std::thread::sleep(Duration::from_millis(time));
                code as i32
            });
        }
        "fd" => line(std::env::var("WATCHDOG_READY_FD").unwrap().parse().unwrap(), value),
        "say" => line(1, value),
        "err" => line(2, value),
        "listen" => std::mem::forget(listen(value)),
        "listen6" => std::mem::forget(std::net::TcpListener::bind(("::1", value.parse().unwrap())).unwrap()),
        "child-listen" => {
            sys::fork(|| {
                let _listener = listen(value);
                live()
            });
        }
        other => panic!("no step {other}"),
    }
}
