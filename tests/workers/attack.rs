//! What a process of the service's user, and a file system that does not answer, can do to a start.

use crate::{Args, inherit, note, sys};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

/// `freeze UID FILE`: as this user, stops every process of it over and over; FILE says that it has begun.
pub(crate) fn freeze(args: &Args) -> i32 {
    let uid = args.word(0).parse().unwrap();
    note(args.word(1), "freezing");
    sys::become_user(uid, uid);
    loop {
        sys::send(-1, libc::SIGSTOP);
    }
}

/// `hung-dir DIR -- COMMAND`: runs the command where DIR is a file system that never answers. 77 where none can be made.
pub(crate) fn hung_dir(args: &Args) -> i32 {
    let Ok(mut fuse) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else { return 77 };
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
    let text = |t: &str| CString::new(t).unwrap();
    let (source, target, kind, options) = (text("hung"), text(args.word(0)), text("fuse"), text(&options));
    // SAFETY: C strings that outlive the calls; the mount namespace is our own before anything is mounted.
    let mounted = unsafe {
        let none = std::ptr::null();
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
            && libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) == 0
    };
    if !mounted {
        return 77;
    }
    let (read, write) = sys::pipe();
    sys::fork(|| {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        greet(&mut fuse);
        sys::write_fd(write, b"x");
        sys::close(read);
        sys::close(write);
        // It holds the file system open until the run is over, and is killed with it: without the mark of the run, because
        // that may be a moment after its end.
        // SAFETY: numbers, and null-terminated arrays of C strings.
        unsafe {
            libc::fcntl(fuse.as_raw_fd(), libc::F_SETFD, 0);
            let words = [c"sleep".as_ptr(), c"1000".as_ptr(), std::ptr::null()];
            libc::execve(c"/bin/sleep".as_ptr(), words.as_ptr(), [std::ptr::null()].as_ptr());
        }
        1
    });
    sys::close(write);
    let mut one = [0];
    sys::read_fd(read, &mut one);
    sys::close(read);
    drop(fuse);
    inherit::raw_exec_as_given(&args.rest)
}

/// FUSE_INIT and its answer; nothing after it is ever read.
fn greet(fuse: &mut File) {
    let mut request = [0u8; 1 << 16];
    let got = fuse.read(&mut request).unwrap();
    assert!(got >= 40, "a request of {got} bytes");
    let mut answer = Vec::new();
    answer.extend_from_slice(&80u32.to_ne_bytes());
    answer.extend_from_slice(&0i32.to_ne_bytes());
    answer.extend_from_slice(&request[8..16]);
    for word in [7u32, 31, 0, 0, 0x0010_0010, 65536, 1, 0] {
        answer.extend_from_slice(&word.to_ne_bytes());
    }
    answer.resize(80, 0);
    fuse.write_all(&answer).unwrap();
}
