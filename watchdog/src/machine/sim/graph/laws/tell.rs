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

/// A call in short.
pub(super) fn name(call: &Call) -> String {
    match call {
        Call::Apply { restart, .. } => format!("Apply restart={restart}"),
        other => format!("{other:?}"),
    }
}

/// One call.
pub(in super::super) fn narrate(now: MonoTime, call: &Call, out: &Actions, machine: &Supervisor) -> String {
    let who = |id: crate::machine::ServiceId| machine.services()[id.0 as usize].spec.name.clone();
    let short = |a: &Action| match a {
        Action::Tell(n) => format!("{}:{}", n.service.map(who).unwrap_or_default(), n.what.name()),
        Action::Signal { service, signal, .. } => format!("{}:signal({signal})", who(*service)),
        Action::Spawn { service, generation } => format!("{}:start({})", who(*service), generation.0),
        Action::Report(_) => "report".into(),
        other => format!("{other:?}"),
    };
    let call = match call {
        Call::Apply { file, .. } => format!("{}\n{}", name(call), describe(file)),
        other => name(other),
    };
    let done: Vec<String> = out.iter().map(short).collect();
    let states: Vec<String> = machine
        .services()
        .iter()
        .map(|s| format!("{}={}{}", s.spec.name, s.state.word(), if s.held.is_some() { "*" } else { "" }))
        .collect();
    format!("{:?} {call}\n    {}\n    [{}]", now.0, done.join(" "), states.join(" "))
}
