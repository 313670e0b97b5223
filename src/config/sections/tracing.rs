//! `[tracing]`

use url::Url;

use crate::config::reader::Section;
use crate::config::settings::Tracing;

/// Where OTLP takes spans, below the address of a collector.
const SPANS: &str = "v1/traces";

pub(super) fn tracing(root: &mut Section<'_>) -> Tracing {
    let mut s = root.section("tracing");
    let doc = "Where an OpenTelemetry collector takes OTLP over HTTP, such as `http://127.0.0.1:4318`: every sampled \
               request leaves a span there. Empty means none. Needs a nauth built with the feature `otel`.";
    let endpoint = s.optional("otlp_endpoint", doc);
    let collector =
        endpoint.and_then(|text| collector(&text).map_err(|(what, hint)| s.error("otlp_endpoint", what, hint)).ok());
    let sample = s.fraction(
        "sample",
        "0.05",
        "The share of the traces beginning here that are marked as sampled: apps that follow their caller record \
         these. The traces of `server.trusted_proxies` are continued as they come.",
    );
    s.finish();
    Tracing { collector, sample }
}

fn collector(text: &str) -> Result<Url, (String, &'static str)> {
    if !cfg!(feature = "otel") {
        return Err((
            "this nauth was built without `otel`".to_owned(),
            "build it with: cargo build --release --features otel",
        ));
    }
    let hint = "write otlp_endpoint = \"http://127.0.0.1:4318\"";
    let url = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let mut url = url.ok_or((format!("`{text}` is not a URL"), hint))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(("`otlp_endpoint` has an address and a path, and nothing else".to_owned(), hint));
    }
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{SPANS}"));
    Ok(url)
}
