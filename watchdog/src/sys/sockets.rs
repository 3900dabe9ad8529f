//! Descriptors of another process, and the sockets among them at which it waits for connections.

use super::proc::shown;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Descriptors that are shown.
const SHOWN: usize = 256;
/// Bytes of what a descriptor leads to that are shown.
const SHOWN_TEXT: usize = 256;
/// Descriptors of a process that are looked at.
const MAX_LOOKED: usize = 65_536;
/// Processes that are asked in one go.
const MAX_PIDS: usize = 1024;
/// Bytes read of a list of sockets. Those that listen come first.
const LIST_MAX: u64 = 1024 * 1024;
/// Listening sockets of a process that are shown.
const MAX_QUEUES: usize = 64;
/// The state of a socket that listens, as /proc/net/tcp has it.
const LISTEN: &str = "0A";
/// And of one of UDP that is bound and has no peer.
const UNCONNECTED: &str = "07";

/// A socket at which a process waits for connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcceptQueue {
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections that nobody has accepted yet.
    pub waiting: u32,
    /// Most of them that may wait. /proc does not say.
    pub limit: Option<u32>,
}

/// One line of /proc/net/tcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    waiting: u32,
    inode: u64,
}

/// The first of its open descriptors and what they lead to, and how many there are in all.
#[must_use]
pub(crate) fn descriptors(pid: i32) -> (Vec<(i32, String)>, usize) {
    let dir = format!("/proc/{pid}/fd");
    let mut numbers = numbers(Path::new(&dir));
    let counted = numbers.len();
    numbers.sort_unstable();
    numbers.truncate(SHOWN);
    let shown = numbers
        .into_iter()
        .filter_map(|n| Some((n, shown(&fs::read_link(format!("{dir}/{n}")).ok()?.to_string_lossy(), SHOWN_TEXT))))
        .collect();
    // Since Linux 6.2 the directory's size is their number.
    let told = fs::metadata(&dir).ok().and_then(|meta| usize::try_from(meta.size()).ok()).unwrap_or(0);
    (shown, counted.max(told))
}

fn numbers(dir: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().take(MAX_LOOKED).filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Where a process waits for TCP connections, and how many it leaves waiting. A process that does not come round to
/// accepting shows here.
#[must_use]
pub(crate) fn accept_queues(pid: i32) -> Vec<AcceptQueue> {
    let mut listening: BTreeMap<u64, Listening> = listening(pid).into_iter().map(|l| (l.inode, l)).collect();
    let mut queues = Vec::new();
    for inode in inodes(pid) {
        // Removed, because several descriptors may be one socket.
        let Some(found) = listening.remove(&inode) else { continue };
        queues.push(AcceptQueue { address: found.address, waiting: found.waiting, limit: None });
        if queues.len() == MAX_QUEUES || listening.is_empty() {
            break;
        }
    }
    queues
}

/// Whether one of these processes holds a TCP socket that listens on this port. Nothing connects to it.
#[must_use]
pub(crate) fn listens_on(pids: &[i32], port: u16) -> bool {
    holds_port(pids, port, false)
}

/// The same, or for UDP a socket that is bound to it and to no peer.
#[must_use]
pub(crate) fn holds_port(pids: &[i32], port: u16, udp: bool) -> bool {
    // Nearly always they are all in one network namespace, and its list is read once.
    let mut known: Vec<(Option<std::path::PathBuf>, Vec<u64>)> = Vec::new();
    pids.iter().take(MAX_PIDS).any(|pid| {
        let network = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let at = known.iter().position(|(other, _)| network.is_some() && *other == network).unwrap_or_else(|| {
            known.push((network, on_port(&pid.to_string(), port, udp)));
            known.len() - 1
        });
        let Some((_, wanted)) = known.get(at) else { return false };
        !wanted.is_empty() && inodes(*pid).any(|inode| wanted.contains(&inode))
    })
}

/// Whether anybody in our own network namespace does.
#[must_use]
pub(crate) fn anybody_holds_port(port: u16, udp: bool) -> bool {
    !on_port("self", port, udp).is_empty()
}

/// Ports among these that somebody in our own network namespace holds, and by which sockets.
#[must_use]
pub(crate) fn holding(ports: &[u16], udp: bool) -> Vec<(u16, u64)> {
    let held = bound("self", udp).map(|l| (l.address.port(), l.inode));
    held.filter(|(port, _)| ports.contains(port)).collect()
}

/// Inodes of the sockets that hold this port, where this process lives.
fn on_port(process: &str, port: u16, udp: bool) -> Vec<u64> {
    bound(process, udp).filter(|l| l.address.port() == port).map(|l| l.inode).collect()
}

/// Sockets that hold a port, where this process lives: those that listen, or for UDP have no peer.
fn bound(process: &str, udp: bool) -> impl Iterator<Item = Listening> {
    let (names, state) = if udp { (["udp", "udp6"], UNCONNECTED) } else { (["tcp", "tcp6"], LISTEN) };
    let lists: Vec<File> =
        names.into_iter().filter_map(|name| File::open(format!("/proc/{process}/net/{name}")).ok()).collect();
    lists.into_iter().flat_map(move |file| {
        let lines = BufReader::new(file.take(LIST_MAX)).lines().map_while(Result::ok).skip(1);
        // Of TCP those that listen come first, and of the others there can be a million.
        lines.map(move |line| in_state(&line, state)).take_while(move |l| udp || l.is_some()).flatten()
    })
}

/// Inodes of the sockets that it has open.
pub(crate) fn inodes(pid: i32) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().take(MAX_LOOKED);
    entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// All that listen in its network namespace.
fn listening(pid: i32) -> Vec<Listening> {
    let lists = ["tcp", "tcp6"].into_iter().filter_map(|name| File::open(format!("/proc/{pid}/net/{name}")).ok());
    lists.flat_map(|file| parse(BufReader::new(file.take(LIST_MAX)))).collect()
}

/// Up to the first that does not listen: the kernel shows connections after all of them, and there can be a million.
fn parse(list: impl BufRead) -> Vec<Listening> {
    list.lines().skip(1).map_while(|line| parse_line(&line.ok()?)).collect()
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
fn parse_line(line: &str) -> Option<Listening> {
    in_state(line, LISTEN)
}

fn in_state(line: &str, state: &str) -> Option<Listening> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != state {
        return None;
    }
    let (_, waiting) = fields.next()?.split_once(':')?;
    let address = SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?);
    let waiting = u32::from_str_radix(waiting, 16).ok()?;
    Some(Listening { address, waiting, inode: fields.nth(4)?.parse().ok()? })
}

