use super::*;
use nix::fcntl::{FdFlag, OFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, sendmsg};
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

fn flags(fd: &OwnedFd) -> (bool, bool) {
    let status = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).unwrap());
    let own = FdFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFD).unwrap());
    (status.contains(OFlag::O_NONBLOCK), own.contains(FdFlag::FD_CLOEXEC))
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

/// A notify socket with a sender at it.
fn with_sender() -> (OwnedFd, UnixDatagram) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let (socket, _file) = notify_socket(&path, None).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(&path).unwrap();
    (socket, sender)
}

/// A message with these descriptors.
fn send_rights(to: &impl AsRawFd, bytes: &[u8], rights: &[i32]) {
    let message = [IoSlice::new(bytes)];
    sendmsg::<()>(to.as_raw_fd(), &message, &[ControlMessage::ScmRights(rights)], MsgFlags::empty(), None).unwrap();
}

#[test]
fn our_end_never_waits_and_theirs_is_as_usual() {
    let (ours, theirs) = pair().unwrap();
    assert_eq!((flags(&ours), flags(&theirs)), ((false, true), (false, true)));
    assert_eq!(kind(receive(ours.as_fd(), &mut [0; 8])), ErrorKind::WouldBlock);
    assert_eq!(send(theirs.as_fd(), b"hello").unwrap(), 5);
    let mut buffer = [0; 8];
    let got = receive(ours.as_fd(), &mut buffer).unwrap();
    assert_eq!(
        (&buffer[..got.bytes], got.truncated, got.credentials, got.descriptors.len()),
        (&b"hello"[..], false, None, 0)
    );
    drop(theirs);
    assert_eq!(receive(ours.as_fd(), &mut buffer).unwrap().bytes, 0, "the end");
    assert_eq!(kind(send(ours.as_fd(), b"x")), ErrorKind::BrokenPipe);
}

#[test]
fn a_full_stream_takes_nothing_and_nobody_waits() {
    let (ours, _theirs) = pair().unwrap();
    let block = [0; 65_536];
    while send(ours.as_fd(), &block).is_ok() {}
    assert_eq!(kind(send(ours.as_fd(), &block)), ErrorKind::WouldBlock);
}

#[test]
fn the_kernel_names_the_sender_of_a_datagram() {
    let (socket, sender) = with_sender();
    assert_eq!(flags(&socket), (true, true));
    sender.send(b"READY=1").unwrap();
    let mut buffer = [0; 64];
    let got = receive(socket.as_fd(), &mut buffer).unwrap();
    let me = i32::try_from(std::process::id()).unwrap();
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    assert_eq!(got.credentials, Some((me, uid, gid)));
    assert_eq!(&buffer[..got.bytes], b"READY=1");
}

#[test]
fn an_empty_datagram_is_nothing_and_a_long_one_is_truncated() {
    let (socket, sender) = with_sender();
    for message in [&b""[..], &[b'a'; 9], &[b'a'; 8]] {
        sender.send(message).unwrap();
    }
    let mut buffer = [0; 8];
    let mut next = || receive(socket.as_fd(), &mut buffer).map(|got| (got.bytes, got.truncated));
    assert_eq!((next().unwrap(), next().unwrap(), next().unwrap()), ((0, false), (8, true), (8, false)));
    assert_eq!(kind(next()), ErrorKind::WouldBlock);
}

#[test]
fn every_descriptor_that_comes_along_is_ours_to_close() {
    let (ours, theirs) = pair().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    // As many as one message can carry.
    let rights = vec![writer.as_raw_fd(); 253];
    sendmsg::<()>(
        theirs.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&rights)],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    drop(writer);
    let got = receive(ours.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!((got.bytes, got.descriptors.len()), (1, 253));
    assert!(got.descriptors.iter().all(|fd| flags(fd).1), "close-on-exec");
    drop(got);
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "the last writer is gone");
}

#[test]
fn a_path_is_private_and_only_a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let (first, value) = notify_socket(&path, None).unwrap();
    assert_eq!(value.path(), path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kind(notify_socket(&path, None)), ErrorKind::AddrInUse);
    drop(first);
    // As if it had been killed: the file is still there.
    std::mem::forget(value);
    let (second, _file) = notify_socket(&path, None).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"READY=1", &path).unwrap();
    assert_eq!(receive(second.as_fd(), &mut [0; 64]).unwrap().bytes, 7);
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_eq!(kind(notify_socket(&file, None)), ErrorKind::AlreadyExists);
    let long = dir.path().join("x".repeat(120));
    assert_eq!(kind(notify_socket(&long, None)), ErrorKind::InvalidFilename);
}

