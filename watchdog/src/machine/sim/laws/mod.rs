//! The laws: an outsider follows every call and says what it must lead to. It knows the events and the contract; of the
//! machine it sees only what it does. Each broken law begins with its name.

mod beats;
mod clients;
mod hang;
mod health;
mod house;
mod life;
mod limits;
mod truth;
mod verdict;
mod wanted;
mod wishes;
mod witness;

use super::sometimes::Sometimes;
use super::world::World;
use crate::machine::{Action, Event, MonoTime, Request, ServiceId, Setup, Supervisor, What};
use crate::spec::Spec;
use clients::Clients;
use house::House;
use wanted::Deeds;
use witness::{Phase, Witness};

/// One call of the machine.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Begin,
    Handle(Event),
    Time,
}

/// The outsider.
pub(super) struct Laws {
    all: Vec<Witness>,
    house: House,
    clients: Clients,
    totals: Vec<u32>,
}

impl Laws {
    pub(super) fn new(specs: &[Spec], setup: Setup) -> Laws {
        Laws {
            all: specs.iter().cloned().map(Witness::new).collect(),
            house: House::new(setup),
            clients: Clients::default(),
            totals: vec![0; specs.len()],
        }
    }

    pub(super) fn sometimes(&self) -> Sometimes {
        let mut sum = self.house.seen.clone();
        sum.add(&self.clients.seen);
        self.all.iter().for_each(|w| sum.add(&w.seen));
        sum
    }

    pub(super) fn over(&self) -> bool {
        self.house.over
    }

    /// Nothing is under way: everybody runs or rests, or waits longer than anybody will.
    pub(super) fn settled(&self, horizon: MonoTime) -> bool {
        let far = |w: &Witness| w.next.is_some_and(|next| next.due > horizon);
        self.all.iter().all(|w| w.running() || w.resting() || far(w))
            && (self.clients.impatient() == 0 || self.all.iter().any(far))
    }

    /// Who is where, for a run that does not settle.
    pub(super) fn unrest(&self) -> String {
        let of = |w: &Witness| format!("{:?}, ready {:?}, next {:?}", w.phase, w.run.ready, w.next.map(|n| n.due));
        let all: Vec<String> = self.all.iter().map(of).collect();
        format!("{}; {} clients wait", all.join("; "), self.clients.impatient())
    }

    /// Judges one call.
    pub(super) fn observe(
        &mut self,
        now: MonoTime,
        call: &Call,
        actions: &[Action],
        machine: &Supervisor,
        world: &World,
    ) -> Result<(), String> {
        if self.house.over {
            return if actions.is_empty() { Ok(()) } else { Err("end: it goes on".into()) };
        }
        let before: Vec<(Phase, u64)> = self.all.iter().map(|w| (w.phase, w.generation)).collect();
        let saw: Vec<Deeds> = (0..self.all.len()).map(|n| Deeds::of(ServiceId(n as u32), actions)).collect();
        for (n, w) in self.all.iter_mut().enumerate() {
            w.announced = announced(n, actions);
        }
        self.digest(now, call, &saw)?;
        self.house.settle(now, &mut self.all);
        truth::actions(actions, &self.all, &before, world)?;
        for (n, (w, saw)) in self.all.iter_mut().zip(saw).enumerate() {
            healthy(n, w, &saw, world)?;
            std::mem::take(&mut w.want).compare(saw)?;
            w.learn_age(&machine.services()[n])?;
        }
        self.house.compare(actions)?;
        for (w, s) in self.all.iter_mut().zip(machine.services()) {
            truth::state(w, s, world)?;
            health::health(now, w, s)?;
        }
        self.clients.compare(now, actions, &self.all, machine.services())?;
        self.counters(actions, machine)
    }

    fn digest(&mut self, now: MonoTime, call: &Call, saw: &[Deeds]) -> Result<(), String> {
        match call {
            Call::Begin => self.all.iter_mut().for_each(|w| w.start(now)),
            Call::Time => {
                for w in &mut self.all {
                    w.time(now)?;
                }
                self.house.time(now);
            }
            Call::Handle(event) => return self.event(now, event, saw),
        }
        Ok(())
    }

