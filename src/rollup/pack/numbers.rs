//! Many numbers, stored so that any of them can be read without those before.
//!
//! ```text
//! how many there are; how many bytes the largest takes; the lowest byte of each; then the next one of each
//! ```

use std::ops::Range;

use super::codec::{put, take};

/// More than a part has of anything. Numbers that are all zero take no bytes, so that their count alone says how many there are.
const COUNT_MAX: usize = 1 << 24;

pub fn put_numbers(out: &mut Vec<u8>, numbers: &(impl Iterator<Item = u64> + Clone)) {
    let (count, most) = numbers.clone().fold((0_u64, 0), |(count, most), number| (count + 1, most.max(number)));
    let width = (u64::BITS - most.leading_zeros()).div_ceil(8);
    put(out, count);
    put(out, width.into());
    for place in 0..width {
        out.extend(numbers.clone().map(|number| (number >> (8 * place)) as u8));
    }
}

/// What [`put_numbers`] has put.
#[derive(Clone, Copy)]
pub struct Numbers<'b> {
    pub count: usize,
    /// Bytes of each.
    width: usize,
    bytes: &'b [u8],
}

impl<'b> Numbers<'b> {
    pub fn take(bytes: &mut &'b [u8]) -> Option<Self> {
        let (count, width) = (usize::try_from(take(bytes)?).ok()?, usize::try_from(take(bytes)?).ok()?);
        if width > 8 || count > COUNT_MAX {
            return None;
        }
        let (own, rest) = bytes.split_at_checked(count.checked_mul(width)?)?;
        *bytes = rest;
        Some(Self { count, width, bytes: own })
    }

    fn planes(&self) -> impl Iterator<Item = &'b [u8]> {
        self.bytes.chunks_exact(self.count.max(1))
    }

    /// Most of what counting does: nearly all take a byte or two.
    #[inline]
    pub fn get(&self, place: usize) -> u64 {
        if place >= self.count {
            return 0;
        }
        let byte = |plane: usize| u64::from(self.bytes.get(plane * self.count + place).copied().unwrap_or_default());
        match self.width {
            0 => 0,
            1 => byte(0),
            2 => byte(0) | byte(1) << 8,
            width => (0..width).map(|plane| byte(plane) << (8 * plane)).sum(),
        }
    }

    /// Whether all are below 2^24.
    pub fn are_small(&self) -> bool {
        self.width <= 3
    }

    /// Those of some ranges. `None`: there are not so many.
    pub fn gather(&self, ranges: &(impl Iterator<Item = Range<usize>> + Clone), found: &mut Vec<u64>) -> Option<()> {
        let mut count = 0;
        for range in ranges.clone() {
            (range.start <= range.end && range.end <= self.count).then_some(())?;
            count += range.len();
        }
        found.clear();
        found.resize(count, 0);
        for (plane, shift) in self.planes().zip((0_u32..).step_by(8)) {
            let mut rest = found.as_mut_slice();
            for range in ranges.clone() {
                let (some, others) = rest.split_at_mut_checked(range.len())?;
                rest = others;
                for (number, byte) in some.iter_mut().zip(plane.get(range)?) {
                    *number |= u64::from(*byte) << shift;
                }
            }
        }
        Some(())
    }

    /// The sums of all numbers up to each.
    pub fn running_sums(&self) -> Option<Vec<u32>> {
        let mut sums = vec![0_u32; self.count];
        for (plane, shift) in self.planes().zip((0_u32..).step_by(8)) {
            for (sum, byte) in sums.iter_mut().zip(plane) {
                *sum |= u32::from(*byte).checked_shl(shift)?;
            }
        }
        let mut so_far = 0_u32;
        for sum in &mut sums {
            so_far = so_far.checked_add(*sum)?;
            *sum = so_far;
        }
        Some(sums)
    }

    /// Which ones are `wanted`.
    pub fn places_of(&self, wanted: u64) -> Vec<u32> {
        // Where few are, most of these have none, which is seen at a glance.
        const AT_ONCE: usize = 64;
        let mut planes = self.planes();
        let Some(lowest) = planes.next() else {
            return if wanted == 0 { (0..self.count as u32).collect() } else { Vec::new() };
        };
        let mut found = Vec::new();
        for (some, begin) in lowest.chunks(AT_ONCE).zip((0_u32..).step_by(AT_ONCE)) {
            if some.contains(&(wanted as u8)) {
                let lowest = some.iter().zip(begin..).filter(|(byte, _)| **byte == wanted as u8);
                found.extend(lowest.map(|(_, place)| place).filter(|place| self.get(*place as usize) == wanted));
            }
        }
        found
    }
}
