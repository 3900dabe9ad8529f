//! The machine from outside: every pair of state and event, the table of transitions, and the rules as sentences.

mod among;
mod beats;
mod health;
mod life;
mod pairs;
mod rules;
mod signals;
mod stage;
mod transitions;
mod unread;
