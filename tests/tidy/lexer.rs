//! Just enough of Rust's lexical grammar: which bytes are code, which paths the code names, which
//! lines are for tests only, where functions start and end.

/// The source with comments and the inside of string and character literals replaced by spaces;
/// line ends stay, so that line numbers and columns hold.
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (keep_front, len, keep_back) = match literal(rest, out.last().copied()) {
            Some(found) => found,
            None => {
                out.push(rest[0]);
                at += 1;
                continue;
            }
        };
        for (index, byte) in rest[..len].iter().enumerate() {
            let keep = *byte == b'\n' || index < keep_front || index >= len - keep_back;
            out.push(if keep { *byte } else { b' ' });
        }
        at += len;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Length of the comment or literal at the start of `rest`, with how many bytes of its front and
/// back are delimiters to keep.
fn literal(rest: &[u8], before: Option<u8>) -> Option<(usize, usize, usize)> {
    if rest.starts_with(b"//") {
        let len = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        return Some((0, len, 0));
    }
    if rest.starts_with(b"/*") {
        return Some((0, block_comment(rest), 0));
    }
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if let Some(found) = raw_string(rest).filter(|_| !in_word) {
        return Some(found);
    }
    match rest[0] {
        b'"' => Some((1, quoted(rest, b'"'), 1)),
        b'\'' if is_char(rest) => Some((1, quoted(rest, b'\''), 1)),
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at.min(rest.len())
}

fn raw_string(rest: &[u8]) -> Option<(usize, usize, usize)> {
    let prefix = [&b"r"[..], b"br", b"cr"]
        .into_iter()
        .find(|p| rest.starts_with(p))?
        .len();
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let front = prefix + hashes + 1;
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = rest[front..].windows(end.len()).position(|w| w == end);
    let len = body.map_or(rest.len(), |body| front + body + end.len());
    Some((front, len, end.len().min(len - front)))
}

/// Length of a literal that ends at the next unescaped `end`.
fn quoted(rest: &[u8], end: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != end {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// True for a character literal, false for a lifetime.
fn is_char(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(first) => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            rest.get(1 + width) == Some(&b'\'')
        }
        None => false,
    }
}

/// For each line, whether it lies in an item under `#[cfg(test)]`.
pub fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count() + 1];
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start + "#[cfg(test)]".len());
        let (first, last) = (line_of(code, start), line_of(code, end));
        lines[first - 1..last].fill(true);
        from = end;
    }
    lines
}

/// Where the item that starts at or after `from` ends: its `;`, or the `}` of its body.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0usize;
    for (index, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index;
                }
            }
            b';' if depth == 0 => return index,
            _ => {}
        }
    }
    code.len()
}

/// The line number, from 1, of a byte offset.
pub fn line_of(code: &str, offset: usize) -> usize {
    code.as_bytes()[..offset.min(code.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
        + 1
}

/// Every function with a body: its name, first line and last line.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (offset, word) in words(code) {
        let after = code[offset + word.len()..].trim_start();
        let name: String = after
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if word == "fn" && !name.is_empty() {
            let end = item_end(code, offset);
            if code.as_bytes().get(end) == Some(&b'}') {
                found.push((name, line_of(code, offset), line_of(code, end)));
            }
        }
    }
    found
}

/// Every word (identifier or keyword) with its byte offset.
pub fn words(code: &str) -> Vec<(usize, &str)> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|b| is_word(**b)).count();
        if len > 0 {
            found.push((at, &code[at..at + len]));
        }
        at += len.max(1);
    }
    found
}

/// Every path of two or more segments with its line; the trees of `use` are spelled out.
pub fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_word(tokens[at].1) {
            at = path(&tokens, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads a path at `at`, with its `{…}` tree if it has one; returns the index after it.
fn path<'a>(
    tokens: &[(usize, &'a str)],
    mut at: usize,
    prefix: &mut Vec<&'a str>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = prefix.len();
    let line = tokens[at].0;
    loop {
        match tokens.get(at).map(|t| t.1) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.1 != "}") {
                    at = path(tokens, at, prefix, found);
                    // What is left of the entry: `as name`, or a `*`.
                    while tokens.get(at).is_some_and(|t| t.1 != "," && t.1 != "}") {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at).is_some_and(|t| t.1 == ","));
                }
                prefix.truncate(depth);
                return at + 1;
            }
            Some(word) if is_word(word) => prefix.push(word),
            _ => break,
        }
        at += 1;
        if tokens.get(at).map(|t| t.1) != Some("::") {
            break;
        }
        at += 1;
    }
    if prefix.len() > 1 {
        found.push((line, prefix.iter().map(|s| (*s).to_owned()).collect()));
    }
    prefix.truncate(depth);
    at
}

/// Words, `::`, and every other byte that is not blank, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = code[at..].chars().next() {
        let word = code[at..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let len = match word.count() {
            0 if code[at..].starts_with("::") => 2,
            0 => first.len_utf8(),
            len => len,
        };
        if !first.is_whitespace() {
            found.push((line, &code[at..at + len]));
        }
        line += usize::from(first == '\n');
        at += len;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        let source = "a(\"x // y\", 'z', '\\'', r#\"q\"q\"#); // c\n/* d /* e */ f */ b::<'l>()";
        let code = blank(source);
        assert_eq!(code.len(), source.len());
        let squeezed = code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed, "a(\" \", ' ', ' ', r#\" \"#); b::<'l>()");
    }

    #[test]
    fn use_trees_are_spelled_out() {
        let found = paths("use crate::{a::b, c, d::{e, f as g}};\nlet x = std::fs::read(y);");
        let joined: Vec<String> = found
            .iter()
            .map(|(l, p)| format!("{l} {}", p.join("::")))
            .collect();
        assert_eq!(
            joined,
            [
                "1 crate::a::b",
                "1 crate::c",
                "1 crate::d::e",
                "1 crate::d::f",
                "2 std::fs::read"
            ]
        );
    }

    #[test]
    fn lines_of_tests_are_known() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n";
        assert_eq!(
            test_lines(code),
            [false, true, true, true, true, false, false]
        );
    }

    #[test]
    fn functions_are_measured() {
        let code = "fn a(x: [u8; 3]) -> u8 {\n x\n}\ntrait T { fn b();\n}\n";
        assert_eq!(functions(code), [("a".to_owned(), 1, 3)]);
    }
}
