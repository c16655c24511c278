//! Small drawings, by an SVG's attributes: the policy forbids style attributes. And spans of time in words.

use maud::{Markup, PreEscaped, html};

/// A bar of `share`, from 0 to 1.
pub fn meter(share: f64, label: &str) -> Markup {
    let percent = (share.clamp(0.0, 1.0) * 100.0).round();
    html! {
        svg class="meter" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect width=(percent) height="1" {}
        }
    }
}

/// A bar for each of `values`, the highest as high as there is room.
pub fn bars(values: &[f64], label: &str) -> Markup {
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let bar = |(place, value): (usize, &f64)| {
        let height = value / most * 100.0;
        format!(r#"<rect x="{}" y="{:.1}" width="8" height="{height:.1}"/>"#, place * 10 + 1, 100.0 - height)
    };
    let drawn: String = values.iter().enumerate().map(bar).collect();
    html! {
        svg class="spark" viewBox={ "0 0 " (values.len() * 10) " 100" } preserveAspectRatio="none" role="img" aria-label=(label) {
            // Of nothing but numbers.
            (PreEscaped(drawn))
        }
    }
}

/// A span of time for people: 3 h 12 min.
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3_600 => format!("{} min", whole / 60),
        3_600..86_400 => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} days", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_for_people() {
        assert_eq!(
            [0.04, 42.9, 61.0, 11_520.0, 200_000.0].map(span),
            ["0.0 s", "42 s", "1 min", "3 h 12 min", "2 days"]
        );
        let drawn = bars(&[0.0, 2.0, 1.0], "weeks").into_string();
        assert!(drawn.contains(r#"<rect x="11" y="0.0" width="8" height="100.0"/>"#), "{drawn}");
        assert!(meter(7.0, "all").into_string().contains(r#"width="100""#));
    }
}
