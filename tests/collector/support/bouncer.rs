//! A PgBouncer in transaction mode before a test's database.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{TestDatabase, eventually};

/// Ends with the test.
pub struct Bouncer {
    /// Of the same database, through it.
    pub url: String,
    child: Child,
    _directory: TempDir,
}

impl Bouncer {
    pub async fn start(program: &Path, database: &TestDatabase) -> Self {
        let directory =
            tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().expect("a directory");
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("bound").port()
        };
        let (name, address) = (&database.name, database.address());
        // With `auth_type = any` the connection to the server is made as the user named here.
        let settings = format!(
            "[databases]\n{name} = user={name} password=secret host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
             max_client_conn = 50\n",
            address.ip(),
            address.port()
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("written");
        let mut command = Command::new(program);
        command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        if is_root() {
            // Like PostgreSQL it refuses to run as root.
            command.args(["-u", "nobody"]);
        }
        let child = command.spawn().expect("PgBouncer starts");
        let url = format!("postgres://{name}:secret@127.0.0.1:{port}/{name}");
        eventually("PgBouncer answers", async || tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_ok())
            .await;
        Self { url, child, _directory: directory }
    }

    pub async fn end(mut self) {
        self.child.kill().await.expect("ours to end");
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
