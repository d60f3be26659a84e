//! From a tree and a value to text.

use std::borrow::Cow;

use serde_json::Value;

use super::parse::{Node, Operand, Pipeline, Template};
use super::{MAX_OUTPUT, Subject, TemplateError, field, function, text};

/// What functions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What they are for.
    Values,
    /// Nothing: the row above a table has its words as they are.
    Header,
}

/// Whether a loop goes on.
enum Flow {
    On,
    Break,
    Continue,
}

impl Template {
    /// Applies it.
    pub(crate) fn render(&self, subject: &dyn Subject, mode: Mode) -> Result<String, TemplateError> {
        let root = subject.dot();
        let mut renderer = Renderer {
            subject,
            root,
            mode,
            variables: vec![(String::new(), root.clone())],
            output: String::new(),
        };
        renderer.nodes(&self.nodes, root)?;
        Ok(renderer.output)
    }
}

struct Renderer<'a> {
    subject: &'a dyn Subject,
    root: &'a Value,
    mode: Mode,
    variables: Vec<(String, Value)>,
    output: String,
}

/// A value of a pipeline; none is a field that is not there.
type Maybe<'v> = Option<Cow<'v, Value>>;

impl Renderer<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        for node in nodes {
            match self.node(node, dot)? {
                Flow::On => {}
                flow => {
                    self.variables.truncate(scope);
                    return Ok(flow);
                }
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.print(text)?,
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?.map(Cow::into_owned);
                if pipeline.variables.is_empty() {
                    match value {
                        Some(value) => self.print(&text::of(&value))?,
                        None => self.print(absent(pipeline)?)?,
                    }
                }
            }
            Node::If(branches, otherwise) => {
                for (condition, nodes) in branches {
                    let scope = self.variables.len();
                    let value = self.pipeline(condition, dot)?.map(Cow::into_owned);
                    let flow =
                        value.is_some_and(|value| text::is_true(&value)).then(|| self.nodes(nodes, dot));
                    self.variables.truncate(scope);
                    if let Some(flow) = flow {
                        return flow;
                    }
                }
                return self.nodes(otherwise, dot);
            }
            Node::With(subject, nodes, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(subject, dot)?.map(Cow::into_owned);
                let flow = match value.filter(text::is_true) {
                    Some(value) => self.nodes(nodes, &value),
                    None => self.nodes(otherwise, dot),
                };
                self.variables.truncate(scope);
                return flow;
            }
            Node::Range(subject, nodes, otherwise) => return self.range(subject, nodes, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        subject: &Pipeline,
        nodes: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let value = self.commands(subject, dot)?.map(Cow::into_owned);
        let items: Vec<(Value, Value)> = match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect()
            }
            Some(Value::Object(map)) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
            Some(Value::Number(count)) if count.is_u64() => {
                let count = count.as_u64().filter(|count| *count <= MAX_OUTPUT as u64);
                let count = count.ok_or(TemplateError::TooLong)?;
                (0..count).map(|index| (index.into(), index.into())).collect()
            }
            Some(other) => return Err(run(format!("range can't iterate over {}", text::of(&other)))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let scope = self.variables.len();
        for (key, item) in items {
            match subject.variables.as_slice() {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            let flow = self.nodes(nodes, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline<'v>(&mut self, pipeline: &'v Pipeline, dot: &'v Value) -> Result<Maybe<'v>, TemplateError> {
        let value = self.commands(pipeline, dot)?;
        if let [name] = pipeline.variables.as_slice() {
            let value = value.clone().map_or(Value::Null, Cow::into_owned);
            if pipeline.is_declaration {
                self.variables.push((name.clone(), value));
            } else {
                let variable = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                variable.ok_or_else(|| run(format!("undefined variable \"${name}\"")))?.1 = value;
            }
        }
        Ok(value)
    }

    fn commands<'v>(&mut self, pipeline: &'v Pipeline, dot: &'v Value) -> Result<Maybe<'v>, TemplateError> {
        let mut value: Option<Maybe<'v>> = None;
        for command in &pipeline.commands {
            let piped = value.take().map(|value| value.map_or(Value::Null, Cow::into_owned));
            value = Some(self.command(command, dot, piped)?);
        }
        Ok(value.flatten())
    }

    fn command<'v>(
        &mut self,
        command: &'v [Operand],
        dot: &'v Value,
        piped: Option<Value>,
    ) -> Result<Maybe<'v>, TemplateError> {
        let (first, arguments) = command.split_first().expect("a command has a word");
        match first {
            Operand::Function(name) => {
                self.call(name, arguments, dot, piped).map(|value| value.map(Cow::Owned))
            }
            Operand::Field(names) if !arguments.is_empty() || piped.is_some() => {
                let argument = match (arguments, piped) {
                    ([], Some(value)) => value,
                    ([argument], None) => self.argument(argument, dot)?,
                    _ => return Err(run(format!("wrong number of arguments for .{}", names.join(".")))),
                };
                let value = names.last().and_then(|name| self.subject.method(name, &text::of(&argument)));
                match value {
                    Some(value) => Ok(Some(Cow::Owned(value))),
                    None => Err(run(format!("{} is not a method but has arguments", names.join(".")))),
                }
            }
            first if arguments.is_empty() && piped.is_none() => self.operand(first, dot),
            _ => Err(run("can't give arguments to what is no function")),
        }
    }

    /// `and` and `or` look at what follows only as far as they must.
    fn call(
        &mut self,
        name: &str,
        arguments: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Option<Value>, TemplateError> {
        if matches!(name, "and" | "or") {
            let mut last = Value::Null;
            for argument in arguments {
                last = self.argument(argument, dot)?;
                if text::is_true(&last) == (name == "or") {
                    return Ok(Some(last));
                }
            }
            return Ok(Some(piped.unwrap_or(last)));
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.argument(argument, dot)?);
        }
        values.extend(piped);
        // Docker's rows write themselves, and escape what HTML would take for its own; other values do not.
        if let ("json", [value @ Value::Object(_)], true) = (name, values.as_slice(), self.subject.is_row()) {
            return Ok(Some(text::json(value, text::Html::Escaped).into()));
        }
        function::call(name, values, self.mode)
    }

    fn argument(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        // A function's name without brackets is a call without arguments.
        if let Operand::Function(name) = operand {
            return Ok(function::call(name, Vec::new(), self.mode)?.unwrap_or(Value::Null));
        }
        Ok(self.operand(operand, dot)?.map_or(Value::Null, Cow::into_owned))
    }

    fn operand<'v>(&mut self, operand: &'v Operand, dot: &'v Value) -> Result<Maybe<'v>, TemplateError> {
        match operand {
            Operand::Field(names) => walk(Cow::Borrowed(dot), names),
            Operand::Variable(name, names) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = match variable {
                    Some((_, value)) => value.clone(),
                    None if name.is_empty() => self.root.clone(),
                    None => return Err(run(format!("undefined variable \"${name}\""))),
                };
                walk(Cow::Owned(value), names)
            }
            Operand::Value(value) => Ok(Some(Cow::Borrowed(value))),
            Operand::Nil => Ok(Some(Cow::Owned(Value::Null))),
            Operand::Nested(pipeline, names) => match self.pipeline(pipeline, dot)? {
                Some(value) => walk(value, names),
                None => Ok(None),
            },
            Operand::Function(name) => Ok(function::call(name, Vec::new(), self.mode)?.map(Cow::Owned)),
        }
    }

    fn print(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.output.len() + text.len() > MAX_OUTPUT {
            return Err(TemplateError::TooLong);
        }
        self.output.push_str(text);
        Ok(())
    }
}

/// What is printed of a field that is not there: engines leave out what is empty, and anything else is a mistake.
fn absent(pipeline: &Pipeline) -> Result<&'static str, TemplateError> {
    let name = match pipeline.commands.last().map(Vec::as_slice) {
        Some([Operand::Field(names) | Operand::Variable(_, names) | Operand::Nested(_, names)]) => {
            names.last()
        }
        _ => None,
    };
    let Some(name) = name else { return Ok("<no value>") };
    let known = text::OMITTED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(_, text)| *text).ok_or_else(|| run(format!("map has no entry for key {name:?}")))
}

fn walk<'v>(value: Cow<'v, Value>, names: &[String]) -> Result<Maybe<'v>, TemplateError> {
    let Some((name, rest)) = names.split_first() else { return Ok(Some(value)) };
    let next = match value {
        Cow::Borrowed(Value::Object(map)) => field(map, name).map(Cow::Borrowed),
        Cow::Owned(Value::Object(ref map)) => field(map, name).cloned().map(Cow::Owned),
        Cow::Borrowed(Value::Null) | Cow::Owned(Value::Null) => None,
        ref other => {
            return Err(run(format!("can't evaluate field {name} in {}", text::kind(other))));
        }
    };
    match next {
        Some(next) => walk(next, rest),
        None if rest.is_empty() => Ok(None),
        None => Err(run(format!("map has no entry for key {name:?}"))),
    }
}

pub(super) fn run(reason: impl Into<String>) -> TemplateError {
    TemplateError::Run(reason.into())
}