#[test]
fn a_path_is_given_to_the_worker_only_where_nobody_can_exchange_it() {
    let dir = tempfile::tempdir().unwrap();
    let me = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let owner = if me.0 == 0 { (12_345, 12_346) } else { me };
    let path = dir.path().join("notify");
    let _socket = notify_socket(&path, Some(owner)).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (owner.0, owner.1, 0o600));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(kind(notify_socket(&dir.path().join("other"), Some(owner))), ErrorKind::PermissionDenied);
}

#[test]
fn only_memory_is_read_at_an_offset() {
    let memory = memfd_create(c"test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let mut file = fs::File::from(memory);
    file.write_all(b"0123456789").unwrap();
    let mut buffer = [0; 4];
    read_at(file.as_fd(), &mut buffer, 6).unwrap();
    assert_eq!(&buffer, b"6789");
    assert_eq!(kind(read_at(file.as_fd(), &mut buffer, 7)), ErrorKind::UnexpectedEof);
    let (pipe, _writer) = std::io::pipe().unwrap();
    let (socket, _other) = pair().unwrap();
    let device = fs::File::open("/dev/zero").unwrap();
    let hidden = fs::File::open("/proc/self/stat").unwrap();
    for other in [pipe.as_fd(), socket.as_fd(), device.as_fd(), hidden.as_fd()] {
        assert_eq!(kind(read_at(other, &mut buffer, 0)), ErrorKind::InvalidInput);
    }
}

#[test]
fn what_is_left_in_a_socket_is_seen_without_taking_it() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (socket, sender) = with_sender();
    // An empty datagram has no bytes, and a descriptor all the same.
    send_rights(&sender, b"", &[writer.as_raw_fd()]);
    assert!(!is_empty_for_good(socket.as_fd(), false) && !is_empty_for_good(socket.as_fd(), false));
    assert_eq!(receive(socket.as_fd(), &mut [0; 8]).unwrap().descriptors.len(), 1);
    assert!(is_empty_for_good(socket.as_fd(), false));
    assert_eq!(sender.send(b"more").map_err(|e| e.kind()), Err(ErrorKind::BrokenPipe), "nothing comes after that");
    let (ours, theirs) = pair().unwrap();
    assert!(is_empty_for_good(ours.as_fd(), true));
    assert_eq!(kind(send(theirs.as_fd(), b"more")), ErrorKind::BrokenPipe);
    let (ours, theirs) = pair().unwrap();
    send_rights(&theirs, b"x", &[writer.as_raw_fd()]);
    assert!(!is_empty_for_good(ours.as_fd(), true));
    drop((reader, theirs));
}

/// H1. Failed before: the look saw nothing, and the read passed over it and had the kernel close what came along.
#[test]
fn what_comes_out_of_band_is_seen_and_read_with_its_descriptors() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (ours, theirs) = pair().unwrap();
    let rights = [writer.as_raw_fd()];
    for byte in [b"a", b"b", b"c"] {
        let with = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(byte)], &with, MsgFlags::MSG_OOB, None).unwrap();
    }
    nothing_out_of_band(ours.as_fd()).unwrap();
    for byte in [b"a", b"b"] {
        let mut buffer = [0; 8];
        let got = receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..got.bytes], got.descriptors.len()), (&byte[..], 1));
    }
    assert!(!is_empty_for_good(ours.as_fd(), true));
    assert_eq!(receive(ours.as_fd(), &mut [0; 8]).unwrap().descriptors.len(), 1);
    assert!(is_empty_for_good(ours.as_fd(), true));
    drop((reader, theirs));
}

