use serde_json::json;

use super::*;

fn render(template: &str) -> Result<String, TemplateError> {
    let value = json!({
        "Id": "abc123",
        "State": {"Status": "running", "Pid": 42, "Health": null},
        "Names": ["/a", "/b"],
        "Config": {"Labels": {"com.x": "y"}, "Env": []},
        "Load": 1.5,
        "On": true,
    });
    Template::parse(template)?.render(&value, Mode::Values)
}

fn check(template: &str, expected: &str) {
    assert_eq!(render(template).unwrap(), expected, "{template}");
}

#[test]
fn fields_are_found_in_any_case() {
    check("{{.Id}} {{.ID}} {{ .State.Status }}", "abc123 abc123 running");
    check("{{.StopSignal}}|{{.State.Health}}|{{.Load}}|{{.On}}", "|<nil>|1.5|true");
    check("{{if .Nothing}}a{{else}}b{{end}}", "b");
    check("{{.Names}} {{.Config.Labels}}", "[/a /b] map[com.x:y]");
    check("plain", "plain");
    check("{{$.Id}}{{with .State}}{{.Pid}}{{$.Id}}{{end}}", "abc12342abc123");
}

#[test]
fn functions_and_pipes_work() {
    check("{{json .Names}}", r#"["/a","/b"]"#);
    check("{{join .Names \",\"}}", "/a,/b");
    check("{{.Id | upper | printf \"%8s|\"}}", "  ABC123|");
    check("{{index .Names 1}} {{index .Config.Labels \"com.x\"}} {{index .Config.Labels \"no\"}}", "/b y ");
    check("{{len .Names}} {{len .Id}} {{slice .Id 0 3}}", "2 6 abc");
    check(
        "{{printf \"%05d %.2f %q %v %-4s|\" .State.Pid .Load .Id .On \"x\"}}",
        "00042 1.50 \"abc123\" true x   |",
    );
    check("{{range (split \"a:b\" \":\")}}<{{.}}>{{end}}", "<a><b>");
    check(
        "{{title \"ab cd\"}} {{lower \"AB\"}} {{truncate \"abcdef\" 3}}{{pad \"x\" 1 2}}|",
        "Ab Cd ab abc x  |",
    );
    check("{{println .Id}}", "abc123\n");
    check("{{(index .Names 0) | len}} {{(.State).Pid}}", "2 42");
    check("{{html \"<a>\"}} {{urlquery \"a b&c\"}}", "&lt;a&gt; a+b%26c");
}

#[test]
fn conditions_loops_and_variables_work() {
    check("{{if .On}}a{{else}}b{{end}}{{if not .On}}c{{else if eq .Id \"x\" \"abc123\"}}d{{end}}", "ad");
    check("{{range $i, $n := .Names}}{{$i}}={{$n}};{{end}}", "0=/a;1=/b;");
    check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}", "com.x=y");
    check("{{range .Config.Env}}x{{else}}none{{end}}", "none");
    check("{{$x := 1}}{{range .Names}}{{$x = .}}{{end}}{{$x}}", "/b");
    check("{{range .Names}}{{if eq . \"/b\"}}{{break}}{{end}}{{.}}{{end}}", "/a");
    check("{{with .State.Health}}h{{else}}n{{end}}{{and .On .Id}}{{or .State.Health \"z\"}}", "nabc123z");
    check("{{if and (gt .State.Pid 41) (le .Load 1.5)}}y{{end}}{{/* said */}}", "y");
}

#[test]
fn blanks_are_trimmed_where_it_is_asked_for() {
    check("a  {{- .Id -}}  b {{- \"\" }} c", "aabc123b c");
    check("{{range .Names -}}\n {{.}}\n{{- end}}", "/a/b");
    check("{{\"{{\"}} {{`}}`}}", "{{ }}");
}

#[test]
fn what_is_no_template_is_an_error() {
    for template in [
        "{{",
        "{{.Id",
        "{{end}}",
        "{{if .On}}",
        "{{nope .Id}}",
        "{{.Id.X}}",
        "{{index .Names 9}}",
        "{{\"a}}",
        "{{.Id | }}",
        "{{len}}",
        "{{$x}}",
        "{{range .Id}}{{end}}",
        "{{template \"x\"}}",
        "{{(.Id}}",
        "{{.Nothing.X}}",
        "{{1 2}}",
        "{{}}",
        "{{printf \"%99999999999d\" 1}}",
        "{{else}}",
        "{{.Nothing}}",
    ] {
        assert!(render(template).is_err(), "{template}");
    }
    let deep = format!("{}{}", "{{if .On}}".repeat(100), "{{end}}".repeat(100));
    assert!(matches!(render(&deep), Err(TemplateError::TooDeep)));
    let brackets = format!("{{{{{}.On{}}}}}", "(".repeat(100), ")".repeat(100));
    assert!(matches!(render(&brackets), Err(TemplateError::TooDeep)));
}

#[test]
fn output_is_limited() {
    let long = format!("{{{{range 1000000}}}}{}{{{{end}}}}", "x".repeat(100));
    assert!(matches!(render(&long), Err(TemplateError::TooLong)));
}

#[test]
fn above_a_table_functions_leave_words_alone() {
    let value = json!({"ID": "CONTAINER ID"});
    let template = Template::parse("{{lower .ID}}\t{{json .ID}}").unwrap();
    assert_eq!(template.render(&value, Mode::Header).unwrap(), "CONTAINER ID\tCONTAINER ID");
}
