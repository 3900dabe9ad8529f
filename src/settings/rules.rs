//! Settings that are right one by one and wrong together.

use super::draft::Draft;
use super::fault::Fault;
use std::time::Duration;
use watchdog_engine::spec::{HeartbeatMode, Kind, LogMode, MemoryLimit, Policy, Ready};

impl Draft {
    /// Settings that are right one by one and wrong together.
    pub(crate) fn contradictions(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.delays.len() == 1 && self.delay_factor > 1000 && self.delays[0] > self.delay_max {
            let message = format!(
                "restart_delay is {}, more than restart_delay_max {}: raise the second, or set restart_delay_factor to 1",
                short(self.delays[0]),
                short(self.delay_max)
            );
            faults.push(Fault::usage(message).about("restart_delay"));
        }
        let log = &self.spec.log;
        for (key, path) in [("log_file", &log.file), ("log_file_stderr", &log.stderr_file)] {
            if path.is_some() && log.mode == LogMode::Inherit {
                let message = format!("{key} needs output that passes through the watchdog: set log to tee or capture");
                faults.push(Fault::usage(message).about(key));
            }
        }
        faults.extend(self.unheard());
        if let (Some(MemoryLimit::Bytes(hard)), Some(soft)) = (self.spec.limits.memory, self.spec.limits.memory_soft)
            && soft >= hard
        {
            let message = format!(
                "memory_soft_limit is {soft}B, not below memory_limit {hard}B: lower the first or raise the second"
            );
            faults.push(Fault::usage(message).about("memory_soft_limit"));
        }
        faults
    }

    /// What waits for words of the worker that could never arrive.
    fn unheard(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if matches!(self.spec.ready, Ready::Line(_)) && self.spec.log.mode == LogMode::Inherit {
            let message = "ready = line:TEXT needs output that passes through the watchdog: set log to tee or capture";
            faults.push(Fault::usage(message).about("ready"));
        }
        let decides = |p: &super::probes::ProbeWish| p.spec.roles.readiness || p.spec.roles.startup;
        if self.spec.ready == Ready::Probe && !self.probes.iter().any(decides) {
            let message = "ready = probe needs a readiness or startup probe of a service in a file: add one, or take another word";
            faults.push(Fault::usage(message).about("ready"));
        }
        faults.extend(self.ended_before_it_is_ready());
        let Some(dialects) = &self.dialects else { return faults };
        let beats = dialects.native || dialects.notify.is_some() || dialects.node;
        if self.spec.heartbeat.mode == HeartbeatMode::Required && !beats {
            let message = "heartbeat = required needs a dialect that has beats: add native, notify or node to dialects";
            faults.push(Fault::usage(message).about("heartbeat"));
        }
        if self.spec.ready == Ready::Reported && !beats && !dialects.fd {
            let message = "ready = reported needs a dialect: add native, notify, node or fd to dialects";
            faults.push(Fault::usage(message).about("ready"));
        }
        faults
    }

    /// It has to stay for longer than it may take to be ready.
    fn ended_before_it_is_ready(&self) -> Option<Fault> {
        let (Ready::Alive(stays), Some(limit)) = (&self.spec.ready, self.spec.start_timeout) else { return None };
        (*stays >= limit).then(|| {
            let (stays, limit) = (short(*stays), short(limit));
            let message = format!(
                "ready = alive:{stays} comes after start_timeout {limit}, so it would never be ready: lower the first or raise the second"
            );
            Fault::usage(message).about("ready")
        })
    }

    /// The same for a service of a file: what it is, what it runs, how it is asked.
    pub(crate) fn contradictions_of_a_service(&self) -> Vec<Fault> {
        let mut faults = self.contradictions();
        let kind = self.spec.kind;
        match (kind.has_process(), &self.command) {
            (true, None) => {
                let what = "has no command, such as command = [\"./server\"]";
                let shell = if self.shell { " (shell = true is about one)" } else { "" };
                faults.push(Fault::usage(format!("{what}{shell}")));
            }
            (true, Some(_)) => faults.extend(self.argv().err().map(|f| match f.about {
                Some(_) => f,
                None => f.about("command"),
            })),
            // That it has one is said of all that needs a process.
            (false, _) => {}
        }
        faults.extend(self.wrong_for_its_kind());
        let last = self.port.map(|port| u32::from(port) + self.replicas - 1).filter(|last| *last > 65_535);
        faults.extend(last.map(|last| {
            let what = format!("its last replica would have PORT = {last}: 65535 is the highest port there is");
            Fault::usage(what).about("port")
        }));
        faults
    }

    fn wrong_for_its_kind(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let policy = self.spec.restart.policy;
        let again = matches!(policy, Policy::Always | Policy::OnSuccess | Policy::UnlessStopped);
        if self.spec.kind == Kind::Oneshot && again {
            let what =
                "a oneshot that is started again when it is done never is: restart = \"on-failure\" or \"never\"";
            faults.push(Fault::usage(what).about("restart"));
        }
        let readiness = self.probes.iter().any(|p| p.spec.roles.readiness);
        match self.spec.kind {
            Kind::Probe if self.probes.is_empty() => {
                faults.push(Fault::usage("type = \"probe\" has no probe, such as probe = \"port:8080\"").about("type"));
            }
            Kind::Probe if !readiness => {
                let what = "type = \"probe\" is up while a readiness probe succeeds, and none has that role";
                faults.push(Fault::usage(what).about("probe"));
            }
            Kind::Target if !self.probes.is_empty() => {
                let what = "type = \"target\" is a name for what it requires: type = \"probe\" has probes";
                faults.push(Fault::usage(what).about("probe"));
            }
            Kind::Service | Kind::Oneshot | Kind::Target | Kind::Probe => {}
        }
        faults
    }
}

/// A duration as a setting takes it: `1m30s`.
pub(super) fn short(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}
