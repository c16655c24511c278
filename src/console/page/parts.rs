//! Small parts that many pages use.

use maud::{Markup, html};

use crate::console::auth::session::Session;

/// How loud something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Accent,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Accent => "accent",
        }
    }
}

pub fn csrf(person: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(person.csrf); }
}

pub fn flash(tone: Tone, text: &Markup) -> Markup {
    let role = if tone == Tone::Bad { "alert" } else { "status" };
    html! { div class={ "flash " (tone.class()) } role=(role) { div { (text) } } }
}

pub fn badge(tone: Tone, text: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (text) } }
}

/// As [`badge`], with a dot before it: how something is doing.
pub fn dot(tone: Tone, text: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) " dot" } { (text) } }
}

/// Names and what they are, side by side.
pub fn facts(pairs: &[(&str, Markup)]) -> Markup {
    html! { dl class="facts" { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } } }
}

/// A moment, given as RFC 3339 in UTC.
pub fn time(rfc3339: &str) -> Markup {
    html! { time datetime=(rfc3339) { (spoken(rfc3339)) } }
}

fn spoken(rfc3339: &str) -> String {
    let moment = rfc3339.parse::<jiff::Timestamp>();
    moment.map_or_else(|_| rfc3339.to_owned(), |moment| moment.strftime("%-d %b %Y, %H:%M UTC").to_string())
}

/// A number with a comma after each third digit.
pub fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut spaced = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    if value < 0 { format!("-{spaced}") } else { spaced }
}

/// Bytes for people: 9.1 kB.
pub fn bytes(count: i64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1_000.0 {
            let digits = usize::from(unit != "B" && value < 100.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

/// How long something took.
pub fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1_000.0),
        ms => format!("{:.0} min {:02.0} s", (ms / 60_000.0).floor(), (ms / 1_000.0) % 60.0),
    }
}

/// One column of a table: its name, and the class of its cells.
pub type Head<'a> = (&'a str, &'a str);

/// A table that scrolls by itself. A column without a name is for actions.
pub fn table(label: &str, heads: &[Head<'_>], rows: impl IntoIterator<Item = Vec<Markup>>) -> Markup {
    table_of(&Look::default(), label, heads, rows)
}

/// What makes a table special.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    /// As which scripts find it.
    pub id: Option<&'a str>,
    pub class: &'a str,
    /// Whether it scrolls within its box.
    pub is_tall: bool,
}

/// As [`table`], with a look of its own.
pub fn table_of(
    look: &Look<'_>,
    label: &str,
    heads: &[Head<'_>],
    rows: impl IntoIterator<Item = Vec<Markup>>,
) -> Markup {
    let class_of = |class: &str| (!class.is_empty()).then(|| class.to_owned());
    html! {
        div class=(if look.is_tall { "scroll tall" } else { "scroll" }) tabindex="0" role="region" aria-label=(label) {
            table id=[look.id] class={ "data " (look.class) } {
                thead { tr { @for (name, class) in heads {
                    th scope="col" class=[class_of(class)] {
                        @if name.is_empty() { span class="hidden-visually" { "Actions" } } @else { (name) }
                    }
                } } }
                tbody { @for row in rows { tr {
                    @for (cell, (_, class)) in row.iter().zip(heads) { td class=[class_of(class)] { (cell) } }
                } } }
            }
        }
    }
}

/// A button that sends `fields` to `action` by POST; with a question, only after that was answered.
pub fn post(person: &Session, action: &str, fields: &[(&str, &str)], label: &str, ask: Option<Ask<'_>>) -> Markup {
    html! {
        form method="post" action=(action) class="inline" {
            (csrf(person))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            @match ask {
                Some(Ask { question, yes }) => {
                    button class="tiny danger" data-confirm=(question) data-confirm-action=(yes) { (label) }
                }
                None => button class="tiny" { (label) }
            }
        }
    }
}

/// A question before something that cannot be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub question: &'a str,
    pub yes: &'a str,
}

/// A text with a button that copies it; `id` is the element's.
pub fn copyable(id: &str, text: &str) -> Markup {
    html! {
        div class="copyable" {
            pre id=(id) { (text) }
            button type="button" class="needs-script" data-copy={ "#" (id) } { "Copy" }
        }
    }
}

/// A page's part that has nothing to show, and teaches how it gets something.
pub fn empty(title: &str, text: &Markup) -> Markup {
    html! { section class="card" { div class="empty" { h2 { (title) } (text) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1_000, -1_234_567].map(number), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!(
            [0, 999, 9_100, 31_000_000, 5_000_000_000_000].map(bytes),
            ["0 B", "999 B", "9.1 kB", "31.0 MB", "5.0 TB"]
        );
        assert_eq!([0.4, 412.0, 8_200.0, 61_000.0].map(duration), ["0 ms", "412 ms", "8.2 s", "1 min 01 s"]);
        assert_eq!(spoken("2026-11-26T06:15:04Z"), "26 Nov 2026, 06:15 UTC");
    }
}
