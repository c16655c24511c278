//! HTTP for the bucket, as for everything else.

use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector};

use crate::outbound;

/// One part at 100 kB a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// See the module.
#[derive(Debug)]
pub struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let generic = |source| object_store::Error::Generic { store: "S3", source };
        let client = outbound::client(REQUEST_TIMEOUT).map_err(generic)?.build();
        Ok(HttpClient::new(client.map_err(|error| generic(Box::new(error)))?))
    }
}
