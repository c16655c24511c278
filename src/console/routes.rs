//! Every address of the console.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};

use super::auth::{account, guard, sign_in};
use super::{Console, assets, dashboard, live, operate, queries, results, schema, sql_page};

/// The longest text that can be run, as JSON, with the values of its parameters.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A role, a password, and where to go on.
const SIGN_IN_BYTES_MAX: usize = 8 * 1024;

/// All of them, behind the guard.
pub fn router(console: Arc<Console>) -> Router {
    let queries = Router::new()
        .route("/queries", get(queries::pages::list).post(queries::pages::add))
        .route("/q/{slug}", get(queries::pages::show))
        .route("/q/{slug}/versions", post(queries::pages::change))
        .route("/q/{slug}/delete", post(queries::pages::delete))
        .route("/q/{slug}/schedule", post(queries::pages::set_schedule))
        .route("/q/{slug}/link", post(queries::pages::make_link))
        .route("/q/{slug}/link/remove", post(queries::pages::remove_link))
        .route("/linked/q/{name}", get(queries::pages::linked));
    let results = Router::new()
        .route("/results", get(results::list::show))
        .route("/r/{name}", get(results::pages::show))
        .route("/r/{id}/visibility", post(results::pages::set_visibility))
        .route("/r/{id}/keep", post(results::pages::keep))
        .route("/r/{id}/link", post(results::pages::make_link))
        .route("/r/{id}/link/remove", post(results::pages::remove_link))
        .route("/r/{id}/delete", post(results::pages::delete))
        .route("/linked/r/{name}", get(results::pages::linked));
    let sql = Router::new()
        .route("/sql", get(sql_page::show))
        .route("/sql/schema", get(schema::show))
        .route("/sql/history", get(sql_page::past))
        .route("/sql/runs", post(sql_page::begin))
        .route("/sql/runs/{id}", get(sql_page::state))
        .route("/sql/runs/{id}/cancel", post(sql_page::cancel));
    // Anybody may send one.
    let entrance = Router::new()
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .layer(DefaultBodyLimit::max(SIGN_IN_BYTES_MAX));
    Router::new()
        .route("/", get(live::show))
        .route("/live/data", get(live::data))
        .merge(entrance)
        .route("/sign-out", post(sign_in::sign_out))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/sessions/end", post(account::end_one))
        .route("/account/sessions/end-others", post(account::end_others))
        .route("/assets/{hash}/{name}", get(assets::serve))
        .merge(dashboard::routes())
        .merge(queries)
        .merge(results)
        .merge(sql)
        .merge(operate::routes())
        .fallback(guard::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&console), guard::guard))
        .with_state(console)
}
