//! Whoever asks is answered exactly once, truthfully, and as soon as the answer is known.

use super::witness::{Phase, Witness};
use crate::machine::sim::sometimes::{Rare, Sometimes};
use crate::machine::{Action, MonoTime, Reply, Request, Service, ServiceId, State, Ticket, Want};
use crate::spec::Policy;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hope {
    Up,
    Anew,
    Down,
    Want(Want, Option<MonoTime>),
    /// Answered in the same call: yes or no.
    Now(bool),
}

#[derive(Clone, Debug)]
struct Client {
    ticket: Ticket,
    whom: Vec<(usize, u64)>,
    hope: Hope,
    asked: MonoTime,
}

/// All who wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    waiting: Vec<Client>,
    pub(super) seen: Sometimes,
}

/// What one service is to a client.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Ready,
    Well,
    Failed,
    Down,
    Stuck,
    Pending,
}

fn look(w: &Witness, s: &Service) -> Look {
    match s.state {
        _ if w.run.stuck => Look::Stuck,
        _ if w.running() => Look::Ready,
        State::Done if w.resting() => Look::Well,
        State::Failed if w.resting() => Look::Failed,
        _ if w.resting() => Look::Down,
        _ => Look::Pending,
    }
}

/// Started again whatever its end: it never completes.
fn always(w: &Witness) -> bool {
    matches!(w.spec.restart.policy, Policy::Always | Policy::UnlessStopped)
}

impl Clients {
    /// A request is handed over; `refused`: the contract says no at once.
    pub(super) fn asked(&mut self, now: MonoTime, ticket: Ticket, request: &Request, all: &[Witness], refused: bool) {
        let ids = |list: &[ServiceId]| -> Vec<(usize, u64)> {
            list.iter().map(|id| (id.0 as usize, all.get(id.0 as usize).map_or(0, |w| w.generation))).collect()
        };
        let (whom, hope) = match request {
            Request::Start { services } => (ids(services), Hope::Up),
            Request::Stop { services, .. } => (ids(services), Hope::Down),
            Request::Restart { services, .. } => (ids(services), Hope::Anew),
            Request::Signal { services, .. } => {
                let list = ids(services);
                let alive = list.iter().all(|(n, _)| all.get(*n).is_some_and(|w| w.phase == Phase::Alive));
                (list, Hope::Now(alive))
            }
            Request::Reload { services } => {
                let list = ids(services);
                let able = list.iter().all(|(n, _)| all.get(*n).is_some_and(Witness::can_reload));
                (list, Hope::Now(able))
            }
            Request::Tell { services, .. } => {
                let list = ids(services);
                let able = list.iter().all(|(n, _)| all.get(*n).is_some_and(Witness::can_be_told));
                (list, Hope::Now(able))
            }
            Request::Shutdown | Request::ReadFileAgain { .. } => (Vec::new(), Hope::Now(true)),
            Request::Wait { services, want, timeout } => {
                (ids(services), Hope::Want(*want, timeout.map(|d| now.after(d))))
            }
        };
        let hope = if refused { Hope::Now(false) } else { hope };
        self.waiting.push(Client { ticket, whom, hope, asked: now });
    }

