//! The bytes of headers and frames; the layout stands in [the module above](super).

use uuid::Uuid;

use crate::clock::Day;

pub const SEGMENT_HEADER_BYTES: usize = 64;
pub const FRAME_HEADER_BYTES: usize = 40;
/// Frames start at multiples of this, so that a search behind damage knows where to look.
pub const ALIGNMENT_BYTES: usize = 8;
/// No frame is longer: the writer stops filling one far below, but one request's batch is never split.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"WEIRJRNL";
const FORMAT_VERSION: u16 = 1;

/// The first 64 bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub segment_id: Uuid,
    pub row_version: u16,
    pub created_ms: i64,
}

/// A segment's header is no header that this version can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the header is damaged or was never written")]
    Damaged,
    #[error("format version {0} is newer than this program")]
    TooNew(u16),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.row_version.to_le_bytes());
        bytes[16..32].copy_from_slice(self.segment_id.as_bytes());
        bytes[32..40].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, HeaderError> {
        if &bytes[..8] != MAGIC || u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(HeaderError::Damaged);
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > FORMAT_VERSION {
            return Err(HeaderError::TooNew(version));
        }
        let mut segment_id = [0; 16];
        segment_id.copy_from_slice(&bytes[16..32]);
        Ok(Self {
            segment_id: Uuid::from_bytes(segment_id),
            row_version: u16::from_le_bytes([bytes[10], bytes[11]]),
            created_ms: u64_at(bytes, 32).cast_signed(),
        })
    }
}

/// What one frame promises to one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceCount<'a> {
    pub source: &'a str,
    /// Events answered with a success.
    pub accepted: u32,
    /// Of these, known already and therefore not among the tuples.
    pub duplicate: u32,
}

/// A frame's header, not yet checked against its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    payload_bytes: u32,
    pub crc: u32,
    sources_bytes: u32,
    pub tuples: u32,
    pub written_ms: i64,
    pub first_day: Day,
    pub last_day: Day,
}

impl FrameHeader {
    /// `None` where no frame starts: at the zeros behind the last one, or in garbage.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        let header = Self {
            payload_bytes: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            sources_bytes: u32_at(bytes, 8),
            tuples: u32_at(bytes, 12),
            written_ms: u64_at(bytes, 16).cast_signed(),
            first_day: u32_at(bytes, 24).cast_signed(),
            last_day: u32_at(bytes, 28).cast_signed(),
        };
        let plausible = header.payload_bytes > 0
            && header.payload_bytes as usize <= FRAME_BYTES_MAX
            && header.sources_bytes <= header.payload_bytes;
        plausible.then_some(header)
    }

    /// The whole frame's length with header and padding.
    pub fn frame_bytes(&self) -> usize {
        (FRAME_HEADER_BYTES + self.payload_bytes as usize).next_multiple_of(ALIGNMENT_BYTES)
    }
}

/// A frame whose checksum holds.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub header: FrameHeader,
    sources: &'a [u8],
    /// The tuples, one after the other.
    pub tuples: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, which lies at `offset` of the segment.
    pub fn decode(segment_id: Uuid, offset: u64, bytes: &'a [u8]) -> Option<Self> {
        let frame = Self::of_checked(bytes)?;
        let payload = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + frame.header.payload_bytes as usize];
        if checksum(segment_id, offset, &bytes[8..FRAME_HEADER_BYTES], payload) != frame.header.crc {
            return None;
        }
        Some(frame)
    }

    /// As [`Self::decode`], of bytes whose checksum is known to hold.
    pub(super) fn of_checked(bytes: &'a [u8]) -> Option<Self> {
        let header = FrameHeader::decode(bytes)?;
        let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes as usize)?;
        let (sources, tuples) = payload.split_at(header.sources_bytes as usize);
        Some(Self { header, sources, tuples })
    }

    /// The counts of each source; stops at the first malformed one, which a checked frame does not have.
    pub fn sources(&self) -> impl Iterator<Item = SourceCount<'a>> {
        let mut rest = self.sources;
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (name, after) = after.split_at_checked(usize::from(length))?;
            let (counts, after) = after.split_first_chunk::<8>()?;
            rest = after;
            Some(SourceCount {
                source: std::str::from_utf8(name).ok()?,
                accepted: u32_at(counts, 0),
                duplicate: u32_at(counts, 4),
            })
        })
    }
}

