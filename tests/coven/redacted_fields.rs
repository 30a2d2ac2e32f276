//! The fields of a session: in some secrets are taken out, in others they are refused; none is stored.

use std::fs;

use serde_json::{Value, json};

use crate::redaction::{holds, home_bytes};
use crate::support::*;

/// Tokens of several issuers, and each one's kind. They are words, so that they can be an id or a directory's name.
const TOKENS: [(&str, &str); 5] = [
    ("npm_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", "npm"),
    ("sk_live_a1B2c3D4e5F6g7H8i9J0k1L2", "stripe"),
    ("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", "shopify"),
    (
        "dop_v1_0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "digitalocean",
    ),
    ("hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH", "huggingface"),
];

/// Values that resemble secrets but are none: a UUID, two hashes, base64, and the start of a token.
const ODD: [&str; 5] = [
    "0196a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b",
    "8f14e45fceea167a5a36dedd4bea25438f14e45f",
    "test_0123456789abcdef0123456789abcdef",
    "dGhpcyBpcyBhIGRpcmVjdG9yeSBuYW1lIDEyMzQ1",
    "npm_config_registry",
];

fn refused(answer: &Answer, field: &str) {
    let details = answer.assert_error(400, "invalid_request");
    assert_eq!(details["field"], field, "{}", answer.text());
}

