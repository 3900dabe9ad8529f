//! The head of a request, from bytes. Pure. Whatever two programs could read in two ways is refused (case HTP-06): there is
//! no body here, one line end, one Host, and no doubt about where a request ends.

use httparse::{Error, Header, Status};

/// Longest head.
pub(super) const HEAD_MAX: usize = 8 * 1024;
/// Longest first line.
const LINE_MAX: usize = 4 * 1024;
/// Headers of one head.
const HEADERS: usize = 64;
/// What may be asked for with POST.
pub(super) const DEEDS: &str = "/do/";
/// Methods that mean something elsewhere.
const KNOWN: [&str; 6] = ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

/// A request that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// As it was sent, without its query. Begins with a slash.
    pub path: String,
    /// HEAD: everything but the body.
    pub head_only: bool,
    /// It takes an answer in pieces (HTTP/1.1).
    pub pieces: bool,
    /// Another one may follow on this connection.
    pub keep: bool,
    /// A deed that is asked for.
    pub post: Option<Post>,
}

/// What comes with a deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Post {
    /// `Authorization: Bearer TOKEN`
    pub token: Option<String>,
    /// It comes from a page of somebody else.
    pub foreign: bool,
}

/// One that is not. The connection ends with the answer, for nobody knows what would come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// 4xx or 5xx.
    pub status: u16,
    /// For people. Nothing of the request is repeated.
    pub why: &'static str,
}

/// Whom a request may be addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// This machine alone: a page of somebody else's, whose name leads to 127.0.0.1 all of a sudden, is none of ours.
    Loopback,
    /// Anybody: who may come here is decided elsewhere.
    Any,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The beginning of a request, or nothing yet.
    More,
    /// A request, and how many bytes it took.
    Whole(Request, usize),
    /// Not one that is answered.
    Wrong(Refusal),
}

/// Reads the first request. Where the bytes were cut on their way makes no difference.
pub(crate) fn read(bytes: &[u8], hosts: Hosts) -> Read {
    // Some clients send an empty line too many behind a request (RFC 9112, 2.2).
    let skipped = bytes.chunks(2).take_while(|two| two == b"\r\n").count() * 2;
    let rest = &bytes[skipped..];
    let end = memchr::memmem::find(rest, b"\r\n\r\n").map(|at| at + 4);
    let head = &rest[..end.unwrap_or(rest.len())];
    if let Some(refusal) = broken(head) {
        return Read::Wrong(refusal);
    }
    match end {
        _ if head.len() > HEAD_MAX || skipped > HEAD_MAX => wrong(431, "the head of the request is longer than 8 KiB"),
        None => Read::More,
        Some(end) => match parse(head, hosts) {
            Ok(request) => Read::Whole(request, skipped + end),
            Err(refusal) => Read::Wrong(refusal),
        },
    }
}

/// What can be seen to be wrong before the head is whole. One line end is `\r\n`: what a single one of them is, others read
/// in another way.
fn broken(head: &[u8]) -> Option<Refusal> {
    let refusal = |status, why| Some(Refusal { status, why });
    if head.first().is_some_and(|b| !b.is_ascii_alphabetic() && *b != b'\r') {
        return refusal(400, "this is no HTTP");
    }
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    if line > LINE_MAX {
        return refusal(414, "the first line of the request is longer than 4 KiB");
    }
    let alone = |at: usize| match head[at] {
        b'\n' => at == 0 || head[at - 1] != b'\r',
        _ => head.get(at + 1).is_some_and(|next| *next != b'\n'),
    };
    match memchr::memchr2_iter(b'\r', b'\n', head).any(alone) {
        true => refusal(400, "a line ends with CR LF, and with nothing else"),
        false => None,
    }
}

fn wrong(status: u16, why: &'static str) -> Read {
    Read::Wrong(Refusal { status, why })
}

fn parse(head: &[u8], hosts: Hosts) -> Result<Request, Refusal> {
    let refusal = |status, why| Refusal { status, why };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(refusal(400, "the head of the request is no HTTP")),
        Err(Error::TooManyHeaders) => return Err(refusal(431, "more than 64 headers")),
        Err(Error::Version) => return Err(refusal(505, "HTTP/1.1 and HTTP/1.0 are spoken here")),
        Err(_) => return Err(refusal(400, "the head of the request is no HTTP")),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(refusal(400, "the head of the request is no HTTP"));
    };
    let body = has_body(request.headers)?;
    let deed = method == "POST" && target.starts_with(DEEDS);
    match method {
        "POST" if !deed => return Err(refusal(405, "GET and HEAD are answered here, nothing else")),
        "GET" | "HEAD" | "POST" if body => return Err(refusal(413, "a request has no body here")),
        "GET" | "HEAD" | "POST" => {}
        _ if KNOWN.contains(&method) => return Err(refusal(405, "GET and HEAD are answered here, nothing else")),
        _ => return Err(refusal(501, "an unknown method")),
    }
    let (authority, path) = split(target)?;
    addressed(request.headers, authority, version, hosts)?;
    let path = path.split(['?', '#']).next().unwrap_or_default().to_owned();
    let keep = version == 1 && !says_close(request.headers);
    let pieces = version == 1;
    let post = deed.then(|| posted(request.headers));
    Ok(Request { path, head_only: method == "HEAD", keep, pieces, post })
}

