//! Requests of clients: read-only ones are answered from the machine's state, the others are put to the machine.

use super::{Follower, Reactor, Ticketed};
use crate::control::{
    self, Ask, AskError, Verb, ask_error, error, explain, is_pattern, item, nearest, ok, why_not as why_not_of,
};
use crate::machine::*;
use crate::spec::{Autostart, Form, LogMode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lines or events shown when no number was asked for.
const LAST: usize = 100;
/// Bytes of a service in `status`, about.
const SHAPE: usize = 900;
/// Longest word of an operator, as in docs/protocol.md.
const WORD_MAX: usize = 4096;

impl Reactor {
    #[inline(never)]
    pub(super) fn on_ask(&mut self, client: usize, ask: Ask, peer: (i32, u32)) {
        // Reports outlive the services they are about.
        let picked = if ask.verb == Verb::Report { Ok(Vec::new()) } else { self.pick(&ask) };
        let services = match picked {
            Ok(services) => services,
            Err(value) => return self.say(client, &value),
        };
        match self.do_ask(client, &ask, services, peer) {
            Ok(Some(value)) => self.say(client, &value),
            Ok(None) => {}
            Err(e) => self.say(client, &ask_error(&e)),
        }
    }

    fn say(&mut self, client: usize, value: &Value) {
        if let Some(server) = self.server.as_mut() {
            server.say(client, value);
        }
    }

    /// The named services (of a replicated one all), or all of them. Hidden ones are left out of the two listings alone,
    /// never out of what is counted or judged. One that was taken out of the file can be looked at until its process is
    /// gone. A name is only compared, never made into anything.
    fn pick(&self, ask: &Ask) -> Result<Vec<ServiceId>, Value> {
        if ask.services.is_empty() {
            let listing = matches!(ask.verb, Verb::Status | Verb::Tree);
            let all = !listing || ask.switch("all").map_err(|e| ask_error(&e))?;
            let there = |s: &&Service| !s.removed || (listing && s.state.has_process());
            let services = self.machine.services().iter().filter(there).filter(|s| all || !s.spec.hidden);
            return Ok(services.map(|s| s.id).collect());
        }
        let looks = matches!(ask.verb, Verb::Status | Verb::Tree | Verb::Explain | Verb::Logs);
        let (mut picked, mut seen) = (Vec::new(), BTreeSet::new());
        for name in &ask.services {
            let mut named = self.named(name, looks);
            if named.is_empty() {
                return Err(self.no_such_service(ask, name, &[]));
            }
            if is_pattern(name) {
                self.keep_those_meant(ask.verb, &mut named);
            }
            picked.extend(named.into_iter().filter(|id| seen.insert(*id)));
        }
        Ok(picked)
    }

    /// Of those that a pattern matches, those that the wish is one for: one that is done is not done again, one that is down
    /// is not restarted, and one without a process gets no signal. Where it is none of them, all are named in the answer.
    fn keep_those_meant(&self, verb: Verb, named: &mut Vec<ServiceId>) {
        let meant = |s: &Service| match verb {
            Verb::Start => !matches!(s.state, State::Done) && s.spec.place.autostart != Autostart::Ignore,
            Verb::Restart => s.is_meant_to_run(),
            Verb::Signal => s.living().is_some(),
            Verb::Tell => s.hears(),
            Verb::Reload => s.can_be_told_to_reload(),
            Verb::Status
            | Verb::Stop
            | Verb::Events
            | Verb::Logs
            | Verb::Explain
            | Verb::Health
            | Verb::Wait
            | Verb::Shutdown
            | Verb::Report
            | Verb::Tree => true,
        };
        let kept: Vec<ServiceId> =
            named.iter().filter(|id| self.machine.services().get(id.0 as usize).is_some_and(meant)).copied().collect();
        if !kept.is_empty() {
            *named = kept;
        }
    }

    /// `others`: names that would have done as well.
    pub(super) fn no_such_service(&self, ask: &Ask, name: &str, others: &[&str]) -> Value {
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        let all = self.machine.services().iter().filter(|s| !s.removed).map(|s| s.spec.name.as_str());
        let near = nearest(name, all.chain(others.iter().copied()));
        error(&ask.id, "no-such-service", &format!("no service \"{shown}\" here"), near.as_deref())
    }

    fn do_ask(
        &mut self,
        client: usize,
        ask: &Ask,
        services: Vec<ServiceId>,
        (pid, uid): (i32, u32),
    ) -> Result<Option<Value>, AskError> {
        let by = By { kind: ByKind::Control, signal: None, pid: Some(pid), uid: Some(uid) };
        let request = match ask.verb {
            Verb::Status => {
                let watched = ask.switch("sample")?;
                if watched {
                    self.look_at_usage(&services);
                }
                let path = self.server.as_ref().map(|s| s.path());
                let (http, ending) = (self.web.as_ref().map(super::web::Web::at), self.machine.is_ending());
                let mean = watched && ask.switch("mean")?;
                let frame = self.frame();
                let about = control::about(&frame, &self.instance, path, http, ending);
                let more = |id, shape: &mut Value| {
                    if watched {
                        self.show_usage(id, mean, shape);
                    }
                };
                let write = |text: &mut String| control::status(&frame, &about, &services, more, text);
                let text = control::ok_line(&ask.id, services.len().saturating_mul(SHAPE), write);
                if let Some(server) = self.server.as_mut() {
                    server.say_text(client, text);
                }
                return Ok(None);
            }
            Verb::Explain => {
                let why_not = ask.switch("why_not")?;
                return Ok(Some(ok(&ask.id, self.explain(&services, why_not))));
            }
            Verb::Report => return self.on_report(ask).map(Some),
            Verb::Health => return Ok(Some(ok(&ask.id, control::health_of(&self.frame(), &services)))),
            Verb::Tree => return Ok(Some(ok(&ask.id, control::tree(&self.frame(), &services)))),
            Verb::Events => return self.events(client, ask, services).map(|()| None),
            Verb::Logs => return self.logs(client, ask, services),
            Verb::Start => Request::Start { services: services.clone() },
            Verb::Stop => Request::Stop { services: services.clone(), timeout: ask.millis("timeout_ms")? },
            Verb::Restart => Request::Restart {
                services: services.clone(),
                force: ask.switch("force")?,
                alone: ask.switch("no_dependents")?,
            },
            Verb::Signal => Request::Signal { services: services.clone(), signal: signal(ask)? },
            Verb::Reload if ask.services.is_empty() && self.instance.form == Form::Up => {
                Request::ReadFileAgain { restart: !ask.switch("no_restart")? }
            }
            Verb::Reload => Request::Reload { services: services.clone() },
            Verb::Tell => Request::Tell { services: services.clone(), word: word(ask)? },
            Verb::Shutdown => Request::Shutdown,
            Verb::Wait => {
                Request::Wait { services: services.clone(), want: want(ask)?, timeout: ask.millis("timeout_ms")? }
            }
        };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, Ticketed { client, id: ask.id.clone(), services });
        let now = self.clock.now();
        if let Some(server) = self.server.as_mut() {
            server.set_open(client, true, now);
        }
        self.feed(Event::Asked { ticket, by, request });
        self.keep_wishes();
        Ok(None)
    }

    pub(super) fn explain(&self, services: &[ServiceId], why_not: bool) -> Value {
        let frame = self.frame();
        let all: Vec<Value> = frame
            .picked(services)
            .map(|s| {
                let hook = self.start_hook(s.id);
                let text = match why_not {
                    true => why_not_of(&frame, s, hook),
                    false => explain(&frame, s, hook, self.journal.last(usize::MAX)),
                };
                json!({"service": s.spec.name, "text": text})
            })
            .collect();
        json!({"services": all})
    }

    fn events(&mut self, client: usize, ask: &Ask, services: Vec<ServiceId>) -> Result<(), AskError> {
        let (follow, n) = (ask.switch("follow")?, ask.count("n")?.unwrap_or(LAST));
        let frame = self.frame();
        let all = ask.services.is_empty();
        let mine = |e: &&control::Entry| all || e.notice.service.is_none_or(|id| services.contains(&id) && e.is_of(id));
        let mut shown: Vec<Value> =
            self.journal.last(usize::MAX).filter(mine).rev().take(n).map(|e| control::event(&frame, e)).collect();
        shown.reverse();
        self.stream(client, ask, services, shown, follow, true);
        Ok(())
    }

    fn logs(&mut self, client: usize, ask: &Ask, services: Vec<ServiceId>) -> Result<Option<Value>, AskError> {
        let (follow, n) = (ask.switch("follow")?, ask.count("n")?.unwrap_or(LAST));
        let all = self.machine.services();
        let frame = self.frame();
        let open = frame.picked(&services).find(|s| s.spec.log.mode == LogMode::Inherit);
        if let Some(service) = open {
            let message =
                format!("output of {} is not captured (log = inherit): use --log tee or capture", service.spec.name);
            return Ok(Some(error(&ask.id, "refused", &message, None)));
        }
        let mut shown = Vec::new();
        for id in &services {
            let (Some(s), Some(w)) = (all.get(id.0 as usize), self.workers.get(id.0 as usize)) else { continue };
            shown.extend(w.ring.last(n).iter().map(|l| control::line(&s.spec.name, l)));
        }
        self.stream(client, ask, services, shown, follow, false);
        Ok(None)
    }

    fn stream(
        &mut self,
        client: usize,
        ask: &Ask,
        services: Vec<ServiceId>,
        shown: Vec<Value>,
        follow: bool,
        events: bool,
    ) {
        let now = self.clock.now();
        let Some(server) = self.server.as_mut() else { return };
        for value in shown {
            server.say(client, &item(&ask.id, value));
        }
        if follow {
            server.set_open(client, true, now);
            let mut services = if ask.services.is_empty() { Vec::new() } else { services };
            services.sort_unstable();
            self.followers.push(Follower { client, id: ask.id.clone(), services, events });
        } else {
            server.say(client, &ok(&ask.id, json!({})));
        }
    }
}

fn signal(ask: &Ask) -> Result<i32, AskError> {
    let word = ask.word("signal")?;
    crate::signal_number(word).ok_or_else(|| {
        let shown: String = word.chars().take(32).flat_map(char::escape_default).collect();
        let names: Vec<String> = (1..32).map(crate::signal_name).collect();
        AskError {
            id: ask.id.clone(),
            message: format!("unknown signal \"{shown}\""),
            nearest: nearest(word, names.iter().map(String::as_str)),
        }
    })
}

/// A word of the operator's own: not empty, and no longer than the protocol keeps.
fn word(ask: &Ask) -> Result<String, AskError> {
    let word = ask.word("word")?;
    if word.is_empty() || word.len() > WORD_MAX {
        return Err(ask.wrong("word", "a text of 1 to 4096 bytes"));
    }
    Ok(word.to_owned())
}

fn want(ask: &Ask) -> Result<Want, AskError> {
    match ask.word("for")? {
        "ready" => Ok(Want::Ready),
        "stopped" => Ok(Want::Stopped),
        "completed" => Ok(Want::Completed),
        _ => Err(ask.wrong("for", "ready, stopped or completed")),
    }
}
