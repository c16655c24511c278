//! Where definitions come from: those that weir ships, and the files of a directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::definition::{Definition, FILE_BYTES_MAX, Problem};
use crate::reload::Stamp;

/// One cannot look after more in a minute.
const FILES_MAX: usize = 1_000;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$((concat!($name, ".sql"), include_str!(concat!("../../rollups/", $name, ".sql")))),*]
    };
}

/// File names and texts of the rollups that come with weir.
pub const SHIPPED: [(&str, &str); 12] = shipped![
    "events_daily",
    "filtered_daily",
    "page_views_hourly",
    "pages_daily",
    "properties_daily",
    "retention_weekly",
    "sessions",
    "sources_daily",
    "visitors_daily",
    "visits_daily",
    "web_vitals_daily",
    "web_vitals_spread_daily",
];

/// See the module.
#[derive(Debug, Clone)]
pub struct Library {
    /// Files named `*.sql` in it; it need not exist.
    pub dir: PathBuf,
    /// Whether the shipped ones count. A file of the same name replaces one.
    pub with_shipped: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Definitions {
    pub good: Vec<Definition>,
    /// Names whose files cannot be used as they are: what they stand for must not be taken for gone.
    pub bad: Vec<String>,
    pub problems: Vec<Problem>,
}

impl Library {
    /// Reads everything; a file that cannot be used costs no other.
    pub fn read(&self) -> Definitions {
        let mut texts: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut read = Definitions::default();
        if self.with_shipped {
            for (file, text) in SHIPPED {
                texts.insert(Path::new("weir's own").join(file), text.to_owned());
            }
        }
        match self.files() {
            Ok(files) => {
                for file in files {
                    match read_text(&file) {
                        Ok(text) => {
                            texts.retain(|known, _| known.file_name() != file.file_name());
                            texts.insert(file, text);
                        }
                        Err(error) => {
                            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                            read.bad.push(name);
                            let cure = "make it readable, or remove it".to_owned();
                            read.problems.push(Problem { file, line: 1, message: error.to_string(), cure });
                        }
                    }
                }
            }
            Err(error) => {
                let problem = Problem {
                    file: self.dir.clone(),
                    line: 1,
                    message: error.to_string(),
                    cure: "make the directory readable, or set rollup.dir".to_owned(),
                };
                read.problems.push(problem);
            }
        }
        for (file, text) in texts {
            match Definition::parse(&file, &text) {
                Ok(definition) => read.good.push(definition),
                Err(problems) => {
                    read.bad.push(file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
                    read.problems.extend(problems);
                }
            }
        }
        read
    }

    /// Changes when a file does.
    pub fn stamp(&self) -> io::Result<Stamp> {
        Stamp::of(self.files()?)
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension().is_some_and(|extension| extension == "sql") && !is_hidden {
                files.push(path);
            }
            if files.len() > FILES_MAX {
                return Err(io::Error::other(format!("there are more than {FILES_MAX} files")));
            }
        }
        files.sort();
        Ok(files)
    }
}

fn read_text(file: &Path) -> io::Result<String> {
    let bytes = file.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {bytes} bytes; a definition has at most {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_the_shipped_one_of_its_name_and_a_bad_one_costs_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let library = Library { dir: dir.path().to_owned(), with_shipped: true };
        let shipped = library.read();
        assert_eq!((shipped.good.len(), shipped.problems.as_slice()), (SHIPPED.len(), &[][..]));
        let before = library.stamp().expect("read");
        std::fs::write(dir.path().join("sessions.sql"), "-- kind: view\nselect 1 as one").expect("written");
        std::fs::write(dir.path().join("mine.sql"), "-- kind: cube\nselect 1").expect("written");
        std::fs::write(dir.path().join("notes.txt"), "?").expect("written");
        assert_ne!(library.stamp().expect("read"), before);
        let read = library.read();
        assert_eq!((read.good.len(), read.bad.as_slice()), (SHIPPED.len(), &["mine".to_owned()][..]));
        let sessions = read.good.iter().find(|definition| definition.name == "sessions").expect("there");
        assert_eq!(sessions.body, "select 1 as one");
        let missing = Library { dir: dir.path().join("nowhere"), with_shipped: false };
        assert_eq!((missing.read().good.len(), missing.read().problems.len()), (0, 0));
    }
}
