//! What a page shows, read from its HTML.

use serde_json::Value;

/// What stands in each row of the page's first table, column by column.
pub fn rows(page: &str) -> Vec<Vec<String>> {
    let Some((_, body)) = page.split_once("<tbody>") else { return Vec::new() };
    let (body, _) = body.split_once("</tbody>").expect("a table");
    let cells = |row: &str| -> Vec<String> {
        let parts = row.split("<td").skip(1).map(|cell| format!("<td{cell}"));
        parts.map(|cell| text(&cell)).collect()
    };
    body.split("<tr>").skip(1).map(cells).collect()
}

/// A piece of a page without its tags.
pub fn text(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<').skip(1) {
        text.push_str(part.split_once('>').map_or("", |(_, text)| text));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&").trim().to_owned()
}

/// The figures at the top, and how each has changed.
pub fn figures(page: &str) -> Vec<(String, String)> {
    let (_, figures) = page.split_once("<div class=\"figures\">").unwrap_or_else(|| panic!("no figures: {page}"));
    let (figures, _) = figures.split_once("</div>").expect("an end");
    let part = |figure: &str, class: &str| -> String {
        let found = figure.split_once(class).map(|(_, rest)| rest.split_once('>').expect("a tag").1);
        found.map_or_else(String::new, |rest| rest.split('<').next().expect("a text").to_owned())
    };
    figures.split("<a ").skip(1).map(|figure| (part(figure, "figure-value"), part(figure, "figure-change"))).collect()
}

/// What the chart draws: the values of each series.
pub fn chart(page: &str) -> Vec<Vec<Option<f64>>> {
    let (_, data) = page.split_once("class=\"chart-data\">").expect("a chart");
    let data: Value = serde_json::from_str(data.split("</script>").next().expect("an end")).expect("JSON");
    let series = data["series"].as_array().expect("series");
    series.iter().map(|one| one["values"].as_array().expect("values").iter().map(Value::as_f64).collect()).collect()
}

/// Where its points begin, in seconds since 1970.
pub fn chart_starts(page: &str) -> Vec<i64> {
    let (_, data) = page.split_once("class=\"chart-data\">").expect("a chart");
    let data: Value = serde_json::from_str(data.split("</script>").next().expect("an end")).expect("JSON");
    data["x"].as_array().expect("places").iter().map(|second| second.as_i64().expect("a number")).collect()
}
