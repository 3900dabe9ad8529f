//! A service with a probe, and what is known of the probe.

use super::{Dog, Run, lines, wait_for};
use serde_json::Value;

/// A probe of a service, as tables of a file: quick, and without a start period, but for what `more` says.
pub fn probe(service: &str, check: &str, more: &str) -> String {
    let usual = [
        ("interval", "\"100ms\""),
        ("starting_interval", "\"100ms\""),
        ("timeout", "\"1s\""),
        ("start_period", "\"0s\""),
    ];
    let said = |key: &str| more.lines().any(|l| l.split(' ').next() == Some(key));
    let usual: String =
        usual.iter().filter(|(key, _)| !said(key)).map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("[[service.{service}.probe]]\ncheck = {check}\n{usual}{more}\n")
}

/// A service `web` with one probe.
pub fn probed(command: &str, settings: &str, check: &str, more: &str) -> Run {
    Run::quick_file(&format!("[service.web]\n{command}\n{settings}\n{}", probe("web", check, more)))
}

/// Decides nothing but whether it is ready, and that only on paper.
pub const ONLY_TOLD: &str = "ready = \"spawned\"";
pub const READINESS: &str = "role = \"readiness\"";

/// A service that sleeps, with the script `probe.sh` in its folder as its probe.
pub fn scripted(script: &str, more: &str) -> Run {
    let run = probed(&super::victim(&["sleep"]), ONLY_TOLD, "[\"sh\", \"probe.sh\"]", more);
    std::fs::write(run.path("probe.sh"), script).unwrap();
    run
}

/// `http://127.0.0.1:PORT/health` as a text of a file.
pub fn http(port: u16) -> String {
    format!("\"http://127.0.0.1:{port}/health\"")
}

/// `tcp://127.0.0.1:PORT` as a text of a file.
pub fn tcp(port: u16) -> String {
    format!("\"tcp://127.0.0.1:{port}\"")
}

impl Dog {
    /// The first probe of a service as `status` shows it.
    pub fn probe(&self, service: &str) -> Value {
        self.service(service)["probes"][0].clone()
    }

    /// Waits until the first probe of a service has this result.
    pub fn wait_probe(&self, service: &str, result: &str) -> Value {
        wait_for(&format!("{service}: a probe with the result {result}"), || {
            Some(self.probe(service)).filter(|p| p["result"] == result)
        })
    }

    /// The results of probes that were told so far, as they changed; without those of a start, which may be quicker than
    /// the service or not.
    pub fn told_results(&self) -> Vec<String> {
        let told = self.events_of("probe").into_iter().map(|e| e["result"].as_str().unwrap_or_default().to_string());
        told.filter(|result| result != "starting").collect()
    }

    /// Waits for so many requests at the victim.
    pub fn wait_hits(&self, count: usize) -> usize {
        wait_for(&format!("{count} requests"), || Some(self.hits()).filter(|n| *n >= count))
    }

    pub fn hits(&self) -> usize {
        lines(&self.path("hits")).len()
    }
}
