//! The text format of Prometheus, version 0.0.4: families with their help, samples with their labels.

use std::fmt::Write;

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    /// Several who use one name do not agree.
    Untyped,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped => "untyped",
        }
    }
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) out: String,
}

/// Name and value of each label.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    /// The two lines above a family.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.out.push_str("# HELP ");
        self.out.push_str(name);
        self.out.push(' ');
        escape(help, false, &mut self.out);
        // Writing to a text does not fail.
        let _ = write!(self.out, "\n# TYPE {name} {}\n", kind.word());
    }

    /// One sample.
    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.out.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            self.out.push(if n == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(text, true, &mut self.out);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.out.push(' ');
        number(value, &mut self.out);
        self.out.push('\n');
    }

    /// A histogram or a summary without its name: cumulative counts by upper bound, all of them, and their sum.
    pub(super) fn distribution(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        buckets: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        let long = format!("{name}_bucket");
        let all = buckets.iter().copied().chain((!buckets.is_empty()).then_some((f64::INFINITY, count)));
        for (bound, below) in all {
            let mut le = String::new();
            number(bound, &mut le);
            self.sample(&long, &[labels, &[("le", le.as_str())]].concat(), below as f64);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }
}

/// Below it every whole number is what it looks like.
const WHOLE: f64 = 9_007_199_254_740_992.0;

fn whole(mut n: u64, out: &mut String) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    digits[at..].iter().for_each(|digit| out.push(char::from(*digit)));
}

fn number(value: f64, out: &mut String) {
    // Most numbers are counts: those take a fraction of the time.
    if (0.0..WHOLE).contains(&value) && value.trunc() == value {
        return whole(value as u64, out);
    }
    let _ = match value {
        v if v == f64::INFINITY => write!(out, "+Inf"),
        v if v == f64::NEG_INFINITY => write!(out, "-Inf"),
        v => write!(out, "{v}"),
    };
}

/// A line is a line, and a quote ends a label, whatever somebody else has chosen as a name.
fn escape(text: &str, quotes: bool, out: &mut String) {
    // Names of services and most others.
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'\\' && b != b'"') {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            // Readers that split lines by any of them would see one of ours in two.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => out.push(' '),
            c => out.push(c),
        }
    }
}

/// A name as Prometheus has them: letters, digits and underscores, no digit in front.
pub(super) fn name_of(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    text.chars().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_label_a_sample_is_one_line() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "one\nline \\ \"as it is\"");
        text.sample("a_total", &[("service", "x\"} 1\n# \\ y\r\u{2028}")], 1.5);
        assert_eq!(
            text.out,
            "# HELP a_total one\\nline \\\\ \"as it is\"\n# TYPE a_total counter\na_total{service=\"x\\\"} 1\\n# \\\\ y  \"} 1.5\n"
        );
    }

    #[test]
    fn numbers_are_as_the_format_has_them() {
        let mut out = String::new();
        for value in [0.0, 3.0, 0.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e21, 12_345_678_901.0] {
            number(value, &mut out);
            out.push(' ');
        }
        assert_eq!(out, "0 3 0.25 +Inf -Inf NaN 1000000000000000000000 12345678901 ");
    }

    #[test]
    fn a_distribution_ends_with_all_of_it() {
        let mut text = Text::default();
        text.distribution("t_seconds", &[("service", "w")], &[(0.5, 1), (1.0, 3)], 4, 2.5);
        let lines: Vec<&str> = text.out.lines().collect();
        assert_eq!(lines[1], "t_seconds_bucket{service=\"w\",le=\"1\"} 3");
        assert_eq!(lines[2], "t_seconds_bucket{service=\"w\",le=\"+Inf\"} 4");
        assert_eq!(lines[3..], ["t_seconds_sum{service=\"w\"} 2.5", "t_seconds_count{service=\"w\"} 4"]);
    }

    #[test]
    fn names_are_made_to_fit() {
        assert_eq!((name_of("jobs.done-é"), name_of("")), ("jobs_done__".into(), String::new()));
    }
}
