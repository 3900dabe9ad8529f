//! What `up` shows of its services: their lines, each with its name in front.

use crate::cli::Output;
use crate::settings::plan::Plan;
use watchdog_engine::{Observer, OutputLine};

/// Shows lines of output.
pub(crate) struct Screen {
    output: Output,
    width: usize,
}

impl Screen {
    /// For the services of this plan.
    pub(crate) fn new(output: Output, _progress: bool, plan: &Plan) -> Screen {
        let width = plan.specs.iter().map(|s| s.name.len()).max().unwrap_or(0);
        Screen { output, width }
    }
}

impl Observer for Screen {
    fn line(&mut self, line: &OutputLine<'_>, screen: &mut Vec<u8>) {
        if self.output == Output::Prefix {
            screen.extend_from_slice(format!("{:width$} | ", line.service, width = self.width).as_bytes());
            screen.extend_from_slice(line.bytes);
            screen.push(b'\n');
        }
    }
}
