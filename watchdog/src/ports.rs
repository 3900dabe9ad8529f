//! Who holds a declared port, and whether he may be ended for it. The look is exact and the judgement a pure function:
//! what kills others' processes must be sure of whom.

use crate::spec::{Port, Ports};
use crate::sys::owners::{self, Owner};
use crate::sys::sockets;
use std::collections::{BTreeMap, BTreeSet};

/// Holders that are told of and dealt with in one look.
const MAX_HOLDERS: usize = 64;

/// Somebody who holds a declared port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The port.
    pub port: u16,
    /// UDP rather than TCP.
    pub udp: bool,
    /// Who; `None`: a process that cannot be looked at.
    pub pid: Option<i32>,
    /// Its name.
    pub name: String,
    /// Whether a start would end it, else why not.
    pub would_end: Result<(), String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = Found::who(self.pid.map(|pid| (self.name.as_str(), pid)));
        write!(f, "port {} is held by {by}", port_word(Port { number: self.port, udp: self.udp }))
    }
}

/// `8080/tcp`
pub(crate) fn port_word(port: Port) -> String {
    format!("{}/{}", port.number, if port.udp { "udp" } else { "tcp" })
}

/// How a process stands to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// No relation of ours.
    Stranger,
    /// It is us.
    Ourselves,
    /// We descend from it.
    Ancestor,
    /// It descends from this service of ours.
    Service(String),
    /// It descends from us otherwise: a helper.
    Child,
}

/// One who holds a port.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) port: Port,
    /// By these sockets.
    pub(crate) sockets: BTreeSet<u64>,
    /// Who, and how it stands to us. `None`: it cannot be looked at.
    pub(crate) owner: Option<(Owner, Kin)>,
}

impl Found {
    /// `nginx (pid 123)`
    pub(crate) fn by(&self) -> String {
        Found::who(self.owner.as_ref().map(|(owner, _)| (owner.name.as_str(), owner.pid)))
    }

    fn who(owner: Option<(&str, i32)>) -> String {
        owner.map_or("a process that cannot be looked at".into(), |(name, pid)| format!("{name} (pid {pid})"))
    }

    fn judge(&self, user: u32, filters: &[String]) -> Result<(), String> {
        match &self.owner {
            Some((owner, kin)) => may_be_ended(owner, kin, user, filters),
            None => Err("nobody knows who it is".into()),
        }
    }
}

/// Who of them may be ended, as this user, and why not. A socket that somebody holds who stays is held all the same: then
/// nobody is ended for it. (Among its holders is for an instant also whoever that one is just starting.)
pub(crate) fn judge(all: &[Found], user: u32, filters: &[String]) -> Vec<Result<(), String>> {
    let each: Vec<_> = all.iter().map(|found| found.judge(user, filters)).collect();
    let stays = |of: &Found| {
        let others = all.iter().zip(&each).filter(|(_, judged)| judged.is_err());
        others.map(|(other, _)| other).find(|other| !other.sockets.is_disjoint(&of.sockets))
    };
    let together = all.iter().zip(&each).map(|(found, judged)| match judged {
        Ok(()) => stays(found).map_or(Ok(()), |other| Err(format!("{} has the same socket and stays", other.by()))),
        Err(why) => Err(why.clone()),
    });
    together.collect()
}

/// Whom we know of our own.
pub(crate) struct Family<'a> {
    /// Ourselves.
    pub(crate) me: i32,
    /// Children that were there before us.
    pub(crate) before: &'a [i32],
    /// The service of a main process.
    pub(crate) service: &'a dyn Fn(i32) -> Option<String>,
}

impl Family<'_> {
    fn kin(&self, pid: i32, ancestors: &[i32]) -> Kin {
        if pid == self.me {
            return Kin::Ourselves;
        }
        if ancestors.contains(&pid) {
            return Kin::Ancestor;
        }
        let line = owners::lineage(pid);
        // The one below us in its line is our child.
        let child = line.windows(2).find(|pair| pair[1] == self.me).map(|pair| pair[0]);
        match child {
            None => Kin::Stranger,
            Some(child) if self.before.contains(&child) => Kin::Stranger,
            Some(child) => (self.service)(child).map_or(Kin::Child, Kin::Service),
        }
    }
}