/// Words of 32 bits, each shown as a number of this machine although it holds bytes in the order of the network.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream};

    fn me() -> i32 {
        i32::try_from(std::process::id()).expect("a pid")
    }

    #[test]
    fn connections_that_nobody_accepts_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let again = listener.try_clone().unwrap();
        assert!(listens_on(&[me()], address.port()));
        let _waiting: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let queues = accept_queues(me());
        let ours: Vec<_> = queues.iter().filter(|q| q.address == address).collect();
        assert_eq!(ours, [&AcceptQueue { address, waiting: 3, limit: None }]);
        drop((listener, again));
    }

    #[test]
    fn a_port_on_which_somebody_else_listens_is_not_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let parent = i32::try_from(std::os::unix::process::parent_id()).expect("a pid");
        assert!(!listens_on(&[parent], port), "it sees the socket, and does not hold it");
        assert!(!listens_on(&[i32::MAX], port), "nobody has this number");
        assert!(!listens_on(&[], port));
        drop(listener);
    }

    #[test]
    fn descriptors_are_shown_with_what_they_lead_to() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let (shown, total) = descriptors(me());
        let number = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let own = shown.iter().find(|(n, _)| *n == number);
        assert!(own.is_none_or(|(_, target)| target.starts_with("pipe:[")), "{own:?}");
        assert!(total >= 4 && shown.len() <= SHOWN);
        assert_eq!(descriptors(i32::MAX), (vec![], 0));
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        if cfg!(target_endian = "big") {
            return;
        }
        assert_eq!(parse_address("0100007F"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(parse_address("00000000000000000000000001000000"), Some("::1".parse().unwrap()));
        assert_eq!(parse_address("0000000000000000FFFF00000100007F"), Some("::ffff:127.0.0.1".parse().unwrap()));
        assert_eq!(parse_address("0100007"), None);
    }

    #[test]
    fn connections_after_the_listening_sockets_are_not_read() {
        let line = |state: &str, inode: u32| {
            format!(
                "   0: 0100007F:1F90 00000000:0000 {state} 00000000:00000005 00:00000000 00000000 0 0 {inode} 1 x\n"
            )
        };
        let list = ["head\n".to_owned(), line("0A", 7), line("01", 8), line("0A", 9)].concat();
        let found = parse(list.as_bytes());
        assert_eq!((found.len(), found[0].waiting, found[0].inode, found[0].address.port()), (1, 5, 7, 8080));
    }

    proptest! {
        #[test]
        fn any_list_does_no_harm(text in "(head\n)?([ 0-9A-F:.a-zä]{0,60}\n){0,5}", bytes: Vec<u8>) {
            parse(text.as_bytes());
            parse(&bytes[..]);
        }
    }
}
