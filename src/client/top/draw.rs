//! One picture of `top`: who runs here, the table, why the one that is looked at is where it is, and its last lines.

use super::columns::{Column, for_width};
use super::model::{Below, Mode, Model};
use super::paint::Paint;
use crate::client::form::{cell, clean, micros, time};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState, Wrap};
use serde_json::Value;

/// Rows of the table that are there however low the terminal is.
const LEAST_ROWS: u16 = 3;
/// Most rows that the explanation takes of a terminal that is high enough for both.
const EXPLAINED: u16 = 9;
/// From this width on explanation and lines stand side by side.
const WIDE: u16 = 120;

/// The keys, as the help shows them.
const HELP: [(&str, &str); 13] = [
    ("up, down, k, j", "look at another service"),
    ("page up, page down", "ten rows at once"),
    ("home, end, g, G", "the first, the last"),
    ("s", "start it"),
    ("x", "stop it"),
    ("r", "restart it"),
    ("tab", "below the table: why and lines, why alone, lines alone"),
    ("/", "show only those with this in name, state or health"),
    ("escape", "show all again"),
    ("Ctrl-L", "draw everything anew"),
    ("Ctrl-Z", "back to the shell; fg comes back"),
    ("?, h", "this page"),
    ("q, Ctrl-C", "leave"),
];

/// Draws all of it.
pub(super) fn picture(frame: &mut Frame<'_>, model: &Model, paint: Paint) {
    let area = frame.area();
    let rows = u16::try_from(model.shown().len()).unwrap_or(u16::MAX).saturating_add(1);
    // Half of the screen at most, where there is anything to say below.
    let table = rows.clamp(LEAST_ROWS, (area.height / 2).max(LEAST_ROWS));
    let parts = [Constraint::Length(1), Constraint::Length(table), Constraint::Min(0), Constraint::Length(1)];
    let [head, middle, below, foot] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(title(model, paint)), head);
    services(frame, middle, model, paint);
    details(frame, below, model, paint);
    frame.render_widget(Paragraph::new(keys(model, paint)), foot);
    if model.mode == Mode::Help {
        help(frame, area, paint);
    }
}

/// `web (pid 12) running for 3m: 3 services, 2 ready, 1 failed`
fn title(model: &Model, paint: Paint) -> Line<'static> {
    if let Some(why) = &model.silent {
        return Line::styled(format!("no answer: {}", clean(why)), paint.bad());
    }
    let count = |test: &dyn Fn(&Value) -> bool| model.services().iter().filter(|s| test(s)).count();
    let (all, ready) = (model.services().len(), count(&|s| s["ready"] == Value::Bool(true)));
    let failed = count(&|s| matches!(s["state"].as_str(), Some("failed" | "stuck" | "crash-loop")));
    let i = &model.instance;
    let services = if all == 1 { "service" } else { "services" };
    let mut spans = vec![
        Span::styled(cell(&i["name"]), paint.head()),
        Span::raw(format!(
            " (pid {}) {} for {}: {all} {services}, {ready} ready",
            cell(&i["pid"]),
            cell(&i["state"]),
            time(&i["uptime_ms"])
        )),
    ];
    if failed > 0 {
        spans.push(Span::styled(format!(", {failed} failed"), paint.bad()));
    }
    Line::from(spans)
}

fn services(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let columns: Vec<&Column> = for_width(area.width).collect();
    let taken: u16 = columns.iter().map(|c| c.width + 1).sum();
    let name = area.width.saturating_sub(taken).max(1);
    let head = Row::new(std::iter::once("NAME".to_string()).chain(columns.iter().map(|c| aligned(c, c.head))));
    let rows = model.shown().into_iter().map(|service| {
        let curve = service["name"].as_str().and_then(|name| model.curve(name));
        let cells =
            columns.iter().map(|c| Text::styled(aligned(c, &(c.text)(service, curve)), c.style(service, paint)));
        Row::new(std::iter::once(Text::raw(cell(&service["name"]))).chain(cells))
    });
    let widths = std::iter::once(name).chain(columns.iter().map(|c| c.width)).map(Constraint::Length);
    let table = Table::new(rows, widths).header(head.style(paint.head())).row_highlight_style(paint.selected());
    let mut state = TableState::new().with_selected(model.row()).with_offset(model.first.get());
    frame.render_stateful_widget(table, area, &mut state);
    model.first.set(state.offset());
}

