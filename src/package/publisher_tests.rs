//! Packages that are taken for who published them, and those that are not, with what is said of them.

use super::super::signer::Signer;
use super::*;
use serde_json::{Value, json};
use std::path::Path;

fn key(signer: &Signer) -> PublicKey {
    signer.public().parse().unwrap()
}

fn trusted(signer: &Signer, ids: &[&str]) -> TrustedKey {
    let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
    TrustedKey { key: key(signer), ids, capabilities: None }
}

/// A manifest with its bytes.
fn manifest(id: &str, capabilities: &Value) -> (Manifest, Vec<u8>) {
    let digest = Digest::of(b"").to_string();
    let text = json!({
        "manifest": 1, "id": id, "version": "1.0.0", "entrypoint": "run", "files": {"run": digest},
        "capabilities": capabilities,
    });
    let bytes = text.to_string().into_bytes();
    (Manifest::read(Path::new("plugin.json"), &bytes).unwrap(), bytes)
}

/// The verdict about a manifest of that id that was signed by somebody, or not.
fn judge(
    policy: &VerifyPolicy,
    id: &str,
    signer: Option<&Signer>,
    bound: Option<&Publisher>,
) -> Result<PublisherVerdict, String> {
    let (manifest, bytes) = manifest(id, &json!({}));
    let signature = signer.map(|signer| signer.sign(&bytes, "made in a test"));
    let verdict = policy.judge(&manifest, &bytes, signature.as_deref(), bound, false);
    verdict.map_err(|refusal| refusal.to_string())
}

#[test]
fn signatures_are_verified_where_there_are_keys_unless_said_otherwise() {
    let signer = Signer::new(0, 1);
    let keys = || vec![trusted(&signer, &["*"])];
    assert_eq!(VerifyPolicy::default().mode, VerifyMode::Checksums);
    assert_eq!(VerifyPolicy::new(None, keys()).mode, VerifyMode::Signature);
    assert_eq!(VerifyPolicy::new(Some(VerifyMode::Checksums), keys()).mode, VerifyMode::Checksums);
    assert_eq!(VerifyMode::Checksums.shown(), "checksums: against accidents, not attackers");
}

#[test]
fn what_has_to_be_signed_is_taken_from_a_trusted_key_alone() {
    let (ours, other) = (Signer::new(0, 0xA), Signer::new(1, 0xB));
    let policy = VerifyPolicy::new(None, vec![trusted(&ours, &["kv", "acme-*"])]);
    for id in ["kv", "acme-", "acme-x"] {
        let verdict = judge(&policy, id, Some(&ours), None).unwrap();
        assert_eq!(verdict.publisher, Publisher::Key(key(&ours)));
        assert_eq!(verdict.comment.as_deref(), Some("made in a test"));
        assert!(!verdict.replaces_publisher && verdict.unchecked.is_none());
    }
    let refused = |id, signer| judge(&policy, id, signer, None).unwrap_err();
    assert_eq!(
        refused("kv2", Some(&ours)),
        "plugin.json: id \"kv2\" is not one that key 000000000000000A may publish; expected kv, acme-*"
    );
    assert_eq!(
        refused("kv", Some(&other)),
        "plugin.json.minisig: is of key 000000000000000B; expected one of key 000000000000000A"
    );
    let unsigned = refused("kv", None);
    assert!(
        unsigned.starts_with(
            "plugin.json.minisig: is missing; expected a signature by one of key 000000000000000A"
        ),
        "{unsigned}"
    );
    // A signature of another manifest.
    let (read, bytes) = manifest("kv", &json!({}));
    let elsewhere = ours.sign(&manifest("acme-x", &json!({})).1, "");
    let error = policy.judge(&read, &bytes, Some(&elsewhere), None, false).unwrap_err().to_string();
    assert!(error.contains("seen one that does not fit"), "{error}");
    // Nobody is trusted, and signatures are asked for all the same.
    let nobody = VerifyPolicy::new(Some(VerifyMode::Signature), Vec::new());
    let error = judge(&nobody, "kv", None, None).unwrap_err();
    assert!(error.contains("and none is trusted; name one in \"keys\""), "{error}");
    let error = judge(&nobody, "kv", Some(&ours), None).unwrap_err();
    assert!(error.contains("expected one of a trusted key, and none is trusted"), "{error}");
}

#[test]
fn a_key_vouches_for_the_capabilities_that_it_is_trusted_with() {
    let signer = Signer::new(0, 0xA);
    let mut trusted = trusted(&signer, &["*"]);
    trusted.capabilities = Some(["calls"].into());
    let mut policy = VerifyPolicy::new(None, vec![trusted]);
    let calls = json!({"calls": [{"plugin": "clock", "methods": ["clock.now"]}]});
    let more = json!({"calls": calls["calls"], "pass_env": ["TZ"]});
    let mut judge = |capabilities: &Value, allowed: &[&'static str]| {
        policy.keys[0].capabilities = Some(allowed.iter().copied().collect());
        let (manifest, bytes) = manifest("kv", capabilities);
        let verdict = policy.judge(&manifest, &bytes, Some(&signer.sign(&bytes, "")), None, false);
        verdict.map_err(|refusal| refusal.to_string())
    };
    judge(&calls, &["calls"]).unwrap();
    judge(&more, &["calls", "pass_env"]).unwrap();
    judge(&json!({}), &[]).unwrap();
    assert_eq!(
        judge(&more, &["calls", "network"]).unwrap_err(),
        "plugin.json: kv asks for \"pass_env\"; expected of packages of key 000000000000000A: calls, network"
    );
    assert_eq!(
        judge(&calls, &[]).unwrap_err(),
        "plugin.json: kv asks for \"calls\"; expected of packages of key 000000000000000A: nothing"
    );
    for (at, capabilities) in [
        ("filesystem", json!({"filesystem": [{"path": "/a", "permissions": ["read"]}]})),
        (
            "network",
            json!({"network": {"egress": [{"protocol": "tcp", "hosts": ["a.org"], "ports": ["1"]}]}}),
        ),
        ("network", json!({"network": {"ingress": [{"protocol": "tcp", "ports": ["1"]}]}})),
        ("process", json!({"process": {"kill": ["children"]}})),
    ] {
        assert!(judge(&capabilities, &["calls"]).unwrap_err().contains(&format!("asks for {at:?}")));
    }
}

