//! What would happen: the real judge, a virtual clock and a script of runs. For `watchdog simulate`.

use super::sentences::{end_sentence, human};
use super::supervisor::{Setup, Supervisor};
use super::time::MonoTime;
use super::words::*;
use crate::spec::{HeartbeatMode, Limits, Ready, Spec};
use std::time::Duration;

/// One run as it is supposed to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedRun {
    /// From exec to its own end.
    pub lasts: Duration,
    /// How it ends.
    pub end: ScriptedEnd,
}

/// How a scripted run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptedEnd {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// One thing that would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, from the beginning.
    pub at: MonoTime,
    /// As a sentence.
    pub text: String,
    /// The event's name in the contract; `end` for the end of the watchdog itself.
    pub event: &'static str,
}

/// Plays `runs` against the settings; the last one repeats, and without any the worker runs for ever. A signal of ours
/// ends a run at once. Stops when the watchdog ends, when nothing more would happen, or at `max_lines`.
pub fn forecast(spec: &Spec, runs: &[ScriptedRun], seed: u64, max_lines: usize) -> Vec<Line> {
    let setup = Setup { prefix: true, seed, ..Setup::default() };
    // A script says how runs end, not what a worker says or uses: those that run are ready, and nothing else ends them.
    let mut spec = Spec { ready: Ready::Spawned, limits: Limits::default(), ..spec.clone() };
    spec.heartbeat.mode = HeartbeatMode::Off;
    let mut play = Play {
        machine: Supervisor::new(vec![spec], setup),
        now: MonoTime::ZERO,
        runs,
        begun: 0,
        alive: None,
        lines: Vec::new(),
    };
    let mut out = Actions::new();
    play.machine.begin(play.now, &mut out);
    while play.perform(out, max_lines) {
        out = play.advance();
    }
    play.lines
}

/// The run that lives now.
struct Alive {
    service: ServiceId,
    generation: Generation,
    ends: MonoTime,
    exit: Exit,
}

struct Play<'a> {
    machine: Supervisor,
    now: MonoTime,
    runs: &'a [ScriptedRun],
    begun: usize,
    alive: Option<Alive>,
    lines: Vec<Line>,
}

impl Play<'_> {
    /// Does what the machine asked for, and what that leads to at the same moment; false when there is no more to show.
    fn perform(&mut self, mut out: Actions, max_lines: usize) -> bool {
        if out.is_empty() && self.next_moment().is_none() {
            return false;
        }
        while !out.is_empty() {
            let mut more = Actions::new();
            for action in std::mem::take(&mut out) {
                if self.lines.len() >= max_lines {
                    return false;
                }
                if let Action::Exit(status) = action {
                    let text = format!("the watchdog ends with status {status}");
                    self.lines.push(Line { at: self.now, text, event: "end" });
                    return false;
                }
                self.one(action, &mut more);
            }
            out = more;
        }
        true
    }

    fn one(&mut self, action: Action, out: &mut Actions) {
        match action {
            Action::Spawn { service, generation } => {
                let run = self.runs.get(self.begun.min(self.runs.len().saturating_sub(1)));
                self.begun += 1;
                self.alive =
                    run.map(|r| Alive { service, generation, ends: self.now.after(r.lasts), exit: exit_of(r.end) });
                let pid = i32::try_from(generation.0).unwrap_or(i32::MAX).saturating_add(1);
                self.machine.handle(self.now, Event::Spawned { service, generation, pid }, out);
            }
            Action::Signal { generation, signal, .. } => {
                if let Some(run) = self.alive.as_mut().filter(|r| r.generation == generation && r.ends > self.now) {
                    (run.ends, run.exit) = (self.now, exit_of(ScriptedEnd::Signal(signal)));
                }
            }
            Action::RunGiveUp { service } => self.machine.handle(self.now, Event::GiveUpRan { service }, out),
            Action::Farewell { .. } => self.machine.handle(self.now, Event::Alone, out),
            Action::Tell(notice) => {
                self.lines.push(Line { at: self.now, text: sentence(&notice), event: notice.what.name() });
            }
            // A scripted run has no tree, no terminal and no clients.
            Action::Sweep { .. }
            | Action::LookAtTree { .. }
            | Action::CancelSpawn { .. }
            | Action::Say { .. }
            | Action::LookAtLanes { .. }
            | Action::LookAtPort { .. }
            | Action::Inspect { .. }
            | Action::Measure { .. }
            | Action::Gather { .. }
            | Action::Report(_)
            | Action::EndGiveUp { .. }
            | Action::Suspend
            | Action::Answer { .. }
            | Action::Exit(_) => {}
        }
    }

    fn next_moment(&self) -> Option<MonoTime> {
        self.machine.next_deadline().into_iter().chain(self.alive.as_ref().map(|r| r.ends)).min()
    }

    /// To the next thing that happens: deaths before deadlines, as in the loop.
    fn advance(&mut self) -> Actions {
        let mut out = Actions::new();
        let Some(at) = self.next_moment() else { return out };
        self.now = self.now.max(at);
        match self.alive.take_if(|r| r.ends <= at) {
            Some(Alive { service, generation, exit, .. }) => {
                let event = Event::Exited { service, generation, exit, seen_alive: self.now, left: Vec::new() };
                self.machine.handle(self.now, event, &mut out);
            }
            None => self.machine.handle_timeout(self.now, &mut out),
        }
        out
    }
}

