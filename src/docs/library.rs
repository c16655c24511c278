//! Which files are pages, under which names, in the order in which they are listed.

use std::borrow::Cow;

/// The description of weir's API for machines.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");
/// Where it is in the repository.
pub const OPENAPI_FILE: &str = "docs/openapi.json";

const SETTINGS_FILE: &str = "weir.toml";

/// One page.
pub struct Page {
    /// In its address: `/docs/SLUG`.
    pub slug: &'static str,
    /// In the list of pages.
    pub name: &'static str,
    pub group: &'static str,
    /// In the repository.
    pub file: &'static str,
    text: &'static str,
}

impl Page {
    /// Its text; settings are a page of code.
    pub fn markdown(&self) -> Cow<'static, str> {
        if self.file == SETTINGS_FILE {
            return format!(
                "# Settings\n\nThe file `{}` as it comes with weir.\n\n```toml\n{}```\n",
                self.file, self.text
            )
            .into();
        }
        self.text.into()
    }
}

macro_rules! pages {
    ($($group:literal { $($slug:literal, $name:literal, $file:literal;)* })*) => {
        pub const PAGES: &[Page] = &[$($(
            Page { slug: $slug, name: $name, group: $group, file: $file, text: include_str!(concat!("../../", $file)) },
        )*)*];
    };
}

pages! {
    "Start" {
        "", "Overview", "docs/README.md";
        "quickstart-web", "For web developers", "docs/quickstart-web.md";
        "quickstart-backend", "For backend developers", "docs/quickstart-backend.md";
        "quickstart-operator", "For operators", "docs/quickstart-operator.md";
        "quickstart-analyst", "For analysts", "docs/quickstart-analyst.md";
    }
    "Sending" {
        "js-snippet", "The snippet", "js-snippet/README.md";
        "snippet", "In frameworks", "docs/snippet.md";
        "switching", "Switching to weir", "docs/switching.md";
        "import", "Importing history", "docs/import.md";
        "webhooks", "Webhooks", "docs/webhooks.md";
        "guarantee", "The guarantee", "docs/guarantee.md";
    }
    "Asking" {
        "cookbook", "Cookbook", "docs/cookbook.md";
        "tables", "Tables", "docs/tables.md";
        "rollups", "Rollups", "docs/rollups.md";
        "console", "The console", "docs/console.md";
        "dashboard", "The dashboard", "docs/dashboard.md";
    }
    "Other data" {
        "sync", "Services", "docs/sync.md";
        "sync-postgres", "Your PostgreSQL", "docs/sync-postgres.md";
        "lake", "The lake", "docs/lake.md";
        "clickhouse", "ClickHouse", "docs/clickhouse.md";
    }
    "Running" {
        "operations", "Operations", "docs/operations.md";
        "hosting", "Hosting", "docs/hosting.md";
        "upgrading", "Upgrading", "docs/upgrading.md";
        "capacity", "Capacity", "docs/capacity.md";
        "citus", "Citus", "docs/citus.md";
        "settings", "Settings", "weir.toml";
        "access", "Access", "docs/access.md";
        "retention", "Retention", "docs/retention.md";
        "privacy", "Privacy", "docs/privacy.md";
        "security", "Security", "SECURITY.md";
        "performance", "Performance", "docs/performance.md";
    }
    "Within" {
        "architecture", "Architecture", "ARCHITECTURE.md";
        "schema", "The schema", "schema/README.md";
    }
}

/// The address of a file of the repository on the site, if it is there.
pub fn address(file: &str) -> Option<String> {
    if file == OPENAPI_FILE {
        return Some("/docs/openapi.json".to_owned());
    }
    PAGES.iter().find(|page| page.file == file).map(|page| format!("/docs/{}", page.slug))
}

/// What the page at this address is called.
pub fn name(address: &str) -> Option<&'static str> {
    let slug = address.split('#').next()?.strip_prefix("/docs/")?;
    PAGES.iter().find(|page| page.slug == slug).map(|page| page.name)
}