/// Everybody who holds one of these ports in our own network namespace.
pub(crate) fn look(declared: &[Port], family: &Family<'_>) -> Vec<Found> {
    let of_kind = |udp: bool| {
        let wanted: Vec<u16> = declared.iter().filter(|p| p.udp == udp).map(|p| p.number).collect();
        // Nobody asks the kernel for the kind that was not declared.
        let held = if wanted.is_empty() { Vec::new() } else { sockets::holding(&wanted, udp) };
        held.into_iter().map(move |(number, inode)| (inode, Port { number, udp }))
    };
    let held: BTreeMap<u64, Port> = of_kind(false).chain(of_kind(true)).collect();
    if held.is_empty() {
        return Vec::new();
    }
    let known = owners::of(&held.keys().copied().collect());
    // One process may hold a port by several sockets: of each family, or of each of its threads.
    let mut by: BTreeMap<(u16, bool, Option<i32>), BTreeSet<u64>> = BTreeMap::new();
    for (inode, port) in &held {
        let mut pids: Vec<Option<i32>> = known.iter().filter(|(i, _)| i == inode).map(|(_, pid)| Some(*pid)).collect();
        if pids.is_empty() {
            pids.push(None);
        }
        for pid in pids {
            by.entry((port.number, port.udp, pid)).or_default().insert(*inode);
        }
    }
    let ancestors = owners::lineage(family.me);
    let found = by.into_iter().map(|((number, udp, pid), sockets)| {
        let owner = pid.and_then(Owner::read).map(|owner| {
            let kin = family.kin(owner.pid, &ancestors);
            (owner, kin)
        });
        Found { port: Port { number, udp }, sockets, owner }
    });
    found.take(MAX_HOLDERS).collect()
}

/// The judgement: whoever is no relation of ours, our own user's, and named by a filter where there are any.
fn may_be_ended(owner: &Owner, kin: &Kin, user: u32, filters: &[String]) -> Result<(), String> {
    match kin {
        Kin::Ourselves => return Err("it is this watchdog".into()),
        _ if owner.pid <= 1 => return Err("it is PID 1".into()),
        Kin::Ancestor => return Err("this watchdog was started by it".into()),
        Kin::Service(name) => return Err(format!("it belongs to the service {name} of this watchdog")),
        Kin::Child => return Err("it was started by this watchdog".into()),
        Kin::Stranger => {}
    }
    if owner.uid != user {
        return Err(format!("it runs as another user ({})", owner.uid));
    }
    let named = |filter: &String| {
        let filter = filter.to_lowercase();
        [&owner.name, &owner.program].iter().any(|name| name.to_lowercase().contains(&filter))
    };
    if !filters.is_empty() && !filters.iter().any(named) {
        return Err("its name holds none of process_filters".into());
    }
    Ok(())
}

