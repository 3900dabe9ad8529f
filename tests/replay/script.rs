//! A script: settings, what each run of the worker does, and what people do whenever nothing happens by itself.

use std::time::Duration;
use watchdog_engine::signal_name;
use watchdog_engine::spec::{Delays, Ends, GiveUp, Policy, Restart, Spec, Stop};

/// One story to be played twice.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) spec: Spec,
    /// What the n-th run does; the last one repeats.
    pub(crate) lives: Vec<Life>,
    /// One for each moment of rest, in order; then the watchdog is asked to end.
    pub(crate) orders: Vec<Order>,
}

/// What a run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) end: End,
    /// Milliseconds to its own end.
    pub(crate) after: u64,
    pub(crate) child: Option<Child>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
    /// Stays up, and dies of what it is sent.
    Obeys,
    /// Stays up, and answers TERM, INT and QUIT with this code.
    Answers(i32),
    /// Stays up, and only KILL ends it.
    Deaf,
}

/// A child in a session of its own, which outlives its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Child {
    Obeys,
    Deaf,
}

/// What somebody does at a moment of rest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Stop,
    /// With a grace of its own, in milliseconds.
    StopWithin(u64),
    Start,
    Restart,
    Force,
    Signal(i32),
    /// STOP to the worker, by request.
    Freeze,
    /// A client that waits for `stopped`, `ready` or `completed`.
    Wait(&'static str),
    Shutdown,
    /// TERM to the watchdog.
    Term,
    /// INT to the watchdog.
    Int,
}

/// Numbers that are the same on every machine (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[(self.roll() % of.len() as u64) as usize].clone()
    }

    fn percent(&mut self, n: u64) -> bool {
        self.roll() % 100 < n
    }

    /// Any script, with a bent towards a theme; whether its order is determined is not asked here.
    pub(crate) fn script(&mut self, theme: u64) -> Script {
        let mut spec = self.spec();
        let count = self.one(&[1, 2, 3, 4, 6]);
        let mut lives: Vec<Life> = (0..count).map(|_| self.life()).collect();
        let count = self.one(&[0, 1, 2, 3, 4]);
        let mut orders: Vec<Order> = (0..count).map(|_| self.order()).collect();
        if self.percent(40) {
            // people who do not wait for the end of the end
            use Order::{Int, Shutdown, Start, Stop, StopWithin, Term, Wait};
            let again = [Term, Term, Term, Int, Stop, StopWithin(220), Start, Wait("stopped"), Shutdown];
            orders.push(self.one(&[Term, Term, Int]));
            orders.extend((0..self.one(&[1, 2, 3])).map(|_| self.one(&again)));
        }
        match theme {
            // a pause is cut short
            0 => {
                spec.restart.delays = Delays::List(vec![Duration::from_secs(3600)]);
                let stays = Life { end: self.one(&[End::Obeys, End::Answers(0)]), ..lives[0] };
                lives.insert(0, Life { end: End::Code(1), ..lives[0] });
                lives.insert(1, stays);
                orders.insert(0, self.one(&[Order::Start, Order::Restart, Order::Force]));
            }
            // people go on asking while it is being stopped
            1 => {
                lives.insert(0, Life { end: End::Deaf, ..lives[0] });
                spec.stop.timeout = Duration::from_secs(60);
                orders.insert(0, self.one(&[Order::Stop, Order::Term, Order::Int, Order::Restart]));
            }
            _ => {}
        }
        Script { spec, lives, orders }
    }

    fn spec(&mut self) -> Spec {
        use Policy::{Always, Never, OnFailure, OnSuccess, UnlessStopped};
        let ms = Duration::from_millis;
        let hour = ms(3_600_000);
        let mut short = || ms(self.one(&[10, 20, 30, 40, 60]));
        let several = vec![short(), short(), short()];
        let grown = Delays::Growing { first: short(), factor_milli: 2000, max: ms(60) };
        let fixed = Delays::Growing { first: short(), factor_milli: 1000, max: ms(60) };
        let then_an_hour = vec![short(), hour];
        let long = vec![ms(900), short()];
        let lists = [several, then_an_hour, vec![hour], vec![ms(0)], long].map(Delays::List);
        let [several, then_an_hour, an_hour, none, long] = lists;
        let delays = [grown.clone(), grown, fixed, several, then_an_hour, an_hour, none, long];
        let success =
            [(vec![0], vec![1, 2, 15, 13]), (vec![0, 3], vec![]), (vec![3], vec![10, 11]), (vec![0], vec![9])];
        let success = [success[0].clone(), success[0].clone(), success[0].clone(), self.one(&success)];
        let forbidden = [(vec![78, 125], vec![]), (vec![78, 125], vec![]), (vec![5], vec![6]), (vec![3], vec![10, 11])];
        let ends = |(codes, signals)| Ends { codes, signals };
        let timeout = ms(self.one(&[200, 250, 3000, 60_000]));
        Spec {
            name: "worker".into(),
            restart: Restart {
                policy: self.one(&[Always, Always, UnlessStopped, OnFailure, OnFailure, OnFailure, OnSuccess, Never]),
                delays: self.one(&delays),
                jitter: 0,
                fast_first: self.percent(50),
                stable_after: self.one(&[ms(0), ms(60_000)]),
                limit: self.one(&[0, 1, 2, 2, 3, 4]),
                crash_loop_limit: self.one(&[0, 0, 0, 1, 2, 3]),
                crash_loop_window: self.one(&[ms(1), ms(60_000), ms(60_000)]),
                crash_loop_pause: self.one(&[ms(70), ms(90), hour]),
                total: self.one(&[None, None, None, Some(1), Some(2), Some(4)]),
                give_up: self.one(&[GiveUp::Exit, GiveUp::Stay, GiveUp::Stay]),
                success_on: ends(self.one(&success)),
                no_restart_on: ends(self.one(&forbidden)),
            }
            .into(),
            stop: Stop {
                signal: self.one(&[None, None, None, Some(3)]),
                timeout,
                shutdown_timeout: self.one(&[timeout, ms(200), ms(3000), ms(60_000)]),
                ..Stop::default()
            }
            .into(),
            ..Spec::default()
        }
    }

    fn life(&mut self) -> Life {
        let own =
            [End::Code(self.one(&[0, 0, 1, 1, 3, 5, 78, 143])), End::Signal(self.one(&[1, 6, 9, 10, 11, 13, 15]))];
        let stays = [End::Obeys, End::Obeys, End::Answers(self.one(&[0, 1, 7])), End::Deaf, End::Deaf];
        let end = if self.percent(55) { self.one(&own) } else { self.one(&stays) };
        let child = if self.percent(15) { Some(self.one(&[Child::Obeys, Child::Deaf])) } else { None };
        Life { end, after: self.one(&[0, 2, 5, 9, 70]), child }
    }

    fn order(&mut self) -> Order {
        use Order::{Force, Freeze, Int, Restart, Shutdown, Signal, Start, Stop, StopWithin, Term, Wait};
        let some = [Stop, Stop, StopWithin(220), Start, Start, Restart, Restart, Force, Freeze];
        match self.roll() % 20 {
            0..=12 => self.one(&some),
            13 | 14 => Signal(self.one(&[9, 10])),
            15 | 16 => Wait(self.one(&["stopped", "ready", "completed"])),
            17 => Term,
            18 => Int,
            _ => Shutdown,
        }
    }
}

