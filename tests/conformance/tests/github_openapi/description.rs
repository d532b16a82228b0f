//! GitHub's published descriptions, as validators. It fetches them with npm
//! when they are absent and changes nothing else.

use std::collections::BTreeSet;

use jsonschema::{Draft, Validator};
use musher_conformance::octokit;
use serde_json::{Map, Value, json};

/// One OpenAPI document.
pub(crate) struct Description(Value);

impl Description {
    /// The document of a package, in the form that schemas have since
    /// OpenAPI 3.1.
    pub(crate) fn load(package: &str) -> Self {
        Self::of(package, "api.github.com")
    }

    /// The document of one of GitHub's products.
    pub(crate) fn of(package: &str, product: &str) -> Self {
        let file = octokit()
            .join(package)
            .join(format!("generated/{product}.json"));
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        Self(serde_json::from_str(&text).expect("the description is JSON"))
    }

    /// Follows `$ref`s to the thing itself.
    pub(crate) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|it| it.strip_prefix('#'))
        {
            Some(pointer) => self.resolve(self.0.pointer(pointer).expect("the reference leads on")),
            None => value,
        }
    }

    /// An operation, or the panic that says that GitHub has none.
    pub(crate) fn operation(&self, method: &str, template: &str) -> &Value {
        self.0["paths"][template]
            .get(method.to_lowercase())
            .unwrap_or_else(|| panic!("GitHub describes no {method} {template}"))
    }

    /// The schema of a webhook's body.
    pub(crate) fn webhook(&self, name: &str) -> &Value {
        let body = &self.0["webhooks"][name]["post"]["requestBody"];
        let schema = &body["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "GitHub describes no webhook {name}");
        schema
    }

    /// Panics with every mistake of `instance` against `schema`.
    pub(crate) fn check(&self, what: &str, schema: &Value, instance: &Value) {
        let validator = self.validator(schema);
        let mistakes: Vec<String> = validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(
            mistakes.is_empty(),
            "{what}:\n{}\n{instance:#}",
            mistakes.join("\n")
        );
    }

    /// A validator for a schema, with only those components that it reaches:
    /// the whole document has thousands.
    fn validator(&self, schema: &Value) -> Validator {
        let mut names = BTreeSet::new();
        self.reach(schema, &mut names);
        let mut components = Map::new();
        for name in names {
            components.insert(
                name.clone(),
                modern(&self.0["components"]["schemas"][&name]),
            );
        }
        let whole = json!({
            "allOf": [modern(schema)],
            "components": { "schemas": components },
        });
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .build(&whole)
            .expect("the schema is valid")
    }

    fn reach(&self, value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                let name = map
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|it| it.strip_prefix("#/components/schemas/"));
                if let Some(name) = name
                    && names.insert(name.to_owned())
                {
                    self.reach(&self.0["components"]["schemas"][name], names);
                }
                map.values().for_each(|inner| self.reach(inner, names));
            }
            Value::Array(list) => list.iter().for_each(|inner| self.reach(inner, names)),
            _ => {}
        }
    }
}

/// `nullable` of OpenAPI 3.0 as JSON Schema says it: the same schema, or null.
fn modern(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut inner: Map<String, Value> = map
                .iter()
                // Examples may look like schemas.
                .filter(|(name, _)| !matches!(name.as_str(), "example" | "examples" | "default"))
                .map(|(name, value)| (name.clone(), modern(value)))
                .collect();
            if inner.get("nullable") == Some(&Value::Bool(true)) {
                inner.remove("nullable");
                return json!({ "anyOf": [{ "type": "null" }, inner] });
            }
            Value::Object(inner)
        }
        Value::Array(list) => Value::Array(list.iter().map(modern).collect()),
        other => other.clone(),
    }
}
