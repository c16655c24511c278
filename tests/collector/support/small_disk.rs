//! A file system of a few megabytes that fills like any other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A tmpfs. Root mounts it for everyone; for another user it exists only within a program's own namespaces.
pub struct SmallDisk {
    directory: tempfile::TempDir,
    bytes: u64,
    is_mounted: bool,
}

impl SmallDisk {
    /// `None`, and a line that says so, where neither is allowed.
    pub fn new(bytes: u64) -> Option<Self> {
        let mut builder = tempfile::Builder::new();
        // PostgreSQL's own user must pass.
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
        let directory = builder.prefix("weir-disk.").tempdir_in("/tmp").expect("a directory");
        let mut disk = Self { directory, bytes, is_mounted: false };
        disk.is_mounted = succeeds(Command::new("mount").args(disk.mount_arguments()).arg(disk.path()));
        if disk.is_mounted || succeeds(&mut disk.command(Path::new("true"))) {
            return Some(disk);
        }
        let required = std::env::var_os("WEIR_TEST_REQUIRE_DISKS").is_some();
        assert!(!required, "no small file system can be mounted, and WEIR_TEST_REQUIRE_DISKS is set");
        eprintln!("skipped: no small file system can be mounted here, not even in a namespace");
        None
    }

    /// As [`Self::new`], and every process sees it.
    pub fn for_everyone(bytes: u64) -> Option<Self> {
        let disk = Self::new(bytes)?;
        if !disk.is_mounted {
            eprintln!("skipped: only root can mount a small file system that all processes see");
        }
        disk.is_mounted.then_some(disk)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A command for `program`, which sees this disk.
    pub fn command(&self, program: &Path) -> Command {
        if self.is_mounted {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        let script = format!("mount {} \"$0\" && exec \"$@\"", self.mount_arguments().join(" "));
        // No fork: the process id is the program's, for signals.
        command.args(["-Urm", "sh", "-c", &script]).arg(self.path()).arg(program);
        command
    }

    fn mount_arguments(&self) -> [String; 5] {
        let options = format!("size={},mode=755", self.bytes);
        ["-t".into(), "tmpfs".into(), "-o".into(), options, "tmpfs".into()]
    }

    /// A file that takes room until it is deleted.
    pub fn filler(&self, bytes: usize) -> PathBuf {
        let path = self.path().join("filler");
        std::fs::write(&path, vec![0; bytes]).expect("room for the filler");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a process that is being killed may still have files open.
            succeeds(Command::new("umount").arg("-l").arg(self.path()));
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
