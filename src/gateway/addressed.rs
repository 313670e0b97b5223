//! The Host that the requests of a connection name, and what follows from it.
//!
//! Clients rarely ask for another one on the same connection. So the last is kept beside the bytes that named
//! it, and only what differs is read, admitted and written out again.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::api::client::Forwarding;
use crate::domain::error::Error;
use crate::gateway::canonical::Host;
use crate::gateway::conn::Conn;
use crate::gateway::runtime::Runtime;

/// A Host that is served.
#[derive(Debug)]
pub struct Addressed {
    /// How it was written: a copy, for a header's value holds on to the whole head it came in.
    raw: Box<[u8]>,
    /// The rules that admitted it.
    generation: u64,
    scheme: &'static str,
    /// How it is compared.
    pub host: Arc<Host>,
    /// `scheme://host[:port]` as the client addressed us.
    pub origin: String,
    /// What upstreams are told of a client that no trusted proxy speaks for.
    pub forwarding: Option<Forwarding>,
}

impl Addressed {
    /// Reads and admits the Host of a request on `conn`, whose client speaks `scheme`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when there is not exactly one well-formed Host, [`Error::Misdirected`] when it is
    /// not served here.
    pub fn read(headers: &HeaderMap, scheme: &'static str, conn: &Conn, runtime: &Runtime) -> Result<Arc<Self>, Error> {
        let mut values = headers.get_all(header::HOST).iter();
        if let (Some(only), None) = (values.next(), values.next())
            && let Some(known) = conn.addressed()
            && known.is(only, scheme, runtime)
        {
            return Ok(known);
        }
        let host = Host::from_values(headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes))?;
        runtime.policy.admit(&host)?;
        let read = Arc::new(Self {
            raw: headers.get(header::HOST).map_or_else(Box::default, |host| host.as_bytes().into()),
            generation: runtime.generation,
            scheme,
            origin: [scheme, "://", host.authority()].concat(),
            forwarding: Forwarding::new(conn.peer().ip(), scheme, host.authority()),
            host: Arc::new(host),
        });
        conn.set_addressed(Arc::clone(&read));
        Ok(read)
    }

    fn is(&self, raw: &HeaderValue, scheme: &str, runtime: &Runtime) -> bool {
        *self.raw == *raw.as_bytes() && self.generation == runtime.generation && self.scheme == scheme
    }
}