/// Who holds one of these ports now, and what a start would do about it. Nothing is touched.
#[must_use]
pub fn port_holders(ports: &Ports) -> Vec<Holder> {
    if ports.declared.is_empty() {
        return Vec::new();
    }
    let user = nix::unistd::geteuid().as_raw();
    let me = nix::unistd::getpid().as_raw();
    let found = look(&ports.declared, &Family { me, before: &[], service: &|_| None });
    let judged = judge(&found, user, &ports.process_filters);
    let holder = |(found, judged): (Found, Result<(), String>)| {
        let would_end = if ports.kill_others { judged } else { Err("kill_others is off".into()) };
        let (pid, name) = found.owner.map_or((None, String::new()), |(owner, _)| (Some(owner.pid), owner.name));
        Holder { port: found.port.number, udp: found.port.udp, pid, name, would_end }
    };
    found.into_iter().zip(judged).map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pid: i32, kin: Kin, uid: u32, filters: &[&str]) -> Result<(), String> {
        let owner = Owner { pid, start: 1, uid, name: "MainThread".into(), program: "Node-22".into() };
        let filters: Vec<String> = filters.iter().map(|f| f.to_string()).collect();
        may_be_ended(&owner, &kin, 1000, &filters)
    }

    #[track_caller]
    fn spared(judged: Result<(), String>, part: &str) {
        let why = judged.expect_err("it is to live");
        assert!(why.contains(part), "{why}");
    }

    #[test]
    fn a_stranger_of_our_own_user_is_ended() {
        assert_eq!(one(77, Kin::Stranger, 1000, &[]), Ok(()));
        assert_eq!(one(77, Kin::Stranger, 1000, &["nginx", "node"]), Ok(()), "by its executable, in any case");
        assert_eq!(one(77, Kin::Stranger, 1000, &["mainthread"]), Ok(()), "by its own name");
    }

    #[test]
    fn ourselves_an_ancestor_and_the_first_process_live() {
        spared(one(77, Kin::Ourselves, 1000, &[]), "is this watchdog");
        spared(one(1, Kin::Ourselves, 1000, &[]), "is this watchdog");
        spared(one(1, Kin::Stranger, 1000, &[]), "PID 1");
        spared(one(1, Kin::Ancestor, 1000, &[]), "PID 1");
        spared(one(77, Kin::Ancestor, 1000, &[]), "started by it");
    }

    #[test]
    fn our_own_workers_and_helpers_live() {
        spared(one(77, Kin::Service("api".into()), 1000, &[]), "the service api");
        spared(one(77, Kin::Child, 1000, &[]), "started by this watchdog");
    }

    #[test]
    fn another_users_process_lives_also_before_root() {
        spared(one(77, Kin::Stranger, 1001, &[]), "another user (1001)");
        spared(one(77, Kin::Stranger, 0, &[]), "another user (0)");
    }

    #[test]
    fn whoever_no_filter_names_lives() {
        spared(one(77, Kin::Stranger, 1000, &["nginx"]), "process_filters");
        spared(one(77, Kin::Stranger, 1000, &["nodejs", "node-23"]), "process_filters");
    }

    #[test]
    fn nobody_is_ended_for_a_socket_that_is_held_all_the_same() {
        let found = |pid: i32, kin: Kin, sockets: &[u64]| {
            let owner = Owner { pid, start: 1, uid: 1000, name: "x".into(), program: "x".into() };
            let port = Port { number: 80, udp: false };
            Found { port, sockets: sockets.iter().copied().collect(), owner: Some((owner, kin)) }
        };
        let of_an_ancestor =
            [found(7, Kin::Ancestor, &[1]), found(8, Kin::Stranger, &[1]), found(9, Kin::Stranger, &[2])];
        let judged = judge(&of_an_ancestor, 1000, &[]);
        assert_eq!(judged[1], Err("x (pid 7) has the same socket and stays".into()));
        assert_eq!((judged[0].is_err(), &judged[2]), (true, &Ok(())));
        assert_eq!(judge(&of_an_ancestor[1..], 1000, &[]), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_port_that_we_hold_is_our_own_and_a_free_one_nobodys() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let ports = Ports { declared: vec![Port { number, udp: false }], kill_others: true, process_filters: vec![] };
        let held = port_holders(&ports);
        assert_eq!((held.len(), held[0].pid), (1, Some(nix::unistd::getpid().as_raw())));
        assert_eq!(held[0].would_end, Err("it is this watchdog".into()));
        assert!(held[0].to_string().starts_with(&format!("port {number}/tcp is held by ")), "{}", held[0]);
        assert_eq!(
            port_holders(&Ports { kill_others: false, ..ports.clone() })[0].would_end,
            Err("kill_others is off".into())
        );
        drop(listener);
        assert_eq!(port_holders(&ports), []);
        assert_eq!(port_holders(&Ports::default()), []);
    }
}
