//! Line ends of a request's head, more strictly than hyper looks at them.
//!
//! Hyper takes a bare LF for the end of a line. A proxy in front may take it for a part of the line: then the two do not
//! agree on where a request ends, and what one holds for a header is the next request for the other. So a head with a
//! bare LF is refused. Only the first head of what arrives at once is looked at: proxies do not pipeline.

/// Reads the bytes of one head as they arrive.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// Of the line that has not ended yet.
    line_bytes: usize,
    last: u8,
    has_line: bool,
    is_complete: bool,
}

impl HeadScan {
    /// Whether all lines that end in `bytes`, up to the end of the head, end in CR LF.
    pub fn is_plain(&mut self, mut bytes: &[u8]) -> bool {
        while !self.is_complete {
            let Some(at) = memchr::memchr(b'\n', bytes) else {
                self.line_bytes += bytes.len();
                self.last = bytes.last().copied().unwrap_or(self.last);
                break;
            };
            let before = if at == 0 { self.last } else { bytes[at - 1] };
            if before != b'\r' {
                return false;
            }
            let is_empty = self.line_bytes + at == 1;
            // Empty lines before a request are skipped, as the standard asks.
            self.is_complete = is_empty && self.has_line;
            self.has_line |= !is_empty;
            self.line_bytes = 0;
            self.last = b'\n';
            bytes = &bytes[at + 1..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_feeds_are_seen_in_the_head_only_however_it_arrives() {
        for (bytes, is_plain) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n{\n}\n", true),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n{\n}\n\n\n", true),
            ("GET / HTTP/1.1\nhost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\n\r\n", false),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n", false),
            ("\nGET / HTTP/1.1\r\n\r\n", false),
            ("\r\nGET / HTTP/1.1\r\nx: a\n\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nx: a\r\r\n\r\n", true),
        ] {
            for step in 1..=bytes.len() {
                let mut head = HeadScan::default();
                let found = bytes.as_bytes().chunks(step).all(|chunk| head.is_plain(chunk));
                assert_eq!(found, is_plain, "{bytes:?} by {step}");
            }
        }
    }
}
