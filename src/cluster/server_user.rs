//! The user that runs PostgreSQL when weir runs as root.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::ClusterError;

/// In this order: the first exists where PostgreSQL was installed by a package, the second everywhere.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// A user with an entry in `/etc/passwd`, which `initdb` insists on.
#[derive(Debug, Clone)]
pub struct ServerUser {
    name: String,
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// `None` unless this process is root.
    pub fn needed() -> Result<Option<Self>, ClusterError> {
        // The effective user owns the files that the process makes.
        let is_root = fs::metadata("/proc/self").map_or_else(|_| effective_uid_is_root(), |own| own.uid() == 0);
        if !is_root {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        CANDIDATES.iter().find_map(|name| Self::of(name, &passwd)).map(Some).ok_or(ClusterError::NoServerUser)
    }

    fn of(name: &str, passwd: &str) -> Option<Self> {
        let entry = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = entry.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), uid, gid })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes `command` run as this user, without root's groups.
    pub fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives `path` to this user.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// Whether this user can pass through `dir`.
    pub fn can_enter(&self, dir: &Path) -> bool {
        self.succeeds(Command::new("test").arg("-x").arg(dir))
    }

    /// Whether this user can run `program`.
    pub fn can_run(&self, program: &Path) -> bool {
        self.succeeds(Command::new(program).arg("--version"))
    }

    fn succeeds(&self, command: &mut Command) -> bool {
        self.apply(command);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Where there is no /proc, as on macOS.
fn effective_uid_is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:105:109:,,,:/var/lib/postgresql:/bin/bash\n";
        let user = ServerUser::of("postgres", passwd).expect("an entry");
        assert_eq!((user.uid, user.gid), (105, 109));
        assert!(ServerUser::of("nobody", passwd).is_none());
    }
}
