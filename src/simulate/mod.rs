//! `watchdog simulate`: the engine's own machine, an imagined worker and an imagined clock.

mod script;

use crate::settings::{self, Fault, Flag, World};
use crate::{complain, output};
use script::Run;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::time::Duration;
use watchdog_engine::machine::{
    Action, Actions, Event, Exit, Generation, MonoTime, Oom, ServiceId, Setup, Supervisor, What, human,
};
use watchdog_engine::spec::{HeartbeatMode, Limits, Ready, Spec};

/// Lines after which a timeline without end is cut off.
const MOST_LINES: usize = 100;
/// Turns after which it is cut off however few lines it made.
const MOST_TURNS: usize = 100_000;

/// Prints the timeline of these settings for this script.
pub(crate) fn run(flags: &[Flag], exits: &str, json: bool, world: &World) -> u8 {
    let runs = script::parse(exits).map_err(|f| vec![f.at("--exits")]);
    let resolved = settings::resolve(flags, vec![OsString::from("worker")], world);
    let (runs, spec) = match (runs, resolved) {
        (Ok(runs), Ok(resolved)) => (runs, resolved.spec),
        (runs, resolved) => {
            let faults: Vec<Fault> = runs.err().into_iter().chain(resolved.err()).flatten().collect();
            return complain(&faults);
        }
    };
    let jitter = spec.restart.jitter;
    let timeline = Simulation::new(*spec, runs).play();
    output::page(&if json { timeline.json() } else { timeline.text(jitter) })
}

/// What happened, and how it ended.
struct Timeline {
    lines: Vec<(Duration, &'static str, String)>,
    end: End,
}

/// How a timeline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The watchdog ends with this status.
    Exit(u8),
    /// Nothing more happens by itself.
    Rest(&'static str),
    /// It goes on like this.
    Cut,
}

impl Timeline {
    fn text(&self, jitter: u8) -> String {
        let times: Vec<String> = self.lines.iter().map(|(at, ..)| clock(*at)).collect();
        let width = times.iter().map(String::len).max().unwrap_or(0);
        let mut text = String::new();
        for (time, (_, event, words)) in times.iter().zip(&self.lines) {
            text.push_str(format!("{time:>width$}  {event:17} {words}").trim_end());
            text.push('\n');
        }
        text.push_str(&match self.end {
            End::Exit(status) => format!("the watchdog ends with status {status}\n"),
            End::Rest(state) => format!("it stays {state} until somebody starts it\n"),
            End::Cut => "and so on\n".to_string(),
        });
        if jitter > 0 {
            text.push_str(&format!("(without restart_delay_jitter, which moves each pause by up to {jitter}%)\n"));
        }
        text
    }

    fn json(&self) -> String {
        let line = |(at, event, text): &(Duration, &str, String)| json!({ "mono_ms": u64::try_from(at.as_millis()).unwrap_or(u64::MAX), "event": event, "text": text });
        let status = if let End::Exit(status) = self.end { Value::from(status) } else { Value::Null };
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        format!("{}\n", json!({ "timeline": lines, "exit_status": status, "cut": self.end == End::Cut }))
    }
}

/// One service, its imagined worker, and the time.
struct Simulation {
    machine: Supervisor,
    runs: Vec<Run>,
    starts: usize,
    now: MonoTime,
    /// The worker that lives: when it was started, when and how it will end.
    worker: Option<(Generation, MonoTime, Exit)>,
    lines: Vec<(Duration, &'static str, String)>,
    exit: Option<u8>,
}

impl Simulation {
    fn new(mut spec: Spec, runs: Vec<Run>) -> Simulation {
        // A timeline that differs each time explains nothing.
        spec.restart.jitter = 0;
        spec.max_age_jitter = 0;
        // A script says how runs end, not what a worker says or uses: one that runs is ready, and nothing else ends it.
        // One that has to stay for a while to be ready is asked no more than that.
        if !matches!(spec.ready, Ready::Alive(_)) {
            spec.ready = Ready::Spawned;
        }
        spec.limits = Limits::default().into();
        spec.heartbeat.mode = HeartbeatMode::Off;
        let setup = Setup { prefix: true, ..Setup::default() };
        let machine = Supervisor::new(vec![spec], setup);
        Simulation { machine, runs, starts: 0, now: MonoTime::ZERO, worker: None, lines: Vec::new(), exit: None }
    }

    fn play(mut self) -> Timeline {
        let mut out = Actions::new();
        self.machine.begin(self.now, &mut out);
        for _ in 0..MOST_TURNS {
            self.perform(out);
            if let Some(status) = self.exit {
                return Timeline { end: End::Exit(status), lines: self.lines };
            }
            if self.lines.len() >= MOST_LINES {
                break;
            }
            out = Actions::new();
            let due = self.machine.next_deadline();
            match (self.worker, due) {
                (Some((generation, at, exit)), due) if due.is_none_or(|due| at <= due) => {
                    self.end_worker(generation, at, exit, &mut out);
                }
                (_, Some(due)) => {
                    self.now = self.now.max(due);
                    self.machine.handle_timeout(self.now, &mut out);
                }
                (_, None) => {
                    let state = self.machine.services().first().map_or("stopped", |s| s.state.word());
                    return Timeline { end: End::Rest(state), lines: self.lines };
                }
            }
        }
        Timeline { end: End::Cut, lines: self.lines }
    }

    fn end_worker(&mut self, generation: Generation, at: MonoTime, exit: Exit, out: &mut Actions) {
        self.worker = None;
        self.now = self.now.max(at);
        let event = Event::Exited { service: ServiceId(0), generation, exit, seen_alive: self.now, left: Vec::new() };
        self.machine.handle(self.now, event, out);
    }

