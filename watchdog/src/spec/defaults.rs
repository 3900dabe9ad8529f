//! What holds when nobody says anything: product.md's table of settings.

use super::*;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

impl Default for Spec {
    fn default() -> Self {
        Spec {
            name: String::new(),
            base: String::new(),
            replica: None,
            kind: Kind::Service,
            place: Shared::default(),
            hidden: false,
            probes: Vec::new(),
            ports: Shared::default(),
            env_watch: None,
            title: String::new(),
            description: String::new(),
            command: Vec::new(),
            launch: Shared::default(),
            restart: Shared::default(),
            stop: Shared::default(),
            rewrite_signal: Vec::new(),
            max_age: None,
            max_age_jitter: 10,
            log: Shared::default(),
            ready: Ready::Auto,
            start_timeout: None,
            heartbeat: Shared::default(),
            dialects: Dialects::default(),
            limits: Shared::default(),
            hooks: Vec::new(),
            hook_user: super::HookUser::Watchdog,
            reload_signal: None,
        }
    }
}

impl Spec {
    /// A service with every default, its output captured, its standard input empty, in our own environment.
    #[must_use]
    pub fn new<S: Into<OsString>>(name: &str, command: impl IntoIterator<Item = S>) -> Spec {
        let env = Arc::new(std::env::vars_os().collect());
        Spec {
            name: name.into(),
            base: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            launch: Launch { env, stdin: Stdin::Null, ..Launch::default() }.into(),
            restart: Restart { give_up: GiveUp::Stay, ..Restart::default() }.into(),
            log: Log { mode: LogMode::Capture, ..Log::default() }.into(),
            ..Spec::default()
        }
    }

    /// It requires this one to be ready.
    #[must_use]
    pub fn requires(mut self, service: &str) -> Spec {
        self.place.requires.push(Need { service: service.into(), condition: Condition::Ready, once: false });
        self
    }
}

impl Instance {
    /// Part of another program: no control socket, no files, no reports but in memory. All of it may be changed.
    #[must_use]
    pub fn new(name: &str) -> Instance {
        Instance {
            name: name.into(),
            name_given: true,
            control: Control::Off,
            http: Http::Off,
            http_control: super::HttpControl::Off,
            events_file: None,
            die_with_parent: None,
            file: None,
            form: Form::Library,
            strategy: Strategy::OneForOne,
            until_ready: None,
            state: None,
            version: env!("CARGO_PKG_VERSION").into(),
            report_dir: None,
            report_keep: 20,
            termination_message: None,
            runtime_dir: None,
            upward: None,
            environment: None,
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat {
            mode: HeartbeatMode::Auto,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            misses: 3,
            on_hang: OnHang::Restart,
            hang_signal: libc::SIGABRT,
            hang_dump_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Dialects {
    fn default() -> Self {
        Dialects { native: true, notify: Some(NotifyAt::Own), node: false, fd: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: None,
            memory_soft: None,
            memory_samples: 3,
            memory_action: LimitAction::Restart,
            cpu: None,
            cpu_samples: 5,
            cpu_action: LimitAction::Restart,
            scope: LimitScope::Tree,
            interval: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Whether anything has to be measured.
    pub fn any(&self) -> bool {
        self.memory.is_some() || self.memory_soft.is_some() || self.cpu.is_some()
    }
}

impl Default for Launch {
    fn default() -> Self {
        Launch {
            cwd: None,
            env: Arc::default(),
            identity: None,
            umask: None,
            nice: None,
            oom_score_adj: None,
            rlimits: Vec::new(),
            no_new_privs: false,
            stdin: Stdin::Inherit,
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Restart {
            policy: Policy::OnFailure,
            delays: Delays::Growing { first: Duration::from_secs(1), factor_milli: 2000, max: Duration::from_secs(60) },
            jitter: 20,
            fast_first: true,
            stable_after: Duration::from_secs(30),
            limit: 5,
            crash_loop_limit: 5,
            crash_loop_window: Duration::from_secs(60),
            crash_loop_pause: Duration::from_secs(60),
            total: None,
            give_up: GiveUp::Exit,
            success_on: Ends { codes: vec![0], signals: vec![1, 2, 15, 13] },
            no_restart_on: Ends { codes: vec![78, 125], signals: Vec::new() },
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            signal: None,
            timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
            scope: Scope::Group,
            kill_wait: Duration::from_secs(1),
            on_watchdog_death: OnDeath::Stop,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { mode: LogMode::Inherit, file: None, stderr_file: None, max_size: 10 * 1024 * 1024, keep: 10, lines: 1000 }
    }
}

impl Ends {
    /// Whether an end by this code or this signal is in the set.
    pub fn has(&self, code: Option<i32>, signal: Option<SignalNumber>) -> bool {
        code.is_some_and(|c| self.codes.contains(&c)) || signal.is_some_and(|s| self.signals.contains(&s))
    }
}
