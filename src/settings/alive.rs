//! When a worker counts as ready, and the ways it is offered to say so and to beat.

use super::fault::Fault;
use super::nearest::nearest;
use super::values;
use std::path::PathBuf;
use std::time::Duration;
use watchdog_engine::spec::{Dialects, NotifyAt, Ready};

/// Longest text of `line:`. It is looked for in each line of output, and no line of a log that people read is longer.
const LONGEST_TEXT: usize = 4096;
/// `ready`
pub(crate) fn ready(text: &str) -> Result<Ready, Fault> {
    match text.split_once(':') {
        Some(("line", line)) => line_of(line),
        Some(("alive", stays)) => stays_for(stays),
        Some(("port", port)) => {
            let port = values::count(port, 1, 65_535).map_err(|f| f.at("port"))?;
            Ok(Ready::Port(port as u16))
        }
        // The bare word is a slip with one cure; the nearest word of the list would be another one.
        _ if text == "line" => Err(Fault::usage("line: needs a text, such as line:listening")),
        _ if text == "alive" => Err(Fault::usage("alive: needs a duration, such as alive:10s")),
        _ if text == "port" => Err(Fault::usage("port: needs a number, such as port:8080")),
        _ => {
            let words = [
                ("auto", Some(Ready::Auto)),
                ("spawned", Some(Ready::Spawned)),
                ("alive:DURATION", None),
                ("reported", Some(Ready::Reported)),
                ("probe", Some(Ready::Probe)),
                ("fd", Some(Ready::Fd)),
                ("line:TEXT", None),
                ("port:N", None),
            ];
            let known: Vec<(&str, usize)> = words.iter().enumerate().map(|(at, (word, _))| (*word, at)).collect();
            let found = values::word(text, &known).map(|at| words[at].1.clone())?;
            found.ok_or_else(|| Fault::usage(format!("{text:?} is the form, not a value, such as line:listening")))
        }
    }
}

/// `alive:DURATION`. No time at all is what `spawned` says.
fn stays_for(text: &str) -> Result<Ready, Fault> {
    let stays = values::duration(text).map_err(|fault| fault.at("alive"))?;
    if stays.is_zero() {
        return Err(Fault::usage("alive: no time at all").or_nearest(Some("spawned")));
    }
    Ok(Ready::Alive(stays))
}

fn line_of(text: &str) -> Result<Ready, Fault> {
    if text.is_empty() {
        return Err(Fault::usage("line: needs a text, such as line:listening"));
    }
    if text.contains('\n') || text.len() > LONGEST_TEXT {
        return Err(Fault::usage(format!("line: the text stands in one line, and has {LONGEST_TEXT} bytes at most")));
    }
    Ok(Ready::Line(text.to_string()))
}

/// `start_timeout`: no deadline is the longest one.
pub(crate) fn start_timeout(text: &str) -> Result<Duration, Fault> {
    match text {
        "none" | "off" | "false" => Ok(Duration::MAX),
        _ => Ok(values::duration(text)?).map(|d| if d.is_zero() { Duration::MAX } else { d }),
    }
}

/// `dialects`: exactly these.
pub(crate) fn dialects(items: &[String]) -> Result<Dialects, Fault> {
    let mut dialects = Dialects { native: false, notify: None, node: false, fd: false };
    if items.len() == 1 && matches!(items[0].as_str(), "none" | "off" | "false") {
        return Ok(dialects);
    }
    for item in items {
        match item.as_str() {
            "native" => dialects.native = true,
            "notify" => dialects.notify = Some(dialects.notify.unwrap_or(NotifyAt::Own)),
            "node" => dialects.node = true,
            "fd" => dialects.fd = true,
            "none" | "off" => return Err(Fault::usage(format!("{item:?} stands alone or not at all"))),
            other => match other.strip_prefix("notify:") {
                Some(path) => dialects.notify = Some(notify_at(path)?),
                None => {
                    let fault =
                        Fault::usage(format!("{other:?} is none of native, notify, notify:PATH, node, fd, none"));
                    return Err(fault.or_nearest(nearest(other, ["native", "notify", "node", "fd", "none"])));
                }
            },
        }
    }
    Ok(dialects)
}

