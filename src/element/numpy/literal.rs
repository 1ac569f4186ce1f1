//! Literals of Python, as they stand in the headers of `.npy` files and in the attribute
//! `numpy.dtype`: texts, integers, booleans, tuples, lists, dictionaries.
//!
//! Nothing is evaluated. NumPy's scalars in the form of its `repr`, `np.int64(2)`, are the numbers
//! in their parentheses. Anything else is refused, and so is a literal that is nested too deep.

use std::str::Chars;

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 40;
const UNFINISHED_TEXT: &str = "its header ends within a text";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Integer(u64),
    Bool(bool),
    None,
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dictionary(Vec<(Literal, Literal)>),
}

/// Reads a text of one literal with white space around it.
pub(crate) fn parse(text: &str) -> Result<Literal, String> {
    let mut parser = Parser { rest: text };
    let literal = parser.literal(0)?;
    parser.skip_space();
    if parser.rest.is_empty() {
        Ok(literal)
    } else {
        Err(parser.unexpected())
    }
}

/// A text as a literal that Python reads.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\'' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted += &format!("\\u{:04x}", character as u32),
            _ => quoted.push(character),
        }
    }
    quoted.push('\'');
    quoted
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn unexpected(&self) -> String {
        match self.rest.chars().next() {
            Some(found) => format!("its header has an unexpected {found:?}"),
            None => "its header ends within a value".into(),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// Consumes a character if it is the next one after white space.
    fn take(&mut self, character: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, String> {
        if depth > MAX_DEPTH {
            return Err(format!("its header is nested deeper than {MAX_DEPTH}"));
        }
        self.skip_space();
        let rest = self.rest;
        for (word, literal) in [
            ("True", Literal::Bool(true)),
            ("False", Literal::Bool(false)),
            ("None", Literal::None),
        ] {
            if let Some(rest) = rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(literal);
            }
        }
        if self.take('(') {
            let (mut items, has_comma) = self.items(')', depth)?;
            return Ok(match items.pop() {
                // Parentheses around one value make no tuple.
                Some(item) if items.is_empty() && !has_comma => item,
                last => Literal::Tuple(items.into_iter().chain(last).collect()),
            });
        }
        if self.take('[') {
            return Ok(Literal::List(self.items(']', depth)?.0));
        }
        if self.take('{') {
            return self.dictionary(depth);
        }
        if let Some(rest) = rest.strip_prefix("np.").or(rest.strip_prefix("numpy.")) {
            self.rest = rest;
            return self.scalar_of_numpy();
        }
        // Python 2 wrote this prefix.
        let unprefixed = rest.strip_prefix('u').unwrap_or(rest);
        match unprefixed.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                self.rest = &unprefixed[1..];
                self.text(quote).map(Literal::Text)
            }
            Some('0'..='9') => self.integer().map(Literal::Integer),
            _ => Err(self.unexpected()),
        }
    }

    /// A number or boolean as NumPy 2 writes its scalars, after the name of the module:
    /// `int64(2)`, `True_`.
    fn scalar_of_numpy(&mut self) -> Result<Literal, String> {
        let unexpected = self.unexpected();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match name {
            "True_" => return Ok(Literal::Bool(true)),
            "False_" => return Ok(Literal::Bool(false)),
            "bool" | "bool_" if self.take('(') => {}
            _ if (name.contains("int") || name == "longlong") && self.take('(') => {
                self.skip_space();
                let number = self.integer().map(Literal::Integer)?;
                return self.closed(number);
            }
            _ => return Err(unexpected),
        }
        match self.take_word("True") {
            true => self.closed(Literal::Bool(true)),
            false if self.take_word("False") => self.closed(Literal::Bool(false)),
            false => Err(unexpected),
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn closed(&mut self, literal: Literal) -> Result<Literal, String> {
        match self.take(')') {
            true => Ok(literal),
            false => Err(self.unexpected()),
        }
    }

    /// The items up to the closing bracket, and whether a comma follows the last one.
    fn items(&mut self, close: char, depth: usize) -> Result<(Vec<Literal>, bool), String> {
        let (mut items, mut has_comma) = (Vec::new(), true);
        loop {
            if self.take(close) {
                return Ok((items, has_comma));
            }
            if !has_comma {
                self.skip_space();
                return Err(self.unexpected());
            }
            items.push(self.literal(depth + 1)?);
            has_comma = self.take(',');
        }
    }

    fn dictionary(&mut self, depth: usize) -> Result<Literal, String> {
        let (mut entries, mut has_comma) = (Vec::new(), true);
        loop {
            if self.take('}') {
                return Ok(Literal::Dictionary(entries));
            }
            if !has_comma {
                self.skip_space();
                return Err(self.unexpected());
            }
            let key = self.literal(depth + 1)?;
            if !self.take(':') {
                return Err(self.unexpected());
            }
            entries.push((key, self.literal(depth + 1)?));
            has_comma = self.take(',');
        }
    }

    fn integer(&mut self) -> Result<u64, String> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.unexpected());
        }
        let (digits, rest) = self.rest.split_at(end);
        // Python 2 wrote long integers with this suffix.
        self.rest = rest.strip_prefix('L').unwrap_or(rest);
        digits.parse().map_err(|_| {
            format!(
                "its header has the number {}, which is too large",
                &digits[..end.min(40)]
            )
        })
    }

    fn text(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.chars();
        loop {
            match characters.next().ok_or(UNFINISHED_TEXT)? {
                character if character == quote => {
                    self.rest = characters.as_str();
                    return Ok(text);
                }
                '\\' => text.push(escaped(&mut characters)?),
                character => text.push(character),
            }
        }
    }
}

