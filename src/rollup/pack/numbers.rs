//! Many numbers, stored so that any of them can be read without those before.
//!
//! ```text
//! how many there are; how many bytes the largest takes; the lowest byte of each; then the next one of each
//! ```

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
    bytes: &'b [u8],
}

impl<'b> Numbers<'b> {
    pub fn take(bytes: &mut &'b [u8]) -> Option<Self> {
        let (count, width) = (usize::try_from(take(bytes)?).ok()?, take(bytes)?);
        if width > 8 || count > COUNT_MAX {
            return None;
        }
        let (own, rest) = bytes.split_at_checked(count.checked_mul(width as usize)?)?;
        *bytes = rest;
        Some(Self { count, bytes: own })
    }

    fn planes(&self) -> impl Iterator<Item = &'b [u8]> {
        self.bytes.chunks_exact(self.count.max(1))
    }

    pub fn get(&self, place: usize) -> u64 {
        let bytes = self.planes().zip((0..).step_by(8));
        bytes.map(|(plane, shift)| u64::from(plane.get(place).copied().unwrap_or_default()) << shift).sum()
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
        let mut planes = self.planes();
        let Some(lowest) = planes.next() else {
            return if wanted == 0 { (0..self.count as u32).collect() } else { Vec::new() };
        };
        let lowest = lowest.iter().zip(0_u32..).filter(|(byte, _)| **byte == wanted as u8).map(|(_, place)| place);
        lowest.filter(|place| self.get(*place as usize) == wanted).collect()
    }
}
