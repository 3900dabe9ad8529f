//! Clients with wishes, people who leave before the answer, signals and keys.

use super::draw::Draw;
use super::world::World;
use crate::machine::{By, ByKind, Event, Origin, Request, ServiceId, Ticket, Want};
use std::time::Duration;

/// What somebody does next; often nothing.
pub(super) fn act(world: &mut World, tickets: &mut u64) {
    let (commands, signals, keys, ends) =
        (world.faults.commands, world.faults.signals, world.faults.keys, world.faults.ends);
    let services = world.procs.len();
    let mut events = Vec::new();
    let draw = &mut world.draw;
    if draw.chance(commands) {
        for _ in 0..draw.pick(&[1, 1, 1, 2, 3]) {
            *tickets += 1;
            let ticket = Ticket(*tickets);
            events.push(Event::Asked { ticket, by: by(), request: request(draw, services, ends) });
            if draw.chance(15) {
                events.push(Event::ClientGone { ticket });
            }
        }
    }
    if draw.chance(signals) {
        let signal = draw.pick(&[1, 10, 12, 28, 3, 20, 34]);
        events.push(Event::Signalled { signal, origin: origin(draw) });
    }
    if draw.chance(keys) {
        let signal = draw.pick(&[2, 2, 3, 20, 28]);
        events.push(Event::Signalled { signal, origin: Origin::Kernel });
    }
    if draw.chance(ends / 8) {
        for _ in 0..draw.pick(&[1, 1, 2, 3]) {
            let signal = draw.pick(&[15, 15, 2]);
            events.push(Event::Signalled { signal, origin: origin(draw) });
        }
    }
    for event in events {
        world.post(event, false);
    }
    world.call_person();
}

/// The control socket's usual guest.
pub(super) fn by() -> By {
    By { kind: ByKind::Control, signal: None, pid: Some(4), uid: Some(0) }
}

fn origin(draw: &mut Draw) -> Origin {
    if draw.chance(90) { Origin::Process { pid: 7, uid: 0 } } else { Origin::Kernel }
}

fn request(draw: &mut Draw, services: usize, ends: u64) -> Request {
    let one = ServiceId(draw.below(services as u64) as u32);
    let mut names = vec![one];
    if draw.chance(30) {
        names = (0..services as u32).map(ServiceId).collect();
    } else if draw.chance(3) {
        names = vec![ServiceId(77)];
    }
    match draw.below(23) {
        20 => Request::Reload { services: names },
        21 => Request::Tell { services: names, word: "flush".into() },
        0..5 => Request::Start { services: names },
        5..10 => {
            let timeout = draw.pick(&[None, None, Some(0), Some(700), Some(60_000)]).map(Duration::from_millis);
            Request::Stop { services: names, timeout }
        }
        10..14 => Request::Restart { services: names, force: draw.chance(30), alone: false },
        14..16 => Request::Signal { services: names, signal: draw.pick(&[1, 10, 15, 9, 19]) },
        16 if draw.chance(ends) => Request::Shutdown,
        _ => Request::Wait {
            services: vec![one],
            want: draw.pick(&[Want::Ready, Want::Stopped, Want::Completed]),
            timeout: draw.pick(&[None, Some(0), Some(500), Some(5000)]).map(Duration::from_millis),
        },
    }
}
