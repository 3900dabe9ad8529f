//! Hooks as people write them: `COMMAND`, `EVENT+EVENT:COMMAND`, `pre-start:COMMAND`.

use super::fault::Fault;
use super::nearest::nearest;
use super::raw::Raw;
use super::values;
use watchdog_engine::machine::What;
use watchdog_engine::spec::Hook;

/// The one that is no event: it runs before a start and may forbid it.
const PRE_START: &str = "pre-start";

/// Events of the contract that nothing tells in this version, and what will.
const LATER: [(&str, &str); 7] = [
    ("handover-begin", "rolling restarts come later"),
    ("handover-done", "rolling restarts come later"),
    ("handover-aborted", "rolling restarts come later"),
    ("fallback", "going back to the last good program comes later"),
    ("reexec-begin", "upgrading the watchdog in place comes later"),
    ("reexec-done", "upgrading the watchdog in place comes later"),
    ("reexec-failed", "upgrading the watchdog in place comes later"),
];

/// All hooks of one layer. A command may hold commas: each word is one hook, `off` alone is none.
pub(crate) fn hooks(raw: &Raw) -> Result<Vec<Hook>, Fault> {
    let words = raw.texts()?;
    if matches!(words.as_slice(), ["off" | "none" | "false"]) {
        return Ok(Vec::new());
    }
    words.iter().map(|word| hook(word)).collect()
}

fn hook(text: &str) -> Result<Hook, Fault> {
    let (events, command) = match text.split_once(':') {
        Some((events, command)) if is_list(events) => (events.split('+').collect(), command),
        _ => (Vec::new(), text),
    };
    let pre_start = events == [PRE_START];
    if !pre_start {
        known(&events)?;
    }
    let words = values::command(command)?;
    let first = words[0].to_string_lossy();
    if first.split_once('=').is_some_and(|(name, _)| !name.contains('/')) {
        // A shell's habit, and what a table in a file turns into. Run as it stands it could only fail, at the worst time.
        let message = format!("{first:?} is no program, and no shell reads this: write env {first} and the command");
        return Err(Fault::usage(message));
    }
    let bare = events.is_empty() && words.len() == 1 && (What::NAMES.contains(&&*first) || first == PRE_START);
    if bare {
        return Err(Fault::usage(format!("{first:?} names no command, such as {first}:./tell-me")));
    }
    let events = if pre_start { Vec::new() } else { events.into_iter().map(String::from).collect() };
    Ok(Hook { events, pre_start, command: words })
}

/// Whether this can only be meant as a list of events: words of small letters. Anything else is a part of a command.
fn is_list(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'+'))
}

/// Refuses what is no event.
fn known(events: &[&str]) -> Result<(), Fault> {
    for event in events {
        if *event == PRE_START {
            return Err(Fault::usage(format!("{PRE_START} is no event and stands alone: {PRE_START}:COMMAND")));
        }
        if event.is_empty() {
            return Err(Fault::usage("no event in front of the :, such as exit+hang:COMMAND"));
        }
        if let Some((_, reason)) = LATER.iter().find(|(later, _)| later == event) {
            let message =
                format!("{event:?} is told by no service of this version ({reason}): such a hook would never run");
            return Err(Fault::usage(message));
        }
        if !What::NAMES.contains(event) {
            let fault = Fault::usage(format!("{event:?} is no event, see watchdog events"));
            return Err(fault.or_nearest(nearest(event, What::NAMES.iter().copied().chain([PRE_START]))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::raw::Layer;

    fn wrong(text: &str) -> String {
        hook(text).expect_err("must be refused").message
    }

    fn read(text: &str) -> (Vec<String>, bool, Vec<String>) {
        let hook = hook(text).unwrap_or_else(|f| panic!("{text}: {f:?}"));
        (hook.events, hook.pre_start, hook.command.iter().map(|w| w.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_hook_has_events_or_takes_all() {
        let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<_>>();
        assert_eq!(read("notify 'a b'"), (vec![], false, words(&["notify", "a b"])));
        assert_eq!(read("exit+hang:./tell now"), (words(&["exit", "hang"]), false, words(&["./tell", "now"])));
        assert_eq!(read("pre-start:migrate --to head"), (vec![], true, words(&["migrate", "--to", "head"])));
        assert_eq!(read("curl http://x/").2, words(&["curl", "http://x/"]));
        assert_eq!(read("/bin/a:b").2, words(&["/bin/a:b"]));
        assert!(What::NAMES.iter().all(|event| read(&format!("{event}:x")).0 == [*event]));
    }

    #[test]
    fn what_is_wrong_with_a_hook_is_named() {
        assert_eq!(wrong("exti:x"), "\"exti\" is no event, see watchdog events: did you mean \"exit\"?");
        assert!(wrong("exit+spwan:x").ends_with("did you mean \"spawn\"?"));
        assert!(wrong("pre-strat:x").ends_with("did you mean \"pre-start\"?"));
        assert!(
            wrong("pre-start+exit:x").contains("stands alone") && wrong("exit+pre-start:x").contains("stands alone")
        );
        assert!(wrong(":x").contains("no event in front") && wrong("exit+:x").contains("no event in front"));
        assert!(
            wrong("exit:").contains("empty") && wrong("exit:'x").contains("not closed") && wrong("").contains("empty")
        );
        assert_eq!(wrong("exit"), "\"exit\" names no command, such as exit:./tell-me");
        assert!(wrong("A=1 tell").ends_with("write env A=1 and the command"));
    }

    /// R3. Failed before: such a hook was taken, never ran, and nothing said so.
    #[test]
    fn an_event_that_nothing_tells_is_refused_with_the_reason() {
        for event in [
            "handover-begin",
            "handover-done",
            "handover-aborted",
            "fallback",
            "reexec-begin",
            "reexec-done",
            "reexec-failed",
        ] {
            let said = wrong(&format!("exit+{event}:x"));
            assert!(said.starts_with(&format!("{event:?} is told by no service of this version (")), "{said}");
            assert!(!What::NAMES.contains(&event), "{event} is told: it is not to be refused any more");
        }
        let contract = "spawn spawn-failed ready exit restart-scheduled gave-up crash-loop hang verdict threshold oom probe \
                        stop-requested signal-sent kill-escalated stopped stuck leftover-killed channel-lost proto-error \
                        notify-denied orphan-reaped log-dropped config-error control-denied blocked unblocked reload stall status";
        for event in contract.split_whitespace() {
            assert!(What::NAMES.contains(&event), "{event} is promised, and nothing tells it");
        }
    }

    #[test]
    fn a_command_is_not_cut_at_commas_and_off_is_none() {
        let raw = Raw::one(Layer::Variable, "exit:tell a,b");
        assert_eq!(hooks(&raw).expect("one hook")[0].command, ["tell", "a,b"]);
        assert_eq!(hooks(&Raw::one(Layer::Flag, "off")), Ok(vec![]));
        let two = Raw { words: vec!["exit:a".into(), "b".into()], ..Raw::one(Layer::Flag, "") };
        assert_eq!(hooks(&two).expect("two hooks").len(), 2);
    }
}