    fn event(&mut self, now: MonoTime, event: &Event, saw: &[Deeds]) -> Result<(), String> {
        match event {
            Event::Spawned { service, generation, .. } => self.all[at(service)].spawned(now, generation.0),
            Event::SpawnFailed { service, generation, failure } => {
                self.all[at(service)].spawn_failed(now, generation.0, failure)
            }
            Event::Exited { service, generation, exit, seen_alive, left } => {
                self.all[at(service)].exited(now, generation.0, *exit, *seen_alive, left.is_empty())
            }
            Event::Tree { service, generation, left } => {
                let stuck = saw[at(service)].told.contains(&"stuck");
                self.all[at(service)].tree(now, generation.0, left.is_empty(), stuck)
            }
            Event::Probed { .. } | Event::FileSeen { .. } => Ok(()),
            Event::GiveUpRan { service } => {
                let w = &mut self.all[at(service)];
                w.leave |= w.give_up_due.take().is_some();
                Ok(())
            }
            Event::News { service, generation, dialect, news } => {
                self.all[at(service)].says(now, generation.0, *dialect, news)
            }
            Event::HandedOver { service, generation, told, .. } => {
                self.all[at(service)].handed_over(generation.0, *told);
                Ok(())
            }
            Event::Foreign { service, generation, .. } => {
                self.all[at(service)].foreign(now, generation.0);
                Ok(())
            }
            Event::SeenReady { service, generation, by } => {
                self.all[at(service)].seen_ready(now, generation.0, *by);
                Ok(())
            }
            Event::ChannelLost { service, generation, dialect, fault } => {
                self.all[at(service)].channel_lost(now, generation.0, *dialect, fault.is_some());
                Ok(())
            }
            Event::Evidence { service, generation, evidence } => {
                self.all[at(service)].evidence(now, generation.0, *evidence);
                Ok(())
            }
            Event::Sampled { service, generation, sample } => {
                self.all[at(service)].sampled(now, generation.0, sample);
                Ok(())
            }
            Event::Asked { ticket, request, .. } => {
                let refused = self.refuses(request);
                self.clients.asked(now, *ticket, request, &self.all, refused);
                if !refused {
                    self.request(now, request);
                }
                Ok(())
            }
            Event::ClientGone { ticket } => {
                self.clients.gone(*ticket);
                Ok(())
            }
            Event::Signalled { signal, origin } => {
                self.house.signalled(now, &mut self.all, *signal, *origin);
                Ok(())
            }
            Event::Alone => {
                self.house.alone();
                Ok(())
            }
        }
    }

    fn refuses(&self, request: &Request) -> bool {
        let unknown = |ids: &[ServiceId]| ids.iter().any(|id| at(id) >= self.all.len());
        let up = self.house.is_ending();
        match request {
            Request::Start { services } | Request::Restart { services, .. } => up || unknown(services),
            Request::Signal { services, .. } => {
                up || unknown(services) || services.iter().any(|id| self.all[at(id)].phase != Phase::Alive)
            }
            Request::Stop { services, .. } => unknown(services),
            Request::Wait { services, .. } => unknown(services),
            Request::Reload { services } => {
                up || unknown(services) || services.iter().any(|id| !self.all[at(id)].can_reload())
            }
            Request::Tell { services, .. } => {
                up || unknown(services) || services.iter().any(|id| !self.all[at(id)].can_be_told())
            }
            Request::Shutdown => false,
            Request::ReadFileAgain { .. } => up,
        }
    }

    fn request(&mut self, now: MonoTime, request: &Request) {
        let mut each = |ids: &[ServiceId], deed: &dyn Fn(&mut Witness)| {
            for (n, w) in self.all.iter_mut().enumerate() {
                if ids.contains(&ServiceId(n as u32)) {
                    deed(w);
                }
            }
        };
        match request {
            Request::Start { services } => each(services, &|w| w.start(now)),
            Request::Stop { services, timeout } => {
                each(services, &|w| w.stop(now, w.stop_signal(), timeout.unwrap_or(w.spec.stop.timeout)));
            }
            Request::Restart { services, force, .. } => each(services, &|w| w.restart(now, *force)),
            Request::Signal { services, signal } => each(services, &|w| w.forward(*signal)),
            Request::Shutdown => self.house.end(now, &mut self.all, libc::SIGTERM, None),
            Request::Reload { services } => each(services, &Witness::reload),
            Request::Tell { services, word } => each(services, &|w| w.tell_it(word)),
            Request::Wait { .. } | Request::ReadFileAgain { .. } => {}
        }
    }

    /// Counters only grow, and one call never leads to more than a handful of deeds.
    fn counters(&mut self, actions: &[Action], machine: &Supervisor) -> Result<(), String> {
        for (known, s) in self.totals.iter_mut().zip(machine.services()) {
            if s.book.total < *known {
                return Err("counters: restarts in all went back".into());
            }
            *known = s.book.total;
        }
        let answers = actions.iter().filter(|a| matches!(a, Action::Answer { .. })).count();
        if actions.len() - answers > 24 * self.all.len() + 2 {
            return Err(format!("bounds: {} actions in one call", actions.len()));
        }
        Ok(())
    }

    pub(super) fn waiting(&self) -> usize {
        self.clients.waiting()
    }
}

fn at(id: &ServiceId) -> usize {
    id.0 as usize
}

/// The delay that was announced for this service in this call.
fn announced(n: usize, actions: &[Action]) -> Option<std::time::Duration> {
    actions.iter().find_map(|a| match a {
        Action::Tell(notice) if notice.service == Some(ServiceId(n as u32)) => match notice.what {
            What::RestartScheduled { delay, .. } => Some(delay),
            _ => None,
        },
        _ => None,
    })
}

/// A worker that was born when the troubles were over comes up, answers and is modest: nobody suspects it.
fn healthy(n: usize, w: &Witness, saw: &Deeds, world: &World) -> Result<(), String> {
    let healthy = world.procs[n].iter().any(|p| p.healthy && p.generation.0 == w.generation);
    let blamed = saw.told.iter().find(|t| ["hang", "threshold", "channel-lost", "proto-error"].contains(t));
    match blamed.filter(|_| healthy) {
        Some(what) => Err(format!("settle: a healthy worker is blamed: {what}")),
        None => Ok(()),
    }
}
