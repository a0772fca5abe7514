//! The examples and tables of `docs/protocol.md` against the wire crate: what the page shows is read,
//! and what it lists is what the code has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rpc_plugin_wire::describe::{self, Description, METHOD_DESCRIBE};
use rpc_plugin_wire::error::ErrorData;
use rpc_plugin_wire::handshake::{
    ENV_RESERVED, FEATURES, Hello, HelloResult, Launch, METHOD_HELLO, METHOD_LAUNCH,
};
use rpc_plugin_wire::ident::check_method;
use rpc_plugin_wire::life::{self, CallBack, Cancel, Capabilities, Heartbeat, HostCall, HostEvent};
use rpc_plugin_wire::message::{params_into, result_object};
use rpc_plugin_wire::stream::{METHOD_STREAM_DATA, METHOD_STREAM_END, StreamFrame};
use rpc_plugin_wire::{ErrorCode, Message, Request, RequestId, admin, limits};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

const DOC: &str = include_str!("../../docs/protocol.md");

/// Every whole frame of a page, in order, with its sender: `→`, `←`, or `` ` `` for one in the text.
fn examples(page: &str) -> Vec<(char, &str)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let sender = line.chars().next().filter(|c| "→←".contains(*c));
            if let Some((sender, frame)) = sender.and_then(|c| Some((c, line.strip_prefix(c)?))) {
                found.push((sender, frame.strip_prefix(' ').unwrap_or(frame)));
            }
        } else {
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.filter(|text| text.starts_with("{\"jsonrpc\"")).map(|text| ('`', text)));
        }
    }
    found
}

/// The rows of the table that begins with this header, as their cells.
fn table<'a>(page: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let mut lines = page.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows = lines.by_ref().take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Reads a request of the page as its method's type.
fn read_request(request: &Request<'_>) -> Result<(), String> {
    check_method(&request.method).map_err(|error| error.to_string())?;
    if &*request.method == life::METHOD_CALL {
        params_into::<HostCall>(request.params).map_err(|error| error.to_string())?;
    }
    if &*request.method == life::METHOD_CALLBACK {
        params_into::<CallBack>(request.params).map_err(|error| error.to_string())?;
    }
    if let Some(checked) = read_admin(&request.method, request.params) {
        // One example is of params that the method does not have.
        return checked.or_else(|error| if error.contains("`timeout`") { Ok(()) } else { Err(error) });
    }
    if &*request.method == METHOD_HELLO {
        let hello: Hello = params_into(request.params).map_err(|error| error.to_string())?;
        return hello.check().map_err(|error| error.to_string());
    }
    Ok(())
}

/// Reads params as an admin method wants them; `None` for what is none.
fn read_admin(method: &str, params: Option<&RawValue>) -> Option<Result<(), String>> {
    let read = match method {
        admin::METHOD_STATUS | admin::METHOD_PLUGINS | admin::METHOD_ROUTES | admin::METHOD_SHUTDOWN => {
            params_into::<admin::NoParams>(params).map(drop)
        }
        admin::METHOD_PLUGIN | admin::METHOD_HEARTBEAT | admin::METHOD_DESCRIBE => {
            params_into::<admin::PluginRef>(params).map(drop)
        }
        admin::METHOD_START | admin::METHOD_STOP | admin::METHOD_RESTART => {
            params_into::<admin::ActParams>(params).map(drop)
        }
        admin::METHOD_WAIT => params_into::<admin::WaitParams>(params).map(drop),
        admin::METHOD_CALL => params_into::<admin::CallParams>(params).and_then(|params| params.check()),
        _ => return None,
    };
    Some(read.map_err(|error| error.to_string()))
}

