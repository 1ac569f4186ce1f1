//! A command line up to the cursor, as a shell splits it.

/// The words of the last command of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The words before the last one, without quotes.
    pub(super) before: Vec<String>,
    /// The word that is completed, without quotes.
    pub(super) current: String,
    /// The quote that is open in it.
    quote: Option<char>,
}

impl Line {
    /// The words that a shell has split and unquoted.
    pub(super) fn of_words(mut words: Vec<String>) -> Self {
        let current = words.pop().unwrap_or_default();
        Self {
            before: words,
            current,
            quote: None,
        }
    }

    /// Splits a line as bash does, as far as it matters here: quotes, backslashes, the ends of
    /// commands, and assignments before a command.
    pub(super) fn parse(text: &str) -> Self {
        let mut line = Self::default();
        let mut has_word = false;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (line.quote, c) {
                (Some(quote), c) if c == quote => line.quote = None,
                (None, '\'' | '"') => (line.quote, has_word) = (Some(c), true),
                (None | Some('"'), '\\') => {
                    has_word = true;
                    line.current.extend(chars.next());
                }
                (None, ' ' | '\t') => {
                    if has_word {
                        let word = std::mem::take(&mut line.current);
                        line.before.push(word);
                    }
                    has_word = false;
                }
                (None, ';' | '|' | '&' | '(' | '\n') => {
                    line = Self::default();
                    has_word = false;
                }
                (_, c) => {
                    has_word = true;
                    line.current.push(c);
                }
            }
        }
        let assignments = line.before.iter().take_while(|word| word.contains('='));
        let assignments = assignments.count();
        line.before.drain(..assignments);
        line
    }

    /// A candidate as bash inserts it, in the place of the word behind the last break.
    pub(super) fn in_bash(&self, candidate: &str, breaks: &str) -> String {
        match self.quote {
            Some('\'') => candidate.replace('\'', r"'\''"),
            Some(_) => escaped(candidate, |c| "\"\\$`".contains(c)),
            None => {
                // Readline takes what stands before a colon, say, for another word.
                let is_break = |c: char| breaks.contains(c) && !c.is_whitespace();
                let start = self.current.rfind(is_break).map_or(0, |at| {
                    at + self.current[at..].chars().next().map_or(0, char::len_utf8)
                });
                let rest = candidate.get(start..).unwrap_or(candidate);
                escaped(rest, |c| !c.is_alphanumeric() && !"-_./:,=+@%^".contains(c))
            }
        }
    }
}

fn escaped(text: &str, is_special: impl Fn(char) -> bool) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if is_special(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
