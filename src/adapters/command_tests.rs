//! The command lines of all bundled adapters, in every mode, with every permission and conversation.

use std::path::Path;

use super::*;
use crate::adapters::{bundled, manifest};

fn bundled(id: &str) -> Adapter {
    let adapters = bundled::adapters(Path::new("/usr/bin/coven"));
    adapters
        .into_iter()
        .find(|adapter| adapter.id == id)
        .unwrap()
}

fn declared(entry: &str) -> Adapter {
    let manifest = format!(r#"{{"adapters":[{entry}]}}"#);
    manifest::parse(&manifest).unwrap().remove(0)
}

/// The command line as text, with quotes around arguments that contain white space; or the unsupported field.
fn line(adapter: &Adapter, turn: &Turn<'_>) -> String {
    let quoted = |arg: &String| match arg.contains([' ', '\n']) || arg.is_empty() {
        true => format!("{arg:?}"),
        false => arg.clone(),
    };
    match adapter.command_line(turn) {
        Ok(CommandLine { argv, stdin }) => {
            let argv: Vec<String> = argv.iter().map(quoted).collect();
            let stdin = stdin
                .map(|stdin| format!(" < {stdin:?}"))
                .unwrap_or_default();
            argv.join(" ") + &stdin
        }
        Err(Unsupported { field, message }) => {
            assert!(
                message.contains(&adapter.id) || field == "args",
                "{message}"
            );
            format!("! {field}")
        }
    }
}

fn conversation(mode: ConversationMode) -> Conversation {
    let id = "0b5f".to_owned();
    Conversation { mode, id }
}

const MODES: [LaunchMode; 3] = LaunchMode::ALL;
const PERMISSIONS: [Permission; 4] = Permission::ALL;

/// All combinations of a bundled adapter, in the order of mode, conversation (none, init, resume).
fn table(id: &str) -> Vec<String> {
    let adapter = bundled(id);
    let begun = conversation(ConversationMode::Init);
    let resumed = conversation(ConversationMode::Resume);
    let mut rows = Vec::new();
    for mode in MODES {
        for conversation in [None, Some(&begun), Some(&resumed)] {
            let turn = Turn {
                mode,
                conversation,
                ..Turn::of("-p q")
            };
            rows.push(line(&adapter, &turn));
        }
    }
    rows
}

#[test]
fn every_bundled_adapter_has_a_command_line_for_each_mode_and_conversation() {
    let said = r#"< "{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"-p q\"}]}}\n""#;
    let claude_stream =
        "claude --print --input-format stream-json --output-format stream-json --verbose";
    let stream = |flag: &str| format!("{claude_stream}{flag} {said}");
    let rows: [(&str, [&str; 9]); 6] = [
        (
            "hello",
            [
                r#"coven __hello -- "-p q""#,
                "! conversation.mode",
                "! conversation.mode",
                "! launchMode",
                "! launchMode",
                "! launchMode",
                "! launchMode",
                "! launchMode",
                "! launchMode",
            ],
        ),
        (
            "codex",
            [
                r#"codex exec --skip-git-repo-check --color never - < "-p q""#,
                "! conversation.mode",
                r#"codex exec --skip-git-repo-check --color never resume 0b5f - < "-p q""#,
                r#"codex -- "-p q""#,
                "! conversation.mode",
                r#"codex resume 0b5f -- "-p q""#,
                "! launchMode",
                "! launchMode",
                "! launchMode",
            ],
        ),
        (
            "claude",
            [
                r#"claude --print < "-p q""#,
                r#"claude --print --session-id 0b5f < "-p q""#,
                r#"claude --print --resume 0b5f < "-p q""#,
                r#"claude -- "-p q""#,
                r#"claude --session-id 0b5f -- "-p q""#,
                r#"claude --resume 0b5f -- "-p q""#,
                &stream(""),
                &stream(" --session-id 0b5f"),
                &stream(" --resume 0b5f"),
            ],
        ),
        (
            "copilot",
            [
                r#"copilot < "-p q""#,
                r#"copilot --session-id 0b5f < "-p q""#,
                r#"copilot --resume 0b5f < "-p q""#,
                r#"copilot "--interactive=-p q""#,
                r#"copilot --session-id 0b5f "--interactive=-p q""#,
                r#"copilot --resume 0b5f "--interactive=-p q""#,
                "! launchMode",
                "! launchMode",
                "! launchMode",
            ],
        ),
        (
            "opencode",
            [
                r#"opencode run < "-p q""#,
                "! conversation.mode",
                r#"opencode run --session 0b5f < "-p q""#,
                r#"opencode "--prompt=-p q""#,
                "! conversation.mode",
                r#"opencode --session 0b5f "--prompt=-p q""#,
                "! launchMode",
                "! launchMode",
                "! launchMode",
            ],
        ),
        (
            "gemini",
            [
                r#"gemini --skip-trust < "-p q""#,
                r#"gemini --skip-trust --session-id 0b5f < "-p q""#,
                r#"gemini --skip-trust --resume 0b5f < "-p q""#,
                r#"gemini --skip-trust "--prompt-interactive=-p q""#,
                r#"gemini --skip-trust --session-id 0b5f "--prompt-interactive=-p q""#,
                r#"gemini --skip-trust --resume 0b5f "--prompt-interactive=-p q""#,
                "! launchMode",
                "! launchMode",
                "! launchMode",
            ],
        ),
    ];
    for (id, expected) in rows {
        assert_eq!(table(id), expected, "{id}");
    }
    assert_eq!(bundled::adapters(Path::new("/")).len(), rows.len());
}

#[test]
fn permission_directories_model_and_arguments_stand_before_the_conversation() {
    let (dirs, args) = (
        ["/d 1".to_owned(), "/e".to_owned()],
        ["-x".to_owned(), "y z".to_owned()],
    );
    let resumed = conversation(ConversationMode::Resume);
    let rows: [(&str, [&str; 4], &str, &str); 5] = [
        (
            "codex",
            [
                "",
                " --sandbox read-only",
                " --sandbox workspace-write",
                " --sandbox danger-full-access",
            ],
            "codex exec --skip-git-repo-check --color never",
            r#" --add-dir "/d 1" --add-dir /e --model m -x "y z" resume 0b5f - < "q""#,
        ),
        (
            "claude",
            [
                "",
                " --permission-mode plan",
                " --permission-mode acceptEdits",
                " --permission-mode bypassPermissions",
            ],
            "claude --print",
            r#" --add-dir "/d 1" --add-dir /e --model m -x "y z" --resume 0b5f < "q""#,
        ),
        (
            "copilot",
            [
                "",
                " --deny-tool write --deny-tool shell",
                " --allow-tool write",
                " --allow-all",
            ],
            "copilot",
            r#" --add-dir "/d 1" --add-dir /e --model m -x "y z" --resume 0b5f < "q""#,
        ),
        (
            "opencode",
            ["", "", "", " --auto"],
            "opencode run",
            r#" --model p/m -x "y z" --session 0b5f < "q""#,
        ),
        (
            "gemini",
            [
                "",
                " --approval-mode plan",
                " --approval-mode auto_edit",
                " --approval-mode yolo",
            ],
            "gemini --skip-trust",
            r#" --include-directories "/d 1" --include-directories /e --model m -x "y z" --resume 0b5f < "q""#,
        ),
    ];
    for (id, permissions, first, rest) in rows {
        let adapter = bundled(id);
        let takes_dirs = adapter.add_dir_flag.is_some();
        for (permission, given) in PERMISSIONS.into_iter().zip(permissions) {
            let turn = Turn {
                permission,
                conversation: Some(&resumed),
                model: Some("p/m"),
                dirs: if takes_dirs { &dirs } else { &[] },
                args: &args,
                ..Turn::of("q")
            };
            assert_eq!(
                line(&adapter, &turn),
                format!("{first}{given}{rest}"),
                "{permission}"
            );
            let refused = line(
                &adapter,
                &Turn {
                    dirs: &dirs,
                    ..turn
                },
            );
            assert_eq!(refused == "! addDirs", !takes_dirs, "{refused}");
        }
    }
    for permission in Permission::SET {
        let turn = Turn {
            permission,
            ..Turn::of("q")
        };
        assert_eq!(line(&bundled("hello"), &turn), "! launchPolicy.sandbox");
    }
    let model = Turn {
        model: Some("m"),
        ..Turn::of("q")
    };
    assert_eq!(line(&bundled("hello"), &model), "! model");
}

#[test]
fn arguments_cannot_set_what_a_policy_has_set() {
    for (id, bad) in [
        ("codex", "--sandbox"),
        ("codex", "--sandbox=danger-full-access"),
        ("codex", "-sdanger-full-access"),
        ("codex", "sandbox_mode=\"danger-full-access\""),
        ("codex", " sandbox_mode = \"danger-full-access\""),
        ("codex", "-csandbox_mode=danger-full-access"),
        ("codex", "-c=sandbox_mode=danger-full-access"),
        ("codex", "--config=sandbox_mode=danger-full-access"),
        ("codex", "default_permissions=\":danger-full-access\""),
        ("codex", "--trust"),
        ("codex", "--dangerously-bypass-approvals-and-sandbox"),
        ("claude", "--permission-mode=plan"),
        ("claude", "--dangerously-skip-permissions"),
        ("copilot", "--allow-all"),
        ("copilot", "--allow-all-tools"),
        ("copilot", "--deny-tool=write"),
        ("opencode", "--auto"),
        ("gemini", "-y"),
        ("gemini", "--approval-mode"),
        ("gemini", "--approvalMode=yolo"),
    ] {
        let args = ["-v".to_owned(), bad.to_owned()];
        for permission in PERMISSIONS {
            let turn = Turn {
                permission,
                args: &args,
                ..Turn::of("q")
            };
            let refused = line(&bundled(id), &turn) == "! args";
            assert_eq!(refused, permission != Permission::Default, "{id} {bad}");
        }
    }
    let args = [
        "--sandboxed",
        "--automatic",
        "sandbox_modes=1",
        "my_sandbox_mode",
    ];
    let args = args.map(str::to_owned);
    for id in ["codex", "opencode"] {
        let turn = Turn {
            permission: Permission::Full,
            args: &args,
            ..Turn::of("q")
        };
        assert!(line(&bundled(id), &turn).contains("--sandboxed --automatic"));
    }
}

#[test]
fn a_manifests_keys_shape_the_command_line() {
    let with = |keys: &str| declared(&format!(r#"{{"id":"x","executable":"x"{keys}}}"#));
    let model = Turn {
        model: Some("a/b/c"),
        ..Turn::of("q")
    };
    let full = Turn {
        permission: Permission::Full,
        ..Turn::of("q")
    };
    let resumed = conversation(ConversationMode::Resume);
    let resumed = Turn {
        conversation: Some(&resumed),
        ..Turn::of("q")
    };
    for (keys, turn, expected) in [
        (r#","model_flag":"-m""#, model, "x -m b/c -- q"),
        (
            r#","model_flag":"-m","model_id_transform":"preserve""#,
            model,
            "x -m a/b/c -- q",
        ),
        (
            r#","modelFlag":"-m","modelArgTemplate":"-c=model={model}""#,
            model,
            "x -c=model=b/c -- q",
        ),
        (r#","prompt_flag":"-p""#, Turn::of("q"), "x -p=q"),
        (
            r#","prompt":"stdin","prompt_flag":"-""#,
            Turn::of("q"),
            "x - < \"q\"",
        ),
        (
            r#","prompt":"stdin","stdin":"open""#,
            Turn::of("q"),
            "x < \"q\\n\"",
        ),
        (
            r#","prompt":"stdin","stdin":"open""#,
            Turn::of("q\n"),
            "x < \"q\\n\"",
        ),
        (
            r#","sandbox":{"full_args":["-f","g"],"read_only_args":[]}"#,
            full,
            "x -f g -- q",
        ),
        (
            r#","sandbox":{"flag":"-s","full":"f","read_only":"r"}"#,
            full,
            "x -s f -- q",
        ),
        (
            r#","sandbox":{"flag":"-s","full":"f","fullArgs":["-y"],"readOnly":"r"}"#,
            full,
            "x -y -- q",
        ),
        (
            r#","continuityArgs":{"initPrefixArgs":["i"],"resumePrefixArgs":["r"]}"#,
            resumed,
            "x r 0b5f -- q",
        ),
        (
            r#","continuity_args":{"init_prefix_args":["i"],"resume_prefix_args":["r"],"resume_flag":"-r"}"#,
            resumed,
            "x r -r 0b5f -- q",
        ),
    ] {
        assert_eq!(line(&with(keys), &turn), expected, "{keys}");
    }
    let partial = with(r#","sandbox":{"full_args":[],"read_only_args":["-r"]}"#);
    let permissions: Vec<Permission> = partial.permissions().collect();
    assert_eq!(permissions, [Permission::ReadOnly, Permission::Full]);
}

#[test]
fn the_longest_prompt_fits_its_argument() {
    for (keys, max) in [("", 131_071), (r#","prompt_flag":"--p""#, 131_067)] {
        let adapter = declared(&format!(r#"{{"id":"x","executable":"x"{keys}}}"#));
        assert_eq!(adapter.prompt_max(LaunchMode::NonInteractive), max);
        let prompt = "x".repeat(max);
        let argv = adapter.command_line(&Turn::of(&prompt)).unwrap().argv;
        assert_eq!(argv.last().unwrap().len(), sys::ARGUMENT_MAX);
    }
}