/// Builds frames in one buffer that is reused.
#[derive(Debug, Default)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Starts a frame with its source counts; tuples follow by [`Self::tuples`].
    pub fn start<'a>(&mut self, sources: impl Iterator<Item = SourceCount<'a>>) {
        self.bytes.clear();
        self.bytes.resize(FRAME_HEADER_BYTES, 0);
        for count in sources {
            // A source's name is at most 63 characters (schema/migrations/V3).
            self.bytes.push(count.source.len() as u8);
            self.bytes.extend_from_slice(count.source.as_bytes());
            self.bytes.extend_from_slice(&count.accepted.to_le_bytes());
            self.bytes.extend_from_slice(&count.duplicate.to_le_bytes());
        }
        let sources_bytes = (self.bytes.len() - FRAME_HEADER_BYTES) as u32;
        self.bytes[8..12].copy_from_slice(&sources_bytes.to_le_bytes());
    }

    /// Appends tuples.
    pub fn tuples(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The length that the finished frame will have.
    pub fn frame_bytes(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGNMENT_BYTES)
    }

    /// The finished frame for `offset` of the segment, and its checksum.
    pub fn finish(
        &mut self,
        segment_id: Uuid,
        offset: u64,
        tuples: u32,
        written_ms: i64,
        days: (Day, Day),
    ) -> (&[u8], u32) {
        let payload_bytes = (self.bytes.len() - FRAME_HEADER_BYTES) as u32;
        self.bytes[..4].copy_from_slice(&payload_bytes.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&tuples.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&written_ms.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&days.0.to_le_bytes());
        self.bytes[28..32].copy_from_slice(&days.1.to_le_bytes());
        let (header, payload) = self.bytes.split_at(FRAME_HEADER_BYTES);
        let crc = checksum(segment_id, offset, &header[8..], payload);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes.resize(self.frame_bytes(), 0);
        (&self.bytes, crc)
    }
}

fn checksum(segment_id: Uuid, offset: u64, header: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(segment_id.as_bytes());
    crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    crc = crc32c::crc32c_append(crc, header);
    crc32c::crc32c_append(crc, payload)
}

/// Extends the chain that proves a segment's identity in the ledger by one frame.
pub fn chain(crc: u32, frame_crc: u32) -> u32 {
    crc32c::crc32c_append(crc, &frame_crc.to_le_bytes())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(id: Uuid, offset: u64) -> Vec<u8> {
        let mut builder = FrameBuilder::default();
        let counts = [
            SourceCount { source: "web", accepted: 3, duplicate: 1 },
            SourceCount { source: "app", accepted: 1, duplicate: 0 },
        ];
        builder.start(counts.into_iter());
        builder.tuples(b"tuple");
        builder.tuples(b"tuples");
        builder.finish(id, offset, 3, 17, (-1, 2)).0.to_vec()
    }

    #[test]
    fn a_frame_reads_back() {
        let id = Uuid::from_u128(9);
        let bytes = build(id, 64);
        assert_eq!(bytes.len() % ALIGNMENT_BYTES, 0);
        let frame = Frame::decode(id, 64, &bytes).expect("valid");
        assert_eq!(frame.header.frame_bytes(), bytes.len());
        assert_eq!(frame.tuples, b"tupletuples");
        assert_eq!((frame.header.tuples, frame.header.written_ms), (3, 17));
        assert_eq!((frame.header.first_day, frame.header.last_day), (-1, 2));
        let sources: Vec<_> = frame.sources().map(|count| (count.source, count.accepted, count.duplicate)).collect();
        assert_eq!(sources, [("web", 3, 1), ("app", 1, 0)]);
    }

    #[test]
    fn any_flipped_bit_any_other_place_or_segment_is_no_frame() {
        let id = Uuid::from_u128(9);
        let bytes = build(id, 64);
        assert!(Frame::decode(id, 72, &bytes).is_none());
        assert!(Frame::decode(Uuid::from_u128(8), 64, &bytes).is_none());
        let payload_end = FRAME_HEADER_BYTES + (1 + 3 + 8) * 2 + 11;
        for bit in 0..payload_end * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(id, 64, &damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn no_frame_starts_at_zeros_or_where_lengths_cannot_be() {
        assert!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES]).is_none());
        let header = |payload_bytes: u32, sources_bytes: u32| {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            bytes[..4].copy_from_slice(&payload_bytes.to_le_bytes());
            bytes[8..12].copy_from_slice(&sources_bytes.to_le_bytes());
            FrameHeader::decode(&bytes)
        };
        assert!(header(1, 0).is_some() && header(1, 1).is_some() && header(1, 2).is_none());
        let most = FRAME_BYTES_MAX as u32;
        assert!(header(most, 0).is_some() && header(most + 1, 0).is_none());
    }

    #[test]
    fn a_header_reads_back_and_damage_is_told() {
        let header = SegmentHeader { segment_id: Uuid::from_u128(5), row_version: 1, created_ms: 1_700_000_000_000 };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let mut newer = header.encode();
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::TooNew(2)));
        newer[20] ^= 1;
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::Damaged));
    }
}
