//! Events as people get them: in the journal, in the log, to clients that follow, to hooks. While starts go before, they wait
//! in their order.

use super::{HERE, Reactor, upward};
use crate::control::{Frame, sentence};
use crate::machine::*;
use crate::sys::clock;
use std::time::SystemTime;

/// One event, with what belongs to the moment at which it happened.
pub(super) struct Told {
    pub(super) notice: Notice,
    /// How much it matters to people.
    worth: log::Level,
    now: MonoTime,
    wall: SystemTime,
}

impl Told {
    /// A warning of the same moment.
    pub(super) fn with(&self, notice: Notice) -> Told {
        Told { notice, worth: log::Level::Warn, now: self.now, wall: self.wall }
    }
}

impl Reactor {
    /// Takes an event down, shows it to those who follow and, if it is worth a line, to the log; or has it wait for the
    /// starts that go before.
    pub(super) fn tell(&mut self, notice: Notice) {
        let worth = self.worth(&notice);
        let told = Told { notice, worth, now: self.now(), wall: clock::wall() };
        if let Some(told) = self.after.wait(told) {
            self.tell_now(told);
        }
    }

    pub(super) fn tell_now(&mut self, told: Told) {
        let Told { notice, worth, now, wall } = told;
        self.log(&notice, worth);
        self.show_notice(&notice);
        self.upward.iter_mut().for_each(upward::Upward::note);
        if let Some(web) = self.web.as_mut() {
            web.note(&notice);
        }
        let service = notice.service;
        let name = notice.what.name();
        let hooked = self.hooks_want(service, name);
        let watched = self.web.as_ref().is_some_and(|web| web.pages.are_watched());
        let wanted = hooked || watched || self.followers.iter().any(|f| f.events);
        let frame = Frame { now, wall, services: self.machine.services(), reports: &self.reports };
        let Some(json) = self.journal.note(&frame, notice, wanted) else { return };
        if let Some(server) = self.server.as_mut().filter(|_| self.followers.iter().any(|f| f.events)) {
            let text = [json.to_string()];
            for f in self.followers.iter().filter(|f| f.events) {
                if service.is_none_or(|id| f.follows(id)) {
                    server.say_items(f.client, &f.id, &text);
                }
            }
        }
        if let Some(web) = self.web.as_mut() {
            web.tell_watchers(&json, self.clock.now(), &mut self.again);
        }
        if hooked {
            self.run_hooks(service, name, &json);
        }
    }

    pub(super) fn tell_own(&mut self, what: What) {
        self.held_up |= matches!(what, What::Stall { .. });
        self.tell(Notice { service: None, generation: None, pid: None, cause: None, what });
    }

    /// Quiet as long as all goes well: the prefix form is transparent. Restarts and what people must act on are warnings.
    fn worth(&self, notice: &Notice) -> log::Level {
        match &notice.what {
            What::SpawnFailed { .. } => log::Level::Error,
            What::GaveUp { .. } if self.is_news(notice.service) => log::Level::Error,
            What::RestartScheduled { .. }
            | What::CrashLoop { .. }
            | What::KillEscalated { .. }
            | What::Stuck { .. }
            | What::LogDropped { .. }
            | What::Hang { .. }
            | What::Verdict { .. }
            | What::Threshold { .. }
            | What::Oom { .. }
            | What::ProtoError { .. }
            | What::ControlDenied { .. }
            | What::ConfigError { .. } => log::Level::Warn,
            What::NotifyDenied { .. } if self.is_denied_first(notice) => log::Level::Warn,
            What::NotifyDenied { .. } => log::Level::Debug,
            What::Blocked { hopeless: true, .. } | What::LeftoverKilled { background: true, .. } => log::Level::Warn,
            What::OrphanReaped { .. } | What::SignalSent { .. } | What::Status { .. } => log::Level::Debug,
            What::Blocked { .. } | What::Unblocked => log::Level::Debug,
            What::GaveUp { .. }
            | What::Probe { .. }
            | What::ConfigReloaded { .. }
            | What::Spawn
            | What::Ready { .. }
            | What::ChannelLost { .. }
            | What::Reload
            | What::ReloadRequested { .. }
            | What::Exit { .. }
            | What::StopRequested { .. }
            | What::StartRequested { .. }
            | What::RestartRequested { .. }
            | What::SignalRequested { .. }
            | What::Stopped
            | What::LeftoverKilled { .. }
            | What::Stall { .. } => log::Level::Info,
        }
    }

    fn log(&self, notice: &Notice, level: log::Level) {
        let comes_up = matches!(&notice.what, What::Spawn | What::Ready { .. } | What::Unblocked);
        let target = if comes_up { crate::COMES_UP } else { HERE };
        if log::log_enabled!(target: target, level) {
            let name = notice.service.and_then(|id| self.machine.services().get(id.0 as usize)).map(|s| &s.spec.name);
            match name {
                Some(name) => log::log!(target: target, level, "{name}: {}", sentence(notice)),
                None => log::log!(target: target, level, "{}", sentence(notice)),
            }
            if let What::ConfigError { errors } = &notice.what {
                // Each at its place and in a line of its own, as `check` says them.
                errors.iter().skip(1).for_each(|error| log::log!(target: target, level, "{error}"));
            }
        }
    }

    /// Whether its giving up has to be said even where the prefix form is to be transparent: it was restarted before, or
    /// its end was our doing, or a failed start whose code may say otherwise.
    fn is_news(&self, service: Option<ServiceId>) -> bool {
        let by_rule = |s: &Service| s.left_too_early() || s.run.as_ref().is_some_and(|r| r.doomed.is_some());
        let services = self.machine.services();
        let own = service.and_then(|id| services.get(id.0 as usize));
        own.is_some_and(by_rule) || services.iter().any(|s| s.book.total > 0)
    }
}
