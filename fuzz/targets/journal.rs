//! The row encoder and the frame reader: what a disk gives back is either what was written or nothing.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;
use weir::journal::frame::{
    ALIGNMENT_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameBuilder, FrameHeader, SEGMENT_HEADER_BYTES,
    SegmentHeader, SourceCount,
};
use weir::row::{self, COLUMNS, Kind, Row};

use super::input::Input;

const SEGMENT_ID: Uuid = Uuid::from_u128(0x5741_5445_5200_0000_0000_0000_0000_0007);
const OFFSET: u64 = 64;
/// Sources of a built frame, and tuples: a few show all there is.
const PARTS_MAX: usize = 8;
/// A checksum finds every damage that is no wider than itself.
const BURST_BYTES: usize = 4;

/// Arbitrary bytes are no frame or a sound one; a built frame comes back, and damaged it does not.
pub fn frame(data: &[u8]) {
    arbitrary_frame(data);
    arbitrary_sources(data);
    damaged_frame(&mut Input(data));
}

fn arbitrary_frame(data: &[u8]) {
    if let Some(header) = FrameHeader::decode(data) {
        let length = header.frame_bytes();
        assert_eq!(length % ALIGNMENT_BYTES, 0);
        assert!(length > FRAME_HEADER_BYTES, "a reader that goes on by this length gets nowhere");
        assert!(length <= FRAME_HEADER_BYTES + FRAME_BYTES_MAX + ALIGNMENT_BYTES);
    }
    if let Some(frame) = Frame::decode(SEGMENT_ID, OFFSET, data) {
        check_sources(&frame, data.len());
    }
    if let Some(bytes) = data.first_chunk::<SEGMENT_HEADER_BYTES>()
        && let Ok(header) = SegmentHeader::decode(bytes)
    {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
}

fn check_sources(frame: &Frame<'_>, bytes: usize) {
    assert!(frame.sources().count() * size_of::<u64>() <= bytes, "there are more sources than bytes");
}

/// A frame with a good checksum over bytes that no builder wrote: the layout of src/journal/mod.rs, by hand.
fn arbitrary_sources(data: &[u8]) {
    let mut input = Input(data);
    let sources_bytes = u32::from(input.byte());
    let payload = input.0;
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    bytes[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..12].copy_from_slice(&sources_bytes.to_le_bytes());
    bytes.extend_from_slice(payload);
    let mut crc = crc32c::crc32c(SEGMENT_ID.as_bytes());
    crc = crc32c::crc32c_append(crc, &OFFSET.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let is_sound = !payload.is_empty() && sources_bytes as usize <= payload.len();
    let frame = Frame::decode(SEGMENT_ID, OFFSET, &bytes);
    assert_eq!(frame.is_some(), is_sound, "the layout is not the one that is written down");
    if let Some(frame) = frame {
        check_sources(&frame, payload.len());
        assert_eq!(frame.tuples, &payload[sources_bytes as usize..]);
    }
}

fn damaged_frame(input: &mut Input<'_>) {
    let damage = input.byte();
    let place = input.u32() as usize;
    let change: [u8; BURST_BYTES] = input.array();
    // A source's name is at most 63 characters of ASCII.
    let name = |input: &mut Input<'_>| input.text().chars().filter(char::is_ascii).take(63).collect::<String>();
    let sources: Vec<(String, u32, u32)> =
        (0..input.byte() as usize % PARTS_MAX).map(|_| (name(input), input.u32(), input.u32())).collect();
    let tuples: Vec<&[u8]> = (0..input.byte() as usize % PARTS_MAX).map(|_| input.bytes()).collect();
    let (written_ms, days) = (input.i64(), (input.u32().cast_signed(), input.u32().cast_signed()));

    let counts = || {
        sources.iter().map(|(source, accepted, duplicate)| SourceCount {
            source,
            accepted: *accepted,
            duplicate: *duplicate,
        })
    };
    let mut builder = FrameBuilder::default();
    builder.start(counts());
    for tuple in &tuples {
        builder.tuples(tuple);
    }
    let length = builder.frame_bytes();
    let (bytes, crc) = builder.finish(SEGMENT_ID, OFFSET, tuples.len() as u32, written_ms, days);
    assert_eq!(bytes.len(), length);
    let payload_bytes = sources.iter().map(|(name, ..)| 1 + name.len() + 8).sum::<usize>() + tuples.concat().len();
    if payload_bytes == 0 {
        assert!(Frame::decode(SEGMENT_ID, OFFSET, bytes).is_none(), "nothing is the end of a segment");
        return;
    }

    let frame = Frame::decode(SEGMENT_ID, OFFSET, bytes).expect("a built frame is sound");
    let same = |other: &Frame<'_>| {
        other.header == frame.header && other.tuples == frame.tuples && other.sources().eq(frame.sources())
    };
    assert_eq!(
        (frame.header.crc, frame.header.tuples as usize, frame.header.written_ms),
        (crc, tuples.len(), written_ms)
    );
    assert_eq!((frame.header.first_day, frame.header.last_day, frame.header.frame_bytes()), (days.0, days.1, length));
    assert_eq!(frame.tuples, tuples.concat());
    assert!(frame.sources().eq(counts()));

    let end = FRAME_HEADER_BYTES + payload_bytes;
    let mut damaged = bytes.to_vec();
    match damage % 5 {
        // Elsewhere, or in another segment.
        0 => assert!(Frame::decode(SEGMENT_ID, OFFSET + 1 + place as u64, &damaged).is_none()),
        1 => assert!(Frame::decode(Uuid::from_u128(place as u128), OFFSET, &damaged).is_none()),
        2 => {
            damaged.truncate(place % end);
            assert!(Frame::decode(SEGMENT_ID, OFFSET, &damaged).is_none());
        }
        3 => {
            damaged.remove(place % end);
            if let Some(other) = Frame::decode(SEGMENT_ID, OFFSET, &damaged) {
                assert!(same(&other));
            }
        }
        _ => {
            // Within the length, the checksum, or what it covers: a change across two of them could be a forgery, against
            // which a checksum is no help.
            let place = place % bytes.len();
            let region = [0..4, 4..8, 8..bytes.len()].into_iter().find(|region| region.contains(&place));
            let region = region.expect("somewhere");
            for (byte, change) in damaged[place..region.end].iter_mut().zip(change) {
                *byte ^= change;
            }
            let found = Frame::decode(SEGMENT_ID, OFFSET, &damaged);
            if damaged[..end] == bytes[..end] {
                assert!(found.is_some_and(|other| same(&other)), "padding means nothing");
            } else {
                assert!(found.is_none(), "damage at {place} is not noticed");
            }
        }
    }
}

/// A row comes back from its tuple field by field; arbitrary bytes are a tuple or an error.
pub fn row(data: &[u8]) {
    if let Ok(length) = row::tuple_length(data) {
        assert!(length <= data.len());
        assert_eq!(row::tuple_length(&data[..length]), Ok(length));
    }
    // Whatever these say, they say it.
    let _ = (row::event_id(data), row::source(data), row::occurred_at(data), row::to_json(data));
    round_trip(&mut Input(data));
}

fn round_trip(input: &mut Input<'_>) {
    let time = |input: &mut Input<'_>| {
        Timestamp::from_microsecond(input.i64() >> (input.byte() % 64)).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    let cut = input.byte();
    let event_id = Uuid::from_bytes(input.array());
    let (occurred_at, received_at, sent_at) = (time(input), time(input), input.option(time));
    let ip = input.option(|input| {
        if input.byte() % 2 == 0 {
            (IpAddr::from(input.array::<4>()), input.byte() % 33)
        } else {
            (IpAddr::from(input.array::<16>()), input.byte() % 129)
        }
    });
    let is_bot = input.byte() % 2 == 1;
    let (source, kind) = (input.text(), input.text());
    let texts: [Option<String>; 26] = std::array::from_fn(|_| input.option(Input::text));
    let [properties, context]: [Option<String>; 2] = std::array::from_fn(|_| input.option(Input::text));

    let text = |index: usize| texts[index].as_deref();
    let row = Row {
        event_id,
        occurred_at,
        received_at,
        sent_at,
        source: &source,
        kind: &kind,
        name: text(0),
        visitor_id: text(1),
        user_id: text(2),
        session_id: text(3),
        url: text(4),
        host: text(5),
        path: text(6),
        query: text(7),
        title: text(8),
        referrer: text(9),
        referrer_host: text(10),
        utm_source: text(11),
        utm_medium: text(12),
        utm_campaign: text(13),
        utm_term: text(14),
        utm_content: text(15),
        ip,
        country: text(16),
        region: text(17),
        city: text(18),
        browser: text(19),
        browser_version: text(20),
        os: text(21),
        os_version: text(22),
        device: text(23),
        is_bot,
        language: text(24),
        screen: text(25),
        properties: properties.as_deref(),
        context: context.as_deref(),
    };
    let mut tuple = Vec::new();
    row.encode(&mut tuple);

    assert_eq!(row::tuple_length(&tuple), Ok(tuple.len()));
    assert!(row::tuple_length(&tuple[..usize::from(cut) % tuple.len()]).is_err(), "a cut tuple is told");
    assert_eq!(row::event_id(&tuple), Ok(event_id));
    assert_eq!(row::source(&tuple), Ok(source.as_str()));
    assert_eq!(row::occurred_at(&tuple), Ok(occurred_at));

    let mut found = row::to_json(&tuple).expect("a tuple");
    let mut expect = |name: &str, value: Option<Value>| assert_eq!(found.remove(name), value, "{name}");
    expect("event_id", Some(event_id.to_string().into()));
    expect("occurred_at", Some(occurred_at.to_string().into()));
    expect("received_at", Some(received_at.to_string().into()));
    expect("sent_at", sent_at.map(|at| at.to_string().into()));
    expect("ip", ip.map(|(ip, bits)| shown(ip, bits).into()));
    expect("is_bot", Some(is_bot.into()));
    let json = |text: String| serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
    expect("properties", properties.clone().map(json));
    expect("context", context.clone().map(json));
    let columns = COLUMNS.iter().filter(|(_, kind)| *kind == Kind::Text);
    let texts = [Some(source.clone()), Some(kind.clone())].into_iter().chain(texts.clone());
    for ((name, _), text) in columns.zip(texts) {
        expect(name, text.map(Value::from));
    }
    assert!(found.is_empty(), "nobody wrote {found:?}");

    tuple.push(cut);
    assert_eq!(row::tuple_length(&tuple), Ok(tuple.len() - 1), "the next tuple begins where this one ends");
}

fn shown(ip: IpAddr, bits: u8) -> String {
    match (ip, bits) {
        (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => ip.to_string(),
        _ => format!("{ip}/{bits}"),
    }
}
