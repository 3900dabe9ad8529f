//! What a server answers: no more of it is read than is needed to judge it, and nothing in it is believed.

use super::chunks::Chunks;
use super::{Seen, shown};
use crate::spec::HttpCheck;

/// Longest head.
const HEAD: usize = 16 * 1024;
/// Most of a body that is read, its framing counted.
const BODY: usize = 64 * 1024;
/// Headers of one head.
const HEADERS: usize = 100;
/// Interim answers (1xx) before the real one.
const INTERIM: u32 = 16;
/// Characters of the text that a body must hold, in messages.
const SHOWN_TEXT: usize = 40;

/// The answer to one request, as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    status: Vec<(u16, u16)>,
    wanted: Option<String>,
    /// The answer to HEAD has no body.
    bodiless: bool,
    head: Vec<u8>,
    /// `503 Service Unavailable`, once the first line is there.
    said: String,
    interim: u32,
    body: Option<Body>,
}

/// Where a body ends.
#[derive(Debug)]
enum Frame {
    Chunks(Chunks),
    Length(u64),
    Close,
}

#[derive(Debug)]
struct Body {
    frame: Frame,
    text: Vec<u8>,
    taken: usize,
}

impl Answer {
    pub(super) fn new(check: &HttpCheck) -> Answer {
        Answer {
            status: check.status.clone(),
            wanted: check.body.clone(),
            bodiless: check.method.eq_ignore_ascii_case("HEAD"),
            head: Vec::new(),
            said: String::new(),
            interim: 0,
            body: None,
        }
    }

    /// Whether anything has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.head.is_empty() || self.body.is_some() || self.interim > 0
    }

    /// More of it. The verdict, as soon as there can be one.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Seen> {
        if self.body.is_some() {
            return self.take_body(bytes);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let mut looked = before;
        loop {
            let (code, said) = match status(&self.head)? {
                Some(status) => status,
                None => return failure("the answer is no HTTP"),
            };
            let interim = (100..200).contains(&code) && code != 101;
            if !interim && let Some(found) = self.judge(code, said) {
                return Some(found);
            }
            let Some(end) = end_of_head(&self.head, looked) else {
                return (self.head.len() > HEAD).then(|| Seen::failure("the head of the answer is longer than 16 KiB"));
            };
            if end > HEAD {
                return failure("the head of the answer is longer than 16 KiB");
            }
            let rest = self.head.split_off(end);
            if !interim {
                return self.begin_body(&rest);
            }
            self.interim += 1;
            if self.interim > INTERIM {
                return failure("too many interim answers");
            }
            (self.head, looked) = (rest, 0);
        }
    }

    /// By the status alone, where that is enough.
    fn judge(&mut self, code: u16, said: String) -> Option<Seen> {
        self.said = said;
        let good = self.status.iter().any(|(from, to)| (*from..=*to).contains(&code));
        match &self.wanted {
            _ if !good => failure(&self.said),
            None => Some(Seen::success(&self.said)),
            Some(_) if self.bodiless || matches!(code, 204 | 304) => failure(&format!("{}, without a body", self.said)),
            Some(_) => None,
        }
    }

    fn begin_body(&mut self, rest: &[u8]) -> Option<Seen> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&self.head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) | Err(_) => return failure("the head of the answer is no HTTP"),
        }
        let Some(frame) = frame(response.headers) else { return failure("the length of the answer is no number") };
        self.body = Some(Body { frame, text: Vec::new(), taken: 0 });
        self.take_body(rest)
    }

    fn take_body(&mut self, bytes: &[u8]) -> Option<Seen> {
        let (body, wanted) = (self.body.as_mut()?, self.wanted.as_deref()?);
        let bytes = &bytes[..bytes.len().min(BODY - body.taken)];
        body.taken += bytes.len();
        let before = body.text.len();
        let over = match &mut body.frame {
            Frame::Close => {
                body.text.extend_from_slice(bytes);
                Ok(false)
            }
            Frame::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                body.text.extend_from_slice(&bytes[..n]);
                *left -= n as u64;
                Ok(*left == 0)
            }
            Frame::Chunks(chunks) => chunks.push(bytes, &mut body.text).map(|()| chunks.is_over()),
        };
        // What was looked at before can only be the beginning of what is wanted.
        let from = before.saturating_sub(wanted.len().saturating_sub(1));
        if memchr::memmem::find(&body.text[from..], wanted.as_bytes()).is_some() {
            return Some(Seen::success(format!("{}, the body holds {}", self.said, quoted(wanted))));
        }
        // Only now what is wrong with the frame: where a read ends must make no difference.
        match (over, body.taken >= BODY) {
            (Err(why), _) => failure(&format!("{}, and {why}", self.said)),
            (Ok(true), _) => failure(&format!("{}, the body does not hold {}", self.said, quoted(wanted))),
            (Ok(false), true) => failure(&format!("{}, 64 KiB of body do not hold {}", self.said, quoted(wanted))),
            (Ok(false), false) => None,
        }
    }

    /// The server has closed: what there is must do.
    pub(super) fn end(&self) -> Seen {
        match (&self.body, self.wanted.as_deref()) {
            (Some(Body { frame: Frame::Close, .. }), Some(wanted)) => {
                Seen::failure(format!("{}, the body does not hold {}", self.said, quoted(wanted)))
            }
            (Some(_), _) => Seen::failure(format!("{}, closed within the body", self.said)),
            (None, _) if self.has_begun() => Seen::failure("closed within the head of the answer"),
            (None, _) => Seen::failure("closed without an answer"),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a verdict, where there could be none yet")]
fn failure(why: &str) -> Option<Seen> {
    Some(Seen::failure(why))
}

/// The text, cut where it is long.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_TEXT).collect();
    if short.len() < text.len() { format!("{short:?}...") } else { format!("{short:?}") }
}

/// Code and words of the first line. `None`: it is not complete. `Some(None)`: it is no HTTP.
#[expect(clippy::option_option, reason = "two different ways of having no status")]
fn status(head: &[u8]) -> Option<Option<(u16, String)>> {
    let mark = b"HTTP/";
    if head.iter().zip(mark).any(|(got, wanted)| got != wanted) {
        return Some(None);
    }
    let Some(end) = memchr::memchr(b'\n', head) else {
        return (head.len() > HEAD).then_some(None);
    };
    if end > HEAD {
        // As if it had come in small pieces.
        return Some(None);
    }
    // The line with an empty head below it: what follows it does not matter yet.
    let alone = [&head[..=end], b"\r\n"].concat();
    let mut response = httparse::Response::new(&mut []);
    match response.parse(&alone) {
        Ok(httparse::Status::Complete(_)) => {
            Some(response.code.map(|code| (code, shown(&format!("{code} {}", response.reason.unwrap_or(""))))))
        }
        Ok(httparse::Status::Partial) | Err(_) => Some(None),
    }
}

/// Behind the empty line, looking again at nothing before `from` but the end of a line.
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3).min(head.len());
    memchr::memchr_iter(b'\n', &head[start..]).map(|at| start + at).find_map(|at| match head.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
}

