//! Many services in one watchdog, for measuring what beats, samples and lines of output cost:
//! `many COUNT SETTING=VALUE.. -- PROGRAM ARGS..` with the settings `interval_ms` (heartbeat, default 1000), `sample_ms` (0:
//! nothing is sampled), `log` (inherit, tee or capture) and `log_file` (of the service N: `PATH.N`). Where all of them end by
//! themselves, it does. Says at the end how often it allocated, and how much CPU time it took.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "measures itself; no part of the watchdog")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use watchdog_engine::Watchdog;
use watchdog_engine::spec::{Control, Instance, LogMode, MemoryLimit, Ready, Spec};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as it came.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as it came.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(dashes) = words.iter().position(|w| w == "--") else { return usage() };
    let Some(count) = words.first().and_then(|w| w.parse::<usize>().ok()) else { return usage() };
    let setting = |name: &str, usual: u64| {
        let given = words[1..dashes].iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        given.map_or(usual, |v| v.parse().unwrap_or(usual))
    };
    let (interval, sample) = (setting("interval_ms", 1000), setting("sample_ms", 0));
    let text = |name: &str| words[1..dashes].iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
    let (log, log_file) = (text("log").unwrap_or("inherit"), text("log_file"));
    let command: Vec<OsString> = words[dashes + 1..].iter().map(OsString::from).collect();
    let env = std::sync::Arc::new(std::env::vars_os().collect::<Vec<_>>());
    let specs: Vec<Spec> = (0..count)
        .map(|n| {
            let mut spec =
                Spec { name: format!("w{n}"), command: command.clone(), ready: Ready::Auto, ..Spec::default() };
            spec.launch.env = env.clone();
            spec.log.mode = match log {
                "tee" => LogMode::Tee,
                "capture" => LogMode::Capture,
                _ => LogMode::Inherit,
            };
            spec.log.file = log_file.map(|path| format!("{path}.{n}").into());
            spec.log.max_size = 1 << 40;
            spec.heartbeat.interval = Duration::from_millis(interval);
            spec.dialects.notify = None;
            if sample > 0 {
                spec.limits.memory = Some(MemoryLimit::Bytes(u64::MAX / 2));
                spec.limits.interval = Duration::from_millis(sample);
            }
            spec
        })
        .collect();
    let status = Watchdog::new(instance(), specs).run();
    println!("allocations {} cpu_us {}", ALLOCATIONS.load(Ordering::Relaxed), cpu_us());
    ExitCode::from(status)
}

fn usage() -> ExitCode {
    eprintln!("usage: many COUNT [interval_ms=N] [sample_ms=N] [log=MODE] [log_file=PATH] -- PROGRAM ARGS..");
    ExitCode::from(2)
}

fn instance() -> Instance {
    let control = match std::env::var_os("MANY_CONTROL") {
        Some(path) => Control::Path(path.into()),
        None => Control::Off,
    };
    Instance { control, report_keep: 0, ..Instance::new("many") }
}

/// User and system time of this process alone, microseconds.
fn cpu_us() -> u128 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let us = |t: nix::sys::time::TimeVal| u128::try_from(t.tv_sec()).unwrap_or(0) * 1_000_000 + t.tv_usec() as u128;
    us(usage.user_time()) + us(usage.system_time())
}
