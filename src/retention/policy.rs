//! Which events are kept for how long: the first rule that names an event's source and kind decides, else
//! `retention.events`. All of it goes by whole days (UTC) of `occurred_at`.

use std::fmt::Write;

use jiff::civil::Date;

use super::period::Period;
use crate::config::{Retention, RetentionRule};

/// The rule of all events that no other names.
pub const REST: &str = "events";

/// What is kept on a certain day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In the order in which they are asked; the last takes everything.
    rules: Vec<Rule>,
}

/// One rule, as of a certain day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For people: `source=app kind=click`.
    pub name: String,
    pub source: Option<String>,
    pub kind: Option<String>,
    keep: Period,
    /// Its events of earlier days go.
    pub kept_since: Option<Date>,
}

impl Policy {
    pub fn new(settings: &Retention, today: Date) -> Self {
        let rule = |source: Option<&String>, kind: Option<&String>, keep: Period| Rule {
            name: name(source, kind),
            source: source.cloned(),
            kind: kind.cloned(),
            keep,
            kept_since: keep.kept_since(today),
        };
        let mut rules: Vec<Rule> =
            settings.rules.iter().map(|set| rule(set.source.as_ref(), set.kind.as_ref(), set.keep)).collect();
        rules.push(rule(None, None, settings.events));
        Self { rules }
    }

    /// Days before this go whole: no rule keeps any of their events.
    pub fn whole_since(&self) -> Option<Date> {
        self.rules.iter().map(|rule| rule.kept_since).min().flatten()
    }

    /// Days before this may lack events: the shortest of all rules.
    pub fn frozen_before(&self) -> Option<Date> {
        self.rules.iter().filter_map(|rule| rule.kept_since).max()
    }

    /// The rules by which events of `day` are over, each with those that are asked before it.
    pub fn over_on(&self, day: Date) -> impl Iterator<Item = (&Rule, &[Rule])> {
        let is_over = move |rule: &Rule| rule.kept_since.is_some_and(|since| day < since);
        self.rules
            .iter()
            .enumerate()
            .filter(move |(_, rule)| is_over(rule))
            .map(move |(place, rule)| (rule, &self.rules[..place]))
    }

    /// Whether an event of `day` stays.
    pub fn keeps(&self, day: Date, source: &str, kind: &str) -> bool {
        let names = |rule: &&Rule| {
            rule.source.as_deref().is_none_or(|own| own == source) && rule.kind.as_deref().is_none_or(|own| own == kind)
        };
        self.rules.iter().find(names).is_none_or(|rule| rule.kept_since.is_none_or(|since| day >= since))
    }

    /// All that decides what of `day` stays, in one line: as long as it is the same, so is the outcome.
    pub fn fingerprint(&self, day: Date) -> String {
        self.over_on(day).fold(String::new(), |mut text, (rule, before)| {
            // Writing to a string does not fail.
            let _ = write!(text, "{} unless [", rule.name);
            for earlier in before {
                let _ = write!(text, "{};", earlier.name);
            }
            let _ = write!(text, "] ");
            text
        })
    }

    /// When the last event of `day` is no longer kept; `None`: some stay for ever.
    pub fn ends_on(&self, day: Date) -> Option<Date> {
        let ends: Option<Vec<Date>> = self.rules.iter().map(|rule| rule.keep.ends_on(day)).collect();
        ends?.into_iter().max()
    }
}

/// Which rule can never decide, because an earlier one takes all that it names.
pub fn shadowed(rules: &[RetentionRule]) -> Option<(usize, usize)> {
    let covers = |wide: Option<&String>, narrow: Option<&String>| wide.is_none() || wide == narrow;
    rules.iter().enumerate().find_map(|(place, rule)| {
        let earlier = rules[..place].iter().position(|earlier| {
            covers(earlier.source.as_ref(), rule.source.as_ref()) && covers(earlier.kind.as_ref(), rule.kind.as_ref())
        });
        earlier.map(|earlier| (place, earlier))
    })
}

