//! Markdown to HTML, as GitHub shows it in what matters: tables, and headings that can be linked to by the same names.
//!
//! The policy of the admin listener forbids styles within a page, and there is none. HTML in a text is shown as text.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::library;

/// A heading with its anchor.
#[derive(Debug, PartialEq, Eq)]
pub struct Heading {
    pub level: usize,
    pub id: String,
    pub text: String,
}

/// A page's text.
pub struct Rendered {
    pub title: String,
    pub body: Markup,
    pub headings: Vec<Heading>,
}

/// `file` is where the text stands in the repository: links go from there.
pub fn render(text: &str, file: &str) -> Rendered {
    let events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    let mut page = Page::of(&events, file);
    let mut shown = Vec::with_capacity(events.len());
    for (at, event) in events.iter().enumerate() {
        page.show(event, &events[at..], &mut shown);
    }
    let mut body = String::new();
    pulldown_cmark::html::push_html(&mut body, shown.into_iter());
    let title = page.headings.first().map(|heading| heading.text.clone()).unwrap_or_default();
    Rendered { title, body: PreEscaped(body), headings: page.headings }
}

/// What is known of a page on the way through it.
struct Page<'t> {
    file: &'t str,
    headings: Vec<Heading>,
    /// How often each anchor's name was wanted.
    names: BTreeMap<String, usize>,
    /// A page with several headings of the first rank keeps the first, and the others go one down.
    is_shifted: bool,
    table: Table,
    /// The link leads nowhere here.
    is_dead: bool,
    /// Where the link leads whose text comes next.
    link: Option<String>,
}

/// Where in a table, and in which.
#[derive(Default)]
struct Table {
    number: usize,
    alignments: Vec<Alignment>,
    column: usize,
    is_head: bool,
    /// The cell is a column's heading.
    is_named: bool,
}

