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

/// The expected command lines: of each adapter by mode and conversation, and of those with permissions by permission.
const COMMAND_LINES: &str = include_str!("command_lines.txt");

#[test]
fn every_bundled_adapter_has_a_command_line_for_each_mode_and_conversation() {
    let begun = conversation(ConversationMode::Init);
    let resumed = conversation(ConversationMode::Resume);
    let conversations = [
        ("none", None),
        ("init", Some(&begun)),
        ("resume", Some(&resumed)),
    ];
    let mut found = String::new();
    for adapter in bundled::adapters(Path::new("/usr/bin/coven")) {
        for mode in MODES {
            for (name, conversation) in conversations {
                let turn = Turn {
                    mode,
                    conversation,
                    ..Turn::of("-p q")
                };
                found += &format!("{} {mode} {name}: {}\n", adapter.id, line(&adapter, &turn));
            }
        }
    }
    let (expected, _) = COMMAND_LINES.split_once("\n\n").unwrap();
    assert_eq!(found.trim_end(), expected);
}

#[test]
fn permission_directories_model_and_arguments_stand_before_the_conversation() {
    let (dirs, args) = (
        ["/d 1".to_owned(), "/e".to_owned()],
        ["-x".to_owned(), "y z".to_owned()],
    );
    let resumed = conversation(ConversationMode::Resume);
    let mut found = String::new();
    for adapter in bundled::adapters(Path::new("/usr/bin/coven")) {
        if adapter.id == "hello" {
            continue;
        }
        let takes_dirs = adapter.add_dir_flag.is_some();
        for permission in PERMISSIONS {
            let turn = Turn {
                permission,
                conversation: Some(&resumed),
                model: Some("p/m"),
                dirs: if takes_dirs { &dirs } else { &[] },
                args: &args,
                ..Turn::of("q")
            };
            found += &format!("{} {permission}: {}\n", adapter.id, line(&adapter, &turn));
            let with_dirs = Turn {
                dirs: &dirs,
                ..turn
            };
            let refused = line(&adapter, &with_dirs);
            assert_eq!(refused == "! addDirs", !takes_dirs, "{refused}");
        }
    }
    let (_, expected) = COMMAND_LINES.split_once("\n\n").unwrap();
    assert_eq!(found, expected);
}

#[test]
fn the_hello_harness_takes_neither_a_permission_nor_a_model() {
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

/// Keys of a manifest, the turn, and the command line.
const KEYS: &str = r#"
"model_flag":"-m" | model | x -m b/c -- q
"model_flag":"-m","model_id_transform":"preserve" | model | x -m a/b/c -- q
"modelFlag":"-m","modelArgTemplate":"-c=model={model}" | model | x -c=model=b/c -- q
"prompt_flag":"-p" | plain | x -p=q
"prompt":"stdin","prompt_flag":"-" | plain | x - < "q"
"prompt":"stdin","stdin":"open" | plain | x < "q\n"
"prompt":"stdin","stdin":"open" | line | x < "q\n"
"sandbox":{"full_args":["-f","g"],"read_only_args":[]} | full | x -f g -- q
"sandbox":{"flag":"-s","full":"f","read_only":"r"} | full | x -s f -- q
"sandbox":{"flag":"-s","full":"f","fullArgs":["-y"],"readOnly":"r"} | full | x -y -- q
"continuityArgs":{"initPrefixArgs":["i"],"resumePrefixArgs":["r"]} | resumed | x r 0b5f -- q
"continuity_args":{"init_prefix_args":["i"],"resume_prefix_args":["r"],"resume_flag":"-r"} | resumed | x r -r 0b5f -- q
"#;

#[test]
fn a_manifests_keys_shape_the_command_line() {
    let with = |keys: &str| declared(&format!(r#"{{"id":"x","executable":"x",{keys}}}"#));
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
    for row in KEYS.trim().lines() {
        let mut parts = row.split(" | ");
        let [keys, turn, expected] = [(); 3].map(|()| parts.next().unwrap());
        let turn = match turn {
            "model" => model,
            "full" => full,
            "resumed" => resumed,
            "line" => Turn::of("q\n"),
            _ => Turn::of("q"),
        };
        assert_eq!(line(&with(keys), &turn), expected, "{keys}");
    }
    let partial = with(r#""sandbox":{"full_args":[],"read_only_args":["-r"]}"#);
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
