//! The `weir` program: logging, the command line, and an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use weir::cli::Cli;
use weir::cli::import::SomeRefused;

/// glibc's allocator keeps what bursts leave behind; this one gives it back. Without huge pages (`no_thp` in Cargo.toml),
/// which took a third more memory (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Libraries that tell of each migration and each notice are quiet: weir says what matters.
const LOG_DEFAULT: &str = "info,refinery_core=warn,tokio_postgres=warn";

fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {}", told(&error));
            if error.is::<SomeRefused>() { ExitCode::from(SomeRefused::EXIT_CODE) } else { ExitCode::FAILURE }
        }
    }
}

/// The error with those of its causes that it does not name itself.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

/// To stderr: text for people, JSON (`WEIR_LOG_FORMAT=json`) for machines; `WEIR_LOG` filters as tracing does.
fn log() {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("WEIR_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    }
}
