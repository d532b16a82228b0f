//! An `installation` or `installation_repositories` delivery: where the App is
//! installed, what it may do there, or with which repositories, changed.
//!
//! Source: GitHub Docs, "Webhook events and payloads", both events.

use std::borrow::Cow;

use serde::Deserialize;

use super::{NAME_BYTES, PayloadError, WireAccount, cut, refuse, required};

/// A delivery of either event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationPayload {
    /// GitHub's word: `created`, `deleted`, `suspend`, `unsuspend`,
    /// `new_permissions_accepted`, `added`, `removed`, and what is to come. Cut at
    /// 1 KiB.
    pub action: String,
    /// GitHub's id of it.
    pub installation_id: u64,
    /// Login of the account that it is of, cut at 1 KiB; empty where GitHub names
    /// none (an enterprise has no login).
    pub account: String,
}

#[derive(Deserialize)]
struct WireDelivery<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    installation: Option<WireInstallation<'a>>,
}

#[derive(Deserialize)]
struct WireInstallation<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    account: Option<WireAccount<'a>>,
}

/// Parses the body of a delivery of `event`.
///
/// # Errors
/// [`PayloadError`], naming the field where there is one.
pub(super) fn parse(event: &'static str, body: &[u8]) -> Result<InstallationPayload, PayloadError> {
    let wire: WireDelivery<'_> =
        serde_json::from_slice(body).map_err(|error| refuse(event, &error))?;
    let action = required("action", wire.action)?;
    let installation = required("installation", wire.installation)?;
    let account = installation.account.and_then(|account| account.login);
    Ok(InstallationPayload {
        action: cut(&action, NAME_BYTES),
        installation_id: required("installation.id", installation.id)?,
        account: cut(&account.unwrap_or_default(), NAME_BYTES),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Payload, parse};
    use super::*;

    fn parsed(body: &Value) -> Result<Payload, PayloadError> {
        parse("installation", body.to_string().as_bytes())
    }

    #[test]
    fn whose_it_is() {
        let made = |account: Value| {
            let installation = json!({ "id": 1001, "account": account });
            json!({ "action": "created", "installation": installation })
        };
        for (account, login) in [
            (json!({ "login": "octo-org", "id": 9001 }), "octo-org"),
            (json!({ "slug": "octo", "id": 7 }), ""),
            (Value::Null, ""),
        ] {
            let expect = InstallationPayload {
                action: "created".into(),
                installation_id: 1001,
                account: login.into(),
            };
            let body = made(account);
            assert_eq!(parsed(&body), Ok(Payload::Installation(expect.clone())));
            let of_repositories = parse("installation_repositories", body.to_string().as_bytes());
            assert_eq!(of_repositories, Ok(Payload::Installation(expect)));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (body, field) in [
            (json!({}), "action"),
            (json!({ "action": "created" }), "installation"),
            (
                json!({ "action": "created", "installation": {} }),
                "installation.id",
            ),
        ] {
            assert_eq!(parsed(&body), Err(PayloadError::Missing(field)), "{body}");
        }
        let shape = parsed(&json!({ "action": 7 }));
        let of_it = matches!(
            shape,
            Err(PayloadError::Shape {
                event: "installation",
                ..
            })
        );
        assert!(of_it, "{shape:?}");
    }
}