/// Reads an answer of the page as its request's method wants it.
fn read_answer(method: &str, answer: &rpc_plugin_wire::Response<'_>) -> Result<(), String> {
    match &answer.result {
        Ok(result) => match method {
            METHOD_HELLO => result_object::<HelloResult>(result).map(drop),
            life::METHOD_HEARTBEAT => result_object::<Heartbeat>(result).map(drop),
            METHOD_DESCRIBE => Description::read(result).map(drop),
            life::METHOD_CAPABILITIES => result_object::<Capabilities>(result)
                .and_then(|read| read.check().map_err(|error| error.to_string())),
            life::METHOD_SHUTDOWN | admin::METHOD_SHUTDOWN if result.get() != "{}" => {
                Err("the answer is `{}`".to_owned())
            }
            admin::METHOD_STATUS => result_object::<admin::DaemonStatus>(result).map(drop),
            admin::METHOD_PLUGIN => result_object::<admin::PluginStatus>(result).map(drop),
            admin::METHOD_PLUGINS => result_object::<admin::PluginList>(result).map(drop),
            admin::METHOD_ROUTES => result_object::<admin::RouteList>(result).map(drop),
            admin::METHOD_HEARTBEAT => result_object::<admin::HeartbeatReply>(result).map(drop),
            admin::METHOD_CALL => result_object::<admin::CallReply>(result).map(drop),
            admin::METHOD_DESCRIBE => result_object::<admin::DescribeReply>(result).map(drop),
            _ => Ok(()),
        },
        Err(error) => {
            if matches!(error.kind(), ErrorCode::Application(_)) {
                return Err(format!("{} is not in the table", error.code));
            }
            match &error.data {
                Some(data) => result_object::<ErrorData>(data).map(drop),
                None => Ok(()),
            }
        }
    }
}

/// Reads a whole page's examples; answers are matched to the requests of the other side.
fn read_examples(page: &str) -> Result<Vec<String>, String> {
    let mut asked: BTreeMap<(char, RequestId), String> = BTreeMap::new();
    let mut methods = Vec::new();
    for (sender, frame) in examples(page) {
        let fault = |error: &dyn ToString| format!("{frame}\n  {}", error.to_string());
        match Message::parse(frame.as_bytes()).map_err(|error| fault(&error))? {
            Message::Request(request) => {
                read_request(&request).map_err(|error| fault(&error))?;
                methods.push(request.method.to_string());
                asked.insert((sender, request.id), request.method.into_owned());
            }
            Message::Notification(notification) => {
                if notification.method == life::METHOD_CANCEL {
                    params_into::<Cancel>(notification.params).map_err(|error| fault(&error))?;
                }
                if let Err(why) = StreamFrame::read(&notification.method, notification.params) {
                    return Err(fault(&why));
                }
                if notification.method == life::METHOD_EVENT {
                    params_into::<HostEvent>(notification.params).map_err(|error| fault(&error))?;
                }
                if notification.method == METHOD_LAUNCH {
                    params_into::<Launch>(notification.params).map_err(|error| fault(&error))?;
                }
                methods.push(notification.method.into_owned());
            }
            Message::Response(answer) => {
                let asker = if sender == '→' { '←' } else { '→' };
                let id = answer.id.clone().ok_or_else(|| fault(&"an answer without an id"))?;
                let method = asked.remove(&(asker, id)).ok_or_else(|| fault(&"nobody asked"))?;
                read_answer(&method, &answer).map_err(|error| fault(&error))?;
            }
        }
    }
    match asked.into_values().next() {
        Some(method) => Err(format!("no answer to {method}")),
        None => Ok(methods),
    }
}

#[test]
fn every_example_is_a_frame_of_the_protocol() {
    let methods = read_examples(DOC).unwrap();
    let needed = [
        METHOD_HELLO,
        METHOD_DESCRIBE,
        life::METHOD_HEARTBEAT,
        life::METHOD_CAPABILITIES,
        life::METHOD_SHUTDOWN,
    ];
    let both_ways = [life::METHOD_CALL, life::METHOD_EVENT, life::METHOD_CALLBACK, life::METHOD_PROGRESS];
    let streams = [METHOD_STREAM_DATA, METHOD_STREAM_END];
    let admin = admin::METHODS;
    for method in needed.iter().chain(&[life::METHOD_CANCEL]).chain(admin).chain(&both_ways).chain(&streams) {
        assert!(methods.iter().any(|seen| seen == method), "no example of {method}");
    }
    assert!(!DOC.contains("…\""), "an example is abbreviated");
}

