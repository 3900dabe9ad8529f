//! The environment: what in ours is for us, and what of it a worker sees.

use super::users::Resolved;
use super::{later, table};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;
use watchdog_engine::spec::Upward;

/// One environment variable, byte for byte.
pub(crate) type Variable = (OsString, OsString);

/// Words of the contract between a watchdog and a worker, and of our own command line: never settings, never warned of.
/// What an outer watchdog set for us is not for our worker: the engine sets its own at each spawn.
const CONTRACT: [&str; 13] = [
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "WATCHDOG_SOCKET",
    "WATCHDOG_SERVICE",
    "WATCHDOG_REPLICA",
    "WATCHDOG_CHANNEL",
    "WATCHDOG_READY_FD",
    "WATCHDOG_ENABLED",
    "WATCHDOG_INVOCATION",
    "WATCHDOG_INSTANCE",
    "WATCHDOG_RUNTIME_DIR",
    "NOTIFY_SOCKET",
    "NODE_CHANNEL_FD",
];

/// Listeners passed to us; they go on to the worker only where they were meant for this very process.
/// LISTEN_PIDFDID (systemd 259) is right for us alone, and is never passed on: see the engine.
const LISTEN: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// What one variable of our own environment is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The setting with this key.
    Setting(&'static str),
    /// A setting of a later version.
    Later(&'static str),
    /// A word of the contract.
    Contract,
    /// Begins as ours do and is none of them.
    Unknown,
    /// Nothing of ours.
    Foreign,
}

/// What a variable of this name is to us.
pub(crate) fn meaning(name: &OsStr) -> Meaning {
    let Some(rest) = name.as_bytes().strip_prefix(b"WATCHDOG_") else {
        return if CONTRACT.iter().any(|c| name == *c) { Meaning::Contract } else { Meaning::Foreign };
    };
    if CONTRACT.iter().any(|c| name == *c) {
        return Meaning::Contract;
    }
    let is = |key: &str| key.bytes().map(|b| b.to_ascii_uppercase()).eq(rest.iter().copied());
    if let Some(setting) = table::TABLE.iter().find(|s| is(&s.key)) {
        return Meaning::Setting(&setting.key);
    }
    match later::KEYS.iter().find(|(key, _)| is(key)) {
        Some((key, _)) => Meaning::Later(key),
        None => Meaning::Unknown,
    }
}

/// `WATCHDOG_PORT=tcp://10.0.0.7:80`: Kubernetes and Docker say so where a service called watchdog is. Not for us.
pub(crate) fn is_a_service_link(name: &OsStr, value: &OsStr) -> bool {
    name == "WATCHDOG_PORT" && value.as_bytes().windows(3).any(|part| part == b"://")
}

/// The part of our environment that a worker may inherit, in its order.
pub(crate) fn inherited(ours: &[Variable], own_pid: u32) -> Vec<Variable> {
    let listeners = ours.iter().any(|(k, v)| k == "LISTEN_PID" && *v == *own_pid.to_string());
    let stays = |name: &OsStr| {
        (listeners || !LISTEN.iter().any(|l| name == *l))
            && matches!(meaning(name), Meaning::Foreign | Meaning::Unknown)
    };
    ours.iter().filter(|(name, value)| stays(name) || is_a_service_link(name, value)).cloned().collect()
}

/// How many listeners were passed to us and meant for us.
pub(crate) fn listeners(ours: &[Variable], own_pid: u32) -> u32 {
    let value = |name: &str| ours.iter().find(|(k, _)| k == name).and_then(|(_, v)| v.to_str());
    let mine = value("LISTEN_PID").is_some_and(|pid| pid == own_pid.to_string());
    value("LISTEN_FDS").filter(|_| mine).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The same without listeners, for commands of the watchdog itself and for many services: none of them is more meant than
/// another, and no descriptor passes on to them.
pub(crate) fn of_commands(inherited: &Arc<Vec<Variable>>) -> Arc<Vec<Variable>> {
    let of_listeners = |name: &OsString| LISTEN.iter().any(|l| name == *l);
    if !inherited.iter().any(|(name, _)| of_listeners(name)) {
        return Arc::clone(inherited);
    }
    Arc::new(inherited.iter().filter(|(name, _)| !of_listeners(name)).cloned().collect())
}

/// Whoever started us and listens. Signs of life it wants of us only where they are meant for this very process
/// (sd_watchdog_enabled(3)): a shell between us may have been told to give them.
pub(crate) fn upward(ours: &[Variable], own_pid: u32) -> Option<Upward> {
    let value = |name: &str| ours.iter().find(|(k, _)| k == name).map(|(_, v)| v).filter(|v| !v.is_empty());
    let socket = value("NOTIFY_SOCKET")?.clone();
    let mine = value("WATCHDOG_PID").is_none_or(|pid| *pid == *own_pid.to_string());
    let within = value("WATCHDOG_USEC").filter(|_| mine).and_then(|usec| usec.to_str()?.parse().ok());
    Some(Upward { socket, watchdog: within.filter(|usec| *usec > 0).map(Duration::from_micros) })
}

/// Lays what was asked for over what is inherited: the login of a user, then the files, then `env`.
pub(crate) fn compose(
    mut base: Arc<Vec<Variable>>,
    user: Option<&Resolved>,
    from_files: Vec<Variable>,
    asked: Vec<Variable>,
) -> Arc<Vec<Variable>> {
    if let Some((login, home)) = user.and_then(|u| u.login.as_ref()) {
        for (name, value) in [("HOME", home), ("USER", login), ("LOGNAME", login)] {
            put(Arc::make_mut(&mut base), name.into(), value.into());
        }
    }
    for (name, value) in from_files.into_iter().chain(asked) {
        put(Arc::make_mut(&mut base), name, value);
    }
    base
}

/// Sets a variable where it stands, or at the end. A name that stands twice stands once afterwards.
fn put(variables: &mut Vec<Variable>, name: OsString, value: OsString) {
    match variables.iter().position(|(n, _)| *n == name) {
        Some(first) => {
            let mut at = 0;
            variables.retain(|(n, _)| {
                at += 1;
                at - 1 <= first || *n != name
            });
            variables[first].1 = value;
        }
        None => variables.push((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<Variable> {
        pairs.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect()
    }

    #[test]
    fn what_is_ours_does_not_leak() {
        let ours = environment(&[
            ("PATH", "/bin"),
            ("WATCHDOG_STOP_TIMEOUT", "5s"),
            ("WATCHDOG_USEC", "1"),
            ("WATCHDOG_PID", "1"),
            ("NOTIFY_SOCKET", "/x"),
            ("NODE_CHANNEL_FD", "3"),
            ("WATCHDOG_ENABLED", "true"),
            ("WATCHDOG_RUNTIME_DIR", "/run/x"),
            ("WATCHDOG_OF_SOMEBODY", "else"),
            ("HOME", "/root"),
        ]);
        let names: Vec<_> = inherited(&ours, 1).into_iter().map(|(k, _)| k).collect();
        assert_eq!(names, ["PATH", "WATCHDOG_OF_SOMEBODY", "HOME"]);
    }

    #[test]
    fn listeners_pass_only_where_they_were_meant_for_us() {
        let ours = environment(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")]);
        assert_eq!(inherited(&ours, 42), ours);
        assert_eq!(inherited(&ours, 43), []);
        assert_eq!(inherited(&environment(&[("LISTEN_FDS", "1")]), 43), []);
    }

    #[test]
    fn signs_of_life_are_given_only_where_this_very_process_was_asked() {
        let told = |more: &[(&str, &str)]| {
            let mut all = vec![("NOTIFY_SOCKET", "@x")];
            all.extend(more);
            upward(&environment(&all), 42).map(|u| u.watchdog)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(upward(&environment(&[("WATCHDOG_USEC", "1000000")]), 42), None);
        assert_eq!(upward(&environment(&[("NOTIFY_SOCKET", "")]), 42), None);
        assert_eq!(told(&[]), Some(None));
        assert_eq!(told(&[("WATCHDOG_USEC", "1000000")]), Some(second));
        assert_eq!(told(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "42")]), Some(second));
        assert_eq!(told(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "41")]), Some(None));
        for usec in ["0", "-1", "1s", "99999999999999999999999"] {
            assert_eq!(told(&[("WATCHDOG_USEC", usec)]), Some(None), "{usec}");
        }
    }

    #[test]
    fn the_later_layer_wins_and_the_order_stays() {
        let base = environment(&[("A", "1"), ("HOME", "/root"), ("A", "2")]);
        let composed =
            compose(base.into(), None, environment(&[("B", "f"), ("C", "f")]), environment(&[("C", "e"), ("A", "e")]));
        assert_eq!(*composed, environment(&[("A", "e"), ("HOME", "/root"), ("B", "f"), ("C", "e")]));
    }

    #[test]
    fn meanings() {
        assert_eq!(meaning(OsStr::new("WATCHDOG_STOP_TIMEOUT")), Meaning::Setting("stop_timeout"));
        assert_eq!(meaning(OsStr::new("WATCHDOG_DRAIN_TIMEOUT")), Meaning::Later("drain_timeout"));
        assert_eq!(meaning(OsStr::new("WATCHDOG_ENABLED")), Meaning::Contract);
        assert_eq!(meaning(OsStr::new("WATCHDOG_STOP_TIMEUOT")), Meaning::Unknown);
        assert_eq!(meaning(OsStr::new("WATCHDOG")), Meaning::Foreign);
    }
}
