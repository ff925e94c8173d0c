//! QR codes in a terminal, so that a phone can open the address of a device sign-in.
//!
//! Invariant: the output is a rectangle, light edge included, that fits a terminal of 80 columns,
//! or there is none.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code; scanners want four.
const EDGE: i32 = 4;
/// The widest code that is drawn, edge included, in columns.
pub const MAX_COLUMNS: i32 = 80;

/// Black on white, whatever the colours of the terminal.
const COLOURS: &str = "\u{1b}[30;107m";
const RESET: &str = "\u{1b}[0m";

/// The text as a QR code of half blocks, each line ended; `None` if it is too long for 80 columns.
///
/// With `colour` the code is black on white on every terminal. Without, light modules are drawn in
/// the text colour: right on a dark terminal, inverted on a light one, which today's phones read.
pub fn terminal(text: &str, colour: bool) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let end = code.size() + EDGE;
    if end + EDGE > MAX_COLUMNS {
        return None;
    }
    let mut out = String::new();
    for top in (-EDGE..end).step_by(2) {
        if colour {
            out.push_str(COLOURS);
        }
        for x in -EDGE..end {
            // A row below the last is as light as the edge.
            let (upper, lower) = (code.get_module(x, top), code.get_module(x, top + 1));
            // Drawn is what differs from the ground: dark with colours, light without.
            out.push(match (upper == colour, lower == colour) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        if colour {
            out.push_str(RESET);
        }
        out.push('\n');
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "https://idp.example/device?user_code=WDJB-MJHT";

    /// The text that a scanner reads from what a terminal shows.
    fn scan(drawn: &str, drawn_is_dark: bool) -> String {
        let rows: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let is_drawn = |x: usize, y: usize| match rows[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => !y.is_multiple_of(2),
            _ => false,
        };
        const SCALE: usize = 4;
        let (width, height) = (rows[0].len() * SCALE, rows.len() * 2 * SCALE);
        let grey = |x: usize, y: usize| {
            if is_drawn(x / SCALE, y / SCALE) == drawn_is_dark {
                0
            } else {
                255
            }
        };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_scanner_reads_what_is_drawn() {
        assert_eq!(scan(&terminal(ADDRESS, false).unwrap(), false), ADDRESS);
        let coloured = terminal(ADDRESS, true).unwrap();
        let plain = coloured.replace(COLOURS, "").replace(RESET, "");
        assert!(!plain.contains('\u{1b}'));
        assert_eq!(scan(&plain, true), ADDRESS);
        assert_eq!(coloured.matches(RESET).count(), coloured.lines().count());
    }

    #[test]
    fn it_fits_the_terminal_or_is_not_drawn() {
        // The largest code of at most 72 modules is version 13, which holds 425 bytes.
        let longest = terminal(&"a".repeat(425), false).unwrap();
        let widths: Vec<usize> = longest.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
        assert!(widths[0] <= 80);
        assert_eq!(terminal(&"a".repeat(426), false), None);
        assert_eq!(terminal(&"a".repeat(1 << 16), false), None);
    }
}