/// A socket's path has 107 bytes and its end in `sockaddr_un`; what is longer could never be bound.
fn notify_at(path: &str) -> Result<NotifyAt, Fault> {
    if !path.starts_with('/') {
        let message = format!("notify:{path} is no absolute path, such as notify:/run/app/notify");
        return Err(Fault::usage(message));
    }
    if path.len() > 107 {
        return Err(Fault::usage(format!("notify:{path} is too long for a socket: 107 bytes at most")));
    }
    Ok(NotifyAt::Path(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(result: Result<impl std::fmt::Debug, Fault>) -> String {
        result.expect_err("must be refused").message
    }

    fn list(words: &str) -> Result<Dialects, Fault> {
        dialects(&words.split(',').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_way_to_be_ready() {
        assert_eq!(ready("auto"), Ok(Ready::Auto));
        assert_eq!(ready("reported"), Ok(Ready::Reported));
        assert_eq!(ready("fd"), Ok(Ready::Fd));
        assert_eq!(ready("alive:1m30s"), Ok(Ready::Alive(Duration::from_secs(90))));
        assert_eq!(wrong(ready("alive:5")), "alive: \"5\" has no unit: did you mean \"5s\"?");
        assert_eq!(wrong(ready("alive:0s")), "alive: no time at all: did you mean \"spawned\"?");
        assert!(wrong(ready("alive")).contains("alive:10s") && wrong(ready("alive:")).contains("no duration"));
        assert_eq!(ready("line:a: b"), Ok(Ready::Line("a: b".into())));
        assert_eq!(ready("port:65535"), Ok(Ready::Port(65535)));
        assert_eq!(wrong(ready("port:0")), "port: \"0\" is not a whole number from 1 to 65535");
        assert!(wrong(ready("port:http")).contains("1 to 65535") && wrong(ready("port")).contains("port:8080"));
        assert!(wrong(ready("line:")).contains("line:listening") && wrong(ready("line")).contains("line:listening"));
        assert!(wrong(ready("line:TEXT\n")).contains("one line"));
        assert!(wrong(ready("repoted")).ends_with("did you mean \"reported\"?"));
        assert_eq!(ready("probe"), Ok(Ready::Probe));
    }

    #[test]
    fn no_deadline_is_the_longest_one() {
        assert_eq!(start_timeout("5s"), Ok(Duration::from_secs(5)));
        for never in ["0", "0s", "none", "off"] {
            assert_eq!(start_timeout(never), Ok(Duration::MAX), "{never}");
        }
        assert_eq!(wrong(start_timeout("5")), "\"5\" has no unit: did you mean \"5s\"?");
    }

    #[test]
    fn a_list_of_dialects_is_exactly_that_list() {
        assert_eq!(list("native,notify"), Ok(Dialects::default()));
        let none = Dialects { native: false, notify: None, node: false, fd: false };
        assert_eq!((list("none"), dialects(&[])), (Ok(none.clone()), Ok(none)));
        let node = list("node,fd,notify:/run/x").expect("a list");
        assert!(node.node && node.fd && !node.native && node.notify == Some(NotifyAt::Path("/run/x".into())));
        assert_eq!(list("notify:/run/x,notify").expect("a list").notify, Some(NotifyAt::Path("/run/x".into())));
        assert!(wrong(list("notify:run/x")).contains("no absolute path"));
        assert!(wrong(list(&format!("notify:/{}", "x".repeat(107)))).contains("107 bytes"));
        assert!(wrong(list("natvie")).ends_with("did you mean \"native\"?"));
        assert!(wrong(list("native,none")).contains("stands alone"));
    }
}
