//! What whoever started us is told of us (sd_notify(3)): that all is ready, how far it is, that the loop turns, that it
//! ends. Said at the end of a turn and only when there is something new; a listener that does not read costs nobody
//! anything, and without NOTIFY_SOCKET none of this happens.

use super::Reactor;
use crate::machine::*;
use crate::spec::{Instance, Stop};
use crate::sys::clock;
use crate::sys::upward::{self, Sent};
use std::fmt::Write;
use std::time::Duration;

/// Until the next try where the listener's queue was full.
const RETRY: Duration = Duration::from_millis(100);
/// A sign of life is given at most so often, whatever is asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
/// Longest status: one line of `systemctl status`.
const STATUS_CHARS: usize = 400;
/// Names in it of those that are not ready.
const NAMED: usize = 5;
/// What a stop may take beyond its settings, for each service: looks at what is left, files that are closed.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// What was said, and what is still to be said.
pub(super) struct Upward {
    way: upward::Upward,
    /// Half of the time within which a sign of life is wanted, and when the next one is due.
    beats: Option<(Duration, Duration)>,
    /// READY=1 was said.
    ready: bool,
    /// RELOADING=1 was said, so that a READY=1 has to follow.
    reloading: bool,
    /// STOPPING=1 was said.
    stopping: bool,
    /// The last status.
    status: String,
    /// Something has happened since the last look at the services.
    stale: bool,
    /// The queue was full: when to try again.
    again: Option<Duration>,
    /// That it does not hear us has been told.
    deaf: bool,
}

/// How far the services are.
struct Outlook {
    status: String,
    /// Nobody who is wanted is still on his way, and somebody is ready or nobody is wanted.
    ready: bool,
}

impl Upward {
    /// Whoever is above us, if somebody listens. An address that is none is one warning.
    pub(super) fn of(instance: &Instance) -> Option<Upward> {
        let wanted = instance.upward.as_ref()?;
        let way = upward::Upward::open(&wanted.socket)
            .map_err(|e| {
                let why = crate::sys::reason(&e);
                log::warn!("NOTIFY_SOCKET {:?}: neither a path nor @NAME, or not to be had ({why})", wanted.socket);
            })
            .ok()?;
        let beats = wanted.watchdog.map(|within| ((within / 2).max(LEAST_PAUSE), Duration::ZERO));
        Some(Upward {
            way,
            beats,
            ready: false,
            reloading: false,
            stopping: false,
            status: String::new(),
            stale: true,
            again: None,
            deaf: false,
        })
    }

    /// When there is something to say without anything happening.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.beats.map(|(_, due)| due).into_iter().chain(self.again).min()
    }

    /// Something has happened that may change what is to be said.
    pub(super) fn note(&mut self) {
        self.stale = true;
    }

    /// One datagram. False: it is to be said again later.
    fn say(&mut self, text: &str, now: Duration) -> bool {
        match self.way.send(text) {
            Sent::Yes => {
                self.deaf = false;
                true
            }
            Sent::Full => {
                self.again = Some(now + RETRY);
                false
            }
            Sent::No(errno) => {
                if !std::mem::replace(&mut self.deaf, true) {
                    log::info!("whoever started the watchdog does not hear it (NOTIFY_SOCKET): {}", errno.desc());
                }
                // Nothing is gained by trying again before there is something new.
                true
            }
        }
    }

    /// The sign of life, if it is due. Given by the loop itself: what it shows is that the loop turns.
    fn beat(&mut self, now: Duration) {
        let Some((every, due)) = self.beats else { return };
        if due <= now && self.say("WATCHDOG=1", now) {
            self.beats = Some((every, now + every));
        } else if due <= now {
            // The queue is full of earlier ones: this one is not missed.
            self.beats = Some((every, now + every.min(RETRY)));
        }
    }
}

