//! All that a page shows, asked at once.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::answer::{self, Answer, Line, PanelError, ask};
use super::figures::Sums;
use super::packed;
use super::period::{Days, Grain, Period};
use super::question::{self, Question};
use super::series::{Point, points};
use super::view::{GLANCE_ROWS, View};
use crate::console::Console;

/// What one rollup is like.
#[derive(Debug, Clone, Copy)]
pub struct Rollup {
    pub is_there: bool,
    /// Days that it lacks.
    pub waiting: i64,
    /// Seconds since the oldest change that it lacks.
    pub behind_s: i64,
    pub is_failing: bool,
}

/// Sources, and how far rollups are.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub sources: Vec<String>,
    pub rollups: HashMap<String, Rollup>,
}

/// Sums, and how they came about.
pub struct Figures {
    pub sums: Sums,
    pub points: Vec<Point>,
}

/// What the page shows.
pub struct Shown {
    pub facts: Facts,
    pub figures: Result<Figures, PanelError>,
    /// `None`: compared with nothing.
    pub before: Option<Result<Figures, PanelError>>,
    pub pages: Answer,
    pub audience: Answer,
    pub events: Answer,
    /// Of the event that was chosen.
    pub properties: Option<Answer>,
    pub vitals: Answer,
    /// The day of the latest visit, where there is none in the period.
    pub latest: Option<String>,
}

const AUDIENCE: &str = "referrer,utm_medium,utm_campaign,country,region,device,browser,os";
const PAGES: &str = "pages,entry,exit";

/// Asks what there is.
pub async fn facts(console: &Arc<Console>) -> Result<Facts, PanelError> {
    let lines = ask(console, question::facts()).await?;
    let mut facts = Facts::default();
    for line in lines.iter() {
        if line.list == "source" {
            facts.sources.push(line.value.clone());
        } else {
            let rollup = Rollup {
                is_there: line.visitors == 1,
                waiting: line.count,
                behind_s: line.page_views,
                is_failing: line.bounces == 1,
            };
            facts.rollups.insert(line.value.clone(), rollup);
        }
    }
    Ok(facts)
}

/// Whether visits can be read from where they are packed.
fn are_packed(facts: &Facts) -> bool {
    facts.rollups.get(packed::NEEDS).is_some_and(|rollup| rollup.is_there && rollup.waiting == 0)
}

/// Asks, where all rollups that the answer needs are there.
async fn ask_if(console: &Arc<Console>, facts: &Facts, mut question: Question) -> Answer {
    for name in question.needs {
        let rollup = facts.rollups.get(*name).copied();
        match rollup.map(|rollup| (rollup.waiting, rollup.is_there)) {
            Some((0, true)) => {}
            Some((waiting @ 1.., _)) => return Err(PanelError::Filling { name, waiting }),
            _ => return Err(PanelError::Missing(name)),
        }
    }
    if !are_packed(facts) {
        question.packed = None;
    }
    ask(console, question).await
}

async fn figures(
    console: &Arc<Console>,
    facts: &Facts,
    view: &View,
    days: Days,
    until: Option<Time>,
    now: Timestamp,
) -> Result<Figures, PanelError> {
    let by_day = ask_if(console, facts, question::by_day(view, days, until));
    if days.grain() != Grain::Hour {
        let lines = by_day.await?;
        return Ok(Figures { sums: Sums::of(lines.iter()), points: points(days, &lines, now) });
    }
    // Who comes in two hours counts in both, and once in the day.
    let (by_day, by_hour) = tokio::join!(by_day, ask_if(console, facts, question::by_hour(view, days)));
    Ok(Figures { sums: Sums::of(by_day?.iter()), points: points(days, &by_hour?, now) })
}

/// Of several filters there are no rows: the visits are looked at, once for `panels` and the figures.
async fn find_together(console: &Arc<Console>, facts: &Facts, view: &View, panels: &[Question]) {
    if view.filters.count() < 2 || !are_packed(facts) {
        return;
    }
    let mut questions = panels.to_vec();
    questions.push(question::by_day(view, view.days(), None));
    if view.days().grain() == Grain::Hour {
        questions.push(question::by_hour(view, view.days()));
    }
    answer::find_together(console, questions).await;
}

/// Today is compared with as much of the other day. Whole minutes, so that many who look ask the same.
fn until(view: &View, now: Timestamp) -> Option<Time> {
    (view.period == Period::Today).then(|| now.to_zoned(TimeZone::UTC).time())
}

/// Everything at a glance.
pub async fn gather(console: &Arc<Console>, view: &View, facts: Facts, now: Timestamp) -> Shown {
    let before = async {
        let days = view.compared()?;
        Some(figures(console, &facts, view, days, until(view, now), now).await)
    };
    let properties = async {
        let event = view.event.as_ref()?;
        Some(ask_if(console, &facts, question::properties(view, event, GLANCE_ROWS)).await)
    };
    let panels = Box::pin(async {
        let panels = [
            question::pages(view, PAGES, GLANCE_ROWS + 1),
            question::audience(view, AUDIENCE, GLANCE_ROWS + 1),
            question::events(view, GLANCE_ROWS + 1),
            question::vitals(view),
        ];
        find_together(console, &facts, view, &panels).await;
        let [pages, audience, events, vitals] = panels.map(|question| ask_if(console, &facts, question));
        tokio::join!(figures(console, &facts, view, view.days(), None, now), pages, audience, events, vitals)
    });
    let (before, properties, (figures, pages, audience, events, vitals)) = tokio::join!(before, properties, panels);
    let is_empty = figures.as_ref().is_ok_and(|figures| figures.sums.visits == 0);
    let latest = if is_empty {
        let lines = ask_if(console, &facts, question::latest(view)).await.unwrap_or_default();
        lines.first().map(|line: &Line| line.value.clone())
    } else {
        None
    };
    Shown { facts, figures, before, pages, audience, events, properties, vitals, latest }
}

/// One list on its own.
pub async fn list(console: &Arc<Console>, view: &View, facts: &Facts, list: &str, limit: i64) -> Answer {
    let limit = limit + 1;
    let question = match list {
        "pages" | "entry" | "exit" => question::pages(view, list, limit),
        "events" => question::events(view, limit),
        list => question::audience(view, list, limit),
    };
    ask_if(console, facts, question).await
}
