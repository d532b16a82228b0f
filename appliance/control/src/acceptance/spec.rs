//! What a pool has its sleds prove themselves by, and the templates of its
//! inputs.

use alloc::{format, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// What a pool has its sleds prove themselves by. Stored with the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptanceSpec {
    /// Repository of the workflow, `owner/name`.
    pub repository: String,
    /// The workflow's id or file name.
    pub workflow: String,
    /// Branch or tag.
    pub reference: String,
    /// Inputs of the workflow: names, and values that may hold placeholders.
    pub inputs: Vec<(String, String)>,
}

/// Most inputs of a dispatch (GitHub's limit since December 2025).
const MAX_INPUTS: usize = 25;

/// What a value may name, and what stands for it.
const PLACEHOLDERS: [&str; 5] = ["sled.name", "sled.mac", "pool.name", "label", "nonce"];

impl AcceptanceSpec {
    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let owner_and_name = self.repository.split_once('/');
        let named =
            owner_and_name.is_some_and(|(owner, name)| !owner.is_empty() && !name.is_empty());
        let placeholders = || self.inputs.iter().flat_map(|(_, value)| pieces(value));
        let unknown = placeholders().find_map(|piece| match piece {
            Piece::Name(name) if !PLACEHOLDERS.contains(&name) => Some(name),
            Piece::Name(_) | Piece::Text(_) => None,
        });
        let reachable = placeholders().any(|piece| matches!(piece, Piece::Name("label" | "nonce")));
        if !named || self.repository.matches('/').count() != 1 {
            Some(format!(
                "acceptance.repository is {:?}: write owner/name",
                self.repository
            ))
        } else if self.workflow.is_empty() || self.reference.is_empty() {
            Some("acceptance names no workflow or no ref: write its file name and a branch".into())
        } else if self.inputs.len() > MAX_INPUTS {
            Some(format!(
                "acceptance has more than {MAX_INPUTS} inputs, which GitHub refuses"
            ))
        } else if let Some(name) = unknown {
            Some(format!(
                "acceptance.inputs names {{{{{name}}}}}, which is none of {}",
                PLACEHOLDERS.join(", ")
            ))
        } else if !reachable {
            Some(
                "no input of acceptance holds {{label}} or {{nonce}}, so its workflow could not name the sled's runner: add one and use it in runs-on".into(),
            )
        } else {
            None
        }
    }

    /// Its inputs, with what stands for each placeholder.
    pub(super) fn filled(&self, value: impl Fn(&str) -> String) -> Vec<(String, String)> {
        let filled = |template: &str| {
            pieces(template).fold(String::new(), |text, piece| match piece {
                Piece::Text(plain) => text + plain,
                Piece::Name(name) => text + &value(name),
            })
        };
        let inputs = self.inputs.iter();
        inputs
            .map(|(name, template)| (name.clone(), filled(template)))
            .collect()
    }
}

/// A part of a template.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// Splits `a {{b}} c`. Braces that are not closed are text.
fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, after)) = rest
            .strip_prefix("{{")
            .and_then(|inner| inner.split_once("}}"))
        {
            rest = after;
            return Some(Piece::Name(name.trim()));
        }
        let end = rest
            .match_indices("{{")
            .map(|(at, _)| at)
            .find(|at| *at > 0);
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(Piece::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn spec(inputs: &[(&str, &str)]) -> AcceptanceSpec {
        AcceptanceSpec {
            repository: "octo/infra".into(),
            workflow: "accept.yml".into(),
            reference: "main".into(),
            inputs: inputs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        }
    }

    #[test]
    fn templates_are_split_at_placeholders() {
        let of = |template| {
            let pieces = pieces(template).map(|piece| match piece {
                Piece::Text(text) => format!("t:{text}"),
                Piece::Name(name) => format!("n:{name}"),
            });
            pieces.collect::<Vec<_>>()
        };
        assert_eq!(of("a {{ nonce }}b"), vec!["t:a ", "n:nonce", "t:b"]);
        assert_eq!(of("{{label}}{{nonce}}"), vec!["n:label", "n:nonce"]);
        assert_eq!(of("{{open"), vec!["t:{{open"]);
        assert_eq!(of("a{{b{{nonce}}"), vec!["t:a", "n:b{{nonce"]);
        assert_eq!(of(""), Vec::<String>::new());
    }

    #[test]
    fn what_could_not_work_is_refused() {
        assert_eq!(spec(&[("runner", "{{label}}")]).problem(), None);
        let wrong: [(AcceptanceSpec, &str); 5] = [
            (spec(&[("sled", "{{sled.name}}")]), "{{label}}"),
            (
                spec(&[("x", "{{sled.serial}}"), ("runner", "{{label}}")]),
                "{{sled.serial}}",
            ),
            (
                AcceptanceSpec {
                    repository: "octo".into(),
                    ..spec(&[("runner", "{{label}}")])
                },
                "owner/name",
            ),
            (
                AcceptanceSpec {
                    reference: String::new(),
                    ..spec(&[("runner", "{{label}}")])
                },
                "no ref",
            ),
            (
                AcceptanceSpec {
                    inputs: (0..26)
                        .map(|n| (format!("i{n}"), String::from("{{label}}")))
                        .collect(),
                    ..spec(&[])
                },
                "25 inputs",
            ),
        ];
        for (spec, part) in wrong {
            let problem = spec.problem().unwrap_or_default();
            assert!(problem.contains(part), "{problem:?} lacks {part:?}");
        }
    }
}
