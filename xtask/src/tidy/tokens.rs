//! Rust source as a flat list of words and marks with their lines, without comments and texts.

use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// A word, a single mark, an opening or closing bracket; a literal is the mark `"`.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// The tokens of one file.
pub(super) fn read(text: &str) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    flatten(TokenStream::from_str(text)?, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        let text = match tree {
            TokenTree::Group(group) => {
                let (open, close) = brackets(group.delimiter());
                let end = group.span_close().end().line;
                tokens.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.to_owned(), line: end });
                continue;
            }
            TokenTree::Ident(word) => word.to_string(),
            TokenTree::Punct(mark) => mark.as_char().to_string(),
            TokenTree::Literal(_) => "\"".to_owned(),
        };
        tokens.push(Token { text, line });
    }
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

/// Whether the tokens from `at` on read as `pattern`, words and marks parted by spaces.
pub(super) fn reads(tokens: &[Token], at: usize, pattern: &str) -> bool {
    pattern.split(' ').enumerate().all(|(offset, word)| tokens.get(at + offset).is_some_and(|token| token.text == word))
}

/// What is compiled into a product: the tokens without items under `#[cfg(test)]`, `#[cfg(all(test, ...))]` and `#[test]`.
pub(super) fn outside_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = ["# [ cfg ( test )", "# [ cfg ( all ( test", "# [ test ]"].iter().any(|mark| reads(tokens, at, mark));
        if is_test {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The place after the item that begins at `at` with its attributes: past its block, or past its semicolon.
fn end_of_item(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return place + 1;
                }
            }
            ";" if depth == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let tokens = read(text).expect("the text is Rust");
        let kept: Vec<_> = outside_tests(&tokens).into_iter().map(|token| token.text).collect();
        assert_eq!(kept.join(" "), expected, "{text}");
    }

    #[test]
    fn comments_and_texts_are_no_words() {
        check("// unsafe\n/* unsafe /* unsafe */ */ f(\"unsafe\", r#\"unsafe \" \"#, b'u', 'u')", "f ( \" , \" , \" , \" )");
    }

    #[test]
    fn a_lifetime_is_no_text() {
        check("fn f<'a>(x: &'a u8) {}", "fn f < ' a > ( x : & ' a u8 ) { }");
    }

    #[test]
    fn test_items_are_left_out_to_their_end() {
        check("a; #[cfg(test)] mod tests { fn f() { g(); } } b;", "a ; b ;");
        check("a; #[cfg(test)] mod tests; b;", "a ; b ;");
        check("a; #[cfg(all(test, unix))] const X: [u8; 2] = [1; 2]; b;", "a ; b ;");
        check("a; #[test] #[ignore] fn f() -> [u8; 2] { [0; 2] } b;", "a ; b ;");
    }

    #[test]
    fn items_that_ship_are_kept() {
        check("#[cfg(not(test))] fn f() {}", "# [ cfg ( not ( test ) ) ] fn f ( ) { }");
        check("#[cfg(unix)] fn test() {}", "# [ cfg ( unix ) ] fn test ( ) { }");
    }

    #[test]
    fn lines_count_from_one() {
        let tokens = read("//! x\nfn f() {\n}\n").expect("the text is Rust");
        let lines: Vec<_> = tokens.iter().filter(|token| "fn }".contains(&token.text)).map(|token| token.line).collect();
        assert_eq!(lines.last(), Some(&3));
        assert!(lines.contains(&2));
    }
}
