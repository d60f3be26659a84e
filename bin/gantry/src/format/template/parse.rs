//! From words to a tree.

use std::collections::VecDeque;

use serde_json::Value;

use super::lex::{Part, Token, split, syntax};
use super::{MAX_DEPTH, TemplateError};

/// A template that can be applied.
#[derive(Debug)]
pub(crate) struct Template {
    pub(super) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Variables that get the value; `range` has up to two.
    pub(super) variables: Vec<String>,
    pub(super) is_declaration: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Value(Value),
    Nil,
    Nested(Box<Pipeline>, Vec<String>),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser { parts: split(text)?.into(), depth: 0 };
        let (nodes, end) = parser.nodes()?;
        match end {
            Stop::File => Ok(Self { nodes }),
            _ => Err(syntax("unexpected {{end}} or {{else}}")),
        }
    }
}

struct Parser {
    parts: VecDeque<Part>,
    depth: usize,
}

/// What ends a list of nodes.
enum Stop {
    File,
    End,
    Else,
    ElseIf(Vec<Token>),
    ElseWith(Vec<Token>),
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(part) = self.parts.pop_front() {
            let tokens = match part {
                Part::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Part::Action(tokens) => tokens,
            };
            let Some(Token::Word(word)) = tokens.first() else {
                nodes.push(Node::Print(pipeline(&tokens)?));
                continue;
            };
            let rest = &tokens[1..];
            match word.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => {
                    let end = match rest.first() {
                        None => Stop::Else,
                        Some(Token::Word(word)) if word == "if" => Stop::ElseIf(rest[1..].to_vec()),
                        Some(Token::Word(word)) if word == "with" => Stop::ElseWith(rest[1..].to_vec()),
                        Some(_) => return Err(syntax("unexpected word after {{else")),
                    };
                    return Ok((nodes, end));
                }
                "if" => nodes.push(self.conditional(rest)?),
                "range" => {
                    let subject = pipeline(rest)?;
                    let (body, otherwise) = self.body()?;
                    nodes.push(Node::Range(subject, body, otherwise));
                }
                "with" => nodes.push(self.with(rest)?),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => {
                    return Err(syntax(format!("{{{{{word}}}}} is not supported")));
                }
                _ => nodes.push(Node::Print(pipeline(&tokens)?)),
            }
        }
        Ok((nodes, Stop::File))
    }

    fn deeper(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::TooDeep);
        }
        let nodes = self.nodes();
        self.depth -= 1;
        nodes
    }

    fn conditional(&mut self, condition: &[Token]) -> Result<Node, TemplateError> {
        let mut branches = Vec::new();
        let mut condition = pipeline(condition)?;
        loop {
            let (nodes, end) = self.deeper()?;
            branches.push((condition, nodes));
            match end {
                Stop::End => return Ok(Node::If(branches, Vec::new())),
                Stop::ElseIf(tokens) => condition = pipeline(&tokens)?,
                Stop::Else => return Ok(Node::If(branches, self.until_end()?)),
                Stop::ElseWith(_) | Stop::File => return Err(syntax("{{if}} without {{end}}")),
            }
        }
    }

    fn with(&mut self, subject: &[Token]) -> Result<Node, TemplateError> {
        let subject = pipeline(subject)?;
        let (nodes, end) = self.deeper()?;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Else => self.until_end()?,
            Stop::ElseWith(tokens) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(TemplateError::TooDeep);
                }
                let nested = self.with(&tokens)?;
                self.depth -= 1;
                vec![nested]
            }
            Stop::ElseIf(_) | Stop::File => return Err(syntax("{{with}} without {{end}}")),
        };
        Ok(Node::With(subject, nodes, otherwise))
    }

    /// What is until `{{end}}`, and after `{{else}}` if there is one.
    fn body(&mut self) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
        let (nodes, end) = self.deeper()?;
        match end {
            Stop::End => Ok((nodes, Vec::new())),
            Stop::Else => Ok((nodes, self.until_end()?)),
            _ => Err(syntax("{{range}} without {{end}}")),
        }
    }

    fn until_end(&mut self) -> Result<Vec<Node>, TemplateError> {
        match self.deeper()? {
            (nodes, Stop::End) => Ok(nodes),
            _ => Err(syntax("{{else}} without {{end}}")),
        }
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut tokens: VecDeque<Token> = tokens.iter().cloned().collect();
    let pipeline = nested(&mut tokens, 0)?;
    match tokens.pop_front() {
        None => Ok(pipeline),
        Some(token) => Err(syntax(format!("unexpected {token:?}"))),
    }
}

fn nested(tokens: &mut VecDeque<Token>, depth: usize) -> Result<Pipeline, TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError::TooDeep);
    }
    let (variables, is_declaration) = variables(tokens);
    let mut commands = Vec::new();
    let mut command = Vec::new();
    while let Some(token) = tokens.front() {
        if matches!(token, Token::Close(_)) {
            break;
        }
        let operand = match tokens.pop_front().expect("there is a token in front") {
            Token::Pipe => {
                if command.is_empty() {
                    return Err(syntax("missing value for command"));
                }
                commands.push(std::mem::take(&mut command));
                continue;
            }
            Token::Open => {
                let inner = nested(tokens, depth + 1)?;
                match tokens.pop_front() {
                    Some(Token::Close(fields)) => Operand::Nested(Box::new(inner), fields),
                    _ => return Err(syntax("unclosed left paren")),
                }
            }
            Token::Field(fields) => Operand::Field(fields),
            Token::Variable(name, fields) => Operand::Variable(name, fields),
            Token::Text(text) => Operand::Value(text.into()),
            Token::Integer(number) => Operand::Value(number.into()),
            Token::Float(number) => Operand::Value(number.into()),
            Token::Word(word) => match word.as_str() {
                "true" => Operand::Value(true.into()),
                "false" => Operand::Value(false.into()),
                "nil" => Operand::Nil,
                _ => Operand::Function(word),
            },
            token => return Err(syntax(format!("unexpected {token:?}"))),
        };
        command.push(operand);
    }
    if command.is_empty() {
        return Err(syntax("missing value for command"));
    }
    commands.push(command);
    Ok(Pipeline { variables, is_declaration, commands })
}

/// `$a :=`, `$a =`, `$i, $a :=`.
fn variables(tokens: &mut VecDeque<Token>) -> (Vec<String>, bool) {
    let names: Vec<&str> = match (tokens.front(), tokens.get(1), tokens.get(2), tokens.get(3)) {
        (Some(Token::Variable(a, x)), Some(Token::Declare | Token::Assign), _, _) if x.is_empty() => vec![a],
        (
            Some(Token::Variable(a, x)),
            Some(Token::Comma),
            Some(Token::Variable(b, y)),
            Some(Token::Declare | Token::Assign),
        ) if x.is_empty() && y.is_empty() => {
            vec![a, b]
        }
        _ => return (Vec::new(), false),
    };
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let sign = names.len() * 2 - 1;
    let is_declaration = tokens.get(sign) == Some(&Token::Declare);
    tokens.drain(..=sign);
    (names, is_declaration)
}