impl Reactor {
    /// At the end of a turn.
    pub(super) fn speak_upward(&mut self) {
        let now = self.clock.now();
        let ending = self.machine.is_ending();
        let Some(up) = self.upward.as_mut() else { return };
        up.beat(now);
        let due = up.again.take_if(|at| *at <= now).is_some();
        if !(up.stale || due || ending != up.stopping) {
            return;
        }
        let outlook = outlook(self.machine.services(), ending);
        let ready = (outlook.ready && !up.ready || up.reloading) && !ending;
        let mut text = String::new();
        if ready {
            text.push_str("READY=1\n");
        }
        if ending && !up.stopping {
            let _ = writeln!(text, "STOPPING=1\nEXTEND_TIMEOUT_USEC={}", micros(longest_stop(self.machine.services())));
        }
        if outlook.status != up.status {
            let _ = writeln!(text, "STATUS={}", outlook.status);
        }
        up.stale = false;
        if text.is_empty() || up.say(text.trim_end(), now) {
            up.ready |= ready;
            up.reloading &= !ready;
            up.stopping |= ending;
            up.status = outlook.status;
        }
    }

    /// The file is about to be read again: READY=1 follows when that is done. Of no use before the first one.
    pub(super) fn say_reloading(&mut self) {
        let now = self.clock.now();
        let Some(up) = self.upward.as_mut().filter(|up| up.ready && !up.stopping) else { return };
        up.reloading = up.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", micros(clock::since_start())), now);
        up.stale |= up.reloading;
    }

    /// Beside waits of the end, which are no turns of the loop.
    pub(super) fn beat_upward(&mut self) {
        let now = self.clock.now();
        if let Some(up) = self.upward.as_mut() {
            up.beat(now);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[inline(never)]
fn outlook(services: &[Service], ending: bool) -> Outlook {
    let (mut wanted, mut ready, mut on_the_way) = (0, 0, 0);
    let mut behind: Vec<&Service> = Vec::new();
    let present = || services.iter().filter(|s| !s.removed);
    for s in present() {
        let readiness = s.readiness();
        wanted += usize::from(readiness != Readiness::Unasked);
        ready += usize::from(matches!(readiness, Readiness::Ready | Readiness::Over));
        on_the_way += usize::from(readiness == Readiness::Coming);
        if readiness.is_missing() {
            behind.push(s);
        }
    }
    let mut all = present();
    let status = match (all.next(), all.next()) {
        (Some(only), None) => alone(only),
        _ if ending => {
            format!("stopping: {} of {} left", present().filter(|s| s.state.has_process()).count(), present().count())
        }
        _ => among(wanted, ready, &behind),
    };
    let line: String = status.chars().map(|c| if crate::is_hidden(c) { ' ' } else { c }).take(STATUS_CHARS).collect();
    Outlook { status: line, ready: on_the_way == 0 && (ready > 0 || wanted == 0) }
}

/// The one there is: where it is, and what it says of itself or why it is there.
fn alone(s: &Service) -> String {
    let said = s.run.as_ref().filter(|run| run.alive).and_then(|run| run.talk.status.as_deref());
    let more = said.unwrap_or(&s.reason);
    let colon = if more.is_empty() { "" } else { ": " };
    format!("{} {}{colon}{more}", s.spec.name, s.state.word())
}

/// One of many.
fn among(wanted: usize, ready: usize, behind: &[&Service]) -> String {
    let mut text = format!("{ready} of {wanted} services ready");
    for (n, s) in behind.iter().take(NAMED).enumerate() {
        let between = if n == 0 { ": " } else { ", " };
        let _ = write!(text, "{between}{} {}", s.spec.name, s.state.word());
    }
    if behind.len() > NAMED {
        let _ = write!(text, " and {} more", behind.len() - NAMED);
    }
    text
}

/// Whoever is above us must not kill us before our own ladder has come to its end: that of each service, one after the
/// other in the worst of orders.
fn longest_stop(services: &[Service]) -> Duration {
    let one =
        |stop: &Stop| stop.shutdown_timeout.saturating_mul(2).saturating_add(stop.kill_wait).saturating_add(STOP_SLACK);
    let all = services.iter().filter(|s| !s.removed && s.state.has_process()).map(|s| one(&s.spec.stop));
    all.fold(STOP_SLACK, Duration::saturating_add)
}