#[test]
fn every_line_of_a_block_with_arrows_is_an_example() {
    for block in DOC.split("```").skip(1).step_by(2).filter(|block| block.contains(['→', '←'])) {
        for line in block.lines().filter(|line| !line.is_empty()) {
            assert!(line.starts_with("→ {") || line.starts_with("← {"), "{line}");
        }
    }
}

#[test]
fn the_description_of_the_page_for_authors_is_one() {
    let page = include_str!("../../docs/plugin-authors.md");
    let block = page.split("```json\n").skip(1).find(|block| block.starts_with("{\"methods\"")).unwrap();
    let json = block.split("```").next().unwrap().trim().replace('\n', " ");
    let description = Description::read(&RawValue::from_string(json).unwrap()).unwrap();
    assert_eq!(description.methods.iter().map(|method| &*method.name).collect::<Vec<_>>(), ["greet"]);
}

#[test]
fn a_wrong_example_is_noticed() {
    for (page, says) in [
        ("```\n→ {\"jsonrpc\":\"2.0\",\"id\":1}\n```", "`method`"),
        ("```\n→ {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}\n```", "nobody asked"),
        ("```\n← {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n```", "no answer to m"),
        ("see `{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{}}`", "`id` is missing"),
        ("```\n→ {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"host.hello\",\"params\":{}}\n```", "token"),
        (
            "```\n← {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"plugin.heartbeat\"}\n\
             → {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"status\":\"fine\"}}\n```",
            "not a status",
        ),
        (
            "```\n← {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"}\n\
             → {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,\"message\":\"x\"}}\n```",
            "not in the table",
        ),
    ] {
        let error = read_examples(page).unwrap_err();
        assert!(error.contains(says), "{error:?} should say {says:?}");
    }
}

#[test]
fn the_error_table_is_the_code_table() {
    let rows = table(DOC, "| code | name | outcome |");
    let listed: Vec<(i64, &str)> = rows.iter().map(|row| (row[0].parse().unwrap(), row[1])).collect();
    let defined: Vec<(i64, &str)> =
        ErrorCode::DEFINED.iter().map(|code| (code.code(), code.name())).collect();
    assert_eq!(listed, defined);
    for outcome in ["not_sent", "indeterminate"] {
        assert!(rows.iter().any(|row| row[2].contains(outcome)), "no row says {outcome}");
    }
}

/// The names in the first cells of a table.
fn names<'a>(header: &str) -> Vec<&'a str> {
    let rows = table(DOC, header);
    rows.iter().filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`')).collect()
}

#[test]
fn every_admin_method_feature_and_member_of_the_hello_has_its_row() {
    assert_eq!(names("| method | params | result |"), admin::METHODS);
    assert_eq!(names("| feature | whoever says it |"), FEATURES);
    let example =
        DOC.lines().find_map(|line| line.strip_prefix("→ ").filter(|line| line.contains(METHOD_HELLO)));
    let example: serde_json::Value = serde_json::from_str(example.unwrap()).unwrap();
    let members = table(DOC, "| member | | type and bounds | meaning |");
    let listed = names("| member | | type and bounds | meaning |");
    for name in example["params"].as_object().unwrap().keys() {
        assert!(listed.contains(&&**name), "the hello's {name} has no row");
    }
    for row in &members {
        let name = row[0].trim_matches('`');
        let mut params = example["params"].clone();
        params.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("no example has {name}"));
        let read = serde_json::from_value::<Hello>(params);
        assert_eq!(read.is_err(), row[1] == "required", "{name}: {read:?}");
    }
    for (bound, value) in [
        ("1 to 256 names", limits::CAPABILITIES_MAX == 256),
        ("1 to 64 ASCII letters", limits::CAPABILITY_BYTES_MAX == 64),
        ("0 to 64 strings", limits::HELLO_LIST_MAX == 64),
        ("string of 0 to 64 bytes", limits::VERSION_BYTES_MAX == 64),
    ] {
        assert!(value && members.iter().any(|row| row.iter().any(|cell| cell.contains(bound))), "{bound}");
    }
    for number in [admin::DEADLINE_MS_MAX, admin::DEADLINE_MS_DEFAULT] {
        assert!(DOC.contains(&number.to_string()), "{number}");
    }
}

