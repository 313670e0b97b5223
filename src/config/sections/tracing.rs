//! `[tracing]`

use crate::config::reader::Section;
use crate::config::settings::Tracing;

pub(super) fn tracing(root: &mut Section<'_>) -> Tracing {
    let mut s = root.section("tracing");
    let sample = s.fraction(
        "sample",
        "0.05",
        "The share of the traces beginning here that are marked as sampled: apps that follow their caller record \
         these. The traces of `server.trusted_proxies` are continued as they come.",
    );
    s.finish();
    Tracing { sample }
}
