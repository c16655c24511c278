//! One picture (SVG) for each figure: every round a dot, the median a line, the bar dashed.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;
/// Lines across the plot.
const GRID_LINES: u32 = 4;

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Nobody promised anything.
    None,
}

impl Goal {
    pub fn bound(self) -> Option<f64> {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => Some(bound),
            Self::None => None,
        }
    }

    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::None => true,
        }
    }

    pub fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound}"),
            Self::AtMost(bound) => format!("at most {bound}"),
            Self::None => String::new(),
        }
    }
}

/// A series of dots: one a round, or one a step.
pub struct Plot {
    pub title: String,
    /// Below each dot.
    pub labels: Vec<String>,
    pub values: Vec<f64>,
    /// Across the dots, if they are rounds of the same.
    pub median: Option<f64>,
    pub goal: Goal,
}

impl Plot {
    /// Writes the picture into `dir`, under a name made of its title.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let words = self.title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
        let file = dir.join(name + ".svg");
        std::fs::write(&file, self.svg()).with_context(|| file.display().to_string())
    }

    fn svg(&self) -> String {
        let highest = self.values.iter().copied().chain(self.goal.bound()).fold(0.0, f64::max);
        let top = nice_above(highest);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let step = (WIDTH - LEFT - RIGHT) / self.values.len().max(1) as f64;
        let x = |index: usize| LEFT + step * (index as f64 + 0.5);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" fill=\"#222\">{}</text>\n",
            escaped(&self.title)
        );
        for index in 0..=GRID_LINES {
            let value = top * f64::from(index) / f64::from(GRID_LINES);
            line(&mut svg, (LEFT, y(value)), (WIDTH - RIGHT, y(value)), "stroke=\"#ddd\"");
            text(&mut svg, (LEFT - 8.0, y(value) + 4.0), "end", "#666", &short(value));
        }
        if let Some(median) = self.median {
            line(&mut svg, (LEFT, y(median)), (WIDTH - RIGHT, y(median)), "stroke=\"#1763a6\" stroke-width=\"2\"");
        }
        if let Some(bound) = self.goal.bound() {
            let style = "stroke=\"#b3261e\" stroke-width=\"1.5\" stroke-dasharray=\"6 4\"";
            line(&mut svg, (LEFT, y(bound)), (WIDTH - RIGHT, y(bound)), style);
            text(&mut svg, (WIDTH - RIGHT, 36.0), "end", "#b3261e", &format!("bar: {}", self.goal.text()));
        }
        for (index, value) in self.values.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\" fill=\"#1763a6\"><title>{}</title></circle>",
                x(index),
                y(*value),
                short(*value)
            );
            let label = self.labels.get(index).map_or("", String::as_str);
            text(&mut svg, (x(index), HEIGHT - BOTTOM + 18.0), "middle", "#666", label);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style}/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, colour: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        at.0,
        at.1,
        escaped(text)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The next of 1, 2, 2.5, 5 times a power of ten, a little above `value`.
fn nice_above(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value * 1.05).unwrap_or(12.0 * power)
}

fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 1e6 => format!("{:.2} M", value / 1e6),
        large if large >= 1e4 => format!("{:.0} k", value / 1e3),
        middle if middle >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