#[test]
fn every_method_has_a_prefix_of_the_table() {
    let rows = table(DOC, "| prefix | who answers | examples |");
    let prefixes: Vec<&str> =
        rows.iter().filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`')).collect();
    assert_eq!(prefixes, ["host.", "plugin.", "admin.", "rpc."]);
    let known = [
        ("host.", &[METHOD_HELLO][..]),
        (
            "plugin.",
            &[life::METHOD_HEARTBEAT, life::METHOD_CAPABILITIES, life::METHOD_SHUTDOWN, METHOD_DESCRIBE],
        ),
        ("admin.", admin::METHODS),
        ("rpc.", &[life::METHOD_CANCEL, METHOD_LAUNCH]),
    ];
    for (prefix, methods) in known {
        for method in methods {
            assert!(method.starts_with(prefix) && check_method(method).is_ok(), "{method}");
        }
    }
    for row in rows {
        for example in row[2].split('`').skip(1).step_by(2).filter(|example| !example.ends_with('*')) {
            check_method(example).unwrap();
            let prefix = prefixes.iter().find(|prefix| example.starts_with(**prefix));
            let own = row[0].trim_matches('`');
            assert_eq!(prefix.is_some(), prefixes.contains(&own), "{example} stands under {own}");
        }
    }
}

#[test]
fn the_numbers_and_names_of_the_page_are_the_codes() {
    for name in ENV_RESERVED {
        assert!(DOC.contains(&format!("`{name}`")), "{name}");
    }
    for state in ["starting", "healthy", "degraded", "overloaded", "unhealthy"] {
        assert!(DOC.contains(&format!("`{state}`")), "{state}");
        serde_json::from_value::<life::HealthStatus>(state.into()).unwrap();
    }
    for (text, number, value) in [
        ("Nesting deeper than 128", limits::NESTING_MAX, 128),
        ("is 16 KiB before authentication", limits::FRAME_BYTES_MAX_UNAUTHENTICATED, 16 << 10),
        ("and 4 MiB after it", limits::FRAME_BYTES_MAX_DEFAULT, 4 << 20),
        ("a string of 1..64 bytes", limits::REQUEST_ID_TEXT_BYTES_MAX, 64),
        ("A method name is 1..128 ASCII", limits::METHOD_BYTES_MAX, 128),
        ("(SCM_RIGHTS), 0..16", limits::FDS_PER_FRAME_MAX.into(), 16),
        ("Wire protocol, version 1", limits::PROTOCOL_VERSION as usize, 1),
        ("an integer 0..2^53-1", limits::REQUEST_ID_MAX as usize, (1 << 53) - 1),
        ("more than 16 waiting", limits::FDS_WAITING_MAX, 16),
        ("at most 32 strings of 1", limits::CHAIN_MAX, 32),
        ("1 to 256 bytes, `PLUGIN", limits::CHAIN_ENTRY_BYTES_MAX, 256),
        ("At first 256 KiB may be sent", limits::STREAM_WINDOW_BYTES, 256 << 10),
        ("1 to 32 KiB in base64", limits::STREAM_DATA_BYTES_MAX, 32 << 10),
        ("At most 16 streams are open", limits::STREAMS_MAX, 16),
        ("has at most 262144 bytes and", describe::DESCRIPTION_BYTES_MAX, 262_144),
        ("bytes and 1024 methods", describe::DESCRIBED_METHODS_MAX, 1024),
        ("nested at most 64 levels", describe::SCHEMA_NESTING_MAX, 64),
        ("string of 0 to 8192 bytes", describe::DOCS_BYTES_MAX, 8192),
        ("0 to 16 strings of 0 to 256 bytes", describe::STREAM_PLACES_MAX, 16),
        ("16 strings of 0 to 256 bytes", describe::STREAM_PLACE_BYTES_MAX, 256),
    ] {
        assert!(DOC.contains(text), "the page does not say {text:?}");
        assert_eq!(number, value, "{text}");
    }
}
