//! Texts that get numbers.

use std::collections::HashMap;

/// Each once, in the order in which they came.
#[derive(Default)]
pub struct Values {
    numbers: HashMap<String, u32>,
    pub texts: Vec<String>,
}

impl Values {
    /// The text's number, if it has one.
    pub fn find(&self, value: &str) -> Option<u32> {
        self.numbers.get(value).copied()
    }

    /// The text's number. Of a new one `bytes` is told the length.
    pub fn number(&mut self, value: &str, bytes: &mut usize) -> u32 {
        if let Some(number) = self.find(value) {
            return number;
        }
        let number = self.texts.len() as u32;
        *bytes += value.len();
        self.numbers.insert(value.to_owned(), number);
        self.texts.push(value.to_owned());
        number
    }
}
