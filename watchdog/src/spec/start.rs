//! How long a start may take: the one place that says for whom `start_timeout` is, and how long it is.

use super::{Kind, ProbeSpec, Ready, Spec};
use std::time::Duration;

/// `start_timeout` where nothing was given and nothing stretches it.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// What a stretched one has beyond what is waited for.
const SLACK: Duration = Duration::from_secs(5);

impl Spec {
    /// From the start to the moment at which it has failed because it is not ready. `None`: no such moment.
    ///
    /// There is one where the service itself has to do something to be ready: to report, to write a line, to listen, to stay,
    /// or to pass a startup probe. Readiness probes gate and never end a start. A oneshot has one only if it was given. What
    /// was given stands; the default is stretched to what is waited for.
    pub fn start_limit(&self) -> Option<Duration> {
        let usual = match self.kind {
            Kind::Target | Kind::Probe => return None,
            Kind::Oneshot => Duration::MAX,
            Kind::Service if !self.may_fail_to_start() => return None,
            Kind::Service => START_TIMEOUT.max(self.start_needs().unwrap_or_default()),
        };
        Some(self.start_timeout.unwrap_or(usual)).filter(|limit| *limit < Duration::MAX)
    }

    /// How long what its start waits for may take: its startup probes to have failed as often as they may, or the time that
    /// it has to stay; with 5 s to spare. `None`: nothing that is known beforehand.
    pub fn start_needs(&self) -> Option<Duration> {
        if let Ready::Alive(stays) = self.ready {
            return Some(stays.saturating_add(SLACK));
        }
        let slowest = self.probes.iter().filter(|p| p.roles.startup && self.ready_by_probes()).map(slowest).max()?;
        Some(slowest.saturating_add(SLACK))
    }

    /// Whether its readiness is decided by its probes.
    pub fn ready_by_probes(&self) -> bool {
        let decides = self.probes.iter().any(|p| p.roles.readiness || p.roles.startup);
        decides && (self.kind == Kind::Probe || matches!(self.ready, Ready::Auto | Ready::Probe))
    }

    /// Whether something but a readiness probe stands between its exec and its being ready.
    fn may_fail_to_start(&self) -> bool {
        match self.ready {
            Ready::Auto | Ready::Probe => self.ready_by_probes() && self.probes.iter().any(|p| p.roles.startup),
            Ready::Spawned => false,
            Ready::Alive(_) | Ready::Reported | Ready::Fd | Ready::Line(_) | Ready::Port(_) => true,
        }
    }
}

/// From the start to the failure of a probe that never succeeds, at the latest.
fn slowest(probe: &ProbeSpec) -> Duration {
    let tries = probe.interval.saturating_add(probe.timeout).saturating_mul(probe.failures);
    probe.start_period.saturating_add(tries)
}
