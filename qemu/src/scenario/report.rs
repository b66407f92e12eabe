//! How the steps of the demonstration are shown: on a terminal, or line by line.

use std::io::{self, Write};
use std::time::Duration;

use console::{Style, style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a terminal shows that the step is still running.
const TICK: Duration = Duration::from_millis(120);

/// A running step: position, spinner, time, party and what, cut to the width of the terminal.
const SPINNER: &str = "{prefix} {spinner}  {elapsed:>8}  {wide_msg}";

/// Whose part of the protocol a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The Trusted Application Manager, `otrp-tam` on this machine.
    Tam,
    /// The emulated device: OP-TEE with the broker, and the agent and clients in its Linux.
    Tee,
}

/// A step of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its position, starting at 1.
    pub number: usize,
    /// How many steps there are.
    pub total: usize,
    /// Who acts.
    pub party: Party,
    /// What happens.
    pub what: &'a str,
}

/// Shows the progress of a scenario. A function that takes a line shows it without a terminal: each step
/// when it has ended, with its details.
pub trait Report {
    /// A step begins.
    fn begin(&mut self, step: &Step<'_>);
    /// A step passed after `time`, with a detail that may be empty.
    fn passed(&mut self, step: &Step<'_>, time: Duration, detail: &str);
    /// A step failed after `time`.
    fn failed(&mut self, step: &Step<'_>, time: Duration);
    /// All steps passed.
    fn finished(&mut self, count: usize, time: Duration);
    /// Anything else, such as a log.
    fn line(&mut self, line: &str);
}

impl<F: FnMut(&str)> Report for F {
    fn begin(&mut self, _: &Step<'_>) {}

    fn passed(&mut self, step: &Step<'_>, time: Duration, detail: &str) {
        self(&plain(step, "ok", time));
        if !detail.is_empty() {
            self(&format!("                  {detail}"));
        }
    }

    fn failed(&mut self, step: &Step<'_>, time: Duration) {
        self(&plain(step, "FAILED", time));
    }

    fn finished(&mut self, count: usize, time: Duration) {
        self(&conclusion(count, time));
    }

    fn line(&mut self, line: &str) {
        self(line);
    }
}

/// A terminal on standard output: a line for each step, in colour unless `NO_COLOR` is set, and a spinner
/// while it runs.
#[derive(Debug)]
pub struct Terminal {
    spinner: ProgressBar,
}

impl Terminal {
    /// Explains the columns and begins.
    #[must_use]
    pub fn new() -> Self {
        let terminal = Self { spinner: ProgressBar::hidden() };
        for line in legend() {
            print(&line);
        }
        terminal
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Report for Terminal {
    fn begin(&mut self, step: &Step<'_>) {
        let style = ProgressStyle::with_template(SPINNER)
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .tick_chars(r"|/-\ ");
        self.spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout())
            .with_style(style)
            .with_prefix(position(step))
            .with_message(format!("{}  {}", label(step.party), step.what));
        self.spinner.enable_steady_tick(TICK);
    }

    fn passed(&mut self, step: &Step<'_>, time: Duration, _: &str) {
        self.spinner.finish_and_clear();
        print(&summary(step, &style("ok").green().to_string(), time));
    }

    fn failed(&mut self, step: &Step<'_>, time: Duration) {
        self.spinner.finish_and_clear();
        print(&summary(step, &style("FAILED").red().bold().to_string(), time));
    }

    fn finished(&mut self, count: usize, time: Duration) {
        print(&style(conclusion(count, time)).green().bold().to_string());
    }

    fn line(&mut self, line: &str) {
        print(line);
    }
}

/// Whose line is whose.
fn legend() -> [String; 3] {
    [
        format!("{}  the Trusted Application Manager, a server on this machine", label(Party::Tam)),
        format!("{}  the device in QEMU: OP-TEE with the broker, and its Linux", label(Party::Tee)),
        String::new(),
    ]
}

/// A step without a terminal: number, time, what.
fn plain(step: &Step<'_>, verdict: &str, time: Duration) -> String {
    format!("{:>2} {verdict} {:>8}  {}", step.number, seconds(time), step.what)
}

/// A step on a terminal.
fn summary(step: &Step<'_>, verdict: &str, time: Duration) -> String {
    let time = style(format!("{:>8}", seconds(time))).dim();
    format!("{} {verdict} {time}  {}  {}", position(step), label(step.party), step.what)
}

fn position(step: &Step<'_>) -> String {
    format!("{:>2}/{}", step.number, step.total)
}

fn label(party: Party) -> String {
    let (name, colour) = match party {
        Party::Tam => ("TAM", Style::new().cyan()),
        Party::Tee => ("TEE", Style::new().magenta()),
    };
    colour.bold().apply_to(name).to_string()
}

fn conclusion(count: usize, time: Duration) -> String {
    format!("all {count} steps passed in {}", seconds(time))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Prints a line. The work continues if nobody reads it.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step<'_> =
        Step { number: 5, total: 14, party: Party::Tam, what: "CreateSD, InstallTA" };
    const TIME: Duration = Duration::from_millis(1234);

    fn lines(show: impl FnOnce(&mut dyn Report)) -> Vec<String> {
        let mut lines = Vec::new();
        show(&mut |line: &str| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn without_a_terminal_a_step_is_a_line_with_its_detail_below() {
        let shown = lines(|report| {
            report.begin(&STEP);
            report.passed(&STEP, TIME, "InstallTA pass");
            report.passed(&Step { number: 12, ..STEP }, TIME * 10, "");
            report.failed(&STEP, TIME);
            report.line("--- end of tam.log");
            report.finished(14, TIME * 100);
        });
        let expected = [
            " 5 ok   1.23 s  CreateSD, InstallTA",
            "                  InstallTA pass",
            "12 ok  12.34 s  CreateSD, InstallTA",
            " 5 FAILED   1.23 s  CreateSD, InstallTA",
            "--- end of tam.log",
            "all 14 steps passed in 123.40 s",
        ];
        assert_eq!(shown, expected);
        assert!(shown.iter().all(|line| !line.contains('\u{1b}')), "no colour: {shown:?}");
    }

    /// One test, because the switch for colours is the process's.
    #[test]
    fn on_a_terminal_a_step_is_one_line_and_colour_can_be_switched_off() {
        let tee = Step { number: 9, party: Party::Tee, ..STEP };
        console::set_colors_enabled(false);
        assert_eq!(summary(&STEP, "ok", TIME), " 5/14 ok   1.23 s  TAM  CreateSD, InstallTA");
        let failed = " 9/14 FAILED   1.23 s  TEE  CreateSD, InstallTA";
        assert_eq!(summary(&tee, "FAILED", TIME), failed);
        assert!(ProgressStyle::with_template(SPINNER).is_ok());
        assert!(legend()[0].starts_with("TAM  ") && legend()[1].starts_with("TEE  "));
        console::set_colors_enabled(true);
        let [tam, tee] = [summary(&STEP, "ok", TIME), summary(&tee, "ok", TIME)];
        assert!(tam.contains("\u{1b}[36m") && !tam.contains("\u{1b}[35m"), "{tam:?}");
        assert!(tee.contains("\u{1b}[35m") && !tee.contains("\u{1b}[36m"), "{tee:?}");
        let bare = console::strip_ansi_codes(&tam);
        assert_eq!(bare, " 5/14 ok   1.23 s  TAM  CreateSD, InstallTA");
    }
}