fn aligned(column: &Column, text: &str) -> String {
    let width = usize::from(column.width);
    if column.right { format!("{text:>width$}") } else { text.to_string() }
}

/// Below the table: why, and what it wrote last.
fn details(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let Some(service) = model.current() else {
        let text = if model.filter.is_empty() { "no service here" } else { "nobody matches: escape shows all" };
        return frame.render_widget(Paragraph::new(text).style(paint.quiet()), area);
    };
    let why = explanation(service, model, paint);
    let nothing = Rect::default();
    let (above, below) = if model.below != Below::Both {
        if model.below == Below::Why { (area, nothing) } else { (nothing, area) }
    } else if area.width >= WIDE {
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Min(0)]).areas(area);
        (left, right)
    } else {
        let wanted = EXPLAINED.min(area.height.div_ceil(2));
        let [top, bottom] = Layout::vertical([Constraint::Length(wanted), Constraint::Min(0)]).areas(area);
        (top, bottom)
    };
    let box_of = |title: String| Block::new().borders(Borders::TOP).title(title).border_style(paint.quiet());
    let name = cell(&service["name"]);
    frame.render_widget(Paragraph::new(why).wrap(Wrap { trim: true }).block(box_of(format!(" {name}: why "))), above);
    let frame_of_lines = box_of(format!(" {name}: last lines "));
    let room = usize::from(frame_of_lines.inner(below).height);
    frame.render_widget(Paragraph::new(lines(model, room, paint)).block(frame_of_lines), below);
}

/// The sentences of `explain`, and what a table has no room for.
fn explanation(service: &Value, model: &Model, paint: Paint) -> Text<'static> {
    // Where it is comes first, then what is so now, then what happened and what may.
    let mut sentences = model.explained.iter().map(|line| Line::raw(line.clone()));
    let first = sentences.next().or_else(|| service["reason"].as_str().map(|reason| Line::raw(clean(reason))));
    let mut text: Vec<Line<'static>> = first.into_iter().collect();
    if let Some(status) = service["status_text"].as_str().filter(|t| !t.is_empty()) {
        text.push(Line::raw(format!("it says: {}", clean(status))));
    }
    let beats = &service["heartbeat"];
    if beats["armed"] == Value::Bool(true) {
        let missed = beats["misses"].as_u64().filter(|n| *n > 0).map(|n| format!(", {n} missed")).unwrap_or_default();
        let facts = format!(
            "heartbeat: {}, half within {}, 99% within {}, last {} ago{missed}",
            cell(&beats["dialect"]),
            micros(&beats["rtt_p50_us"]),
            micros(&beats["rtt_p99_us"]),
            time(&beats["last_ms"])
        );
        text.push(Line::styled(facts, if missed.is_empty() { Style::new() } else { paint.bad() }));
    }
    if let Some(id) = service["last_report"].as_str() {
        text.push(Line::raw(format!("last report: {} (watchdog report show)", clean(id))));
    }
    text.extend(sentences);
    Text::from(text)
}

/// As many of the last lines as there is room for.
fn lines(model: &Model, room: usize, paint: Paint) -> Text<'static> {
    if let Some(why) = &model.no_lines {
        return Text::styled(clean(why), paint.quiet());
    }
    let last = model.lines.iter().skip(model.lines.len().saturating_sub(room));
    Text::from(last.map(|line| Line::raw(line.clone())).collect::<Vec<_>>())
}

