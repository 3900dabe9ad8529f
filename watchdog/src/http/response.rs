//! An answer, and the bytes of its head.

use super::request::Refusal;
use serde_json::Value;
use std::fmt::Write;
use std::rc::Rc;

/// An answer. The body is shared: a large page goes to many who read it slowly, and stands in memory once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// As HTTP has it.
    pub status: u16,
    /// Its kind.
    pub content_type: &'static str,
    /// All of it.
    pub body: Rc<[u8]>,
    /// What a browser may do with it.
    pub policy: &'static str,
}

/// Nothing at all: data is shown by whoever asked for it.
pub(super) const DATA: &str = "default-src 'none'; frame-ancestors 'none'";

impl Response {
    /// JSON, with a line end for people.
    pub(crate) fn json(status: u16, value: &Value) -> Response {
        let mut text = value.to_string();
        text.push('\n');
        Response { status, content_type: "application/json", body: text.into_bytes().into(), policy: DATA }
    }

    /// The text format of Prometheus.
    pub(super) fn metrics(text: String) -> Response {
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        Response { status: 200, content_type, body: text.into_bytes().into(), policy: DATA }
    }

    /// Why there is no other answer.
    pub(super) fn refused(refusal: &Refusal) -> Response {
        let body = format!("{}\n", refusal.why).into_bytes().into();
        Response { status: refusal.status, content_type: "text/plain; charset=utf-8", body, policy: DATA }
    }

    /// The head of the same in pieces, which say themselves how long they are.
    pub(super) fn head_of_pieces(keep: bool) -> Vec<u8> {
        Response::metrics(String::new()).head_with("Transfer-Encoding: chunked", keep)
    }

    /// The head.
    pub(super) fn head(&self, keep: bool) -> Vec<u8> {
        self.head_with(&format!("Content-Length: {}", self.body.len()), keep)
    }

    /// No answer may be kept or guessed at, run or shown in a frame by another page.
    fn head_with(&self, length: &str, keep: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        // Writing to a text does not fail.
        let _ = write!(
            head,
            "Content-Type: {}\r\n{length}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nContent-Security-Policy: {}\r\n",
            self.content_type, self.policy
        );
        match self.status {
            401 => head.push_str("WWW-Authenticate: Bearer\r\n"),
            405 => head.push_str("Allow: GET, HEAD\r\n"),
            503 => head.push_str("Retry-After: 1\r\n"),
            _ => {}
        }
        head.push_str(if keep { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" });
        head.into_bytes()
    }
}

/// The head of an answer that goes on for as long as somebody reads it.
pub(super) fn stream_head() -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nContent-Security-Policy: {DATA}\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Answer",
    }
}