    pub(super) fn gone(&mut self, ticket: Ticket) {
        let before = self.waiting.len();
        self.waiting.retain(|c| c.ticket != ticket);
        if self.waiting.len() < before {
            self.seen.saw(Rare::ClientGone);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Those that have a right to an answer when everything has settled.
    pub(super) fn impatient(&self) -> usize {
        self.waiting.iter().filter(|c| !matches!(c.hope, Hope::Want(..))).count()
    }

    pub(super) fn compare(
        &mut self,
        now: MonoTime,
        actions: &[Action],
        all: &[Witness],
        services: &[Service],
    ) -> Result<(), String> {
        let over = actions.iter().any(|a| matches!(a, Action::Exit(_)));
        for action in actions {
            let Action::Answer { ticket, reply } = action else { continue };
            let Some(at) = self.waiting.iter().position(|c| c.ticket == *ticket) else {
                return Err(format!("clients: {ticket:?} is answered and does not wait"));
            };
            let client = self.waiting.swap_remove(at);
            self.judge(now, &client, reply, all, services, over)?;
        }
        for c in &self.waiting {
            if over || self.is_due(now, c, all, services) {
                return Err(format!("clients: no answer for {c:?}"));
            }
        }
        Ok(())
    }

    fn is_due(&self, now: MonoTime, c: &Client, all: &[Witness], services: &[Service]) -> bool {
        let mut looks = c.whom.iter().map(|(n, _)| look(&all[*n], &services[*n]));
        match c.hope {
            Hope::Now(_) => true,
            // It is so, or nothing that happens by itself makes it so: nothing is waited for.
            Hope::Want(Want::Ready, _) if looks.clone().any(|l| l != Look::Pending) => true,
            Hope::Want(Want::Completed, _) if looks.clone().any(|l| ![Look::Ready, Look::Pending].contains(&l)) => true,
            Hope::Want(Want::Completed, _) if c.whom.iter().any(|(n, _)| always(&all[*n])) => true,
            Hope::Want(Want::Stopped, _)
                if looks.clone().any(|l| ![Look::Ready, Look::Stuck, Look::Pending].contains(&l)) =>
            {
                true
            }
            Hope::Want(_, until) => until.is_some_and(|at| at <= now),
            Hope::Up | Hope::Anew | Hope::Down => looks.all(|l| l != Look::Pending),
        }
    }

    fn judge(
        &mut self,
        now: MonoTime,
        c: &Client,
        reply: &Reply,
        all: &[Witness],
        services: &[Service],
        over: bool,
    ) -> Result<(), String> {
        let looks: Vec<Look> =
            c.whom.iter().map(|(n, _)| all.get(*n).map_or(Look::Down, |w| look(w, &services[*n]))).collect();
        let yes = match c.hope {
            Hope::Now(yes) => yes,
            Hope::Up => looks.iter().all(|l| [Look::Ready, Look::Well].contains(l)),
            Hope::Anew => {
                looks.iter().all(|l| [Look::Ready, Look::Well].contains(l))
                    && c.whom.iter().all(|(n, before)| all[*n].generation > *before)
            }
            Hope::Down => looks.iter().all(|l| [Look::Down, Look::Well, Look::Failed].contains(l)),
            Hope::Want(want, _) => match want {
                Want::Ready => {
                    let oneshot = services[c.whom[0].0].spec.kind == crate::spec::Kind::Oneshot;
                    looks[0] == Look::Ready || (looks[0] == Look::Well && oneshot)
                }
                Want::Completed => looks[0] == Look::Well,
                Want::Stopped => [Look::Down, Look::Well, Look::Failed].contains(&looks[0]),
            },
        };
        let said = match reply {
            Reply::Done { .. } => true,
            Reply::Refused { .. } | Reply::NotSo { .. } => false,
            Reply::TimedOut { .. } => {
                if !looks.contains(&Look::Stuck) {
                    return Err(format!("clients: {c:?} is told of a stuck service"));
                }
                false
            }
            Reply::Waited { reached, waited, .. } => {
                if *waited != now.since(c.asked) {
                    return Err(format!("clients: {c:?} waited {:?}, not {waited:?}", now.since(c.asked)));
                }
                let until = match c.hope {
                    Hope::Want(_, until) => until,
                    Hope::Up | Hope::Anew | Hope::Down | Hope::Now(_) => None,
                };
                if !*reached && until.is_some_and(|at| at <= now) {
                    self.seen.saw(Rare::WaitOver);
                } else if !*reached && !over {
                    let first = c.whom[0].0;
                    let never = c.hope == Hope::Want(Want::Completed, until) && always(&all[first]);
                    if looks[0] == Look::Pending && !never {
                        return Err(format!("clients: {c:?} is told no while it may come"));
                    }
                    self.seen.saw(Rare::WaitInVain);
                }
                *reached
            }
        };
        if yes != said {
            return Err(format!("clients: {c:?} got {reply:?}"));
        }
        let hopeless = looks.iter().any(|l| [Look::Failed, Look::Stuck, Look::Down, Look::Well].contains(l));
        match c.hope {
            Hope::Up | Hope::Anew if !said && !hopeless && !over => {
                // Somebody runs on in its old generation: others took that restart back, and no waiting helps.
                let taken_back = |(look, (n, before)): (&Look, &(usize, u64))| {
                    *look == Look::Ready && c.hope == Hope::Anew && all[*n].generation <= *before
                };
                let taken_back = looks.iter().zip(&c.whom).any(taken_back);
                if looks.contains(&Look::Pending) && !taken_back {
                    return Err(format!("clients: {c:?} is refused too early"));
                }
                self.seen.saw(Rare::Superseded);
            }
            Hope::Down if !said && !over && !looks.contains(&Look::Stuck) => {
                if c.whom.iter().all(|(n, _)| !all[*n].up) {
                    return Err(format!("clients: {c:?} is refused though nobody wants it up"));
                }
                self.seen.saw(Rare::Superseded);
            }
            _ => {}
        }
        Ok(())
    }
}
