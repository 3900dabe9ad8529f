//! A real browser without a screen: Chromium, told what to do through its debugging pipe (descriptors 3 and 4, one JSON
//! text and a NUL each way).

use super::{PATIENCE, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

pub struct Browser {
    child: Child,
    said: Receiver<Value>,
    next: u64,
    session: Value,
    /// What it said by itself: errors, requests.
    pub events: Vec<Value>,
    _home: tempfile::TempDir,
}

/// Where it is, if it is.
pub fn chromium() -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = |name: &&&str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    names.iter().find(found).map(|n| (*n).to_string())
}

impl Browser {
    /// Opens a page.
    pub fn open(program: &str, url: &str) -> Browser {
        let home = tempfile::tempdir().unwrap();
        let script = format!(
            "exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec {program} --headless=new --no-sandbox --disable-gpu \
             --disable-dev-shm-usage --no-first-run --disable-background-networking --disable-component-update \
             --remote-debugging-pipe --user-data-dir={} about:blank",
            home.path().display()
        );
        let mut child =
            Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            let (mut pending, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
            while let Ok(n @ 1..) = out.read(&mut piece) {
                pending.extend_from_slice(&piece[..n]);
                while let Some(at) = pending.iter().position(|b| *b == 0) {
                    let text: Vec<u8> = pending.drain(..=at).collect();
                    let Ok(value) = serde_json::from_slice(&text[..at]) else { continue };
                    if sender.send(value).is_err() {
                        return;
                    }
                }
            }
        });
        let mut browser = Browser { child, said, next: 0, session: Value::Null, events: Vec::new(), _home: home };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].clone();
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.navigate", json!({"url": url}));
        browser
    }

    /// One command, and its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let mut command = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        let pipe = self.child.stdin.as_mut().unwrap();
        pipe.write_all(format!("{command}\0").as_bytes()).unwrap();
        pipe.flush().unwrap();
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let said = self.said.recv_timeout(left).unwrap_or_else(|e| panic!("{method}: {e}"));
            if said["id"] == self.next {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            self.events.push(said);
        }
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", asked);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        wait_for(expression, || (self.value(&format!("!!({expression})")) == true).then_some(()));
    }

    /// A key, as a person presses it.
    pub fn key(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        let down = json!({"type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": key, "text": text,
                          "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}));
    }

    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    pub fn size(&mut self, width: u32, height: u32) {
        let mobile = width < 600;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    pub fn scheme(&mut self, value: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A picture of it, kept beside the test for people; its bytes as base64.
    pub fn picture(&mut self, name: &str) -> String {
        let data = self.call("Page.captureScreenshot", json!({"format": "png"}))["data"].as_str().unwrap().to_string();
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        let mut decode = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(path).unwrap())
            .spawn()
            .unwrap();
        decode.stdin.take().unwrap().write_all(data.as_bytes()).unwrap();
        decode.wait().unwrap();
        data
    }

    /// What went wrong on the page by itself, and where it asked.
    pub fn troubles(&mut self) -> Vec<String> {
        self.value("1");
        let quiet = ["network", "recommendation"];
        let wrong = |e: &&Value| {
            e["method"] == "Runtime.exceptionThrown"
                || (e["method"] == "Log.entryAdded"
                    && !quiet.contains(&e["params"]["entry"]["source"].as_str().unwrap_or_default()))
        };
        self.events.iter().filter(wrong).map(Value::to_string).collect()
    }

    pub fn asked(&self) -> Vec<String> {
        let requests = self.events.iter().filter(|e| e["method"] == "Network.requestWillBeSent");
        requests.filter_map(|e| e["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