impl Script {
    /// The settings as flags; a switch has no value.
    pub(crate) fn flags(&self) -> Vec<(&'static str, String)> {
        let ms = |d: Duration| format!("{}ms", d.as_millis());
        let (restart, stop) = (&self.spec.restart, &self.spec.stop);
        let ends = |ends: &Ends| {
            let codes = ends.codes.iter().map(i32::to_string);
            codes.chain(ends.signals.iter().map(|s| signal_name(*s))).collect::<Vec<_>>().join(",")
        };
        let policy = match restart.policy {
            Policy::Always => "always",
            Policy::OnFailure => "on-failure",
            Policy::OnSuccess => "on-success",
            Policy::UnlessStopped => "unless-stopped",
            Policy::Never => "never",
        };
        let mut flags = vec![
            ("--restart", policy.to_string()),
            ("--restart-delay-jitter", "0%".into()),
            ("--stable-after", ms(restart.stable_after)),
            (if restart.fast_first { "--fast-first-restart" } else { "--fast-first-restart=false" }, String::new()),
            ("--restart-limit", restart.limit.to_string()),
            ("--crash-loop-limit", restart.crash_loop_limit.to_string()),
            ("--crash-loop-window", ms(restart.crash_loop_window)),
            ("--crash-loop-pause", ms(restart.crash_loop_pause)),
            ("--give-up", if restart.give_up == GiveUp::Stay { "stay".into() } else { "exit".into() }),
            ("--success-on", ends(&restart.success_on)),
            ("--no-restart-on", ends(&restart.no_restart_on)),
            ("--stop-timeout", ms(stop.timeout)),
            ("--shutdown-timeout", ms(stop.shutdown_timeout)),
        ];
        match &restart.delays {
            Delays::List(list) => {
                // one entry alone is the first of the growing kind
                let list = if list.len() == 1 { vec![list[0]; 2] } else { list.clone() };
                flags.push(("--restart-delay", list.into_iter().map(ms).collect::<Vec<_>>().join(",")));
            }
            Delays::Growing { first, factor_milli, max } => flags.extend([
                ("--restart-delay", ms(*first)),
                ("--restart-delay-factor", (factor_milli / 1000).to_string()),
                ("--restart-delay-max", ms(*max)),
            ]),
        }
        flags.extend(restart.total.map(|n| ("--restart-total", n.to_string())));
        flags.extend(stop.signal.map(|s| ("--stop-signal", signal_name(s))));
        flags
    }

    /// The lives as the victim's `play` reads them.
    pub(crate) fn lives(&self) -> String {
        let line = |life: &Life| {
            let (word, value) = match life.end {
                End::Code(code) => ("code", code),
                End::Signal(signal) => ("signal", signal),
                End::Obeys => ("obeys", 0),
                End::Answers(code) => ("answers", code),
                End::Deaf => ("deaf", 0),
            };
            let child = match life.child {
                None => "none",
                Some(Child::Obeys) => "obeys",
                Some(Child::Deaf) => "deaf",
            };
            format!("{word} {value} {} {child}\n", life.after)
        };
        self.lives.iter().map(line).collect()
    }
}
