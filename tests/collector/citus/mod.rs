//! Events distributed by Citus: docs/citus.md. `rules` runs everywhere.

mod texts;
