//! The collector against a real PostgreSQL, over real sockets. Run by `make test`.

mod support;

mod accounting;
mod answers;
mod crash;
mod duplicates;
mod durability;
mod events;
mod geo;
mod keys;
mod limits;
mod outage;
mod partitions;
mod pooling;
mod quarantine;
mod roundtrip;
mod tls;
mod up;
mod visitors;
