//! Who may come in: people with their own PostgreSQL role and password.

pub mod account;
pub mod guard;
pub mod session;
pub mod sign_in;
pub mod standing;
pub mod throttle;
