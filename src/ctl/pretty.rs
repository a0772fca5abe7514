//! JSON laid out for a person, without changing a byte of its tokens.
//!
//! What it deliberately does not do: parse into values. Numbers keep their digits, objects their order
//! and duplicates.

/// Lays out valid JSON with two spaces a level; empty arrays and objects stay on one line.
pub(super) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let mut chars = json.chars().filter(|c| !matches!(c, '\n' | '\r' | '\t')).peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            ' ' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if_eq(&' ').is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_as_they_are() {
        let table = [
            ("7", "7"),
            ("{}", "{}"),
            ("[ \n ]", "[]"),
            (
                r#"{"b":1.000000000000000000001,"a":[1,{"x":[]}],"a":null}"#,
                concat!(
                    "{\n  \"b\": 1.000000000000000000001,\n  \"a\": [\n    1,\n    {\n      \"x\": []\n    }\n  ],\n",
                    "  \"a\": null\n}"
                ),
            ),
            (r#"["a, {\"b\": [\\\\","\\"]"#, "[\n  \"a, {\\\"b\\\": [\\\\\\\\\",\n  \"\\\\\"\n]"),
        ];
        for (json, expected) in table {
            assert_eq!(pretty(json), expected);
            assert!(serde_json::from_str::<serde_json::Value>(&pretty(json)).is_ok());
        }
    }
}
