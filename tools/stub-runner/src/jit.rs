//! The just-in-time configuration: base64 of an object whose values are the
//! runner's settings files in base64. It reads the files that it needs and
//! writes none.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::configure::FILES;

/// Why a configuration is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JitError {
    /// Not base64 of JSON.
    #[error("cannot decode the jit configuration: {0} is not base64 of a JSON object")]
    Encoding(&'static str),
    /// A value is missing.
    #[error("the jit configuration lacks {0}")]
    Missing(&'static str),
}

/// What the listener needs of it.
pub(crate) struct Settings {
    /// Number of the runner.
    pub(crate) runner: u64,
    /// Name of the runner.
    pub(crate) name: String,
    /// Address of the runner protocol.
    pub(crate) server: String,
    /// Folder for jobs, relative to the runner's own.
    pub(crate) work_folder: String,
    /// Proves the registration.
    pub(crate) secret: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("runner", &self.runner)
            .field("name", &self.name)
            .field("server", &self.server)
            .field("secret", &"redacted")
            .finish_non_exhaustive()
    }
}

fn decode(what: &'static str, text: &str) -> Result<Value, JitError> {
    let bytes = STANDARD
        .decode(text.trim())
        .map_err(|_| JitError::Encoding(what))?;
    // GitHub's runner writes its files with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(bytes).map_err(|_| JitError::Encoding(what))
}

impl Settings {
    /// Decodes a configuration.
    pub(crate) fn parse(encoded: &str) -> Result<Self, JitError> {
        let outer = decode("the whole", encoded)?;
        let file = |name: &'static str| {
            let text = outer
                .get(name)
                .and_then(Value::as_str)
                .ok_or(JitError::Missing(name))?;
            decode(name, text)
        };
        Self::of(&file(".runner")?, &file(".credentials_rsaparams")?)
    }

    /// The settings that `configure` left in `home`.
    ///
    /// # Errors
    /// What to print.
    pub(crate) fn read(home: &Path) -> Result<Self, String> {
        let [runner, keys] = FILES.map(|name| {
            let text = std::fs::read(home.join(name));
            text.ok()
                .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        });
        let (Some(runner), Some(keys)) = (runner, keys) else {
            return Err("Not configured. Run config.(sh/cmd) to configure the runner.".into());
        };
        Self::of(&runner, &keys).map_err(|error| error.to_string())
    }

    fn of(runner: &Value, keys: &Value) -> Result<Self, JitError> {
        let text = |value: &Value, name: &'static str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or(JitError::Missing(name))
        };
        Ok(Self {
            runner: runner
                .get("AgentId")
                .and_then(Value::as_u64)
                .ok_or(JitError::Missing("AgentId"))?,
            name: text(runner, "AgentName")?,
            server: text(runner, "ServerUrlV2")?,
            work_folder: text(runner, "WorkFolder")?,
            secret: text(keys, "secret")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encoded(runner: &Value) -> String {
        let encode = |value: &Value| STANDARD.encode(value.to_string());
        encode(&json!({
            ".runner": encode(runner),
            ".credentials": encode(&json!({})),
            ".credentials_rsaparams": encode(&json!({ "secret": "s" })),
        }))
    }

    #[test]
    fn configurations_decode_or_say_why() {
        let check = |text: &str, expect: Result<u64, JitError>| {
            assert_eq!(Settings::parse(text).map(|it| it.runner), expect);
        };
        let whole =
            json!({ "AgentId": 7, "AgentName": "a", "ServerUrlV2": "u", "WorkFolder": "_work" });
        check(&encoded(&whole), Ok(7));
        check(&encoded(&json!({})), Err(JitError::Missing("AgentId")));
        check("%%%", Err(JitError::Encoding("the whole")));
        check(&STANDARD.encode("{}"), Err(JitError::Missing(".runner")));
    }
}
