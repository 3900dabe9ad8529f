//! `start_timeout` as it holds for each service: for `check`, and what is to be said about one that was given.

use super::told::{Told, ToldService};
use super::{Member, Plan, Said};
use crate::settings::fault::Fault;
use crate::settings::rules::short;
use crate::settings::source::placed;
use std::collections::HashMap;
use watchdog_engine::spec::{Kind, Ready, START_TIMEOUT, Spec};

const KEY: &str = "start_timeout";

impl Plan {
    /// All services in the order of the file, disabled ones too, with what holds for each.
    pub(crate) fn services(&self) -> impl Iterator<Item = ToldService<'_>> {
        let specs: HashMap<&str, &Spec> = self.specs.iter().rev().map(|spec| (spec.base.as_str(), &**spec)).collect();
        self.said.services().map(move |mut service| {
            let told = service.settings.iter_mut().find(|told| told.key == KEY && !told.is_said());
            if let (Some(told), Some(spec)) = (told, specs.get(service.name)) {
                in_effect(told, spec);
            }
            service
        })
    }
}

/// What the default comes to, and why, where it is not what it usually is.
fn in_effect(told: &mut Told, spec: &Spec) {
    let limit = spec.start_limit();
    let why = match (limit, spec.kind) {
        (_, Kind::Target | Kind::Probe) => return,
        (None, Kind::Oneshot) => "a oneshot has none unless it is given",
        (None, _) if spec.ready_by_probes() => "readiness probes gate and never end a start",
        (Some(limit), _) if limit > START_TIMEOUT && matches!(spec.ready, Ready::Alive(_)) => {
            "stretched to what it has to stay (ready)"
        }
        (Some(limit), _) if limit > START_TIMEOUT => "stretched to what its startup probe may take",
        (None | Some(_), _) => return,
    };
    told.value = limit.map_or("none".to_string(), short).into();
    told.note = Some(why);
}

impl Said {
    /// What a `start_timeout` that was given does not do, as it may have been meant to.
    pub(super) fn start_warning(&self, member: &Member<'_>, spec: &Spec) -> Option<String> {
        let given = spec.start_timeout?;
        let what = match (spec.start_limit(), spec.start_needs()) {
            (Some(limit), Some(needs)) if limit < needs => format!(
                "{} is shorter than its startup probe may take, {} (start_period + failures x (interval + timeout) + 5s): \
                 such a start is ended before the probe has failed",
                short(given),
                short(needs)
            ),
            (None, _) if member.entry(KEY).is_some() && spec.ready_by_probes() => {
                "ends nothing: only readiness probes gate this service, and they never end a start".to_string()
            }
            (None | Some(_), _) => return None,
        };
        let fault = Fault::broken(what);
        Some(match member.entry(KEY) {
            Some(entry) => placed(&self.sources, entry.spot, &format!("service.{}.{KEY}", member.name), fault).message,
            None => format!("service.{}: {KEY} {}", member.name, fault.message),
        })
    }
}