/// The character that an escape stands for; the backslash is read already.
fn escaped(characters: &mut Chars<'_>) -> Result<char, String> {
    let digits = match characters.next().ok_or(UNFINISHED_TEXT)? {
        same @ ('\\' | '\'' | '"') => return Ok(same),
        'n' => return Ok('\n'),
        'r' => return Ok('\r'),
        't' => return Ok('\t'),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        other => {
            return Err(format!(
                "its header has the escape \\{other} in a text, which is not supported"
            ));
        }
    };
    let number: String = characters.by_ref().take(digits).collect();
    // The parser of integers takes a sign too.
    let is_number = number.len() == digits && number.bytes().all(|digit| digit.is_ascii_hexdigit());
    let code = u32::from_str_radix(&number, 16).ok().filter(|_| is_number);
    let character = code.and_then(char::from_u32);
    Ok(character.ok_or("its header has an escape in a text that is not a character")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Literal {
        Literal::Text(text.into())
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        use Literal::*;
        let cases = [
            (
                "{'a': (3,), }",
                Dictionary(vec![(text("a"), Tuple(vec![Integer(3)]))]),
            ),
            ("(3)", Integer(3)),
            (
                "(np.int64(2), numpy.uint8( 3 ))",
                Tuple(vec![Integer(2), Integer(3)]),
            ),
            (
                "[np.False_, np.bool(True)]",
                List(vec![Bool(false), Bool(true)]),
            ),
            ("()", Tuple(vec![])),
            ("(2, 3)", Tuple(vec![Integer(2), Integer(3)])),
            (
                "[('x', \"<f8\"), (u'y', '|u1', (2L,))]\n",
                List(vec![
                    Tuple(vec![text("x"), text("<f8")]),
                    Tuple(vec![text("y"), text("|u1"), Tuple(vec![Integer(2)])]),
                ]),
            ),
            (
                "[True, False, None]",
                List(vec![Bool(true), Bool(false), None]),
            ),
            (r"'a\'b\\\x41\u00e9'", text("a'b\\Aé")),
        ];
        for (source, expected) in cases {
            assert_eq!(parse(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let many = "np.bool(".repeat(100_000);
        let deep = "(".repeat(100_000);
        for source in [
            "",
            "{",
            "{'a'}",
            "{'a': }",
            "(,)",
            "[1 2]",
            "[1,,2]",
            "-1",
            "1.5",
            "x",
            "'a",
            "'\\",
            "'\\q'",
            "'\\x4'",
            "'\\ud800'",
            "1 2",
            "{'a': 1 'b': 2}",
            "99999999999999999999999",
            "__import__('os')",
            "np.int64()",
            "np.int64(2",
            "np.int64(x)",
            "np.load(2)",
            "np.bool(2)",
            "np.bool()",
            &many,
            "np.bool(np.bool(True))",
            "np.int64(np.int64(2))",
            "b'x'",
            "1+1",
            &deep,
        ] {
            assert!(parse(source).is_err(), "{source:.40}");
        }
    }

    #[test]
    fn quoted_texts_are_read_back() {
        for case in [
            "",
            "x",
            "it's",
            "back\\slash",
            "é",
            "\n\u{7f}\t",
            "\"",
            "日本",
        ] {
            assert_eq!(parse(&quoted(case)), Ok(text(case)));
        }
    }
}