    /// Plays the world's part until the machine asks for nothing more.
    fn perform(&mut self, mut actions: Actions) {
        while !actions.is_empty() {
            let mut out = Actions::new();
            for action in actions {
                self.act(action, &mut out);
            }
            actions = out;
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what a new action means to an imagined world is: nothing")]
    fn act(&mut self, action: Action, out: &mut Actions) {
        let service = ServiceId(0);
        match action {
            Action::Spawn { generation, .. } => {
                let run = self.runs[self.starts.min(self.runs.len() - 1)];
                self.starts += 1;
                self.worker = Some((generation, self.now.after(run.lives), run.exit));
                let pid = 1000 + i32::try_from(self.starts).unwrap_or(0);
                self.machine.handle(self.now, Event::Spawned { service, generation, pid }, out);
            }
            // A worker of good manners: it ends at once, and well, when it is asked to.
            Action::Signal { generation, .. } if self.worker.is_some_and(|(g, ..)| g == generation) => {
                let exit = Exit {
                    code: Some(0),
                    signal: None,
                    core: false,
                    rss_peak_bytes: None,
                    oom: Oom::No,
                    cpu: Duration::ZERO,
                };
                self.worker = Some((generation, self.now, exit));
            }
            Action::LookAtTree { generation, .. } => {
                self.machine.handle(self.now, Event::Tree { service, generation, left: Vec::new() }, out);
            }
            Action::RunGiveUp { .. } => {
                self.lines.push((self.now.0, "give-up", "the give_up command runs".to_string()));
                self.machine.handle(self.now, Event::GiveUpRan { service }, out);
            }
            Action::Tell(notice) => self.lines.push((self.now.0, notice.what.name(), words(&notice.what))),
            Action::Exit(status) => self.exit = Some(status),
            _ => {}
        }
    }
}

/// What people want to know about an event beside its name.
#[expect(clippy::wildcard_enum_match_arm, reason = "an event without numbers needs no words")]
fn words(what: &What) -> String {
    match what {
        What::Exit { exit, uptime, requested } => {
            let how = match (exit.code, exit.signal) {
                (_, Some(signal)) => format!("killed by {}", settings::signals::name(signal)),
                (Some(code), None) => format!("code {code}"),
                (None, None) => "in an unknown way".to_string(),
            };
            format!("{how} after {}{}", human(*uptime), if *requested { ", as asked" } else { "" })
        }
        What::RestartScheduled { rule, .. } | What::GaveUp { rule, .. } => rule.clone(),
        What::CrashLoop { restarts, window, pause } => {
            format!("{restarts} restarts inside {}: a pause of {}", human(*window), human(*pause))
        }
        _ => String::new(),
    }
}

/// A moment: seconds and tenths, with minutes and hours where there are any.
fn clock(at: Duration) -> String {
    let (seconds, tenths) = (at.as_secs(), at.subsec_millis() / 100);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m) {
        (0, 0) => format!("{s}.{tenths}s"),
        (0, _) => format!("{m}m{s:02}.{tenths}s"),
        _ => format!("{h}h{m:02}m{s:02}.{tenths}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(flags: &[(&str, &str)], exits: &str) -> Timeline {
        let flags: Vec<Flag> =
            flags.iter().map(|(k, v)| (settings::table::find(k).expect(k), OsString::from(v))).collect();
        let world = World { environment: Vec::new(), pid: 1, uid: 0, accounts: settings::Accounts::default() };
        let resolved = settings::resolve(&flags, vec!["worker".into()], &world).expect("valid settings");
        Simulation::new(*resolved.spec, script::parse(exits).expect("valid script")).play()
    }

    fn moments(timeline: &Timeline, event: &str) -> Vec<u64> {
        timeline.lines.iter().filter(|(_, e, _)| *e == event).map(|(at, ..)| at.as_secs()).collect()
    }

    #[test]
    fn six_crashes_are_six_starts_and_the_end() {
        let timeline = played(&[], "crash@2s");
        assert_eq!(moments(&timeline, "spawn"), [0, 3, 7, 13, 23, 41]);
        assert_eq!(timeline.end, End::Exit(1));
        assert!(timeline.text(20).ends_with("moves each pause by up to 20%)\n"));
    }

    #[test]
    fn success_ends_it_and_always_goes_on() {
        let once = played(&[], "ok 40s");
        assert_eq!((moments(&once, "spawn"), once.end), (vec![0], End::Exit(0)));
        assert_eq!(played(&[("restart", "always")], "ok 40s").end, End::Cut);
    }

    /// Failed before: `ready = alive` did not exist, and an end with 0 was a success however early it came.
    #[test]
    fn one_that_leaves_before_it_counts_as_ready_has_failed() {
        let early = played(&[("ready", "alive:5s"), ("restart_limit", "1")], "ok 2s");
        assert_eq!((moments(&early, "spawn").len(), moments(&early, "ready").len()), (2, 0));
        assert_eq!(early.end, End::Exit(1));
        let stays = played(&[("ready", "alive:5s")], "ok 40s");
        assert_eq!((moments(&stays, "ready"), stays.end), (vec![5], End::Exit(0)));
    }

    #[test]
    fn staying_is_not_ending() {
        let timeline = played(&[("give_up", "stay"), ("restart_limit", "1")], "signal SEGV");
        assert_eq!(timeline.end, End::Rest("failed"));
        assert!(timeline.json().contains("\"exit_status\":null"));
    }

    #[test]
    fn the_crash_loop_pauses() {
        let timeline =
            played(&[("restart_limit", "0"), ("crash_loop_limit", "2"), ("restart_delay", "0s")], "crash@1s");
        assert!(!moments(&timeline, "crash-loop").is_empty());
        assert_eq!(moments(&timeline, "spawn")[..4], [0, 1, 2, 63]);
    }
}
