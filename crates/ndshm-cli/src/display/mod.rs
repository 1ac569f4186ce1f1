//! Elements, pictures, numbers and words for the terminal.

pub(crate) mod bar;
pub(crate) mod draw;
pub(crate) mod glyphs;
pub(crate) mod preview;
pub(crate) mod screen;
pub(crate) mod text;
