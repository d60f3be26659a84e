//! Values as Go prints them.

use serde_json::Value;

/// Fields that engines leave out when they are empty, and how Docker prints them then.
pub(super) const OMITTED: &[(&str, &str)] = &[
    ("Annotations", "map[]"),
    ("ArgsEscaped", "false"),
    ("Author", ""),
    ("Comment", ""),
    ("Driver", ""),
    ("ExposedPorts", "map[]"),
    ("Health", "<nil>"),
    ("Healthcheck", "<nil>"),
    ("Init", "<nil>"),
    ("Layers", "[]"),
    ("MacAddress", ""),
    ("Mounts", "[]"),
    ("Name", ""),
    ("NetworkDisabled", "false"),
    ("OsVersion", ""),
    ("Runtime", ""),
    ("Shell", "[]"),
    ("SizeRootFs", "<nil>"),
    ("SizeRw", "<nil>"),
    ("Status", "map[]"),
    ("StopSignal", ""),
    ("StopTimeout", "<nil>"),
    ("StorageOpt", "map[]"),
    ("Sysctls", "map[]"),
    ("Tmpfs", "map[]"),
    ("UsageData", "<nil>"),
    ("Variant", ""),
    ("VirtualSize", "0"),
];

/// As `fmt.Print` does it.
pub(super) fn of(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => go_float(float),
            None => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(of).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", of(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// `%v` of a float: the shortest form, scientific outside of 1e-4 to 1e21.
fn go_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    value.to_string()
}

/// Whether `if` takes it.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The kind of a value, for errors.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "type bool",
        Value::Number(_) => "type number",
        Value::String(_) => "type string",
        Value::Array(_) => "type list",
        Value::Object(_) => "type map",
    }
}

/// What JSON does with `<`, `>` and `&`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Html {
    Escaped,
    Plain,
}

/// As Go's `json.Marshal` does it.
pub(crate) fn json(value: &Value, html: Html) -> String {
    let text = value.to_string();
    let text = if html == Html::Escaped {
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    } else {
        text
    };
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}
