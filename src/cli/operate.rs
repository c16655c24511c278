//! Commands that look at a running installation, or change it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{QuarantineCommand, SourceCommand, webhook};
use crate::config;
use crate::database::{Database, migrate};
use crate::flush::quarantine;
use crate::receive::script::Scripts;
use crate::sources;

const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

pub async fn source(database: &Database, receive: &config::Receive, command: SourceCommand) -> anyhow::Result<()> {
    match command {
        SourceCommand::Add { name, origin, alias } => {
            // Often the first command of all.
            migrate::run(database).await?;
            let keys = sources::add(database, &name, &origin).await?;
            for alias in &alias {
                sources::add_alias(database, &name, alias).await?;
            }
            println!("public key, for pages:    {}", keys.public_key);
            println!("secret key, for servers:  {}", keys.secret_key);
            println!("They are shown only now. Running collectors take them within 5 seconds.");
            print_snippet(receive, &keys.public_key);
        }
        SourceCommand::List => {
            for source in sources::list(database).await? {
                let origins =
                    if source.origins.is_empty() { "any origin".to_owned() } else { source.origins.join(" ") };
                let state = if source.disabled { "disabled" } else { "enabled" };
                println!("{}\t{state}\t{origins}\t{}", source.source, source.keys.join(", "));
            }
        }
        SourceCommand::Alias { name, alias, remove: false } => {
            sources::add_alias(database, &name, &alias).await?;
            println!("{alias} stands for {name}; running collectors take it within 5 seconds");
        }
        SourceCommand::Alias { name, alias, remove: true } => {
            sources::remove_alias(database, &name, &alias).await?;
            println!("{alias} stands for {name} no longer");
        }
        SourceCommand::Webhook(args) => webhook::webhook(database, &args).await?,
        SourceCommand::Rotate { name, kind, grace } => {
            let key = sources::rotate(database, &name, kind, grace).await?;
            println!("new {} key:  {key}", kind.name());
            match grace {
                0 => println!("Running collectors refuse the old ones within 5 seconds."),
                _ => println!("The old ones stop in {grace} seconds."),
            }
        }
        SourceCommand::Disable { name } => {
            sources::set_disabled(database, &name, true).await?;
            println!("{name} is disabled; running collectors refuse its keys within 5 seconds");
        }
        SourceCommand::Enable { name } => {
            sources::set_disabled(database, &name, false).await?;
            println!("{name} is enabled");
        }
    }
    Ok(())
}

/// The lines for pages, with the collector's own name left to fill in: proxies give it one that it does not know.
fn print_snippet(receive: &config::Receive, key: &str) {
    let Scripts { core, full } = Scripts::of(receive);
    println!();
    println!("In your pages, with the collector's address:");
    println!(r#"  <script defer src="https://COLLECTOR{}" data-key="{key}"></script>"#, receive.script_path);
    println!("Or pinned to the text that this version of weir serves with the settings here, receive.endpoint_path");
    println!("above all; after an upgrade browsers refuse it until it is renewed:");
    for script in [core, full] {
        println!(
            r#"  <script defer src="https://COLLECTOR{}" integrity="{}" crossorigin data-key="{key}"></script>"#,
            script.versioned_path(),
            script.integrity()
        );
    }
}

pub async fn quarantine(database: &Database, command: QuarantineCommand) -> anyhow::Result<()> {
    match command {
        QuarantineCommand::List { limit } => {
            let refused = quarantine::list(database, limit.into()).await?;
            for row in &refused {
                println!(
                    "{}  {}  {}  SQLSTATE {}: {}",
                    row.id, row.quarantined_at, row.source, row.sqlstate, row.message
                );
                println!("    {}", row.event);
            }
            if refused.is_empty() {
                println!("the quarantine is empty");
            }
        }
        QuarantineCommand::Replay { id } => {
            let replayed = quarantine::replay(database, id).await?;
            println!(
                "{} stored, {} known already, {} refused again",
                replayed.stored,
                replayed.duplicate,
                replayed.refused.len()
            );
            for (id, message) in replayed.refused {
                println!("{id}: {message}");
            }
        }
    }
    Ok(())
}

/// Asks the collector on this machine; for `HEALTHCHECK` in containers, which have no curl.
pub fn healthcheck(mut admin: SocketAddr) -> anyhow::Result<()> {
    if admin.ip().is_unspecified() {
        admin.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(HEALTH_TIMEOUT)).build().into();
    let health = agent.get(format!("http://{admin}/healthz")).call()?.body_mut().read_to_string()?;
    println!("{health}");
    Ok(())
}
