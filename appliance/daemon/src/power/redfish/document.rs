//! Looking into a BMC's JSON. What has the wrong type is as good as missing:
//! BMCs differ in nearly everything that the schema leaves optional.

use serde_json::Value;

/// Longest path that is followed, in bytes.
const PATH_BYTES: usize = 512;
/// Most entries of a list that are looked at.
pub(super) const ENTRIES: usize = 128;

/// A text that is there and not empty.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = value.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The entries of a list; none when there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let entries = value.pointer(pointer).and_then(Value::as_array);
    entries.into_iter().flatten().take(ENTRIES).collect()
}

/// The texts of a list; `None` when there is no list.
pub(super) fn texts(value: &Value, pointer: &str) -> Option<Vec<String>> {
    let entries = value.pointer(pointer)?.as_array()?;
    let texts = entries.iter().filter_map(Value::as_str);
    Some(texts.take(ENTRIES).map(str::to_owned).collect())
}

/// The path that the object at `pointer` refers to.
pub(super) fn link(value: &Value, pointer: &str) -> Option<String> {
    path(&text(value, &format!("{pointer}/@odata.id"))?)
}

/// The paths of a collection's members, or of any list of references.
pub(super) fn links(value: &Value, pointer: &str) -> Vec<String> {
    let entries = list(value, pointer).into_iter();
    entries.filter_map(|entry| link(entry, "")).collect()
}

/// A path of this service that can stand in a request as it is.
pub(super) fn path(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>');
    let own = text.starts_with('/') && !text.starts_with("//");
    (own && text.len() <= PATH_BYTES && text.bytes().all(plain)).then(|| text.to_owned())
}

/// The last segment of a path: what people call a resource.
pub(super) fn name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        for good in [
            "/redfish/v1/Systems/1",
            "/redfish/v1/Systems/System.Embedded.1/",
        ] {
            assert_eq!(path(good).as_deref(), Some(good));
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES));
        let wrong = [
            "",
            "redfish",
            "//evil/x",
            "http://evil/",
            "/a b",
            "/a\r\nb",
            "/a#b",
            "/ü",
            &long,
        ];
        for wrong in wrong {
            assert_eq!(path(wrong), None, "{wrong}");
        }
        assert_eq!(name("/redfish/v1/Systems/1/"), "1");
        assert_eq!(name("/"), "");
    }

    #[test]
    fn wrong_types_are_missing() {
        let value = json!({"a": 1, "b": "", "c": ["x", 2, "y"], "d": {"@odata.id": "/d"},
            "e": [{"@odata.id": "/e"}, {"@odata.id": 3}, 4]});
        assert_eq!(text(&value, "/a"), None);
        assert_eq!(text(&value, "/b"), None);
        assert_eq!(texts(&value, "/c").unwrap(), ["x", "y"]);
        assert_eq!(texts(&value, "/d"), None);
        assert_eq!(link(&value, "/d").as_deref(), Some("/d"));
        assert_eq!(links(&value, "/e"), ["/e"]);
        assert!(list(&value, "/a").is_empty());
    }
}
