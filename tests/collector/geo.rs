//! Places by address, from both schemas, and a database that changes while it is in use.

use std::collections::BTreeMap;
use std::path::Path;

use maxminddb_writer::Database;
use maxminddb_writer::metadata::IpVersion;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;
use weir::enrich::place::{Place, Places};

use crate::support::{collector, eventually};

#[derive(Serialize)]
struct Flat {
    country_code: &'static str,
    state1: &'static str,
    city: &'static str,
}

#[derive(Serialize)]
struct Named {
    iso_code: &'static str,
    names: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct Nested {
    country: Named,
    subdivisions: Vec<Named>,
    city: Named,
}

fn write<T: Serialize>(path: &Path, value: T) {
    write_built(path, value, 0);
}

/// A database that was built at `built`.
pub fn write_of(path: &Path, built: jiff::Timestamp) {
    let value = Flat { country_code: "CH", state1: "Zurich", city: "Zürich" };
    write_built(path, value, built.as_second().cast_unsigned());
}

fn write_built<T: Serialize>(path: &Path, value: T, built_s: u64) {
    let mut database = Database::default();
    database.metadata.build_epoch = built_s;
    database.metadata.ip_version = IpVersion::V4;
    database.metadata.binary_format_major_version = 2;
    let data = database.insert_value(value).expect("a value");
    let net: IpAddrWithMask = "127.0.0.0/8".parse().expect("a net");
    database.insert_node(net, data);
    let staging = path.with_extension("new");
    database.write_to(std::fs::File::create(&staging).expect("created")).expect("written");
    std::fs::rename(&staging, path).expect("in place");
}

fn place(country: &str, region: &str, city: &str) -> Place {
    Place { country: Some(country.into()), region: Some(region.into()), city: Some(city.into()) }
}

#[test]
fn both_schemas_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.mmdb");
    let (inside, outside) = ("127.1.2.3".parse().expect("an address"), "10.0.0.1".parse().expect("an address"));
    write(&file, Flat { country_code: "CH", state1: "Zurich", city: "Zürich" });
    let places = Places::open(Some(file.clone())).expect("readable");
    assert_eq!(places.look_up(inside), Some(place("CH", "Zurich", "Zürich")));
    assert_eq!(places.look_up(outside), None);
    assert_eq!(places.look_up("::1".parse().expect("an address")), None, "no IPv6 in this file");

    let named = |iso_code, name| Named { iso_code, names: BTreeMap::from([("de", "x"), ("en", name)]) };
    write(
        &file,
        Nested {
            country: named("DE", "Germany"),
            subdivisions: vec![named("BE", "Land Berlin")],
            city: named("", "Berlin"),
        },
    );
    assert!(places.reload().expect("readable"));
    assert_eq!(places.look_up(inside), Some(place("DE", "Land Berlin", "Berlin")));
    assert!(!places.reload().expect("unchanged"));

    std::fs::write(&file, b"nonsense").expect("written");
    assert!(places.reload().is_err());
    assert_eq!(places.look_up(inside), Some(place("DE", "Land Berlin", "Berlin")), "the one in memory stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_collector_takes_up_a_new_database() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a.mmdb");
    write(&file, Flat { country_code: "CH", state1: "Zurich", city: "Zürich" });
    let (database, collector, _journal) =
        collector(|config| config.enrich.geo_database = Some(directory.path().to_owned())).await;
    collector.beacon(r#"{"name":"a"}"#, &[]).await;
    database.until_stored(1).await;
    assert_eq!(
        database.rows("select country, region, city, ip from analytics.events").await,
        ["CH|Zurich|Zürich|127.0.0.0/24"]
    );
    write(&file, Flat { country_code: "AT", state1: "Wien", city: "Wien" });
    eventually("the new database is in use", async || {
        collector.beacon(r#"{"name":"b"}"#, &[]).await;
        database.number("select count(*) from analytics.events where country = 'AT'").await > 0
    })
    .await;
    collector.stop().await;
}
