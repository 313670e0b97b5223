//! A database in `MaxMind`'s format, written by its specification (version 2.0).

use std::net::IpAddr;

/// What stands between the tree and the data, and before the metadata.
const GAP: [u8; 16] = [0; 16];
const METADATA: &[u8] = b"\xab\xcd\xefMaxMind.com";
const BITS: u32 = 128;

/// Where an address is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) country: &'static str,
    pub(crate) city: Option<&'static str>,
    pub(crate) point: Option<(f64, f64)>,
}

/// The bytes of a database that knows these addresses, built at `build_epoch`.
pub(crate) fn mmdb(places: &[(&str, Place)], build_epoch: u64) -> Vec<u8> {
    let mut tree = vec![[Record::Nothing; 2]];
    let mut data = Vec::new();
    for (ip, place) in places {
        let ip = match ip.parse().unwrap() {
            // As ::a.b.c.d, where readers look for them.
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        insert(&mut tree, ip, data.len());
        data.extend(record(place));
    }
    let count = u32::try_from(tree.len()).unwrap();
    let mut file = Vec::new();
    for record in tree.iter().flatten() {
        let value = match record {
            Record::Nothing => count,
            Record::Node(node) => u32::try_from(*node).unwrap(),
            Record::Data(at) => count + 16 + u32::try_from(*at).unwrap(),
        };
        file.extend(value.to_be_bytes());
    }
    file.extend(GAP);
    file.extend(data);
    file.extend(METADATA);
    file.extend(metadata(count, build_epoch));
    file
}

#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

fn insert(tree: &mut Vec<[Record; 2]>, ip: u128, data: usize) {
    let mut node = 0;
    for depth in 0..BITS {
        let side = usize::from((ip >> (BITS - 1 - depth)) & 1 == 1);
        if depth == BITS - 1 {
            tree[node][side] = Record::Data(data);
        } else if let Record::Node(next) = tree[node][side] {
            node = next;
        } else {
            tree.push([Record::Nothing; 2]);
            tree[node][side] = Record::Node(tree.len() - 1);
            node = tree.len() - 1;
        }
    }
}

fn record(place: &Place) -> Vec<u8> {
    let mut pairs = vec![("country", map(&[("iso_code", text(place.country))]))];
    if let Some(city) = place.city {
        pairs.push(("city", map(&[("names", map(&[("en", text(city))]))])));
    }
    if let Some((latitude, longitude)) = place.point {
        pairs.push(("location", map(&[("latitude", double(latitude)), ("longitude", double(longitude))])));
    }
    map(&pairs)
}

fn metadata(nodes: u32, build_epoch: u64) -> Vec<u8> {
    map(&[
        ("node_count", uint32(nodes)),
        ("record_size", uint16(32)),
        ("ip_version", uint16(6)),
        ("database_type", text("GeoLite2-City")),
        ("languages", [vec![1, 4], text("en")].concat()),
        ("binary_format_major_version", uint16(2)),
        ("binary_format_minor_version", uint16(0)),
        ("build_epoch", [vec![8, 2], build_epoch.to_be_bytes().to_vec()].concat()),
        ("description", map(&[("en", text("a test"))])),
    ])
}

/// A control byte, with up to 28 of whatever it counts.
fn control(kind: u8, size: usize) -> u8 {
    assert!(size < 29);
    (kind << 5) | u8::try_from(size).unwrap()
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs_of = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
    std::iter::once(control(7, pairs.len())).chain(pairs_of).collect()
}

fn text(text: &str) -> Vec<u8> {
    [&[control(2, text.len())], text.as_bytes()].concat()
}

fn double(number: f64) -> Vec<u8> {
    [&[control(3, 8)][..], &number.to_be_bytes()].concat()
}

fn uint16(number: u16) -> Vec<u8> {
    [&[control(5, 2)][..], &number.to_be_bytes()].concat()
}

fn uint32(number: u32) -> Vec<u8> {
    [&[control(6, 4)][..], &number.to_be_bytes()].concat()
}
