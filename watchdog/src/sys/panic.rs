//! A panic of the watchdog: one line, status 125, and the workers go the way of `on_watchdog_death`.

/// One line instead of a backtrace. Ending is enough to stop the workers: the kernel sends their parent-death signal
/// (and as PID 1 it ends the namespace). Case DEA-04.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload().downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let what: String = what.chars().filter(|c| !c.is_control()).take(200).collect();
        // Not through the log: it may be what panicked. A closed stderr is nobody's problem any more.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("watchdog: internal error{place}: {what}; the worker is stopped\n").as_bytes(),
        );
        #[expect(clippy::disallowed_methods, reason = "the one place that must end without returning")]
        std::process::exit(125);
    }));
}