impl<'t> Page<'t> {
    fn of(events: &[Event<'_>], file: &'t str) -> Self {
        let is_first_rank =
            |event: &&Event<'_>| matches!(event, Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }));
        Self {
            file,
            headings: Vec::new(),
            names: BTreeMap::new(),
            is_shifted: events.iter().filter(is_first_rank).count() > 1,
            table: Table::default(),
            is_dead: false,
            link: None,
        }
    }

    fn show<'a>(&mut self, event: &Event<'a>, rest: &[Event<'a>], shown: &mut Vec<Event<'a>>) {
        let mut html = |markup: Markup| shown.push(Event::Html(markup.into_string().into()));
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                let heading = self.heading(*level as usize, rest);
                let open = format!(r##"<h{} id="{}"><a class="anchor" href="#{1}">"##, heading.level, heading.id);
                self.headings.push(heading);
                html(PreEscaped(open));
            }
            Event::End(TagEnd::Heading(_)) => {
                let level = self.headings.last().map_or(1, |heading| heading.level);
                html(PreEscaped(format!("</a></h{level}>\n")));
            }
            Event::Start(Tag::Link { dest_url, .. }) => match link(dest_url, self.file) {
                Ok(address) => {
                    self.link = Some(address.clone());
                    html(PreEscaped(format!(r#"<a href="{}">"#, escaped(&address))));
                }
                Err(file) => {
                    self.is_dead = true;
                    html(PreEscaped(format!(r#"<span title="{} in the repository">"#, escaped(&file))));
                }
            },
            // A file's name is good in the repository; here the page has one.
            Event::Text(text) if self.link.is_some() => {
                let address = self.link.take().unwrap_or_default();
                let name = library::name(&address).filter(|_| text.ends_with(".md") && !text.contains(' '));
                shown.push(Event::Text(name.map_or_else(|| text.clone(), CowStr::from)));
            }
            Event::End(TagEnd::Link) => {
                self.link = None;
                let close = if std::mem::take(&mut self.is_dead) { "</span>" } else { "</a>" };
                html(PreEscaped(close.to_owned()));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let mut words = info.split_whitespace();
                let language = words.next().unwrap_or("text");
                let name = words.next();
                html(html! { @if let Some(name) = name { p class="file" { code { (name) } } } });
                html(PreEscaped(format!(r#"<pre class="code {}"><code>"#, escaped(language))));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => {
                html(PreEscaped(r#"<pre class="code"><code>"#.to_owned()));
            }
            Event::End(TagEnd::CodeBlock) => html(PreEscaped("</code></pre>\n".to_owned())),
            Event::Start(Tag::Table(alignments)) => {
                self.table.number += 1;
                self.table.alignments.clone_from(alignments);
                let label = format!("Table {}", self.table.number);
                let open = format!(
                    r#"<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="data">"#
                );
                html(PreEscaped(open));
            }
            Event::End(TagEnd::Table) => html(PreEscaped("</tbody></table></div>\n".to_owned())),
            Event::Start(Tag::TableHead) => {
                (self.table.is_head, self.table.column) = (true, 0);
                html(PreEscaped("<thead><tr>".to_owned()));
            }
            Event::End(TagEnd::TableHead) => {
                self.table.is_head = false;
                html(PreEscaped("</tr></thead><tbody>\n".to_owned()));
            }
            Event::Start(Tag::TableRow) => {
                self.table.column = 0;
                html(PreEscaped("<tr>".to_owned()));
            }
            Event::End(TagEnd::TableRow) => html(PreEscaped("</tr>\n".to_owned())),
            Event::Start(Tag::TableCell) => {
                let is_right = self.table.alignments.get(self.table.column) == Some(&Alignment::Right);
                self.table.column += 1;
                let class = if is_right { r#" class="number""# } else { "" };
                let is_empty = matches!(rest.get(1), Some(Event::End(TagEnd::TableCell)));
                // A heading that says nothing is none.
                self.table.is_named = self.table.is_head && !is_empty;
                let name = if self.table.is_named { r#"th scope="col""# } else { "td" };
                html(PreEscaped(format!("<{name}{class}>")));
            }
            Event::End(TagEnd::TableCell) => {
                let close = if self.table.is_named { "</th>" } else { "</td>" };
                html(PreEscaped(close.to_owned()));
            }
            // A remark of the file's makers is none of the reader's; whatever else is shown as it is written.
            Event::Html(text) | Event::InlineHtml(text) if text.trim_start().starts_with("<!--") => {}
            Event::Html(text) | Event::InlineHtml(text) => shown.push(Event::Text(text.clone())),
            other => shown.push(other.clone()),
        }
    }

    /// The heading that begins here.
    fn heading(&mut self, level: usize, rest: &[Event<'_>]) -> Heading {
        let mut text = String::new();
        for event in rest.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_)))) {
            match event {
                Event::Text(part) | Event::Code(part) => text.push_str(part),
                Event::SoftBreak => text.push(' '),
                _ => {}
            }
        }
        let name = name_of(&text);
        let times = self.names.entry(name.clone()).or_default();
        let id = if *times == 0 { name } else { format!("{name}-{times}") };
        *times += 1;
        let is_lower = self.is_shifted && !self.headings.is_empty();
        Heading { level: (level + usize::from(is_lower)).min(6), id, text }
    }
}

/// As GitHub names the anchor of a heading.
fn name_of(text: &str) -> String {
    let kept = text.trim().chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// Where a link of `file` leads on the site; without a page there, which file it names.
fn link(to: &CowStr<'_>, file: &str) -> Result<String, String> {
    if to.starts_with('#') || to.contains("://") || to.starts_with("mailto:") {
        return Ok(to.to_string());
    }
    let (path, anchor) = to.split_once('#').map_or((to.as_ref(), None), |(path, anchor)| (path, Some(anchor)));
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let target = parts.join("/");
    let address = library::address(&target).ok_or(target)?;
    Ok(anchor.map_or(address.clone(), |anchor| format!("{address}#{anchor}")))
}

fn escaped(text: &str) -> String {
    html! { (text) }.into_string()
}

#[cfg(test)]
mod tests {
    use super::super::library::PAGES;
    use super::*;

    fn body(text: &str) -> String {
        render(text, "docs/a.md").body.into_string()
    }

    #[test]
    fn anchors_are_githubs() {
        for (heading, expected) in [
            ("The guarantee", "the-guarantee"),
            ("Results: `/r/…`", "results-r"),
            (
                "22. What does a sign-up cost by each campaign, and what comes of it?",
                "22-what-does-a-sign-up-cost-by-each-campaign-and-what-comes-of-it",
            ),
            ("GA4 & gtag_id", "ga4--gtag_id"),
        ] {
            let rendered = render(&format!("## {heading}"), "docs/a.md");
            assert_eq!(rendered.headings[0].id, expected);
        }
        let twice = render("# A\n\n## B\n\n## B\n", "docs/a.md");
        assert_eq!(twice.headings.iter().map(|heading| heading.id.as_str()).collect::<Vec<_>>(), ["a", "b", "b-1"]);
    }

    #[test]
    fn links_lead_to_pages_of_the_site() {
        let text = "[a](sync.md#x) [sync.md](sync.md) [b](../js-snippet/README.md) [c](../src/lib.rs) [d](https://example.com/a?b&c) [e](#f) [g](openapi.json)";
        let body = body(text);
        for expected in [
            r#"<a href="/docs/sync#x">a</a>"#,
            r#"<a href="/docs/sync">Services</a>"#,
            r#"<a href="/docs/js-snippet">b</a>"#,
            r#"<span title="src/lib.rs in the repository">c</span>"#,
            r#"<a href="https://example.com/a?b&amp;c">d</a>"#,
            r##"<a href="#f">e</a>"##,
            r#"<a href="/docs/openapi.json">g</a>"#,
        ] {
            assert!(body.contains(expected), "{body}");
        }
    }

    #[test]
    fn nothing_in_a_text_is_markup_or_style() {
        let body = body(
            "a <script>alert(1)</script> <!-- b -->\n\n<div onclick=x>\n\n| n | |\n| ---: | --- |\n| `<b>` | c |\n",
        );
        assert!(!body.contains("<script") && !body.contains("<div onclick") && !body.contains("style="), "{body}");
        assert!(
            body.contains("&lt;script&gt;")
                && body.contains(r#"<td class="number"><code>&lt;b&gt;</code></td><td>c</td>"#),
            "{body}"
        );
        assert!(body.contains(r#"<th scope="col" class="number">n</th><td></td></tr></thead>"#), "{body}");
    }

    #[test]
    fn a_page_has_one_heading_of_the_first_rank() {
        let rendered = render("# A\n\n## B\n\n# C\n\n## D\n", "docs/a.md");
        assert_eq!(rendered.headings.iter().map(|heading| heading.level).collect::<Vec<_>>(), [1, 3, 2, 3]);
        for page in PAGES {
            let rendered = render(&page.markdown(), page.file);
            assert_eq!(rendered.headings.iter().filter(|heading| heading.level == 1).count(), 1, "{}", page.file);
            assert_eq!(rendered.headings[0].level, 1, "{}", page.file);
        }
    }
}
