//! Rare states are counted: a long run in which one of them never happened tests less than it says.

/// The rare states of one kind of worlds, and a table of how often each happened.
macro_rules! rare {
    ($($name:ident => $text:literal),+ $(,)?) => {
        /// A state that a long run must have seen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Rare { $(#[doc = $text] $name),+ }
        const TEXTS: &[&str] = &[$($text),+];

        /// How often each rare state happened.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Sometimes(Vec<u64>);

        impl Default for Sometimes {
            fn default() -> Self {
                Sometimes(vec![0; TEXTS.len()])
            }
        }

        impl Sometimes {
            pub(in crate::machine::sim) fn saw(&mut self, rare: Rare) {
                self.0[rare as usize] += 1;
            }

            /// Adds those of another run.
            pub fn add(&mut self, other: &Sometimes) {
                for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
                    *mine += theirs;
                }
            }

            /// What it is called and how often it was seen.
            pub fn table(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                TEXTS.iter().copied().zip(self.0.iter().copied())
            }

            /// What never happened.
            pub fn missing(&self) -> Vec<&'static str> {
                self.table().filter(|(_, n)| *n == 0).map(|(text, _)| text).collect()
            }
        }
    };
}
pub(super) use rare;

rare! {
    StopInBackoff => "a stop during a back-off or crash-loop pause",
    StopInExec => "a stop while the exec is under way",
    StopTakenBack => "a start that takes back a stop whose exec is under way",
    RestartInExec => "a restart while the exec is under way",
    StartInPause => "a start during a back-off or crash-loop pause",
    ForcedRestart => "a restart without grace",
    EarlyEnd => "an end reported before its start",
    Repeated => "an event delivered twice",
    ExitWithTimer => "an exit and a deadline in one turn",
    MergedExits => "two exits in one turn",
    Stall => "a stall of the loop",
    StallHidesDeath => "a death during a stall",
    GiveUpStreak => "giving up by restart_limit",
    GiveUpTotal => "giving up by restart_total",
    GiveUpListed => "an end that is listed in no_restart_on",
    GiveUpCommand => "a give-up command",
    GiveUpCommandLate => "a give-up command that was ended",
    CrashLoop => "a crash-loop pause",
    WindowEdge => "a restart exactly as old as the window",
    FastFirst => "a first failure that restarts at once",
    StreakReset => "a stable run that resets a streak",
    StatusOne => "giving up with 1 for a status of 0",
    NotWanted => "an end after which the policy wants nothing",
    Busy => "a busy program file that is tried again",
    FirstExecFails => "a first exec that fails for good",
    LaterExecFails => "a later exec that fails",
    MaxAge => "an end for its age",
    Killed => "a grace that ends in SIGKILL",
    Stuck => "a main process that is stuck",
    StuckTree => "a rest of a tree that is stuck",
    StuckFreed => "a stuck service that comes free",
    Leftovers => "leftovers of a tree",
    SweepKilled => "leftovers that have to be killed",
    ForkChain => "leftovers that fork while they are killed",
    Thawed => "a stopped worker that is woken for its stop",
    KeyExit => "an end soon after a key",
    KeySurvived => "an end long after a key",
    KeyAlone => "a key with nobody alive",
    KeyPassedOn => "a key passed on to a worker in a session of its own",
    TermTwice => "a second TERM",
    IntTwice => "a second INT",
    IntThenTerm => "a TERM after an INT or the other way round",
    StopSignalCame => "a stop signal that is received",
    TerminalClosed => "a terminal that is closed",
    RewrittenEnd => "a rewritten TERM or INT",
    ClientGone => "a client that leaves before its answer",
    WaitOver => "a wait that ends by its time",
    Superseded => "a client whose wish another one changed",
    Farewell => "a farewell as PID 1",
    FarewellLate => "a farewell that ends by its time",
    ReadyReported => "readiness that was said",
    ReadyFd => "readiness by a newline",
    ReadyLine => "readiness by a line of output",
    ReadyPort => "readiness by a port",
    ReadyAlive => "readiness by being still there",
    LeftEarly => "an end with 0 of one that had to stay to be ready",
    ReadyInVain => "readiness in another way than the one that counts",
    StartTimeout => "a start that takes too long",
    StartExtended => "a start that is given more time",
    NewsOfTheDead => "news of a worker that is not alive any more",
    ArmedByBeat => "a first beat that arms",
    BeatBeforeReady => "a beat before readiness",
    SecondDialect => "a beat in a second dialect",
    PongUnasked => "an answer to no question",
    PongLate => "an answer after its time",
    PongOfTheSilent => "a late answer of a worker that was found silent",
    AskedAfterStall => "a new question instead of a verdict after a stall",
    AlwaysLate => "a verdict though we are late again and again",
    HangAsked => "a hang of a worker that is asked",
    HangUnasked => "a hang of a worker that beats by itself",
    HangNeverBeat => "a hang of a worker that must beat and never did",
    HangLane => "a stuck lane",
    Trigger => "a worker that wants to be treated as hung",
    Deadlocked => "the verdict deadlocked",
    Spinning => "the verdict spinning",
    BlockedIo => "the verdict blocked-io",
    Starved => "the verdict starved",
    StoppedVerdict => "the verdict stopped",
    Traced => "the verdict traced",
    Suspended => "the verdict suspended",
    ExtensionsUsedUp => "a hang after all its extensions",
    StaleEvidence => "evidence of an earlier hang",
    Recovered => "a worker that beats again before the kill",
    LaneRecovered => "a lane that beats again before the kill",
    Recorded => "a hang that is only recorded",
    RecordedRecovered => "a recorded hang that ends",
    DumpDied => "a worker that dies of its dump",
    DumpKilled => "a worker that is killed after its dump",
    DumpNone => "a hung worker that is killed without a dump",
    DoomedAndAsked => "an end of our doing that is asked for as well",
    DoomedSuccess => "an end of our doing with a good code",
    WaitInVain => "a wait for what cannot come any more",
    EndedByRule => "an end of our doing that no restart follows",
    Flapping => "a run of a service that restarts again and again",
    CheckFails => "a running worker with a check that fails",
    WordFirst => "a stop that begins with the word",
    WordObeyed => "a worker that obeys the word",
    WordIgnored => "a worker that needs the stop signal after the word",
    StopExtended => "a stop that is put off by the worker",
    ExtendBounded => "more time than there is to be had",
    ChannelLost => "a channel that ends before its worker",
    LostWithTheWorker => "the end of a channel after the worker's own",
    TwoLost => "two channels that end together",
    ProtoError => "bytes that are no words",
    Disarmed => "a lost channel that disarms",
    SoftTold => "the soft level of memory",
    MemoryBySamples => "a memory limit after several samples",
    MemoryAtOnce => "a memory limit at once",
    CpuCrossed => "a CPU limit",
    WarnedOnly => "a limit that only warns",
    SampleInVain => "a sample of a worker that does not run",
    LateSample => "a sample that comes once more",
    OomDeath => "a kill by the kernel for want of memory",
    Reloaded => "a worker that is told to read its configuration again",
    Told => "a word of an operator's own",
    ReloadOver => "a worker that has read its configuration and is judged again",
    Crowded => "datagrams of others to a worker that is judged",
    HandedOver => "a main process that hands over",
    HandedOverInStop => "a main process that hands over while it is stopped",
    HookCalledOff => "a pre-start hook that is called off",
    HookCalledOffInVain => "a called-off hook of a service that is wanted up",
    FailedForAll => "a failure that is the end of all",
    AllDone => "an end because all is done",
    EndStuck => "an end with somebody stuck",
    EndSettled => "a run that settles and then ends",
}