/// What the rule names, quoted, so that no two rules look the same.
fn name(source: Option<&String>, kind: Option<&String>) -> String {
    match (source, kind) {
        (None, None) => REST.to_owned(),
        (Some(source), None) => format!("source={source:?}"),
        (None, Some(kind)) => format!("kind={kind:?}"),
        (Some(source), Some(kind)) => format!("source={source:?} kind={kind:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source: Option<&str>, kind: Option<&str>, keep: &str) -> RetentionRule {
        let keep = keep.parse().expect("a period");
        RetentionRule { source: source.map(str::to_owned), kind: kind.map(str::to_owned), keep }
    }

    fn policy(events: &str, rules: Vec<RetentionRule>) -> Policy {
        let events = events.parse().expect("a period");
        let settings = Retention { events, rules, ..Retention::default() };
        Policy::new(&settings, Date::constant(2026, 11, 26))
    }

    #[test]
    fn whole_days_go_by_the_longest_and_freeze_by_the_shortest() {
        let date = |text: &str| Some(text.parse::<Date>().expect("a date"));
        let none = policy("forever", vec![]);
        assert_eq!((none.whole_since(), none.frozen_before()), (None, None));
        let plain = policy("10 days", vec![]);
        assert_eq!((plain.whole_since(), plain.frozen_before()), (date("2026-11-16"), date("2026-11-16")));
        let mixed = policy("10 days", vec![rule(None, Some("click"), "2 days"), rule(Some("a"), None, "20 days")]);
        assert_eq!((mixed.whole_since(), mixed.frozen_before()), (date("2026-11-06"), date("2026-11-24")));
        let kept = policy("10 days", vec![rule(Some("a"), None, "forever")]);
        assert_eq!((kept.whole_since(), kept.frozen_before()), (None, date("2026-11-16")));
    }

    #[test]
    fn each_day_has_the_rules_that_are_over() {
        let policy = policy("10 days", vec![rule(None, Some("click"), "2 days"), rule(Some("a"), None, "forever")]);
        let over = |day: &str| {
            let day = day.parse().expect("a date");
            policy.over_on(day).map(|(rule, before)| (rule.name.clone(), before.len())).collect::<Vec<_>>()
        };
        assert_eq!(over("2026-11-24"), []);
        assert_eq!(over("2026-11-23"), [(r#"kind="click""#.to_owned(), 0)]);
        assert_eq!(over("2026-11-15"), [(r#"kind="click""#.to_owned(), 0), (REST.to_owned(), 2)]);
        let fingerprint = policy.fingerprint(Date::constant(2026, 11, 15));
        assert_eq!(fingerprint, r#"kind="click" unless [] events unless [kind="click";source="a";] "#);
        assert_eq!(policy.ends_on(Date::constant(2026, 11, 15)), None);
    }

    #[test]
    fn the_first_rule_that_names_an_event_decides_whether_it_stays() {
        let policy = policy("10 days", vec![rule(None, Some("click"), "2 days"), rule(Some("a"), None, "forever")]);
        let keeps = |day: &str, source, kind| policy.keeps(day.parse().expect("a date"), source, kind);
        assert!(keeps("2026-11-24", "a", "click") && !keeps("2026-11-23", "a", "click"));
        assert!(keeps("1999-01-01", "a", "page"));
        assert!(keeps("2026-11-16", "b", "page") && !keeps("2026-11-15", "b", "page"));
    }

    #[test]
    fn a_rule_that_never_decides_is_found() {
        let click = || rule(None, Some("click"), "1 day");
        assert_eq!(shadowed(&[click(), rule(Some("a"), None, "1 day")]), None);
        assert_eq!(shadowed(&[rule(Some("a"), Some("click"), "1 day"), click()]), None);
        assert_eq!(shadowed(&[click(), rule(Some("a"), Some("click"), "1 day")]), Some((1, 0)));
        assert_eq!(shadowed(&[click(), click()]), Some((1, 0)));
    }
}
