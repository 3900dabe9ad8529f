//! Clients and operators of a graph: at random moments, in random order.

use super::world::World;
use crate::machine::sim::people::by;
use crate::machine::{Event, Origin, Request, ServiceId, Supervisor, Ticket, Want};
use std::time::Duration;

/// What people do at one moment.
pub(super) fn act(world: &mut World, machine: &Supervisor, tickets: &mut u64) {
    let (commands, reloads, ends) = (world.faults.commands, world.faults.reloads, world.faults.ends);
    let services = machine.services().len() as u64;
    if world.draw.chance(commands) {
        for _ in 0..world.draw.pick(&[1, 1, 1, 2, 4]) {
            *tickets += 1;
            let ticket = Ticket(*tickets);
            let request = request(world, services);
            world.post(Event::Asked { ticket, by: by(), request });
            if world.draw.chance(10) {
                world.post(Event::ClientGone { ticket });
            }
        }
    }
    if world.draw.chance(reloads) {
        let restart = world.draw.chance(60);
        *tickets += 1;
        let request = Request::ReadFileAgain { restart };
        match world.draw.chance(70) {
            true => world.post(Event::Asked { ticket: Ticket(*tickets), by: by(), request }),
            false => signal(world, libc::SIGHUP),
        }
    }
    if world.draw.chance(ends) {
        for _ in 0..world.draw.pick(&[1, 1, 2, 3]) {
            // 0: the terminal is closed.
            match world.draw.pick(&[libc::SIGTERM, libc::SIGTERM, libc::SIGINT, libc::SIGINT, libc::SIGQUIT, 0]) {
                0 => world.post(Event::Signalled { signal: libc::SIGHUP, origin: Origin::Kernel }),
                number => signal(world, number),
            }
        }
    }
    world.call_person();
}

pub(super) fn signal(world: &mut World, signal: i32) {
    world.post(Event::Signalled { signal, origin: Origin::Process { pid: 7, uid: 0 } });
}

fn request(world: &mut World, services: u64) -> Request {
    let ends = world.faults.ends;
    let draw = &mut world.draw;
    let one = ServiceId(draw.below(services) as u32);
    let mut names = vec![one];
    if draw.chance(20) {
        names.extend((0..draw.below(4)).map(|_| ServiceId(draw.below(services) as u32)));
        names.sort();
        names.dedup();
    } else if draw.chance(2) {
        names = vec![ServiceId(999)];
    }
    match draw.below(20) {
        0..6 => Request::Start { services: names },
        6..11 => {
            let timeout = draw.pick(&[None, None, Some(0), Some(700)]).map(Duration::from_millis);
            Request::Stop { services: names, timeout }
        }
        11..16 => Request::Restart { services: names, force: draw.chance(20), alone: draw.chance(35) },
        16 if draw.chance(ends) => Request::Shutdown,
        _ => Request::Wait {
            services: vec![one],
            want: draw.pick(&[Want::Ready, Want::Stopped, Want::Completed]),
            timeout: draw.pick(&[None, Some(0), Some(500), Some(5000)]).map(Duration::from_millis),
        },
    }
}
