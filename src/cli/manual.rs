//! What a package holds beside the program: manual pages, and completions for shells. Both are made from the command line's own
//! definition.

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Prints the completions of one shell.
pub fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut io::stdout());
}

/// Writes a page for each command.
pub fn pages(dir: &Path) -> anyhow::Result<()> {
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.with_context(|| dir.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().expect("a directory");
        pages(dir.path()).expect("written");
        for command in Cli::command().get_subcommands() {
            let page = dir.path().join(format!("weir-{}.1", command.get_name()));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(text.contains(".TH"), "{}", page.display());
        }
        let page = std::fs::read_to_string(dir.path().join("weir.1")).expect("a page");
        assert!(page.contains(r"weir\-serve(1)"), "{page}");
    }
}
