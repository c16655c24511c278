//! `weir source webhook`: the secrets with which services sign.

use std::fs::File;
use std::io::{self, IsTerminal, Read};

use anyhow::Context;

use super::WebhookArgs;
use crate::database::Database;
use crate::sources::webhooks;

/// Far more than a secret has; what is longer is some other file.
const INPUT_BYTES_MAX: u64 = 4 * 1024;

pub async fn webhook(database: &Database, args: &WebhookArgs) -> anyhow::Result<()> {
    let (name, service) = (&args.name, args.scheme.name());
    if args.remove {
        webhooks::remove(database, name, args.scheme).await?;
        println!("{name} has no signing secret of {service} any more; running collectors know within 5 seconds");
        return Ok(());
    }
    webhooks::add(database, name, args.scheme, secret(args)?.trim(), args.grace).await?;
    println!("{name} takes webhooks that {service} signs; running collectors know within 5 seconds");
    println!("Their URL, with the collector's address:  https://COLLECTOR/v1/webhook/{name}");
    Ok(())
}

/// Never from the arguments, which everyone on the machine can read.
fn secret(args: &WebhookArgs) -> anyhow::Result<String> {
    if let Some(variable) = &args.secret_env {
        return std::env::var(variable).with_context(|| format!("the environment variable {variable}"));
    }
    let read = |from: &mut dyn Read| {
        let mut text = String::new();
        from.take(INPUT_BYTES_MAX).read_to_string(&mut text).map(|_| text)
    };
    if let Some(file) = &args.secret_file {
        let opened = File::open(file).and_then(|mut file| read(&mut file));
        return opened.with_context(|| file.display().to_string());
    }
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("The signing secret, as {} shows it, then Enter:", args.scheme.name());
        let mut line = String::new();
        stdin.read_line(&mut line)?;
        return Ok(line);
    }
    Ok(read(&mut stdin)?)
}
