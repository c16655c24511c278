//! `sslmode`, against the test's own server with a certificate made here.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::support::{TestDatabase, connect, eventually, superuser_url};
use weir::database::Database;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("signed"))
    }

    fn write(&self, directory: &Path, name: &str) -> PathBuf {
        let file = directory.join(name);
        std::fs::write(&file, self.0.pem()).expect("written");
        file
    }
}

fn install(directory: &Path, name: &str, content: &str) {
    let file = directory.join(name);
    std::fs::write(&file, content).expect("the server's directory can be written");
    let owner = std::fs::metadata(directory).expect("readable");
    chown(&file, Some(owner.uid()), Some(owner.gid())).expect("given to the server");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
}

async fn try_connect(database: &TestDatabase, host: &str, parameters: &str) -> Result<bool, String> {
    let mut settings = weir::Config::default().database;
    let port = database.address().port();
    settings.url = format!("postgres://{0}:secret@{host}:{port}/{0}?{parameters}", database.name);
    let weir = Database::new(&settings, 1).map_err(|error| error.to_string())?;
    let client = weir.client().await.map_err(|error| error.to_string())?;
    let row = client.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await;
    Ok(row.map_err(|error| error.to_string())?.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_means_what_it_says() {
    let database = TestDatabase::new().await;
    let library = "select setting from pg_settings where name = 'ssl_library'";
    if database.rows(library).await == [""] {
        eprintln!("skipped: this server was built without TLS");
        return;
    }
    assert_eq!(try_connect(&database, "127.0.0.1", "sslmode=prefer").await, Ok(false));
    assert!(try_connect(&database, "127.0.0.1", "sslmode=require").await.is_err(), "the server has no TLS yet");

    let files = tempfile::tempdir().expect("a directory");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (root, other) = (authority.write(files.path(), "root.pem"), stranger.write(files.path(), "other.pem"));
    let server_key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("valid");
    let certificate = parameters.signed_by(&server_key, &authority.0).expect("signed");
    let admin = connect(&superuser_url()).await;
    let directory: String = admin.query_one("show data_directory", &[]).await.expect("shown").get(0);
    install(Path::new(&directory), "weir-test.crt", &certificate.pem());
    install(Path::new(&directory), "weir-test.key", &server_key.serialize_pem());
    for statement in [
        "alter system set ssl_cert_file = 'weir-test.crt'",
        "alter system set ssl_key_file = 'weir-test.key'",
        "alter system set ssl = on",
    ] {
        admin.batch_execute(statement).await.expect("set");
    }
    admin.execute("select pg_reload_conf()", &[]).await.expect("reloaded");
    eventually("the server speaks TLS", async || {
        try_connect(&database, "127.0.0.1", "sslmode=require").await == Ok(true)
    })
    .await;

    let (root, other) = (format!("sslrootcert={}", root.display()), format!("sslrootcert={}", other.display()));
    for (host, mode, root, expected) in [
        ("127.0.0.1", "sslmode=disable", &root, Some(false)),
        ("127.0.0.1", "sslmode=prefer", &root, Some(true)),
        ("127.0.0.1", "sslmode=verify-ca", &root, Some(true)),
        ("localhost", "sslmode=verify-full", &root, Some(true)),
        ("127.0.0.1", "sslmode=verify-full", &root, None),
        ("localhost", "sslmode=verify-full", &other, None),
        ("localhost", "sslmode=verify-ca", &other, None),
    ] {
        let found = try_connect(&database, host, &format!("{mode}&{root}")).await;
        assert_eq!(found.as_ref().ok().copied(), expected, "{host} {mode} {root}: {found:?}");
    }
}
