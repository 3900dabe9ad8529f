//! Colours of `top`, or what stands for them where somebody said NO_COLOR.

use ratatui::style::{Color, Modifier, Style};
use serde_json::Value;

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) colours: bool,
}

impl Paint {
    fn of(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    pub(super) fn warn(self) -> Style {
        self.of(Color::Yellow)
    }

    /// To be seen without colours too.
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn curve(self) -> Style {
        self.of(Color::Cyan)
    }

    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The row that is looked at.
    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn state(self, state: &Value, ready: &Value) -> Style {
        match state.as_str().unwrap_or_default() {
            "running" if *ready == Value::Bool(true) => self.good(),
            "done" => self.good(),
            "failed" | "stuck" => self.bad(),
            "stopped" => self.quiet(),
            _ => self.warn(),
        }
    }

    pub(super) fn health(self, health: &Value) -> Style {
        match health.as_str().unwrap_or_default() {
            "healthy" => self.good(),
            "unhealthy" => self.bad(),
            "degraded" => self.warn(),
            _ => self.quiet(),
        }
    }

    /// Of a value that is this much of its limit.
    pub(super) fn near(self, share: f64) -> Style {
        match share {
            s if s >= 1.0 => self.bad(),
            s if s >= 0.8 => self.warn(),
            _ => Style::new(),
        }
    }
}
