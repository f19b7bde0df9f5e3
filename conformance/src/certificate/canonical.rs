//! JSON in one form only, so that equal contents are equal bytes: RFC 8785, of which numbers here are integers or what
//! serde_json writes, and names are ASCII.

use std::collections::BTreeMap;

use serde_json::Value;

/// A value with the names of each object in order and no white space.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    append(&mut text, value);
    text
}

fn append(text: &mut String, value: &Value) {
    match value {
        Value::Array(values) => {
            text.push('[');
            for (place, value) in values.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "," });
                append(text, value);
            }
            text.push(']');
        }
        Value::Object(members) => {
            // Whether a map of serde_json's is sorted is for any crate of a program to choose.
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            text.push('{');
            for (place, (name, value)) in sorted.into_iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "," });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                append(text, value);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_sorted_and_nothing_is_between() {
        let value = json!({"b": [1, null, "x\ny"], "a": {"z": 0.5, "y": true}});
        assert_eq!(canonical(&value), r#"{"a":{"y":true,"z":0.5},"b":[1,null,"x\ny"]}"#);
        let back: Value = serde_json::from_str(&canonical(&value)).unwrap();
        assert_eq!(canonical(&back), canonical(&value));
    }
}
