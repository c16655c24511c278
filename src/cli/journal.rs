//! `weir journal`: what lies in the journal's files.

use std::path::Path;

use anyhow::bail;

use crate::disk::RealDisk;
use crate::journal::adopted::{self, Adopted};
use crate::journal::inspect::{Inspected, inspect};

/// Prints a line for every segment, and their sum.
pub fn show(dir: &Path) -> anyhow::Result<()> {
    let (mut segments, mut events, mut bytes) = (0_u64, 0_u64, 0_u64);
    inspect(&RealDisk, dir, |segment| {
        segments += 1;
        events += segment.accepted.values().sum::<u64>();
        bytes += segment.file_bytes;
        println!("{}", line(&segment));
    })?;
    println!("{segments} segments, {events} events accepted, {bytes} bytes");
    if let Some(Adopted { at, by, events, .. }) = adopted::read(&RealDisk, dir)? {
        println!("adopted at {at} by {by}: {events} events in these segments are in the database");
    }
    Ok(())
}

/// Reads every frame and row; fails if anything that was promised cannot be read.
pub fn verify(dir: &Path) -> anyhow::Result<()> {
    let (mut segments, mut frames, mut unsound) = (0_u64, 0_u64, 0_u64);
    inspect(&RealDisk, dir, |segment| {
        segments += 1;
        frames += segment.frames;
        if segment.is_sound() {
            return;
        }
        unsound += 1;
        println!("{}", line(&segment));
        for range in segment.scan.iter().flat_map(|scan| &scan.damaged) {
            println!("    bytes {} to {} cannot be read", range.start, range.end);
        }
        if segment.malformed_frames > 0 {
            println!("    {} frames hold other rows than they say", segment.malformed_frames);
        }
    })?;
    if unsound > 0 {
        bail!("{unsound} of {segments} segments hold promised events that cannot be read; keep the files");
    }
    println!("{segments} segments, {frames} frames: all sound");
    Ok(())
}

fn line(segment: &Inspected) -> String {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let written = segment.written.map_or_else(String::new, |(first, last)| format!("  {first:.0} to {last:.0}"));
    let sources: Vec<String> = segment.accepted.iter().map(|(source, events)| format!("{source} {events}")).collect();
    format!(
        "{name}  {}  {} bytes  {} frames  {} rows  [{}]{written}",
        segment.state(),
        segment.file_bytes,
        segment.frames,
        segment.tuples,
        sources.join(", ")
    )
}