fn directory(coven: &Coven, name: &str) -> String {
    let path = coven.work().join(name);
    fs::create_dir_all(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// After the daemon's stop, nothing in its home holds one of the tokens.
fn assert_nowhere(coven: &Coven) {
    assert_eq!(coven.cli(["daemon", "stop"]).code, 0);
    let bytes = home_bytes(coven);
    for (token, _) in TOKENS {
        assert!(!holds(&bytes, token), "{token} is in the home");
    }
}

#[test]
fn a_path_or_an_id_that_holds_a_token_is_refused_and_the_field_is_named() {
    let coven = Coven::start();
    coven.conversing("agent");
    let link = coven.work().join("link");
    for (token, _) in TOKENS {
        let dir = directory(&coven, &format!("a/{token}/b"));
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let policy =
            |dirs: &[&str]| json!({ "approval": "never", "sandbox": "full", "addDirs": dirs });
        for (field, fields) in [
            ("projectRoot", json!({ "projectRoot": dir })),
            (
                "projectRoot",
                json!({ "projectRoot": format!("/not-there/{token}") }),
            ),
            ("projectRoot", json!({ "projectRoot": link })),
            ("cwd", json!({ "cwd": format!("a/{token}") })),
            ("cwd", json!({ "cwd": format!("not-there/{token}") })),
            ("cwd", json!({ "cwd": "link" })),
            ("addDirs", json!({ "addDirs": ["/", dir] })),
            ("addDirs", json!({ "addDirs": [link] })),
            (
                "launchPolicy.addDirs",
                json!({ "launchPolicy": policy(&["/", &dir]) }),
            ),
            (
                "conversationId",
                json!({ "conversationId": format!("c {token}") }),
            ),
            (
                "conversation.id",
                json!({ "conversation": { "mode": "init", "id": token } }),
            ),
            (
                "conversation.id",
                json!({ "conversation": { "mode": "resume", "id": format!("c-{token}") } }),
            ),
            ("env", json!({ "env": { token: "x" } })),
        ] {
            refused(&coven.try_launch("agent", "x", fields), field);
        }
        fs::remove_file(&link).unwrap();
        let body = coven.launch_body("agent", "x");
        refused(&coven.launch_keyed(token, &body), "Idempotency-Key");
        for (field, fields) in [
            ("id", json!({ "id": token })),
            ("projectRoot", json!({ "projectRoot": dir })),
            ("harness", json!({ "harness": token })),
            (
                "transcriptPath",
                json!({ "transcriptPath": format!("{dir}/x.jsonl") }),
            ),
        ] {
            refused(&coven.register(&external_id(1), fields), field);
        }
    }
    assert_eq!(coven.sessions().len(), 0);
    assert_nowhere(&coven);
}

#[test]
fn a_path_or_an_id_that_only_looks_odd_is_kept_as_it_is() {
    let coven = Coven::start();
    coven.conversing("agent");
    for (at, odd) in ODD.into_iter().enumerate() {
        let dir = directory(&coven, odd);
        let fields = json!({ "projectRoot": dir, "conversationId": odd, "familiarId": odd, "model": null,
            "env": { format!("V_{}", odd.replace('-', "_")): "x" } });
        let record = coven.try_launch("agent", "x", fields).json();
        assert_eq!(record["project_root"], *dir);
        assert_eq!(record["cwd"], *dir);
        assert_eq!(record["conversation_id"], odd);
        assert_eq!(record["familiar_id"], odd);
        let conversation = json!({ "conversation": { "mode": "init", "id": odd } });
        let record = coven.try_launch("agent", "x", conversation).json();
        assert_eq!(record["harness_session_id"], odd);
        assert_eq!(
            coven
                .launch_keyed(odd, &coven.launch_body("agent", "x"))
                .status,
            201
        );
        let fields =
            json!({ "transcriptPath": format!("{dir}/t"), "projectRoot": dir, "harness": odd });
        let record = coven.register(&format!("{odd}.{at}"), fields).json();
        assert_eq!(record["id"], format!("{odd}.{at}"));
        assert_eq!(record["transcript_path"], format!("{dir}/t"));
        assert_eq!(record["harness"], odd);
    }
}

#[test]
fn no_field_is_refused_or_changed_where_secrets_are_stored() {
    let coven = Coven::new().env("COVEN_REDACT", "off");
    coven.start_daemon();
    coven.harness_with("takes", "true", json!({ "model_flag": "-m" }));
    let (token, _) = TOKENS[0];
    let dir = directory(&coven, token);
    let fields = json!({ "projectRoot": dir, "conversationId": token, "familiarId": token, "model": token,
        "args": ["--password", "hunter2horse"], "title": token });
    let record = coven.try_launch("takes", "x", fields).json();
    assert_eq!(record["project_root"], *dir);
    for field in ["conversation_id", "familiar_id", "model", "title"] {
        assert_eq!(record[field], token, "{field}");
    }
    let argv = json!([
        "takes",
        "-m",
        token,
        "--password",
        "hunter2horse",
        "--",
        "<prompt>"
    ]);
    assert_eq!(record["argv"], argv);
}

/// No verb shows `token`, or the password, of session `id`.
fn assert_shown_without(coven: &Coven, id: &str, token: &str) {
    for shown in [
        coven.cli(["show", id]),
        coven.cli(["show", "--json", id]),
        coven.cli(["sessions", "--json"]),
        coven.cli(["sessions", "--format", "id,model,title,labels"]),
        coven.cli(["metrics"]),
    ] {
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(
            !shown.out.contains(token) && !shown.out.contains("horse"),
            "{shown:?}"
        );
    }
}

#[test]
fn the_harness_gets_the_model_and_the_arguments_whose_secrets_are_not_on_record() {
    let coven = Coven::start();
    coven.harness_with(
        "takes",
        "printf '%s\\n' \"$@\" | wc -c",
        json!({ "model_flag": "-m" }),
    );
    for (token, kind) in TOKENS {
        let mark = format!("[REDACTED:{kind}]");
        let fields = json!({ "model": token, "familiarId": format!("f {token}"), "title": token, "labels": [token],
            "args": [token, "--token", "8f14e45fceea167a", "--api-key=8f14e45fceea167a", "--password", "my own horse",
                "-e", "DB_PASSWORD=hunter2horse", "--token-limit", "4096", "-p", "8080:80", "--n", "true"] });
        let record = coven.try_launch("takes", "x", fields.clone()).json();
        let assigned = "[REDACTED:assignment]";
        let args = [
            &mark,
            "--token",
            assigned,
            &format!("--api-key={assigned}"),
            "--password",
            assigned,
            "-e",
            &format!("DB_PASSWORD={assigned}"),
            "--token-limit",
            "4096",
            "-p",
            "8080:80",
            "--n",
            "true",
        ];
        assert_eq!(record["args"], json!(args));
        let argv: Vec<&str> = ["takes", "-m", &mark]
            .into_iter()
            .chain(args)
            .chain(["--", "<prompt>"])
            .collect();
        assert_eq!(record["argv"], json!(argv));
        assert_eq!(record["model"], *mark);
        assert_eq!(record["familiar_id"], format!("f {mark}"));
        let id = record["id"].as_str().unwrap();
        let given = fields["args"].as_array().unwrap().iter().map(Value::as_str);
        let words = given.chain(["-m", token, "--", "x"].map(Some));
        let bytes: usize = words.map(|word| word.unwrap().len() + 1).sum();
        let said = output(&coven.events_to_end(id), "stdout");
        assert_eq!(String::from_utf8(said).unwrap().trim(), bytes.to_string());
        assert_shown_without(&coven, id, token);
        // What it was started with is gone.
        let rerun = coven.cli(["rerun", id]);
        assert_eq!(rerun.code, 125, "{rerun:?}");
        assert!(
            rerun.err.contains("holds a secret, which is not on record"),
            "{rerun:?}"
        );
    }
    assert_nowhere(&coven);
}

#[test]
fn a_session_whose_model_alone_held_a_secret_cannot_be_rerun() {
    let coven = Coven::start();
    coven.harness_with("takes", "true", json!({ "model_flag": "-m" }));
    let id = coven
        .try_launch("takes", "x", json!({ "model": TOKENS[0].0 }))
        .id();
    let rerun = coven.cli(["rerun", &id]);
    assert_eq!(rerun.code, 125, "{rerun:?}");
    assert!(rerun.err.contains("its model"), "{rerun:?}");
    assert_eq!(coven.sessions().len(), 1);
}

#[test]
fn an_id_of_the_harness_that_holds_a_token_is_not_stored() {
    let coven = Coven::start();
    let (token, kind) = TOKENS[2];
    let line =
        |id: &str| json!({ "type": "system", "subtype": "init", "session_id": id }).to_string();
    let result = json!({ "type": "result", "num_turns": 2, "usage": { "input_tokens": 7, "output_tokens": 3 } });
    let script = format!("echo '{}'; echo '{result}'", line(token));
    coven.harness_with("tells", &script, json!({ "telemetry": "claude" }));
    let id = coven
        .try_launch("tells", "x", json!({ "args": ["--output-format", "json"] }))
        .id();
    let record = coven.ended(&id);
    assert_eq!(record["harness_session_id"], Value::Null);
    assert_eq!(record["usage"]["input_tokens"], 7);
    let said = String::from_utf8(output(&coven.events_to_end(&id), "stdout")).unwrap();
    assert_eq!(
        said,
        format!("{}\n{result}\n", line(&format!("[REDACTED:{kind}]")))
    );
    assert_nowhere(&coven);
}

#[test]
fn numbers_booleans_and_null_stay_under_every_name() {
    let coven = Coven::start();
    let text = json!({ "password": 12345678, "api_key": true, "token": null, "secret": -1.5e10, "auth": [1234567890123456u64],
        "inner": json!({ "password": 12345678, "Authorization": 987654321, "cookie": false, "key": null }).to_string() })
    .to_string();
    coven.harness("echo", "printf '%s' \"$2\"");
    let args = json!({ "args": ["--settings", text], "title": text });
    let record = coven.try_launch("echo", &text, args.clone()).json();
    assert_eq!(record["args"], args["args"]);
    assert_eq!(record["title"], *text);
    let events = coven.events_to_end(record["id"].as_str().unwrap());
    assert_eq!(payload(&events[1])["data"], *text);
}
