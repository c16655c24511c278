//! The documentation as a small site, `/docs/` on the admin listener: the files of `docs/` and some others, kept in the binary.
//!
//! It is the same text for everybody and tells nothing of this installation, so nobody signs in for it, and it needs no `admin.token`.
//! Links are written as they work in the repository, and are turned into the site's ([`markdown`]). Nothing here needs a script.

pub mod library;
pub mod markdown;
mod page;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::console::assets;
use crate::console::auth::guard::restrict;
use library::PAGES;
use markdown::Rendered;

/// The pages, made when the first one is asked for: some hundred kilobytes, and some milliseconds.
static RENDERED: LazyLock<BTreeMap<&'static str, Rendered>> =
    LazyLock::new(|| PAGES.iter().map(|page| (page.slug, markdown::render(&page.markdown(), page.file))).collect());

/// All addresses under `/docs`.
pub fn router() -> Router {
    Router::new()
        .route("/docs", get(|| std::future::ready(Redirect::permanent("/docs/"))))
        .route("/docs/", get(|| std::future::ready(answer(""))))
        .route("/docs/contents", get(|| std::future::ready(page::contents(&RENDERED))))
        .route("/docs/openapi.json", get(openapi))
        .route("/docs/{page}", get(|Path(slug): Path<String>| std::future::ready(answer(&slug))))
        .route("/docs/assets/{hash}/{name}", get(assets::serve))
        .layer(middleware::from_fn(with_headers))
}

fn answer(slug: &str) -> Response {
    let page = PAGES.iter().find(|page| page.slug == slug);
    match page.zip(RENDERED.get(slug)) {
        Some((page, rendered)) => page::show(page, rendered),
        None => page::not_found(),
    }
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], library::OPENAPI).into_response()
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let is_well = response.status() == StatusCode::OK;
    let headers = response.headers_mut();
    restrict(headers);
    // Another version of weir has another text under the same address.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(if is_well {
        "no-cache"
    } else {
        "no-store"
    }));
    response
}
