//! What is chosen, and how something else is.

use maud::{Markup, html};

use crate::console::dashboard::countries;
use crate::console::dashboard::gather::Facts;
use crate::console::dashboard::period::{CHOICES, Compare, Period};
use crate::console::dashboard::view::View;

/// The state of the page, but for the fields that the form around has itself.
pub fn hidden(view: &View, but: &[&str]) -> Markup {
    html! {
        @for (name, value) in view.pairs().iter().filter(|(name, _)| !but.contains(&name.as_str())) {
            input type="hidden" name=(name) value=(value);
        }
    }
}

/// Source, period, comparison.
pub fn filters(view: &View, facts: &Facts) -> Markup {
    let days = view.days();
    let (first, last, today) = (days.first.to_string(), days.last.to_string(), view.today.to_string());
    let is_custom = matches!(view.period, Period::Custom { .. });
    let comparisons = [
        (Compare::None, "nothing".to_owned()),
        (Compare::Previous, view.period.previous_spoken(days)),
        (Compare::Year, "a year ago".to_owned()),
    ];
    html! {
        div class="filters" {
            @if !view.is_fixed { (sources(view, facts)) }
            div class="segments" role="group" aria-label="Period" {
                @for (period, _, name) in CHOICES {
                    a href=(view.url_with(|view| view.period = period)) aria-current=[(view.period == period).then_some("true")] { (name) }
                }
                details class="custom-period" aria-current=[is_custom.then_some("true")] {
                    summary { @if is_custom { (days.spoken()) } @else { "Custom…" } }
                    form method="get" action=(view.path) {
                        (hidden(view, &["period", "from", "to"]))
                        label for="from" { "From" } " "
                        input #from name="from" type="date" value=(first) max=(today) required;
                        label for="to" { "to" } " "
                        input #to name="to" type="date" value=(last) max=(today) required;
                        button class="primary" { "Show" }
                    }
                }
            }
            form method="get" action=(view.path) data-submit-on-change {
                (hidden(view, &["compare"]))
                label for="compare" class="quiet" { "Compare with" }
                select #compare name="compare" {
                    @for (compare, name) in comparisons {
                        option value=(compare.name()) selected[view.compare == compare] { (name) }
                    }
                }
                noscript { button { "Show" } }
            }
        }
    }
}

fn sources(view: &View, facts: &Facts) -> Markup {
    let chosen = view.source.as_deref();
    // A source that is gone still has figures.
    let unknown = chosen.filter(|chosen| !facts.sources.iter().any(|source| source == chosen));
    html! {
        form method="get" action=(view.path) data-submit-on-change {
            (hidden(view, &["source"]))
            label class="hidden-visually" for="source" { "Source" }
            select #source name="source" {
                option value="" selected[chosen.is_none()] { "every source" }
                @for source in facts.sources.iter().map(String::as_str).chain(unknown) {
                    option value=(source) selected[chosen == Some(source)] { (source) }
                }
            }
            noscript { button { "Show" } }
        }
    }
}

/// The filters in force, each with a way out.
pub fn chips(view: &View) -> Markup {
    html! {
        @if !view.filters.is_empty() {
            ul class="chips" aria-label="Filters" {
                @for (dimension, value) in view.filters.iter() {
                    @let value = countries::spoken(Some(dimension), value);
                    @let label = format!("Remove the filter: {} is {value}", dimension.title());
                    li class="chip" {
                        (dimension.title()) " is " strong { (value) }
                        a href=(view.url_with(|view| view.filters = view.filters.without(dimension))) aria-label=(label) { "✕" }
                    }
                }
            }
        }
    }
}
