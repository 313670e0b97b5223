//! `server.listen` and `[[server.listeners]]`

use crate::config::reader::Section;
use crate::config::sections::server::address;
use crate::config::settings::{Listener, Serves};

/// What is listened on when nothing is written.
const DEFAULT: &str = "127.0.0.1:8080";

/// The public listeners; never empty.
pub(super) fn listeners(server: &mut Section<'_>) -> Vec<Listener> {
    let doc = "Where the public listener binds: address and port. Short for one `[[server.listeners]]` with this \
               `addr` and nothing else.";
    let listen = Listener::plain(server.parsed("listen", DEFAULT, doc, address));
    let sections = server.sections("listeners");
    if sections.is_empty() {
        listener(server.absent("listeners"));
        return vec![listen];
    }
    if server.has("listen") {
        let message = "`server.listen` and `[[server.listeners]]` both say where to listen";
        server.error("listen", message, "move the address into `[[server.listeners]]`");
    }
    let mut listeners: Vec<Listener> = Vec::with_capacity(sections.len());
    for section in sections {
        let at = section.at();
        let listener = listener(section);
        if listeners.iter().any(|other| other.addr == listener.addr && other.addr.port() != 0) {
            let message = format!("there is another listener on {}", listener.addr);
            server.report_at(at, message, "choose another port");
        }
        listeners.push(listener);
    }
    if listeners.iter().all(|listener| listener.serves != Serves::Everything) {
        let message = "every listener redirects to https, and none serves anything";
        server.error("listeners", message, "add a listener without `redirect_https`");
    }
    listeners
}

fn listener(mut s: Section<'_>) -> Listener {
    let addr = s.parsed("addr", DEFAULT, "Where it binds: address and port.", address);
    if s.at().is_some() && !s.has("addr") {
        s.error("addr", "a listener needs an `addr`", "write addr = \"0.0.0.0:8080\"");
    }
    let doc = "Whether TLS is spoken, with the certificates of `[server.tls]`.";
    let tls = s.boolean("tls", false, doc);
    let doc = "Whether HTTP/2 is spoken beside HTTP/1.1. With `tls` clients choose (ALPN), and it is on unless written \
               otherwise; without, it is spoken with clients that begin with it (h2c with prior knowledge).";
    let http2 = s.boolean("http2", tls, doc);
    let doc = "Whether each connection begins with a PROXY header (version 1 or 2), as load balancers write it. The \
               address it names is the client's. With `server.trusted_proxies` set, only those may connect.";
    let proxy_protocol = s.boolean("proxy_protocol", false, doc);
    let doc = "Whether every request is answered with the way to the same address by https (308), and nothing else is \
               served.";
    let redirects = s.boolean("redirect_https", false, doc);
    if tls && redirects {
        let message = "a listener that speaks TLS has no other https to redirect to";
        s.error("redirect_https", message, "leave out `tls` or `redirect_https`");
    }
    s.finish();
    Listener {
        addr,
        tls,
        http2,
        proxy_protocol,
        serves: if redirects { Serves::HttpsElsewhere } else { Serves::Everything },
    }
}
