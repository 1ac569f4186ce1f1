//! The command line as a shell hands it over: words in quotes, and the marks of slices that the
//! shell took apart.

/// A word as a user types it in a shell: in quotes if the shell would read it otherwise.
pub(crate) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:,=+@%^".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The error of a command line whose slice was not in quotes, with the line that has them.
///
/// A shell splits `xs[0:10, ::2]` at the space, and replaces `xs[0:3]` by the names of the files
/// `xs0` and `xs3` if they exist. `is_array` says whether there is an array of a name.
pub(crate) fn unquoted_slice(
    words: &[String],
    is_file: impl Fn(&str) -> bool,
    is_array: impl Fn(&str) -> bool,
) -> Option<String> {
    // The words behind `--` are those of another program.
    let end = words.iter().position(|word| word == "--");
    let words = &words[..end.unwrap_or(words.len())];
    split_slice(words).or_else(|| replaced_slice(words, is_file, is_array))
}

fn split_slice(words: &[String]) -> Option<String> {
    let depth = |word: &str| {
        word.chars().fold(0_i32, |depth, c| match c {
            '[' => depth + 1,
            ']' => depth - 1,
            _ => depth,
        })
    };
    let first = words.iter().position(|word| depth(word) > 0)?;
    let length = (2..=words.len() - first)
        .find(|&length| depth(&words[first..first + length].concat()) == 0)?;
    let slice = words[first..first + length].join(" ");
    let line = line(&words[..first], &slice, &words[first + length..]);
    Some(format!(
        "{slice}: the shell has split it at the spaces: put it in quotes: {line}"
    ))
}

fn replaced_slice(
    words: &[String],
    is_file: impl Fn(&str) -> bool,
    is_array: impl Fn(&str) -> bool,
) -> Option<String> {
    // Brackets stand for one character in the pattern of a shell.
    let name = |word: &str| {
        let mut chars = word.chars();
        let last = chars.next_back()?;
        let name = chars.as_str().to_owned();
        (!word.contains('/') && is_file(word) && !is_array(word) && is_array(&name))
            .then_some((name, last))
    };
    let first = words.iter().position(|word| name(word).is_some())?;
    let (name_found, _) = name(&words[first])?;
    let files: Vec<_> = words[first..]
        .iter()
        .map_while(|word| name(word).filter(|(found, _)| *found == name_found))
        .collect();
    let slice = match &files[..] {
        [(_, only)] if only.is_ascii_digit() => format!("{name_found}[{only}]"),
        _ => format!("{name_found}[...]"),
    };
    let line = line(&words[..first], &slice, &words[first + files.len()..]);
    Some(format!(
        "{}: no such array: if you wrote a slice of {name_found}, the shell has replaced it by \
         the names of files that are here: put it in quotes: {line}",
        words[first]
    ))
}

/// The command line, in quotes where it needs them.
fn line(before: &[String], slice: &str, behind: &[String]) -> String {
    let before = before.iter().map(|word| quote(word));
    let behind = behind.iter().map(|word| quote(word));
    let words: Vec<_> = before.chain([quote(slice)]).chain(behind).collect();
    format!("ndshm {}", words.join(" "))
}