/// The last row: what can be done, or what is being asked.
fn keys(model: &Model, paint: Paint) -> Line<'static> {
    match &model.mode {
        Mode::Filter => {
            Line::styled(format!("/{}_  enter keeps it, escape shows all", clean(&model.filter)), paint.head())
        }
        Mode::Sure(wish) => {
            Line::styled(format!("{} {}? y, or any other key", wish.verb, clean(&wish.service)), paint.bad())
        }
        Mode::Look | Mode::Help if !model.message.is_empty() => Line::styled(clean(&model.message), paint.warn()),
        Mode::Look | Mode::Help => {
            let filter = match model.filter.as_str() {
                "" => String::new(),
                filter => format!("  [{}]", clean(filter)),
            };
            let text = format!("q leave  s start  x stop  r restart  / filter  tab more  ? help{filter}");
            Line::styled(text, paint.quiet())
        }
    }
}

fn help(frame: &mut Frame<'_>, area: Rect, paint: Paint) {
    let width = 78.min(area.width);
    let height = (HELP.len() as u16 + 2).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let row = |(key, meaning): &(&str, &str)| {
        Line::from(vec![Span::styled(format!(" {key:20}"), paint.head()), Span::raw(meaning.to_string())])
    };
    let page = Paragraph::new(HELP.iter().map(row).collect::<Vec<_>>());
    frame.render_widget(Clear, place);
    frame.render_widget(page.block(Block::bordered().title(" keys: any of them closes this ")), place);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn drawn(model: &Model, width: u16, height: u16) -> String {
        let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
        let Ok(_) = terminal.draw(|frame| picture(frame, model, Paint { colours: true }));
        terminal.backend().to_string()
    }

    fn model() -> Model {
        let one = |n: usize| {
            json!({"name": format!("web{n}"), "state": "running", "ready": true, "restarts": 3, "uptime_ms": 5000,
            "generation": 1, "memory": {"rss_bytes": 12 << 20}, "cpu": {"percent": 150.0}, "pid": 42, "health": "healthy",
            "heartbeat": {"armed": true, "dialect": "native", "rtt_p50_us": 120, "rtt_p99_us": 900, "last_ms": 10, "misses": 1}})
        };
        let mut model = Model::new();
        model.take_status(json!({"instance": {"name": "shop", "pid": 7, "state": "running", "uptime_ms": 61000},
                                 "services": (0..30).map(one).collect::<Vec<_>>()}));
        model.explained = vec!["it was restarted: it had used 600MiB".into()];
        model.take_line(b"the last line");
        model
    }

    #[test]
    fn the_usual_terminal_shows_all_that_is_promised() {
        let page = drawn(&model(), 80, 24);
        for part in [
            "shop (pid 7) running for 1m1s: 30 services, 30 ready",
            "NAME",
            "MEMORY",
            "web0",
            "12MiB",
            "█",
            "150.0%",
            "120us",
            "it was restarted: it had used 600MiB",
            "1 missed",
            "the last line",
            "q leave",
        ] {
            assert!(page.contains(part), "{part}:\n{page}");
        }
    }

    #[test]
    fn any_size_is_drawn() {
        let mut model = model();
        for mode in [Mode::Look, Mode::Help, Mode::Filter] {
            model.mode = mode;
            for (width, height) in [(1, 1), (3, 2), (10, 3), (20, 5), (40, 10), (80, 24), (250, 80)] {
                drawn(&model, width, height);
            }
        }
        assert!(drawn(&Model::new(), 40, 8).contains("no service here"));
    }

    #[test]
    fn the_row_that_is_looked_at_is_never_out_of_sight() {
        let mut model = model();
        model.go(29);
        let page = drawn(&model, 80, 24);
        assert!(page.contains("web29:") && page.matches("web29").count() == 3, "{page}");
        let first = page.lines().nth(2).unwrap().to_string();
        model.go(-5);
        let page = drawn(&model, 80, 24);
        assert_eq!(page.lines().nth(2), Some(first.as_str()), "rows stand still as long as they can: {page}");
    }
}
