//! A run for people: the file in short, and each call in one line.

use super::Call;
use crate::machine::{Action, Actions, MonoTime, Supervisor};
use crate::spec::Spec;
use std::fmt::Write;

/// The file, one line for each service.
pub(in super::super) fn describe(file: &[Spec]) -> String {
    let mut text = String::new();
    for s in file {
        let place = &s.place;
        let needs: Vec<String> = place
            .requires
            .iter()
            .map(|n| format!("{}:{}{}", n.service, n.condition.word(), if n.once { ":once" } else { "" }))
            .collect();
        let _ =
            write!(text, "  {} {} {:?} {:?} {:?}", s.name, s.kind.word(), place.autostart, s.ready, s.restart.policy);
        for (word, list) in
            [("requires", &needs), ("wants", &place.wants), ("after", &place.after), ("conflicts", &place.conflicts)]
        {
            if !list.is_empty() {
                let _ = write!(text, " {word} {}", list.join(","));
            }
        }
        if place.wait_for_file.is_some() {
            let _ = write!(text, " file {:?}", place.wait_for_file_timeout);
        }
        for p in &s.probes {
            let _ = write!(
                text,
                " {}({:?} failures {} period {:?})",
                p.name,
                crate::machine::probe_role(p),
                p.failures,
                p.start_period
            );
        }
        text.push('\n');
    }
    text
}

/// One call.
pub(in super::super) fn narrate(now: MonoTime, call: &Call, out: &Actions, machine: &Supervisor) -> String {
    let name = |id: crate::machine::ServiceId| machine.services()[id.0 as usize].spec.name.clone();
    let short = |a: &Action| match a {
        Action::Tell(n) => format!("{}:{}", n.service.map(name).unwrap_or_default(), n.what.name()),
        Action::Signal { service, signal, .. } => format!("{}:signal({signal})", name(*service)),
        Action::Spawn { service, generation } => format!("{}:start({})", name(*service), generation.0),
        Action::Report(_) => "report".into(),
        other => format!("{other:?}"),
    };
    let call = match call {
        Call::Apply { file, restart } => format!("Apply restart={restart}\n{}", describe(file)),
        other => format!("{other:?}"),
    };
    let done: Vec<String> = out.iter().map(short).collect();
    let states: Vec<String> = machine
        .services()
        .iter()
        .map(|s| format!("{}={}{}", s.spec.name, s.state.word(), if s.held.is_some() { "*" } else { "" }))
        .collect();
    format!("{:?} {call}\n    {}\n    [{}]", now.0, done.join(" "), states.join(" "))
}
