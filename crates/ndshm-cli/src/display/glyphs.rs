//! A font of dots for the numbers and names in PNG pictures, so that no font has to be installed.

/// Dots per character, and the size of a dot in pixels.
const COLUMNS: i32 = 3;
const ROWS: i32 = 5;
pub(crate) const DOT: i32 = 2;
/// The distance from one character to the next, in pixels.
const ADVANCE: i32 = (COLUMNS + 1) * DOT;

/// Rows of three dots, the upper left one first; small letters look like capital ones.
const GLYPHS: [(char, u16); 50] = [
    ('0', 0b111_101_101_101_111),
    ('1', 0b010_110_010_010_111),
    ('2', 0b111_001_111_100_111),
    ('3', 0b111_001_111_001_111),
    ('4', 0b101_101_111_001_001),
    ('5', 0b111_100_111_001_111),
    ('6', 0b111_100_111_101_111),
    ('7', 0b111_001_001_010_010),
    ('8', 0b111_101_111_101_111),
    ('9', 0b111_101_111_001_111),
    ('A', 0b010_101_111_101_101),
    ('B', 0b110_101_110_101_110),
    ('C', 0b011_100_100_100_011),
    ('D', 0b110_101_101_101_110),
    ('E', 0b111_100_110_100_111),
    ('F', 0b111_100_110_100_100),
    ('G', 0b011_100_101_101_011),
    ('H', 0b101_101_111_101_101),
    ('I', 0b111_010_010_010_111),
    ('J', 0b001_001_001_101_010),
    ('K', 0b101_101_110_101_101),
    ('L', 0b100_100_100_100_111),
    ('M', 0b101_111_111_101_101),
    ('N', 0b110_101_101_101_101),
    ('O', 0b010_101_101_101_010),
    ('P', 0b110_101_110_100_100),
    ('Q', 0b010_101_101_110_011),
    ('R', 0b110_101_110_101_101),
    ('S', 0b011_100_010_001_110),
    ('T', 0b111_010_010_010_010),
    ('U', 0b101_101_101_101_111),
    ('V', 0b101_101_101_101_010),
    ('W', 0b101_101_111_111_101),
    ('X', 0b101_101_010_101_101),
    ('Y', 0b101_101_010_010_010),
    ('Z', 0b111_001_010_100_111),
    ('.', 0b000_000_000_000_010),
    (',', 0b000_000_000_010_100),
    (':', 0b000_010_000_010_000),
    ('-', 0b000_000_111_000_000),
    ('+', 0b000_010_111_010_000),
    ('_', 0b000_000_000_000_111),
    ('/', 0b001_001_010_100_100),
    ('[', 0b110_100_100_100_110),
    (']', 0b011_001_001_001_011),
    ('(', 0b001_010_010_010_001),
    (')', 0b100_010_010_010_100),
    ('=', 0b000_111_000_111_000),
    ('%', 0b101_001_010_100_101),
    (' ', 0),
];

/// The glyph of any other character.
const UNKNOWN: u16 = 0b111_111_111_111_111;

/// Width of a text in pixels.
pub(crate) fn width(text: &str) -> i32 {
    text.chars().count() as i32 * ADVANCE
}

/// The upper left corners of a text's dots.
pub(crate) fn dots(text: &str) -> impl Iterator<Item = (i32, i32)> + '_ {
    text.chars().enumerate().flat_map(|(index, character)| {
        let wanted = character.to_ascii_uppercase();
        let glyph = GLYPHS
            .iter()
            .find(|(known, _)| *known == wanted)
            .map_or(UNKNOWN, |(_, glyph)| *glyph);
        let is_set = move |at: i32| glyph >> (ROWS * COLUMNS - 1 - at) & 1 == 1;
        (0..ROWS * COLUMNS)
            .filter(move |at| is_set(*at))
            .map(move |at| {
                (
                    index as i32 * ADVANCE + at % COLUMNS * DOT,
                    at / COLUMNS * DOT,
                )
            })
    })
}