/// A browser says from whose page a request comes; a program does not, and needs not.
fn posted(headers: &[Header<'_>]) -> Post {
    let text = |name| all(headers, name).next().and_then(|value| std::str::from_utf8(value).ok());
    let token = text("authorization").and_then(|said| said.strip_prefix("Bearer ")).map(|t| t.trim().to_owned());
    let ours = |origin: &str| text("host").is_some_and(|host| origin.strip_prefix("http://") == Some(host));
    let origin = all(headers, "origin").next().is_some() && !text("origin").is_some_and(ours);
    let site = text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    Post { token, foreign: origin || site }
}

/// Whether a body follows. All that could be understood in two ways is refused.
fn has_body(headers: &[Header<'_>]) -> Result<bool, Refusal> {
    let refusal = |why| Err(Refusal { status: 400, why });
    if all(headers, "transfer-encoding").next().is_some() {
        return refusal("Transfer-Encoding: a request has no body here");
    }
    let mut lengths = all(headers, "content-length");
    let Some(length) = lengths.next() else { return Ok(false) };
    if lengths.next().is_some() || length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return refusal("Content-Length stands once, and is a number");
    }
    Ok(length.iter().any(|digit| *digit != b'0'))
}

/// Authority and path of what is asked for; most often it is a path alone.
fn split(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"));
    let Some(rest) = scheme.and(target.get(7..)) else {
        return Err(Refusal { status: 400, why: "what is asked for begins with a slash" });
    };
    match rest.find('/') {
        Some(at) => Ok((rest.get(..at), &rest[at..])),
        None => Ok((Some(rest), "/")),
    }
}

/// One Host (RFC 9112, 3.2), and at a loopback address one that means it.
fn addressed(headers: &[Header<'_>], authority: Option<&str>, version: u8, hosts: Hosts) -> Result<(), Refusal> {
    let mut said = all(headers, "host");
    let host = said.next();
    if said.next().is_some() || (host.is_none() && version == 1) {
        return Err(Refusal { status: 400, why: "Host stands once" });
    }
    let host = authority.or_else(|| host.map(|h| std::str::from_utf8(h).unwrap_or_default()));
    match hosts {
        Hosts::Loopback if host.is_some_and(|h| !is_loopback(h)) => Err(Refusal {
            status: 403,
            why: "the Host of this request is not this machine's loopback: 127.0.0.1 or localhost",
        }),
        Hosts::Loopback | Hosts::Any => Ok(()),
    }
}

/// `localhost`, `127.0.0.1:9090`, `[::1]:9090`. A name below localhost leads nowhere else (RFC 6761).
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    if let Some(inside) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return inside.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.is_loopback());
    }
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

