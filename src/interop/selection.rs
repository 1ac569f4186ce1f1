//! Which arrays of a file of several arrays an import takes, and which it leaves.
#![cfg_attr(
    not(any(feature = "zip", feature = "safetensors")),
    allow(dead_code, reason = "no format with several arrays")
)]

use super::failure::Failure;

/// The caller's choice.
#[derive(Clone, Default)]
pub(super) struct Selection {
    /// Keys, or patterns of keys; without any, all keys.
    pub(super) only: Vec<String>,
    /// Whether arrays that cannot be taken are left, instead of an error.
    pub(super) skips: bool,
}

/// An array of a file that an import left, because it cannot be an array here.
///
/// # Examples
///
/// See [`Import::skip_unsupported`](crate::Import::skip_unsupported).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// The key, or the name of an entry that is no array.
    pub key: String,
    /// Why it cannot be taken.
    pub reason: String,
}

impl Left {
    pub(super) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl Selection {
    pub(super) fn takes(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| matches(pattern, key))
    }

    /// Fails if a pattern has no key, or if `left` is not empty and the caller did not ask to leave
    /// anything. The error has all reasons.
    pub(super) fn check<'k>(
        &self,
        keys: impl Iterator<Item = &'k str> + Clone,
        left: &[Left],
    ) -> Result<(), Failure> {
        let has_key = |pattern: &&String| keys.clone().any(|key| matches(pattern, key));
        if let Some(pattern) = self.only.iter().find(|pattern| !has_key(pattern)) {
            let keys: Vec<_> = keys.map(|key| format!("{key:?}")).collect();
            return Err(format!("no key is {pattern:?}: the keys are {}", keys.join(", ")).into());
        }
        if left.is_empty() || self.skips {
            return Ok(());
        }
        let reasons: Vec<_> = left
            .iter()
            .map(|Left { key, reason }| format!("{key:?}: {reason}"))
            .collect();
        Err(format!(
            "{}; leave them with the setting skip_unsupported, or choose others with the setting \
             only",
            reasons.join("; ")
        )
        .into())
    }
}

/// Whether a key is the pattern, or matches it as file names match in a shell: `*`, `?`, `[a-z]`,
/// `[!a-z]`. A slash is a character like others.
fn matches(pattern: &str, key: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), key.chars().collect());
    // Where to go on if a character does not match: behind the last star, one character later.
    let (mut p, mut t, mut again) = (0, 0, None);
    while t < text.len() {
        match step(&pattern[p..], text[t]) {
            Step::Star => {
                again = Some((p + 1, t));
                p += 1;
            }
            Step::Over(len) => (p, t) = (p + len, t + 1),
            Step::Fails => match again {
                Some((behind, from)) => {
                    again = Some((behind, from + 1));
                    (p, t) = (behind, from + 1);
                }
                None => return pattern == text,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*') || pattern == text
}

enum Step {
    Star,
    /// The character matches this many characters of the pattern.
    Over(usize),
    Fails,
}

impl Step {
    /// Over so much of the pattern, if it matches.
    fn over(len: usize, matches: bool) -> Self {
        match matches {
            true => Self::Over(len),
            false => Self::Fails,
        }
    }
}

fn step(pattern: &[char], character: char) -> Step {
    match pattern {
        ['*', ..] => Step::Star,
        ['?', ..] => Step::Over(1),
        ['[', set @ ..] => {
            let is_negated = set.first() == Some(&'!');
            let start = usize::from(is_negated);
            // A bracket that comes first is a member of the set.
            let close = set.iter().skip(start + 1).position(|&c| c == ']');
            let Some(close) = close.map(|at| at + start + 1) else {
                return Step::over(1, character == '[');
            };
            let is_in_set = has(&set[start..close], character);
            Step::over(close + 2, is_in_set != is_negated)
        }
        [same, ..] => Step::over(1, *same == character),
        [] => Step::Fails,
    }
}

fn has(set: &[char], character: char) -> bool {
    match set {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&character) || has(rest, character),
        [one, rest @ ..] => *one == character || has(rest, character),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_keys_as_a_shell_matches_names() {
        for (pattern, key, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("*", "a/b", true),
            ("layer.*.weight", "layer.12.weight", true),
            ("layer.*.weight", "layer.12.bias", false),
            ("*a*b", "aab", true),
            ("*a*b", "aabc", false),
            ("?", "é", true),
            ("x[0-9]", "x7", true),
            ("x[!0-9]", "x7", false),
            ("x[]]", "x]", true),
            ("x[", "x[", true),
            ("w[0]", "w[0]", true),
            ("w[0]", "w0", true),
            ("**a", "bba", true),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
        // No pattern takes longer than the product of the lengths.
        assert!(!matches(&"*a".repeat(1000), &"a".repeat(900)));
    }

    #[test]
    fn the_error_has_every_reason_and_names_the_way_on() {
        let left = [Left::new("x", "no"), Left::new("y", "never")];
        let mut selection = Selection::default();
        let Err(Failure::Format(reason)) = selection.check(["x", "y"].into_iter(), &left) else {
            panic!("refused");
        };
        assert!(reason.contains(r#""x": no; "y": never"#), "{reason}");
        selection.skips = true;
        assert!(selection.check(["x", "y"].into_iter(), &left).is_ok());
        selection.only = vec!["z*".into()];
        assert!(selection.check(["x", "y"].into_iter(), &[]).is_err());
    }
}
