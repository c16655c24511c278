//! Which type a column has here.
//!
//! Types of PostgreSQL itself keep theirs, without lengths and precisions: so most widenings of the application's change
//! nothing here. All others are text: enums, domains, those of extensions; and those whose values mean something only there.

/// The first oid that is not PostgreSQL's own.
const FIRST_USER_OID: u32 = 16_384;

/// Oids are the same in all versions. Arrays follow their elements.
#[rustfmt::skip]
const TYPES: [(u32, u32, &str); 38] = [
    (16, 1000, "boolean"),    (17, 1001, "bytea"),        (20, 1016, "bigint"),      (21, 1005, "smallint"),
    (23, 1007, "integer"),    (26, 1028, "oid"),          (114, 199, "json"),        (600, 1017, "point"),
    (601, 1018, "lseg"),      (602, 1019, "path"),        (603, 1020, "box"),        (604, 1027, "polygon"),
    (628, 629, "line"),       (718, 719, "circle"),       (700, 1021, "real"),       (701, 1022, "double precision"),
    (650, 651, "cidr"),       (869, 1041, "inet"),        (774, 775, "macaddr8"),    (829, 1040, "macaddr"),
    (1042, 1014, "bpchar"),   (1082, 1182, "date"),       (1083, 1183, "time"),      (1114, 1115, "timestamp"),
    (1184, 1185, "timestamptz"), (1186, 1187, "interval"), (1266, 1270, "timetz"),   (1562, 1563, "varbit"),
    (1700, 1231, "numeric"),  (2950, 2951, "uuid"),       (3614, 3643, "tsvector"),  (3802, 3807, "jsonb"),
    (3904, 3905, "int4range"), (3906, 3907, "numrange"),  (3908, 3909, "tsrange"),   (3910, 3911, "tstzrange"),
    (3912, 3913, "daterange"), (3926, 3927, "int8range"),
];

/// Texts of any kind, and their arrays.
const TEXTS: [(u32, u32); 3] = [(19, 1003), (25, 1009), (1043, 1015)];

/// The type here of a type there.
pub fn local(oid: u32) -> String {
    if oid < FIRST_USER_OID {
        if let Some((element, _, name)) = TYPES.iter().find(|(element, array, _)| *element == oid || *array == oid) {
            return if *element == oid { (*name).to_owned() } else { format!("{name}[]") };
        }
        if TEXTS.iter().any(|(_, array)| *array == oid) {
            return "text[]".to_owned();
        }
        // bit(n), whose name alone would be bit(1).
        if oid == 1560 {
            return "varbit".to_owned();
        }
    }
    "text".to_owned()
}

/// Whether it is a text there, too.
pub fn is_text(oid: u32) -> bool {
    TEXTS.iter().any(|(element, _)| *element == oid)
}

/// Whether two of its texts that differ are never equal as values: then changes of rows can be told apart by their texts.
pub fn is_exact(name: &str) -> bool {
    matches!(
        name,
        "smallint"
            | "integer"
            | "bigint"
            | "text"
            | "uuid"
            | "boolean"
            | "bytea"
            | "date"
            | "timestamp"
            | "timestamptz"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_go_and_what_is_not_postgres_own_is_text() {
        for (oid, name) in [
            (23, "integer"),
            (1007, "integer[]"),
            (1043, "text"),
            (1015, "text[]"),
            (16_385, "text"),
            (2205, "text"),
            (1560, "varbit"),
        ] {
            assert_eq!(local(oid), name, "{oid}");
        }
    }
}
