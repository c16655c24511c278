//! Programs for Node.js that drive a real browser.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{TestCollector, tool};

/// A program runs for so long at the most, unless it builds something or measures.
pub const TIMEOUT: Duration = Duration::from_secs(90);

/// What a program wrote.
pub struct Said {
    pub out: String,
    pub err: String,
}

/// A program of this repository, to be given arguments; `None` if this machine cannot run it.
pub fn program(path: &str) -> Option<Command> {
    let mut command = Command::new(tool("WEIR_TEST_NODE")?);
    tool("WEIR_TEST_CHROMIUM")?;
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).stdin(Stdio::null()).kill_on_drop(true);
    Some(command)
}

/// Tells a program where events go, and whose they are.
pub fn tell<'c>(command: &'c mut Command, collector: &TestCollector) -> &'c mut Command {
    command.env("WEIR_URL", format!("http://{}", collector.address)).env("WEIR_KEY", &collector.keys.public_key)
}

/// Runs a program to its good end.
pub async fn said(command: &mut Command, timeout: Duration) -> Said {
    let output = tokio::time::timeout(timeout, command.output()).await.expect("the browser ends").expect("node runs");
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{err}");
    Said { out, err }
}
