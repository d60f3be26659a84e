//! JSON as it came, with line breaks: the order and the numbers are the engine's.

/// Go's `json.Indent` with four blanks, after `prefix` on every line but the first.
pub(crate) fn indent(text: &str, prefix: &str) -> String {
    let mut output = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    let mut is_text = false;
    let break_line = |output: &mut String, depth: usize| {
        output.push('\n');
        output.push_str(prefix);
        output.extend(std::iter::repeat_n("    ", depth));
    };
    while let Some(c) = chars.next() {
        if is_text {
            output.push(c);
            match c {
                '\\' => output.extend(chars.next()),
                '"' => is_text = false,
                _ => {}
            }
            continue;
        }
        match c {
            c if c.is_ascii_whitespace() => {}
            '"' => {
                is_text = true;
                output.push(c);
            }
            '{' | '[' => {
                output.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    output.push(end);
                } else {
                    depth += 1;
                    break_line(&mut output, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut output, depth);
                output.push(c);
            }
            ',' => {
                output.push(c);
                break_line(&mut output, depth);
            }
            ':' => output.push_str(": "),
            c => output.push(c),
        }
    }
    output
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_order_stays() {
        let text = "{\"b\":[1,{}],\"a\" : {\"x,{\\\"\":null}, \"e\":[ ]}";
        let expected = "{\n      \"b\": [\n          1,\n          {}\n      ],\n      \"a\": {\n          \"x,{\\\"\": null\n      },\n      \"e\": []\n  }";
        assert_eq!(super::indent(text, "  "), expected);
    }
}
