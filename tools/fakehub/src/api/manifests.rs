//! GitHub's App manifest flow: a browser posts a form, a code comes back, and
//! once, within the hour, the code buys the App's id, key and secret.
//!
//! The owner's confirmation is taken as given. An App made so is only what its
//! conversion answers: it cannot be installed here.

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Request, percent_decoded};
use crate::config::{Permissions, covers};
use crate::hub::Hub;
use crate::keys;
use crate::routes::{Parameters, matches};
use crate::shapes;

/// GitHub's codes are good for one hour.
const CODE_MS: i64 = 3_600_000;
/// Most codes that wait.
const MAX_CODES: usize = 100;
/// Longest address that is redirected to.
const MAX_URL: usize = 2_048;

/// Takes the form of `/settings/apps/new` or, for an organization,
/// `/organizations/{org}/settings/apps/new`, as a browser posts it. `None` for
/// any other request.
pub fn take_form(hub: &Hub, request: &Request) -> Option<Answer> {
    let org = matches("/organizations/{org}/settings/apps/new", &request.path);
    if request.method != "POST" || (org.is_none() && request.path != "/settings/apps/new") {
        return None;
    }
    Some(form(hub, request).unwrap_or_else(|refusal| refusal))
}

fn form(hub: &Hub, request: &Request) -> Result<Answer, Answer> {
    let wrong = |message: &str| Answer::error(422, message);
    let body = std::str::from_utf8(&request.body).map_err(|_| wrong("not a form"))?;
    let manifest = body
        .split('&')
        .find_map(|pair| pair.strip_prefix("manifest="))
        .map(percent_decoded)
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .filter(Value::is_object)
        .ok_or_else(|| wrong("manifest is not a JSON object"))?;
    let redirect = checked(&manifest).map_err(|message| wrong(&message))?;
    let now_ms = hub.now_ms();
    let code = crate::ids::hex(&crate::ids::random::<20>());
    let mut state = hub.state();
    state
        .manifests
        .retain(|_, (_, made_ms)| now_ms - *made_ms < CODE_MS);
    if state.manifests.len() >= MAX_CODES {
        return Err(Answer::error(503, "too many codes wait"));
    }
    state.manifests.insert(code.clone(), (manifest, now_ms));
    let mark = if redirect.contains('?') { '&' } else { '?' };
    let given = request.query.get("state").cloned().unwrap_or_default();
    Ok(Answer::empty(302).header(
        "location",
        format!("{redirect}{mark}code={code}&state={given}"),
    ))
}

/// Holds a manifest to GitHub's documented parameters ("Registering a GitHub
/// App from a manifest"); gives its `redirect_url`.
fn checked(manifest: &Value) -> Result<String, String> {
    const KNOWN: [&str; 12] = [
        "name",
        "url",
        "hook_attributes",
        "redirect_url",
        "callback_urls",
        "setup_url",
        "description",
        "public",
        "default_events",
        "default_permissions",
        "request_oauth_on_install",
        "setup_on_update",
    ];
    let empty = Map::new();
    let fields = manifest.as_object().unwrap_or(&empty);
    if let Some(unknown) = fields.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("{unknown} is not a parameter of a manifest"));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if text(&manifest["url"]).is_none_or(|url| !url.starts_with("http")) {
        return Err("url is missing".to_owned());
    }
    let hook = &manifest["hook_attributes"];
    if !hook.is_null() && text(&hook["url"]).is_none_or(|url| !url.starts_with("http")) {
        return Err("hook_attributes.url is missing".to_owned());
    }
    let known = |level: &str| covers(Some("write"), level);
    let permissions: Permissions = serde_json::from_value(manifest["default_permissions"].clone())
        .map_err(|_| "default_permissions is not an object of texts".to_owned())?;
    if let Some((name, level)) = permissions.iter().find(|(_, level)| !known(level)) {
        return Err(format!("permission {name} cannot be {level}"));
    }
    let events: Vec<String> = serde_json::from_value(manifest["default_events"].clone())
        .map_err(|_| "default_events is not a list of texts".to_owned())?;
    let reads_actions = permissions.contains_key("actions");
    if events.iter().any(|it| it.starts_with("workflow_")) && !reads_actions {
        return Err("default_events: workflow events need the permission actions".to_owned());
    }
    text(&manifest["redirect_url"])
        .filter(|url| url.starts_with("http") && url.len() <= MAX_URL)
        .ok_or_else(|| "redirect_url is missing".to_owned())
}

/// `POST /app-manifests/{code}/conversions`, once per code.
pub(super) fn convert(hub: &Hub, found: &Parameters) -> Result<Answer, Answer> {
    let now_ms = hub.now_ms();
    let (manifest, _) = hub
        .state()
        .manifests
        .remove(found.text("code"))
        .filter(|(_, made_ms)| now_ms - made_ms < CODE_MS)
        .ok_or_else(Answer::not_found)?;
    let pem = keys::generate_pem().map_err(|error| Answer::error(503, &error.to_string()))?;
    let id = hub.state().fresh_id();
    let name = manifest["name"].as_str().unwrap_or("musher");
    let slug = name.to_lowercase().replace(' ', "-");
    let mut body = shapes::made_app(&hub.urls.api, id, &slug, &manifest);
    if let Value::Object(map) = &mut body {
        let secret = |bytes: &[u8]| json!(crate::ids::hex(bytes));
        map.insert("client_secret".into(), secret(&crate::ids::random::<20>()));
        map.insert("webhook_secret".into(), secret(&crate::ids::random::<20>()));
        map.insert("pem".into(), json!(pem));
    }
    Ok(Answer::json(201, body))
}
