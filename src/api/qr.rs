//! QR codes, as pictures a page can show without loading anything.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Encoder};
use qrcode::{Color, QrCode};

/// Pixels of one module, and modules of silence around the code (ISO/IEC 18004).
const SCALE: usize = 5;
const QUIET: usize = 4;

/// A PNG of this text as a `data:` URL; empty for a text longer than a code can hold.
#[must_use]
pub(super) fn data_url(text: &str) -> String {
    png(text).map_or_else(String::new, |png| format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

fn png(text: &str) -> Option<Vec<u8>> {
    let code = QrCode::new(text.as_bytes()).ok()?;
    let side = (code.width() + 2 * QUIET) * SCALE;
    let is_dark = |x: usize, y: usize| {
        let module = |pixel: usize| (pixel / SCALE).checked_sub(QUIET).filter(|module| *module < code.width());
        module(x).zip(module(y)).is_some_and(|at| code[at] == Color::Dark)
    };
    let pixels: Vec<u8> = (0..side)
        .flat_map(|y| (0..side).map(move |x| (x, y)))
        .map(|(x, y)| if is_dark(x, y) { 0 } else { 255 })
        .collect();
    let size = u32::try_from(side).ok()?;
    let mut png = Vec::new();
    let mut encoder = Encoder::new(&mut png, size, size);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header().ok()?.write_image_data(&pixels).ok()?;
    Some(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_png_and_too_long_a_text_none() {
        let url = data_url("otpauth://totp/nauth:ada%40example.com?secret=JBSWY3DPEHPK3PXP");
        let png = STANDARD.decode(url.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(png));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width, info.height);
        // The corner is silence, and the finder pattern behind it begins dark.
        let at = |module: usize| pixels[(module * SCALE) * info.width as usize + module * SCALE];
        assert_eq!((at(0), at(QUIET - 1), at(QUIET)), (255, 255, 0));
        assert_eq!(data_url(&"x".repeat(5000)), "");
    }
}
