//! Results as files.

use std::io;

use super::store::Kept;
use crate::console::run::rows::{Column, lines, unpack};

/// Tells spreadsheets that the file is UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// CSV as in RFC 4180, with a line of names. Nothing in it is a formula: see [`harmless`].
///
/// Where the result was cut, a last line says so: in a sum it would be missed.
pub fn csv(columns: &[Column], cut: Option<&str>, packed: &[u8], has_mark: bool) -> io::Result<Vec<u8>> {
    let start = if has_mark { BYTE_ORDER_MARK.to_vec() } else { Vec::new() };
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(start);
    let are_numbers: Vec<bool> = columns.iter().map(Column::is_number).collect();
    for column in columns {
        writer.write_field(harmless(&column.name).as_bytes())?;
    }
    writer.write_record(None::<&[u8]>)?;
    for row in unpack(packed)? {
        for (value, is_number) in row?.iter().zip(&are_numbers) {
            let text = value.as_deref().unwrap_or_default();
            writer.write_field(if *is_number { text.into() } else { harmless(text) }.as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    if let Some(cut) = cut {
        writer.write_field(format!("NOT ALL: {cut}"))?;
        for _ in columns.iter().skip(1) {
            writer.write_field("")?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// The text, with `'` before what a spreadsheet would compute: `=`, `+`, `-`, `@`, tab or carriage return at its start, as
/// OWASP advises (CSV Injection), unless it is just a number.
fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']);
    let is_number = text.parse::<f64>().is_ok() && !text.contains(char::is_alphabetic);
    if is_formula && !is_number { format!("'{text}").into() } else { text.into() }
}

/// A JSON object with all that is known of the result, and its rows as arrays of texts and nulls.
pub fn json(kept: &Kept, packed: &[u8]) -> io::Result<Vec<u8>> {
    let head = serde_json::json!({
        "id": kept.id,
        "title": kept.title,
        "by": kept.role,
        "query": kept.query.as_ref().map(|(slug, _)| slug),
        "sql": kept.sql,
        "parameters": kept.parameters,
        "chart": kept.chart.as_deref().and_then(|chart| serde_json::from_str::<serde_json::Value>(chart).ok()),
        "started_at": kept.started_at,
        "duration_ms": kept.duration_ms,
        "columns": kept.columns,
        "row_count": kept.row_count,
        "bytes": kept.byte_count,
        "is_complete": kept.cut.is_none(),
        "cut": kept.cut,
        "visibility": if kept.is_shared { "colleagues" } else { "private" },
        "expires_at": kept.expires_at,
    });
    let mut out = serde_json::to_vec(&head)?;
    // In the place of the last brace.
    out.pop();
    out.extend_from_slice(b",\"rows\":[");
    for (place, line) in lines(packed)?.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(line?.as_bytes());
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// What the file is called on the reader's disk.
pub fn file_name(kept: &Kept, ending: &str) -> String {
    let base = kept.query.as_ref().map_or("result", |(slug, _)| slug.as_str());
    let id: String = kept.id.chars().take(8).collect();
    let part = if kept.cut.is_some() { "-not-all" } else { "" };
    format!("{base}-{id}{part}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::run::rows::{Most, Packer};

    #[test]
    fn nothing_in_a_csv_is_a_formula_and_numbers_stay_numbers() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+41 44", "'+41 44"),
            ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
            ("\t=1", "'\t=1"),
            ("-1.5", "-1.5"),
            ("+3", "+3"),
            ("-1e5", "'-1e5"),
            ("-inf", "'-inf"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }

    #[test]
    fn a_file_reads_back_as_the_rows() {
        let column = |name: &str| Column { name: name.to_owned(), type_name: "text".to_owned() };
        let columns = vec![column("a,b"), column("=c")];
        let mut packer = Packer::new(columns.clone(), Most { rows: 9, bytes: 1_000 }).expect("a packer");
        packer.push([Some("x \"y\"\n"), None].into_iter()).expect("packed");
        let rows = packer.finish().expect("packed");
        let file = csv(&columns, None, &rows.packed, true).expect("a file");
        let expected = "\u{feff}\"a,b\",'=c\r\n\"x \"\"y\"\"\n\",\r\n";
        assert_eq!(String::from_utf8(file).expect("UTF-8"), expected);
        let file = csv(&columns, Some("these are the first 1 rows"), &rows.packed, true).expect("a file");
        let expected = format!("{expected}NOT ALL: these are the first 1 rows,\r\n");
        assert_eq!(String::from_utf8(file).expect("UTF-8"), expected);
    }
}