/// `None`: a length that is none.
fn frame(headers: &[httparse::Header<'_>]) -> Option<Frame> {
    let value = |name: &str| headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let chunked = |v: &[u8]| v.trim_ascii().to_ascii_lowercase().ends_with(b"chunked");
    match (value("transfer-encoding"), value("content-length")) {
        (Some(coding), _) if chunked(coding) => Some(Frame::Chunks(Chunks::new())),
        (Some(_), _) | (None, None) => Some(Frame::Close),
        (None, Some(length)) => {
            let digits = std::str::from_utf8(length).ok()?.trim();
            Some(Frame::Length(digits.parse().ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Outcome;
    use proptest::prelude::*;

    fn check(body: Option<&str>) -> HttpCheck {
        HttpCheck {
            addresses: Vec::new(),
            host: "localhost".into(),
            path: "/".into(),
            method: "GET".into(),
            headers: Vec::new(),
            status: vec![(200, 399)],
            body: body.map(str::to_owned),
        }
    }

    /// The verdict on these bytes, in pieces of `cut`, and then the end.
    fn judged(body: Option<&str>, bytes: &[u8], cut: usize) -> Seen {
        let mut answer = Answer::new(&check(body));
        bytes.chunks(cut).find_map(|piece| answer.take(piece)).unwrap_or_else(|| answer.end())
    }

    fn both(body: Option<&str>, bytes: &str) -> (Outcome, String) {
        let whole = judged(body, bytes.as_bytes(), usize::MAX);
        assert_eq!(whole, judged(body, bytes.as_bytes(), 1), "in single bytes");
        (whole.outcome, whole.message)
    }

    #[test]
    fn the_status_line_decides() {
        for (line, outcome, said) in [
            ("HTTP/1.1 200 OK\r\n", Outcome::Success, "200 OK"),
            ("HTTP/1.0 204\r\n", Outcome::Success, "204"),
            ("HTTP/1.1 302 Found\r\n", Outcome::Success, "302 Found"),
            ("HTTP/1.1 503 Service Unavailable\r\n", Outcome::Failure, "503 Service Unavailable"),
            ("HTTP/1.1 101 Switching Protocols\r\n", Outcome::Failure, "101 Switching Protocols"),
            ("HTTP/1.1 200 OK\n", Outcome::Success, "200 OK"),
            ("HTTP/1.1 200 OK\r\nno header", Outcome::Success, "200 OK"),
        ] {
            assert_eq!(both(None, line), (outcome, said.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn garbage_is_a_failure() {
        for line in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 2x0 OK\r\n",
            "HTTP/2 200\r\n",
            "hello",
            "\0\0\0",
            "\r\nHTTP/1.1 200 OK\r\n",
        ] {
            let (outcome, said) = both(None, line);
            assert_eq!(outcome, Outcome::Failure, "{line:?}");
            assert!(said.contains("no HTTP") || said.starts_with("closed"), "{line:?}: {said}");
        }
        assert_eq!(both(None, "").1, "closed without an answer");
        assert_eq!(both(None, "HTTP/1.1 200").1, "closed within the head of the answer");
        assert_eq!(both(Some("x"), "HTTP/1.1 200 OK\r\nbad header\r\n\r\n").1, "the head of the answer is no HTTP");
    }

    #[test]
    fn interim_answers_are_skipped() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 Oh\r\n";
        assert_eq!(both(None, text), (Outcome::Failure, "500 Oh".into()));
        assert_eq!(both(None, &"HTTP/1.1 100 Continue\r\n\r\n".repeat(20)).1, "too many interim answers");
    }

    #[test]
    fn a_text_is_found_however_the_body_comes() {
        for head in [
            "Content-Length: 13\r\n\r\nall is well, ",
            "\r\nall is well, ",
            "transfer-encoding: Chunked\r\n\r\n6\r\nall is\r\n4;a=b\r\n wel\r\n3\r\nl, \r\n0\r\n\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{head}");
            assert_eq!(both(Some("s well,"), &text), (Outcome::Success, "200 OK, the body holds \"s well,\"".into()));
            assert_eq!(both(Some("bad"), &text), (Outcome::Failure, "200 OK, the body does not hold \"bad\"".into()));
        }
        assert_eq!(both(Some(""), "HTTP/1.1 200 OK\r\n\r\n").0, Outcome::Success);
    }

    #[test]
    fn a_body_that_stops_or_never_ends_is_a_failure() {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "y".repeat(100_000));
        assert_eq!(both(Some("x"), &long).1, "200 OK, 64 KiB of body do not hold \"x\"");
        let short = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc";
        assert_eq!(both(Some("x"), short).1, "200 OK, closed within the body");
        assert_eq!(
            both(Some("x"), "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").1,
            "the length of the answer is no number"
        );
        assert_eq!(both(Some("x"), "HTTP/1.1 204 No Content\r\n").1, "204 No Content, without a body");
        let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(both(Some("x"), broken).1, "200 OK, and a chunk without a size");
        let found = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxyzz\r\n";
        assert_eq!(both(Some("x"), found).1, "200 OK, the body holds \"x\"", "and nobody cares for the rest");
    }

    #[test]
    fn a_head_has_a_longest_length() {
        let head = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(4000));
        assert_eq!(both(Some("x"), &head).1, "the head of the answer is longer than 16 KiB");
        assert_eq!(both(None, &format!("HTTP/1.1 200 {}", "O".repeat(20_000))).1, "the answer is no HTTP");
        assert_eq!(both(None, &format!("HTTP/1.1 200 {}\r\n", "O".repeat(20_000))).1, "the answer is no HTTP");
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes: Vec<u8>, good: bool, cut in 1usize..50) {
            let head = if good { &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..] } else { b"" };
            let said = judged(Some("x"), &[head, &bytes].concat(), cut).message;
            prop_assert!(said.chars().count() <= 200 && !said.chars().any(char::is_control));
        }
    }
}
