//! `weir sync add`: a tap in an environment of its own, its settings asked for, and its streams selected.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use super::AddArgs;
use crate::config::Config;
use crate::disk::write_private;
use crate::sync::settings::{self, Singer, Source};
use crate::sync::singer::catalog;
use crate::sync::singer::config::TapConfig;
use crate::sync::singer::tap::Tap;

/// A tap that asks for more settings than this asks for ever.
const QUESTIONS_MAX: usize = 30;
/// So much of what a tap said is shown.
const SAID_LINES_MAX: usize = 8;

/// Everything but the last step can be repeated: what is there is used.
pub fn add(config: &Config, settings_file: &Path, dir: PathBuf, args: &AddArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let singer = Singer {
        tap: args.tap.clone(),
        every: args.every.clone(),
        dir: args.dir.clone().unwrap_or_default(),
        ..Singer::default()
    };
    ensure!(!config.sync.contains_key(name), "[sync.{name}] is in the settings already");
    // Beside those that are there: two sources may not have one schema.
    let mut sources = config.sync.clone();
    sources.insert(name.clone(), Source::Singer(singer.clone()));
    settings::check(&sources)?;
    let dir = std::path::absolute(args.dir.clone().unwrap_or(dir))?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.with_context(|| dir.display().to_string())?;
    let tap = Tap { dir, name: args.tap.clone(), environment: Vec::new() };
    if !tap.name.contains('/') {
        install(&tap, args)?;
    }
    if let Some(file) = &args.tap_config {
        let text = fs::read(file).with_context(|| file.display().to_string())?;
        write_private(&tap.file("config.json"), &text)?;
    }
    let config_file = tap.file("config.json");
    if !config_file.is_file() {
        write_private(&config_file, b"{}")?;
    }
    let missing = catalog::missing_of_about(&about(&tap)?, &fs::read_to_string(&config_file)?);
    if !missing.is_empty() {
        ask(&config_file, &tap.name, &missing)?;
    }
    let discovered = discover(&tap, &config_file)?;
    let (selected_catalog, names) = catalog::select(&discovered, &args.stream)?;
    write_private(&tap.file("catalog.json"), selected_catalog.as_bytes())?;
    name_properties(&tap)?;
    println!("{} streams: {}", names.len(), names.join(", "));
    declare(settings_file, name, &singer)?;
    println!("[sync.{name}] is in {} now; `weir sync run {name}` runs it at once", settings_file.display());
    Ok(())
}

/// An environment for this tap alone: taps need different versions of the same libraries.
fn install(tap: &Tap, args: &AddArgs) -> anyhow::Result<()> {
    let venv = tap.file("venv");
    if venv.join("bin").join(&tap.name).is_file() {
        return Ok(());
    }
    let packages = if args.package.is_empty() { std::slice::from_ref(&tap.name) } else { &args.package[..] };
    let package = packages.join(", ");
    println!("installing {package} from PyPI into {}", venv.display());
    let python = args.python.clone().unwrap_or_else(|| PathBuf::from("python3"));
    let interpreter = venv.join("bin/python");
    // Debian's Python has no pip to put into an environment, but perhaps one beside it.
    let has_pip = run(Command::new(&python).args(["-m", "venv"]).arg(&venv)).is_ok();
    let mut pip = if has_pip {
        let mut pip = Command::new(&interpreter);
        pip.args(["-m", "pip"]);
        pip
    } else {
        run(Command::new(&python).args(["-m", "venv", "--without-pip", "--clear"]).arg(&venv)).with_context(|| {
            format!("{} makes no environment: install python3-venv, or name one by --python", python.display())
        })?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "--python"]).arg(&interpreter);
        pip
    };
    run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))
        .with_context(|| format!("{package} cannot be installed"))?;
    let program = venv.join("bin").join(&tap.name);
    ensure!(
        program.is_file(),
        "{package} brings no program {}: name it by --tap, and the package by --package",
        tap.name
    );
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", end_of(&output.stderr));
    Ok(())
}

fn end_of(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(SAID_LINES_MAX)..].join("\n")
}

/// singer-python's taps know a catalog by two options, and some of them, Salesforce's and Front's, look at the older one only.
fn name_properties(tap: &Tap) -> anyhow::Result<()> {
    let link = tap.file("properties.json");
    let output = tap.command().arg("--help").output();
    let knows = output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--properties"));
    if knows && !link.exists() {
        std::os::unix::fs::symlink("catalog.json", &link).with_context(|| link.display().to_string())?;
    }
    Ok(())
}

/// What a tap of Meltano's SDK says of itself; others know no such option, and say nothing that is JSON.
fn about(tap: &Tap) -> anyhow::Result<String> {
    let output = tap.command().args(["--about", "--format=json"]).output();
    let output = output.with_context(|| tap.program().display().to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks for what the tap says is missing, until it discovers its streams.
fn discover(tap: &Tap, file: &Path) -> anyhow::Result<String> {
    for _ in 0..QUESTIONS_MAX {
        let config = TapConfig::read(file, |variable| std::env::var(variable).ok())?;
        let run_config = tap.file("run-config.json");
        config.write(&run_config)?;
        let output = tap.command().arg("--config").arg(&run_config).arg("--discover").output();
        config.keep(file, &run_config)?;
        fs::remove_file(&run_config)?;
        let Output { status, stdout, stderr } = output.with_context(|| tap.program().display().to_string())?;
        if status.success() {
            return Ok(String::from_utf8(stdout)?);
        }
        let said = config.hide(&String::from_utf8_lossy(&stderr));
        let missing = catalog::missing_keys(&said);
        ensure!(!missing.is_empty(), "{} cannot discover its streams:\n{}", tap.name, end_of(said.as_bytes()));
        ask(file, &tap.name, &missing)?;
    }
    bail!("{} asks for ever more settings", tap.name)
}

fn ask(file: &Path, tap: &str, missing: &[String]) -> anyhow::Result<()> {
    let mut settings: Map<String, Value> = serde_json::from_slice(&fs::read(file)?)?;
    let keys = missing.join(", ");
    ensure!(io::stdin().is_terminal(), "{tap} needs {keys}: name a file with them by --tap-config");
    println!("{tap} needs {keys}. \"${{NAME}}\" takes a value from the environment at each run.");
    for key in missing {
        print!("  {key}: ");
        io::stdout().flush()?;
        let answer = unseen_line()?;
        println!();
        // Lists and objects are meant as such; a number may be somebody's password.
        let value = serde_json::from_str(&answer).ok().filter(|value: &Value| value.is_array() || value.is_object());
        settings.insert(key.clone(), value.unwrap_or(Value::String(answer)));
    }
    Ok(write_private(file, Value::Object(settings).to_string().as_bytes())?)
}

/// A line of a person's, which the terminal does not show: it may be a secret.
fn unseen_line() -> anyhow::Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut unseen = before.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &unseen)?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    ensure!(read? > 0, "the input has ended");
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Appends the source to the settings; a new table at the end of a file changes nothing before it.
fn declare(file: &Path, name: &str, singer: &Singer) -> anyhow::Result<()> {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut lines = vec![String::new(), format!("[sync.{name}]"), "kind = \"singer\"".to_owned()];
    lines.push(format!("tap = {}", quoted(&singer.tap)));
    if !singer.every.is_empty() {
        lines.push(format!("every = {}", quoted(&singer.every)));
    }
    if !singer.dir.as_os_str().is_empty() {
        lines.push(format!("dir = {}", quoted(&std::path::absolute(&singer.dir)?.display().to_string())));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let opened = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| file.display().to_string())?;
    Ok(opened.write_all(text.as_bytes())?)
}