fn says_close(headers: &[Header<'_>]) -> bool {
    let words = all(headers, "connection").flat_map(|value| value.split(|b| *b == b','));
    words.into_iter().any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

fn all<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(text: &str) -> u16 {
        match read(text.as_bytes(), Hosts::Loopback) {
            Read::Whole(..) => 200,
            Read::Wrong(refusal) => refusal.status,
            Read::More => 0,
        }
    }

    fn with(headers: &str) -> u16 {
        status(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
    }

    #[test]
    fn a_request_is_its_path_and_whether_another_may_follow() {
        let text = b"\r\nHEAD /ready/web%400?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9090\r\nContent-Length: 0\r\n\r\nGET";
        let Read::Whole(request, length) = read(text, Hosts::Loopback) else { panic!("no request") };
        assert_eq!(
            request,
            Request { path: "/ready/web%400".into(), head_only: true, pieces: true, keep: true, post: None }
        );
        assert_eq!(&text[length..], b"GET");
        for last in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: x, Close\r\n\r\n"] {
            let Read::Whole(request, _) = read(last.as_bytes(), Hosts::Loopback) else { panic!("{last}") };
            assert!(!request.keep && !request.head_only, "{last}");
        }
        assert_eq!(status("GET http://localhost:1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    }

    #[test]
    fn whatever_may_be_read_in_two_ways_is_refused() {
        for headers in [
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "tRANSFER-eNCODING: x\r\nContent-Length: 0\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Content-Length: 0\r\nContent-Length: 5\r\n",
            "Content-Length: 0\r\nContent-Length: 0\r\n",
            "Content-Length: 0, 5\r\n",
            "Content-Length: +0\r\n",
            "Content-Length: 0x0\r\n",
            "Content-Length:\r\n",
            "Content-Length: 0\r\n folded\r\n",
            "X: a\nContent-Length: 5\r\n",
            "X: a\rContent-Length: 5\r\n",
            "Host: localhost\r\n",
            "X\0: a\r\n",
            "X: \0\r\n",
            ": a\r\n",
        ] {
            assert_eq!(with(headers), 400, "{headers:?}");
        }
        assert_eq!(with("Content-Length: 5\r\n"), 413);
        assert_eq!(with("Content-Length: 99999999999999999999999\r\n"), 413);
        assert_eq!(status("GET / HTTP/1.1\nHost: localhost\n\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400, "no Host");
        assert_eq!(status("GET * HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
    }

    #[test]
    fn methods_versions_and_sizes_have_their_own_answers() {
        let asked = |method: &str| status(&format!("{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert!(KNOWN.iter().all(|method| asked(method) == 405));
        assert_eq!((asked("GET"), asked("HEAD"), asked("POST")), (200, 200, 405));
        assert_eq!((asked("get"), asked("BREW")), (501, 501));
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!((status("\u{16}\u{3}\u{1}"), status("GET /"), status("")), (400, 0, 0));
        assert_eq!(status(&format!("GET /{}", "x".repeat(5000))), 414);
        assert_eq!(with(&format!("X: {}\r\n", "x".repeat(9000))), 431);
        assert_eq!(with(&"X: y\r\n".repeat(100)), 431);
        assert_eq!(status(&"\r\n".repeat(5000)), 431);
    }

    #[test]
    fn at_a_loopback_address_only_its_own_names_are_answered() {
        let host = |host: &str, hosts| {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            matches!(read(text.as_bytes(), hosts), Read::Whole(..))
        };
        for own in ["localhost", "LOCALHOST:80", "127.0.0.1:9090", "127.9.9.9", "[::1]:9090", "[::1]", "a.localhost"] {
            assert!(host(own, Hosts::Loopback), "{own}");
        }
        for other in
            ["evil.example", "10.0.0.1", "127.0.0.1.evil.example", "localhost.evil", "[::2]", "::1", "", "localhost:x"]
        {
            assert!(!host(other, Hosts::Loopback) && host(other, Hosts::Any), "{other}");
        }
        let text = b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert!(matches!(read(text, Hosts::Loopback), Read::Wrong(Refusal { status: 403, .. })));
    }

    #[test]
    fn a_deed_comes_with_its_token_and_says_whose_page_it_comes_from() {
        let post = |headers: &str| {
            let text = format!("POST /do/stop/a HTTP/1.1\r\nHost: localhost:9\r\n{headers}\r\n");
            match read(text.as_bytes(), Hosts::Loopback) {
                Read::Whole(request, _) => request.post,
                Read::Wrong(_) | Read::More => None,
            }
        };
        let said = |token: Option<&str>, foreign| Some(Post { token: token.map(str::to_owned), foreign });
        assert_eq!(post("Authorization: Bearer abc\r\n"), said(Some("abc"), false));
        assert_eq!(post("Authorization: Basic abc\r\n"), said(None, false));
        assert_eq!(post("Origin: http://localhost:9\r\nSec-Fetch-Site: same-origin\r\n"), said(None, false));
        for other in ["http://localhost:10", "https://localhost:9", "null", "http://evil.example", "\u{ff}"] {
            assert_eq!(post(&format!("Origin: {other}\r\n")), said(None, true), "{other}");
        }
        assert_eq!(post("Sec-Fetch-Site: cross-site\r\n"), said(None, true));
        assert_eq!(post("Content-Length: 3\r\n"), None);
    }

    proptest! {
        #[test]
        fn where_bytes_are_cut_makes_no_difference(text in "(GET|POST) /[a-z]{0,3} HTTP/1.[01]\r\n(Host: localhost\r?\n){0,2}(Content-Length: [0-9]\r\n)?\r?\n[a-z]{0,3}") {
            let bytes = text.as_bytes();
            let first = (0..=bytes.len()).map(|n| read(&bytes[..n], Hosts::Loopback)).find(|r| *r != Read::More);
            let whole = read(bytes, Hosts::Loopback);
            match first.unwrap_or(Read::More) {
                Read::Wrong(_) => prop_assert!(matches!(whole, Read::Wrong(_))),
                other @ (Read::More | Read::Whole(..)) => prop_assert_eq!(other, whole),
            }
        }
    }
}
