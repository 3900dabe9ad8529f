//! What `top` asks its watchdog: how things stand, why, and the lines of one service; each answer as it comes.

use super::model::{Model, Wish};
use crate::client::connection::{Connection, Next};
use crate::client::{Failure, stream};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Lines that a tail begins with.
const TAIL: u64 = 100;
/// Wishes under way at the same time.
const WISHES: usize = 8;
/// How long keys may wait for a watchdog that takes no connection.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Answers taken from one connection before the others have their turn.
const PER_TURN: usize = 256;

/// The connections of one `top`.
pub(super) struct Talk {
    path: PathBuf,
    /// Services of the command line; none for all.
    names: Vec<String>,
    /// For questions, and what was asked on it, in this order.
    asked: Option<(Connection, VecDeque<&'static str>)>,
    lines: Option<Connection>,
    wishes: Vec<(Wish, Connection)>,
}

impl Talk {
    pub(super) fn new(path: PathBuf, names: Vec<String>) -> Talk {
        Talk { path, names, asked: None, lines: None, wishes: Vec::new() }
    }

    /// All that may have something to say.
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let asked = self.asked.iter().map(|(connection, _)| connection);
        let wishes = self.wishes.iter().map(|(_, connection)| connection);
        asked.chain(&self.lines).chain(wishes).map(AsFd::as_fd).collect()
    }

    /// Asks how things stand, unless that question is still open.
    pub(super) fn ask(&mut self, model: &mut Model) {
        if let Err(failure) = self.try_ask(model.selected.as_deref()) {
            self.lost(model, failure.message);
        }
    }

    fn try_ask(&mut self, selected: Option<&str>) -> Result<(), Failure> {
        let (mut connection, mut open) = match self.asked.take() {
            Some(asked) => asked,
            None => (Connection::open_within(&self.path, AT_ONCE)?.at_once()?, VecDeque::new()),
        };
        if open.is_empty() {
            connection.send("status", &self.names, json!({ "sample": true }))?;
            open.push_back("status");
            if let Some(name) = selected {
                connection.send("explain", &[name.to_string()], json!({}))?;
                open.push_back("explain");
            }
        }
        self.asked = Some((connection, open));
        Ok(())
    }

    /// Whether the last question has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.as_ref().is_some_and(|(_, open)| !open.is_empty())
    }

    /// Follows the lines of whoever is looked at.
    pub(super) fn follow(&mut self, model: &mut Model) {
        model.begin_lines();
        self.lines = None;
        let Some(name) = model.selected.clone() else { return };
        let follow = || {
            let mut connection = Connection::open_within(&self.path, AT_ONCE)?.at_once()?;
            connection.send("logs", &[name], json!({ "follow": true, "n": TAIL }))?;
            Ok::<_, Failure>(connection)
        };
        match follow() {
            Ok(connection) => self.lines = Some(connection),
            Err(failure) => model.no_lines = Some(failure.message),
        }
    }

    /// Asks for something to be done; what becomes of it is told later.
    pub(super) fn wish(&mut self, wish: Wish, model: &mut Model) {
        let Wish { verb, service } = &wish;
        if self.wishes.len() >= WISHES {
            model.message = format!("{verb} {service}: {WISHES} wishes are still open: wait for one of them");
            return;
        }
        let send = || {
            let mut connection = Connection::open_within(&self.path, AT_ONCE)?.at_once()?;
            connection.send(verb, std::slice::from_ref(service), json!({}))?;
            Ok::<_, Failure>(connection)
        };
        match send() {
            Ok(connection) => {
                model.message = format!("{verb} {service}: asked for");
                self.wishes.push((wish, connection));
            }
            Err(failure) => model.message = format!("{verb} {service}: {}", failure.message),
        }
    }

    /// Takes all that has come. True if there is something new to see.
    pub(super) fn hear(&mut self, model: &mut Model) -> bool {
        self.hear_answers(model) | self.hear_lines(model) | self.hear_wishes(model)
    }

    fn hear_answers(&mut self, model: &mut Model) -> bool {
        let mut new = false;
        while let Some((connection, open)) = self.asked.as_mut() {
            let answer = match connection.at_hand() {
                Ok(Some(Next::Result(answer))) => answer,
                Ok(Some(Next::Item(_))) => continue,
                Ok(Some(Next::Closed)) => {
                    self.lost(model, "the watchdog has ended".to_string());
                    return true;
                }
                Ok(None) => break,
                // A service that was looked at and is gone: the next question is a new one.
                Err(failure) => {
                    self.lost(model, failure.message);
                    return true;
                }
            };
            new = true;
            let status = open.pop_front() == Some("status");
            self.take_answer(model, status, answer);
        }
        new
    }

    fn take_answer(&mut self, model: &mut Model, status: bool, answer: Value) {
        if !status {
            model.take_explained(&answer);
        } else if model.take_status(answer) || (self.lines.is_none() && model.no_lines.is_none()) {
            self.follow(model);
            self.explain_at_once(model);
        }
    }

    /// Somebody else is looked at: that is not to wait for the next round.
    pub(super) fn explain_at_once(&mut self, model: &mut Model) {
        let (Some((connection, open)), Some(name)) = (self.asked.as_mut(), model.selected.clone()) else { return };
        if connection.send("explain", &[name], json!({})).is_ok() {
            open.push_back("explain");
        }
    }

    fn lost(&mut self, model: &mut Model, why: String) {
        self.asked = None;
        self.lines = None;
        model.silent = Some(why);
    }

    fn hear_lines(&mut self, model: &mut Model) -> bool {
        let mut new = false;
        for _ in 0..PER_TURN {
            let Some(connection) = self.lines.as_mut() else { break };
            match connection.at_hand() {
                Ok(Some(Next::Item(item))) => model.take_line(&stream::content(&item)),
                Ok(Some(Next::Result(_))) => {}
                Ok(Some(Next::Closed)) => self.lines = None,
                Ok(None) => break,
                Err(failure) => {
                    self.lines = None;
                    model.no_lines = Some(failure.message);
                }
            }
            new = true;
        }
        new
    }

    fn hear_wishes(&mut self, model: &mut Model) -> bool {
        let before = self.wishes.len();
        self.wishes.retain_mut(|(Wish { verb, service }, connection)| {
            let said = match connection.at_hand() {
                Ok(None | Some(Next::Item(_))) => return true,
                Ok(Some(Next::Result(answer))) => answer["reason"].as_str().unwrap_or("done").to_string(),
                Ok(Some(Next::Closed)) => "the watchdog has ended".to_string(),
                Err(failure) => failure.message,
            };
            model.message = format!("{verb} {service}: {said}");
            false
        });
        self.wishes.len() != before
    }
}