#[test]
fn with_checksums_a_signature_counts_if_its_key_is_trusted_and_is_nothing_else() {
    let (ours, other) = (Signer::new(0, 0xA), Signer::new(1, 0xB));
    let policy = VerifyPolicy::new(Some(VerifyMode::Checksums), vec![trusted(&ours, &["kv"])]);
    assert_eq!(judge(&policy, "kv", Some(&ours), None).unwrap().publisher, Publisher::Key(key(&ours)));
    let (_, bytes) = manifest("kv", &json!({}));
    let unsigned = Publisher::Unsigned(Digest::of(&bytes));
    assert_eq!(judge(&policy, "kv", None, None).unwrap().publisher, unsigned);
    let verdict = judge(&policy, "kv", Some(&other), None).unwrap();
    assert_eq!(verdict.publisher, unsigned);
    assert_eq!(verdict.unchecked.as_deref(), Some("of key 000000000000000B, which is not trusted"));
    // One that says it is of a trusted key, and is not, is no accident.
    let forged = Signer::new(1, 0xA);
    assert!(judge(&policy, "kv", Some(&forged), None).unwrap_err().contains("does not fit"));
    let (manifest, bytes) = manifest("kv", &json!({}));
    let error = policy.judge(&manifest, &bytes, Some(b"x"), None, false).unwrap_err().to_string();
    assert!(error.contains("is no signature of minisign"), "{error}");
}

#[test]
fn an_id_keeps_its_publisher_unless_an_operator_approved_another() {
    let (first, second) = (Signer::new(0, 0xA), Signer::new(1, 0xA));
    let keys = vec![trusted(&first, &["*"]), trusted(&second, &["*"])];
    let policy = VerifyPolicy::new(Some(VerifyMode::Checksums), keys);
    let of = |signer: Option<&Signer>| judge(&policy, "kv", signer, None).unwrap().publisher;
    let publishers = [of(Some(&first)), of(Some(&second)), of(None)];
    let (read, bytes) = manifest("kv", &json!({}));
    for (at, signer) in [Some(&first), Some(&second), None].into_iter().enumerate() {
        for (bound_at, bound) in publishers.iter().enumerate() {
            let signature = signer.map(|signer| signer.sign(&bytes, ""));
            let judge = |approved| policy.judge(&read, &bytes, signature.as_deref(), Some(bound), approved);
            let verdict = judge(true).unwrap();
            assert_eq!(verdict.replaces_publisher, at != bound_at, "{at} after {bound_at}");
            assert!(verdict.publisher.is_same(&publishers[at]));
            match judge(false) {
                Ok(again) => assert_eq!((at, again), (bound_at, verdict)),
                Err(refusal) => {
                    let refusal = refusal.to_string();
                    assert!(
                        at != bound_at && refusal.contains("kv belongs to another publisher"),
                        "{refusal}"
                    );
                    let told = format!("expected {}, seen {};", bound.shown(), publishers[at].shown());
                    assert!(
                        refusal.contains(&told)
                            && refusal.contains("`rpcpluginctl approve kv --new-publisher`"),
                        "{refusal}"
                    );
                }
            }
        }
    }
    // Nobody can tell who made what nobody signed.
    let other_bytes = Publisher::Unsigned(Digest::of(b"another version"));
    assert!(!judge(&policy, "kv", None, Some(&other_bytes)).unwrap().replaces_publisher);
}

#[test]
fn publishers_and_patterns_are_read_as_they_are_written() {
    for publisher in [Publisher::Key(key(&Signer::new(2, 3))), Publisher::Unsigned(Digest::of(b"x"))] {
        assert_eq!(publisher.to_string().parse(), Ok(publisher));
    }
    for text in ["", "minisign:x", "sha256:x", "sha1:00", "key"] {
        assert!(text.parse::<Publisher>().unwrap_err().contains("is no publisher"), "{text}");
    }
    for text in ["kv", "kv*", "*", "a.b-c_*"] {
        assert_eq!(text.parse::<IdPattern>().unwrap().to_string(), text);
    }
    for text in ["", "a b", "a*b", "**", "/*", "..", &format!("{}*", "x".repeat(64))] {
        text.parse::<IdPattern>().unwrap_err();
    }
}

/// The signed package of `examples/packages`, whose key the host there trusts. `UPDATE_DOCS=1` signs it anew.
#[test]
fn the_signed_example_is_signed_by_the_key_that_its_host_trusts() {
    let project = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let examples = std::path::Path::new(&project).join("examples/packages");
    let signer = Signer::new(3, 0x7061_636b_6167_6573);
    let manifest = std::fs::read(examples.join("greeter/plugin.json")).unwrap();
    let signature = signer.sign(&manifest, "greeter 1.0.0");
    let path = examples.join("greeter/plugin.json.minisig");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &signature).unwrap();
    }
    assert_eq!(std::fs::read(path).unwrap(), signature);
    let host = std::fs::read_to_string(examples.join("host.rs")).unwrap();
    assert!(host.contains(&signer.public()), "{}", signer.public());
}
