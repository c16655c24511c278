//! The bytes of a group: see [`super`] for the format.

use zstd::zstd_safe::{self, CParameter};

use super::Sums;

/// Smaller ones gain nothing.
const ZSTD_BYTES_MIN: usize = 96;
const ZSTD_LEVEL: i32 = 3;
/// Of a group: the values of a part are this at most, by [`super::part`]'s bounds.
const RAW_BYTES_MAX: u64 = 256 << 20;

/// One list of a key: the numbers of values, rising, with what each comes to.
pub type Counted = Vec<(u32, Sums)>;

pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// As it is stored.
pub fn seal(raw: &[u8]) -> Vec<u8> {
    seal_by(raw, || zstd::bulk::compress(raw, ZSTD_LEVEL))
}

/// As [`seal`], of numbers that are read in bulk. Short matches, which are many among few values, save little and take the most time to
/// read: so hardly any are looked for, and bytes are coded by how often each is there.
pub fn seal_numbers(raw: &[u8]) -> Vec<u8> {
    seal_by(raw, || {
        let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        compressor.set_parameter(CParameter::Strategy(zstd_safe::Strategy::ZSTD_fast))?;
        compressor.set_parameter(CParameter::MinMatch(7))?;
        compressor.set_parameter(CParameter::HashLog(6))?;
        compressor.compress(raw)
    })
}

fn seal_by(raw: &[u8], compress: impl FnOnce() -> std::io::Result<Vec<u8>>) -> Vec<u8> {
    if raw.len() >= ZSTD_BYTES_MIN
        && let Ok(frame) = compress()
        && frame.len() + 4 < raw.len()
    {
        let mut sealed = vec![1];
        put(&mut sealed, raw.len() as u64);
        sealed.extend_from_slice(&frame);
        return sealed;
    }
    [&[0], raw].concat()
}

/// And back; `None`: it is not what [`seal`] made.
pub fn open(sealed: &[u8]) -> Option<Vec<u8>> {
    open_by(sealed, &mut zstd::bulk::Decompressor::new().ok()?)
}

/// As [`open`], of many in turn.
pub fn open_by(sealed: &[u8], decompressor: &mut zstd::bulk::Decompressor<'_>) -> Option<Vec<u8>> {
    match sealed.split_first()? {
        (0, raw) => Some(raw.to_vec()),
        (1, mut rest) => {
            let length = take(&mut rest).filter(|length| *length <= RAW_BYTES_MAX)?;
            decompressor.decompress(rest, length as usize).ok()
        }
        _ => None,
    }
}

pub fn put_counted(out: &mut Vec<u8>, list: &[(u32, Sums)]) {
    put(out, list.len() as u64);
    let mut before = 0;
    for (number, _) in list {
        put(out, u64::from(number - before));
        before = *number;
    }
    // By columns: they are alike, and pack well.
    let columns: [fn(&Sums) -> u64; 5] = [
        |sums| sums.visitors,
        |sums| sums.visits,
        |sums| sums.page_views,
        |sums| sums.bounces,
        |sums| sums.duration_ms,
    ];
    for column in columns {
        for (_, sums) in list {
            put(out, column(sums));
        }
    }
}

pub fn take_counted(bytes: &mut &[u8]) -> Option<Counted> {
    let count = take(bytes)? as usize;
    // Each takes six bytes at least.
    if count > bytes.len() {
        return None;
    }
    let mut list = Vec::with_capacity(count);
    let mut number = 0_u32;
    for _ in 0..count {
        number = number.checked_add(u32::try_from(take(bytes)?).ok()?)?;
        list.push((number, Sums::default()));
    }
    let columns: [fn(&mut Sums) -> &mut u64; 5] = [
        |sums| &mut sums.visitors,
        |sums| &mut sums.visits,
        |sums| &mut sums.page_views,
        |sums| &mut sums.bounces,
        |sums| &mut sums.duration_ms,
    ];
    for column in columns {
        for (_, sums) in &mut list {
            *column(sums) = take(bytes)?;
        }
    }
    Some(list)
}

pub fn put_values(out: &mut Vec<u8>, values: &[String]) {
    put(out, values.len() as u64);
    for value in values {
        put(out, value.len() as u64);
    }
    for value in values {
        out.extend_from_slice(value.as_bytes());
    }
}

pub fn take_values<'b>(bytes: &mut &'b [u8]) -> Option<Vec<&'b str>> {
    let count = take(bytes)? as usize;
    if count > bytes.len() {
        return None;
    }
    let lengths: Vec<usize> = (0..count).map(|_| take(bytes).map(|length| length as usize)).collect::<Option<_>>()?;
    let all = lengths.iter().try_fold(0_usize, |all, length| all.checked_add(*length))?;
    let (texts, rest) = bytes.split_at_checked(all)?;
    *bytes = rest;
    // All at once: to look at each by itself takes several times as long.
    let mut texts = std::str::from_utf8(texts).ok()?;
    let mut values = Vec::with_capacity(count);
    for length in lengths {
        let (value, rest) = texts.split_at_checked(length)?;
        texts = rest;
        values.push(value);
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums() -> impl Strategy<Value = Sums> {
        (any::<u64>(), 0..300_u64, any::<u32>(), 0..3_u64, any::<u64>()).prop_map(
            |(visitors, visits, page_views, bounces, duration_ms)| Sums {
                visitors,
                visits,
                page_views: page_views.into(),
                bounces,
                duration_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            list in proptest::collection::btree_map(any::<u32>(), sums(), 0..200),
            values in proptest::collection::vec(".{0,20}", 0..50),
        ) {
            let list: Counted = list.into_iter().collect();
            let mut raw = Vec::new();
            put_counted(&mut raw, &list);
            put_values(&mut raw, &values);
            let opened = open(&seal(&raw)).expect("sealed");
            prop_assert_eq!(&opened, &raw);
            prop_assert_eq!(&open(&seal_numbers(&raw)).expect("sealed"), &raw);
            let mut rest = opened.as_slice();
            prop_assert_eq!(take_counted(&mut rest).expect("a list"), list);
            let taken = take_values(&mut rest).expect("values");
            prop_assert_eq!(taken, values.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn what_is_not_ours_is_refused_or_read_but_never_believed_to_be_endless(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&bytes);
            let mut rest = bytes.as_slice();
            let list = take_counted(&mut rest);
            prop_assert!(list.is_none_or(|list| list.len() <= bytes.len()));
            let mut rest = bytes.as_slice();
            let _ = take_values(&mut rest);
        }
    }
}
