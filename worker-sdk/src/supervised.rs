//! Who supervises this process, if anybody does: the facts of the environment.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Facts that the watchdog gives to every worker in its environment.
///
/// ```
/// if let Some(supervised) = worker_sdk::Supervised::from_env() {
///     println!("I am {} number {}", supervised.service(), supervised.replica());
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervised {
    service: String,
    replica: u32,
    control: Option<PathBuf>,
}

impl Supervised {
    /// Reads the environment. `None`: this process was not started by a watchdog.
    #[must_use]
    pub fn from_env() -> Option<Supervised> {
        Supervised::read(|name| env::var_os(name))
    }

    fn read(var: impl Fn(&str) -> Option<OsString>) -> Option<Supervised> {
        if var("WATCHDOG_ENABLED")? != "true" {
            return None;
        }
        let text = |name: &str| var(name).and_then(|v| v.into_string().ok());
        Some(Supervised {
            service: text("WATCHDOG_SERVICE").unwrap_or_default(),
            replica: text("WATCHDOG_REPLICA").and_then(|n| n.parse().ok()).unwrap_or(0),
            control: var("WATCHDOG_SOCKET").map(PathBuf::from),
        })
    }

    /// The service's name (`WATCHDOG_SERVICE`).
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Which of several identical workers this is, from 0 (`WATCHDOG_REPLICA`).
    #[must_use]
    pub fn replica(&self) -> u32 {
        self.replica
    }

    /// The control socket (`WATCHDOG_SOCKET`), for clients such as `watchdog status`; `None` with `--control off`.
    #[must_use]
    pub fn control(&self) -> Option<&Path> {
        self.control.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::Supervised;
    use std::ffi::OsString;
    use std::path::Path;

    #[test]
    fn nobody_supervises_without_the_variable() {
        assert_eq!(Supervised::read(|_| None), None);
        assert_eq!(Supervised::read(|_| Some(OsString::from("false"))), None);
    }

    #[test]
    fn the_facts_of_the_environment() {
        let facts = Supervised::read(|name| match name {
            "WATCHDOG_ENABLED" => Some("true".into()),
            "WATCHDOG_SERVICE" => Some("web".into()),
            "WATCHDOG_REPLICA" => Some("2".into()),
            "WATCHDOG_SOCKET" => Some("/run/watchdog/web.sock".into()),
            _ => None,
        })
        .expect("supervised");
        assert_eq!((facts.service(), facts.replica()), ("web", 2));
        assert_eq!(facts.control(), Some(Path::new("/run/watchdog/web.sock")));
    }
}