/// H1: where there is no room for descriptors, what brings some stays where it is, and what brings none is heard.
#[test]
fn what_brings_descriptors_can_be_left_where_it_is() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (socket, sender) = with_sender();
    let (ours, theirs) = pair().unwrap();
    nothing_out_of_band(ours.as_fd()).unwrap();
    sender.send(b"bare").unwrap();
    send(theirs.as_fd(), b"bare").unwrap();
    for (fd, to, stream) in [(&socket, sender.as_raw_fd(), false), (&ours, theirs.as_raw_fd(), true)] {
        let mut buffer = [0; 8];
        let got = receive_bare(fd.as_fd(), &mut buffer, stream).unwrap().expect("no descriptors");
        assert_eq!((&buffer[..got.bytes], got.credentials.is_some()), (&b"bare"[..], !stream));
        for count in [1, 4, 5] {
            send_rights(&to, b"x", &vec![writer.as_raw_fd(); count]);
            assert!(receive_bare(fd.as_fd(), &mut buffer, stream).unwrap().is_none());
            assert_eq!(receive(fd.as_fd(), &mut buffer).unwrap().descriptors.len(), count);
        }
        assert_eq!(kind(receive_bare(fd.as_fd(), &mut buffer, stream)), ErrorKind::WouldBlock);
    }
    drop(theirs);
    assert_eq!(receive_bare(ours.as_fd(), &mut [0; 8], true).unwrap().unwrap().bytes, 0, "the end");
    drop(reader);
}

/// H1: the server of a probe may be another user's. Failed before: closing the connection closed what it had sent.
#[test]
fn a_server_that_is_dialled_sends_no_descriptors_or_is_closed_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server");
    let listener = UnixListener::bind(&path).unwrap();
    for flags in [MsgFlags::empty(), MsgFlags::MSG_OOB] {
        let connection = dial(&path).unwrap();
        let refuses = fds::refuse_descriptors(connection.as_fd());
        let (taken, _) = listener.accept().unwrap();
        let rights = [taken.as_raw_fd()];
        let with = [ControlMessage::ScmRights(&rights)];
        let sent = sendmsg::<()>(taken.as_raw_fd(), &[IoSlice::new(b"x")], &with, flags, None);
        assert!(!refuses || sent == Err(Errno::EPERM), "{sent:?}");
        assert_eq!(is_empty_for_good(connection.as_fd(), true), refuses);
    }
    let connection = dial(&path).unwrap();
    listener.accept().unwrap().0.write_all(b"x").unwrap();
    assert!(!is_empty_for_good(connection.as_fd(), true), "what is left may hold descriptors");
}

#[test]
fn a_socket_that_refuses_descriptors_hands_that_on_to_its_connections() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    if !fds::refuse_descriptors(listener.as_fd()) {
        return; // before Linux 6.16
    }
    let client = UnixStream::connect(&path).unwrap();
    let (mut taken, _) = listener.accept().unwrap();
    let rights = [client.as_raw_fd()];
    let message = [IoSlice::new(b"x")];
    let with = [ControlMessage::ScmRights(&rights)];
    let sent = sendmsg::<()>(client.as_raw_fd(), &message, &with, MsgFlags::empty(), None);
    assert_eq!(sent, Err(Errno::EPERM));
    (&client).write_all(b"y").unwrap();
    let mut byte = [0];
    taken.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
}

/// Run by the test below in a process of its own, which may open few descriptors.
#[test]
#[ignore = "run by `descriptors_for_which_there_was_no_room_do_not_leave_the_others_open`"]
fn alone() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (ours, theirs) = pair().unwrap();
    let open = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = open();
    let rights = [theirs.as_raw_fd(); 10];
    let bytes = [IoSlice::new(b"x")];
    sendmsg::<()>(theirs.as_raw_fd(), &bytes, &[ControlMessage::ScmRights(&rights)], MsgFlags::empty(), None).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // `open` counts the descriptor that it reads from as well.
    setrlimit(Resource::RLIMIT_NOFILE, before as u64 - 1 + 4, hard).unwrap();
    let got = receive(ours.as_fd(), &mut [0; 8]).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!((1..10).contains(&got.descriptors.len()), "{got:?}");
    drop(got);
    assert_eq!(open(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a child of the tests, reaped here")]
fn descriptors_for_which_there_was_no_room_do_not_leave_the_others_open() {
    let tests = std::env::current_exe().unwrap();
    let name = "sys::channel::tests::alone";
    let done = std::process::Command::new(tests).args(["--exact", name, "--ignored", "--test-threads=1"]).output();
    let done = done.unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}
