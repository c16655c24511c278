//! The collector against a real PostgreSQL, over real sockets. Run by `make test`.

mod support;

mod accounting;
mod admin;
mod answers;
mod crash;
mod duplicates;
mod events;
mod flood;
mod geo;
mod hostile;
mod keys;
mod limits;
mod outage;
mod partitions;
mod pooling;
mod quarantine;
mod rates;
mod roundtrip;
mod tls;
mod up;
mod visitors;
