//! What a page has to show of these visits and events.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::visits::{Event, Visit, is_ones_own, visitors};

pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(ms: f64) -> String {
    let seconds = (ms / 1_000.0).round() as i64;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
    }
}

fn page_views(visits: &[&Visit]) -> usize {
    visits.iter().map(|visit| visit.pages.len()).sum()
}

pub fn expected_figures(visits: &[&Visit]) -> Vec<String> {
    let count = visits.len();
    let mut figures = vec![grouped(visitors(visits.iter().copied())), grouped(count), grouped(page_views(visits))];
    if count == 0 {
        return [figures, vec!["–".to_owned(); 3]].concat();
    }
    let bounces = visits.iter().filter(|visit| visit.events == 1).count();
    let ms: i64 = visits.iter().map(|visit| visit.end_ms - visit.start_ms).sum();
    figures.push(format!("{:.1} %", bounces as f64 * 100.0 / count as f64));
    figures.push(duration(ms as f64 / count as f64));
    figures.push(format!("{:.2}", page_views(visits) as f64 / count as f64));
    figures
}

/// The whole list of a dimension, as its page shows it.
pub fn expected_list(list: &str, visits: &[&Visit]) -> BTreeSet<Vec<String>> {
    let mut by_value: BTreeMap<String, Vec<&Visit>> = BTreeMap::new();
    for visit in visits {
        for value in visit.values(if list == "pages" { "page" } else { list }) {
            by_value.entry(value).or_default().push(visit);
        }
    }
    let row = |(value, visits): (String, Vec<&Visit>)| {
        let mut of = expected_figures(&visits);
        let views = visits.iter().flat_map(|visit| &visit.pages).filter(|path| **path == Some(value.as_str())).count();
        let name = match list {
            "country" => country(&value).to_owned(),
            "region" => {
                value.split_once('/').map(|(code, region)| format!("{region}, {}", country(code))).expect("both")
            }
            _ => value,
        };
        let numbers = match list {
            "pages" => vec![of[0].clone(), of[1].clone(), grouped(views)],
            "entry" => vec![of[1].clone(), of[3].clone()],
            "exit" => vec![of[1].clone()],
            _ => of.drain(..5).collect(),
        };
        [vec![name], numbers].concat()
    };
    by_value.into_iter().map(row).collect()
}

fn country(code: &str) -> &str {
    match code {
        "DE" => "Germany",
        "FR" => "France",
        "US" => "United States",
        other => other,
    }
}

/// Events of one's own by name: how many, and of how many visitors.
pub fn expected_events(of: &[(i64, &Event)], is_filtered: bool) -> BTreeSet<Vec<String>> {
    let mut by_name: BTreeMap<&str, (usize, BTreeSet<_>)> = BTreeMap::new();
    for (day, event) in of.iter().filter(|(_, event)| is_ones_own(event)) {
        let (count, visitors) = by_name.entry(event.name.expect("a name")).or_default();
        *count += 1;
        // By kind, where all events are counted: a click and an event that share a name are two things that happened.
        let kind = if is_filtered { "" } else { event.kind };
        visitors.extend(event.visitor.as_ref().map(|visitor| (*day, event.source, kind, visitor)));
    }
    by_name
        .into_iter()
        .map(|(name, (count, visitors))| vec![name.to_owned(), grouped(count), grouped(visitors.len())])
        .collect()
}

/// What three of four measurements were no worse than, rounded up.
pub fn expected_vital(of: &[(i64, &Event)], metric: &str, step: f64, most: f64) -> Option<f64> {
    let vitals = of.iter().filter(|(_, event)| event.kind == "web_vitals");
    let mut values: Vec<f64> = vitals.filter_map(|(_, event)| event.properties[metric].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    let place = (values.len() * 3).div_ceil(4);
    let value = values.get(place.checked_sub(1)?)?.min(most);
    // Hundredths are no binary fractions. What is nothing is not less than nothing.
    Some(((value / step) - 1e-9).ceil() * step + 0.0)
}