fn exit_of(end: ScriptedEnd) -> Exit {
    let (code, signal) = match end {
        ScriptedEnd::Code(c) => (Some(c), None),
        ScriptedEnd::Signal(s) => (None, Some(s)),
    };
    Exit { code, signal, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO }
}

/// A notice as a line for people.
fn sentence(notice: &Notice) -> String {
    let generation = notice.generation.unwrap_or_default().0;
    match &notice.what {
        What::Spawn => format!("generation {generation} is started"),
        What::Ready { .. } => format!("generation {generation} is ready"),
        What::Exit { exit, uptime, requested } => {
            let asked = if *requested { ", as asked" } else { "" };
            format!("generation {generation} {}{asked}", end_sentence(exit, *uptime))
        }
        What::RestartScheduled { rule, .. } => rule.clone(),
        What::GaveUp { rule, exit_status, .. } => format!("{rule}; status {exit_status}"),
        What::CrashLoop { restarts, window, pause } => {
            format!("crash loop: {restarts} restarts within {}, pause of {}", human(*window), human(*pause))
        }
        What::RestartRequested { .. } => format!("generation {generation} is old enough (max_age)"),
        What::KillEscalated { grace } => format!("SIGKILL after a grace of {}", human(*grace)),
        What::Stopped => "stopped".into(),
        What::SpawnFailed { .. }
        | What::StopRequested { .. }
        | What::StartRequested { .. }
        | What::SignalRequested { .. }
        | What::SignalSent { .. }
        | What::Stuck { .. }
        | What::LeftoverKilled { .. }
        | What::OrphanReaped { .. }
        | What::LogDropped { .. }
        | What::ControlDenied { .. }
        | What::Hang { .. }
        | What::Verdict { .. }
        | What::Threshold { .. }
        | What::Oom { .. }
        | What::ChannelLost { .. }
        | What::ProtoError { .. }
        | What::NotifyDenied { .. }
        | What::Status { .. }
        | What::Reload
        | What::ReloadRequested { .. }
        | What::Stall { .. } => notice.what.name().replace('-', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{GiveUp, Policy};

    const CRASH: ScriptedRun = ScriptedRun { lasts: Duration::from_secs(1), end: ScriptedEnd::Code(3) };

    fn count(lines: &[Line], event: &str) -> usize {
        lines.iter().filter(|l| l.event == event).count()
    }

    #[test]
    fn a_worker_that_always_crashes_is_started_six_times_and_given_up_with_its_status() {
        let lines = forecast(&Spec::default(), &[CRASH], 0, 1000);
        assert_eq!(count(&lines, "spawn"), 6);
        assert_eq!(lines.last().map(|l| l.text.as_str()), Some("the watchdog ends with status 3"));
        assert_eq!(lines, forecast(&Spec::default(), &[CRASH], 0, 1000), "the same seed tells the same story");
    }

    #[test]
    fn the_last_run_repeats_and_a_success_ends_it() {
        let good = ScriptedRun { lasts: Duration::from_secs(5), end: ScriptedEnd::Code(0) };
        let lines = forecast(&Spec::default(), &[CRASH, CRASH, good], 0, 1000);
        assert_eq!(count(&lines, "spawn"), 3);
        assert_eq!(lines.last().map(|l| l.text.as_str()), Some("the watchdog ends with status 0"));
    }

    #[test]
    fn lines_are_bounded_and_no_run_at_all_is_a_worker_that_lives_for_ever() {
        let mut spec = Spec::default();
        spec.restart.policy = Policy::Always;
        spec.restart.limit = 0;
        assert_eq!(forecast(&spec, &[CRASH], 0, 40).len(), 40);
        assert_eq!(forecast(&spec, &[], 0, 40).len(), 2);
    }

    #[test]
    fn a_service_that_stays_failed_is_the_end_of_the_story() {
        let mut spec = Spec::default();
        spec.restart.give_up = GiveUp::Stay;
        let lines = forecast(&spec, &[CRASH], 0, 1000);
        assert_eq!(lines.last().map(|l| l.event), Some("gave-up"));
    }

    #[test]
    fn age_ends_a_run_by_the_stop_signal_and_costs_nothing() {
        let mut spec = Spec { max_age: Some(Duration::from_secs(60)), max_age_jitter: 0, ..Spec::default() };
        spec.restart.limit = 1;
        let lines = forecast(&spec, &[ScriptedRun { lasts: Duration::from_secs(3600), ..CRASH }], 0, 60);
        assert!(count(&lines, "spawn") > 10 && count(&lines, "gave-up") == 0, "{lines:#?}");
    }
}
