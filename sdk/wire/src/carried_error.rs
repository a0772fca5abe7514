//! The error of a call that somebody else carried, as the one who made it knows it.
//!
//! What always holds: what the carrier says of the call is known as its word, and what it passed on is as the plugin sent it.

use crate::answered_error::{author, is_the_hosts};
use crate::call_error::CallError;
use crate::envelope::Object;
use crate::error::{ErrorCode, ErrorData, ErrorObject, Outcome};
use crate::ident::Generation;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads an error object that [`CallError::to_object`] made.
#[must_use]
pub fn carried_error(object: ErrorObject) -> CallError {
    #[derive(Deserialize)]
    struct Beside {
        #[serde(default)]
        data: Option<Box<RawValue>>,
    }
    let mut error = CallError::answered(object);
    let is_carriers = !matches!(error.code, ErrorCode::Application(_)) || is_the_hosts(error.code);
    let data = error.data.as_deref().filter(|_| is_carriers);
    let said = data.and_then(|data| serde_json::from_str::<Object<ErrorData>>(data.get()).ok());
    let Some(Object(said)) = said else {
        return error;
    };
    let data = error.data.take();
    error.outcome = said.outcome;
    error.plugin_id = said.plugin_id.and_then(|id| id.parse().ok());
    error.generation = said.generation.and_then(|number| Generation::try_from(number).ok());
    if said.outcome == Outcome::Answered {
        let beside = data.and_then(|data| serde_json::from_str::<Beside>(data.get()).ok());
        error.data = beside.and_then(|beside| beside.data);
        let message = error.message.strip_prefix(&*author(error.code));
        // Nothing stands behind it where the plugin's own message is empty.
        let message =
            message.and_then(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix(": ") });
        if let Some(message) = message {
            error.message = message.to_owned().into();
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answered_error::RESERVED_CODES;

    fn answered(code: i64, data: Option<&str>) -> CallError {
        let data = data.map(|data| RawValue::from_string(data.into()).unwrap());
        let error = CallError::answered(ErrorObject { code, message: "as it says".into(), data });
        error.at(&"kv".parse().unwrap(), Some(Generation::FIRST))
    }

    #[test]
    fn every_reserved_code_is_marked_but_for_those_that_are_anybodys() {
        let anybodys = [-32601, -32602, -32603, -32005, -32006, -32009, -32800];
        let own = [1, 0, 42, -1, -31999, -32769, i64::MIN, i64::MAX];
        for code in anybodys.into_iter().chain(own) {
            let object = answered(code, Some("7")).to_object();
            assert_eq!((object.code, &*object.message), (code, "as it says"), "{code}");
            assert_eq!(object.data.unwrap().get(), "7", "{code}");
        }
        for code in RESERVED_CODES.filter(|code| !anybodys.contains(code)) {
            let object = answered(code, Some("7")).to_object();
            assert_eq!(object.code, code);
            assert_eq!(object.message, format!("the plugin answered {code}: as it says"));
            let data = r#"{"outcome":"answered","plugin_id":"kv","generation":1,"data":7}"#;
            assert_eq!(object.data.unwrap().get(), data);
        }
    }

    #[test]
    fn the_hosts_data_cannot_be_forged() {
        let forged = [
            r#"{"outcome":"not_sent"}"#,
            r#"{"a":1,"outcome":7}"#,
            r#"{"outcome":"answered","outcome":"not_sent"}"#,
            r#"{"\u006futcome":"not_sent"}"#,
            r#"{"outcome":"not_sent","a":"\ud800"}"#,
        ];
        for data in forged {
            let object = answered(-32601, Some(data)).to_object();
            let written: serde_json::Value =
                serde_json::from_str(&object.data.as_ref().unwrap().get().replace(data, "0")).unwrap();
            assert_eq!((&written["outcome"], &written["data"]), (&"answered".into(), &0.into()), "{data}");
            assert_eq!(answered(7, Some(data)).to_object().data.unwrap().get(), data, "its own code");
        }
        for data in [r#"{"nested":{"outcome":"not_sent"}}"#, r#"["outcome"]"#, "null"] {
            assert_eq!(answered(-32601, Some(data)).to_object().data.unwrap().get(), data);
        }
        for data in [r#"["not_sent"]"#, r#"["not_sent","other",7]"#] {
            let read = carried_error(answered(-32603, Some(data)).to_object());
            assert_eq!((read.outcome, read.plugin_id), (Outcome::Answered, None), "{data}");
            assert_eq!(read.data.unwrap().get(), data);
        }
    }

    #[test]
    fn who_reads_a_marked_error_has_it_as_it_was_answered() {
        for code in [-32002, -32601, -32050, 7] {
            for data in [None, Some("7"), Some(r#"{"outcome":"not_sent"}"#)] {
                let read = carried_error(answered(code, data).to_object());
                let seen = (read.code.code(), read.outcome, &*read.message);
                assert_eq!(seen, (code, Outcome::Answered, "as it says"), "{data:?}");
                assert_eq!(read.data.as_deref().map(RawValue::get), data, "{code}");
            }
        }
        let silent = CallError { message: "".into(), ..answered(-32002, None) }.to_object();
        assert_eq!(
            (&*silent.message, &*carried_error(silent.clone()).message),
            ("the plugin answered -32002", "")
        );
        let own = CallError::not_sent(ErrorCode::Unavailable, "it is down");
        let read = carried_error(own.to_object());
        assert_eq!((read.code, read.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
    }

    #[test]
    fn people_are_told_who_said_it() {
        let text = answered(-32002, None).to_string();
        assert_eq!(text, "plugin kv (generation 1): the plugin answered -32002: as it says [answered]");
        let text = answered(-32601, None).to_string();
        assert_eq!(text, "plugin kv (generation 1): method_not_found: as it says [answered]");
    }
}
