//! The adapters that come with coven. A prompt can begin with `-`: it stands behind `--`, or is a part of its
//! flag's own argument.

use std::path::Path;

use super::{Adapter, Executable, PromptStyle, StdinMode, TelemetryFormat};
use crate::api::{AdapterSource, Variables};

/// The hidden verb under which this binary is the `hello` harness.
pub const HELLO_VERB: &str = "__hello";

/// What every agent is given of the shell in which `coven run` is typed: what unlocks ssh and gpg.
const AGENTS: &[&str] = &["SSH_AUTH_SOCK", "GPG_TTY"];

// Each agent's keys, tokens, base URLs and directories, by the names that its program reads.
const CODEX: &[&str] = &[
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT",
    "AZURE_OPENAI_API_KEY",
    "CODEX_API_KEY",
    "CODEX_ACCESS_TOKEN",
    "CODEX_HOME",
];
const CLAUDE: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_VERTEX_BASE_URL",
    "ANTHROPIC_VERTEX_PROJECT_ID",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CONFIG_DIR",
    "CLOUD_ML_REGION",
];
const COPILOT: &[&str] = &[
    "COPILOT_GITHUB_TOKEN",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GH_HOST",
    "COPILOT_GH_HOST",
    "COPILOT_API_URL",
    "COPILOT_PROVIDER_TYPE",
    "COPILOT_PROVIDER_BASE_URL",
    "COPILOT_PROVIDER_API_KEY",
    "COPILOT_PROVIDER_BEARER_TOKEN",
    "COPILOT_HOME",
    "XDG_CONFIG_HOME",
];
const OPENCODE: &[&str] = &[
    "OPENCODE_API_KEY",
    "OPENCODE_AUTH_CONTENT",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_CONFIG_DIR",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENROUTER_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GEMINI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "DEEPSEEK_API_KEY",
    "XAI_API_KEY",
    "AZURE_API_KEY",
    "AZURE_RESOURCE_NAME",
    "GITHUB_TOKEN",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
];
const GEMINI: &[&str] = &[
    "GEMINI_API_KEY",
    "GEMINI_CLI_HOME",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
];
/// Credentials of the clouds that serve models, for the agents that can use them.
const CLOUDS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_PROFILE",
    "AWS_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_CLOUD_PROJECT",
];

fn names(lists: &[&[&str]]) -> Vec<String> {
    lists
        .concat()
        .into_iter()
        .map(|name| name.to_owned())
        .collect()
}

pub(super) fn adapters(own_executable: &Path) -> Vec<Adapter> {
    vec![
        Adapter {
            executable: Executable::Own(own_executable.to_owned()),
            ..bundled(
                "hello",
                "Hello (built in)",
                &[HELLO_VERB],
                "It is a part of coven.",
            )
        },
        Adapter {
            pass_env: names(&[AGENTS, CODEX]),
            telemetry: Some(TelemetryFormat::Codex),
            model_flag: Some("--model".into()),
            ..bundled(
                "codex",
                "Codex",
                &["exec", "--skip-git-repo-check", "--color", "never"],
                "Install it with: npm install -g @openai/codex",
            )
        },
        Adapter {
            pass_env: names(&[AGENTS, CLAUDE, CLOUDS]),
            telemetry: Some(TelemetryFormat::Claude),
            model_flag: Some("--model".into()),
            ..bundled(
                "claude",
                "Claude Code",
                &["--print"],
                "Install it with: npm install -g @anthropic-ai/claude-code",
            )
        },
        Adapter {
            pass_env: names(&[AGENTS, COPILOT]),
            model_flag: Some("--model".into()),
            prompt: PromptStyle::Flag("--prompt".into()),
            ..bundled(
                "copilot",
                "GitHub Copilot CLI",
                &[],
                "Install it with: npm install -g @github/copilot",
            )
        },
        Adapter {
            pass_env: names(&[AGENTS, OPENCODE, CLOUDS]),
            model_flag: Some("--model".into()),
            ..bundled(
                "opencode",
                "opencode",
                &["run"],
                "Install it with: npm install -g opencode-ai",
            )
        },
        Adapter {
            pass_env: names(&[AGENTS, GEMINI, CLOUDS]),
            model_flag: Some("--model".into()),
            prompt: PromptStyle::Flag("--prompt".into()),
            ..bundled(
                "gemini",
                "Gemini CLI",
                &[],
                "Install it with: npm install -g @google/gemini-cli",
            )
        },
    ]
}

fn bundled(id: &str, label: &str, prefix_args: &[&str], install_hint: &str) -> Adapter {
    Adapter {
        id: id.into(),
        label: label.into(),
        executable: Executable::OnPath(id.into()),
        prefix_args: prefix_args.iter().map(|&arg| arg.into()).collect(),
        model_flag: None,
        prompt: PromptStyle::AfterDashes,
        stdin: StdinMode::Closed,
        env: Variables::default(),
        pass_env: Vec::new(),
        telemetry: None,
        install_hint: install_hint.into(),
        source: AdapterSource::Bundled.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::environment::is_filtered;
    use crate::api::{LaunchOptions, check_name};

    fn argv(id: &str, model: Option<&str>) -> Vec<String> {
        let options = LaunchOptions {
            model: model.map(str::to_owned),
            ..LaunchOptions::default()
        };
        let adapters = adapters(Path::new("/usr/bin/coven"));
        adapters
            .iter()
            .find(|a| a.id == id)
            .unwrap()
            .argv("-p\nx", &options)
    }

    #[test]
    fn every_bundled_harness_gets_the_contracts_command_line() {
        assert_eq!(argv("hello", None), ["coven", "__hello", "--", "-p\nx"]);
        assert_eq!(
            argv("codex", Some("m")),
            [
                "codex",
                "exec",
                "--skip-git-repo-check",
                "--color",
                "never",
                "--model",
                "m",
                "--",
                "-p\nx"
            ]
        );
        assert_eq!(argv("claude", None), ["claude", "--print", "--", "-p\nx"]);
        assert_eq!(argv("copilot", None), ["copilot", "--prompt=-p\nx"]);
        assert_eq!(
            argv("opencode", Some("m")),
            ["opencode", "run", "--model", "m", "--", "-p\nx"]
        );
        assert_eq!(
            argv("gemini", Some("m")),
            ["gemini", "--model", "m", "--prompt=-p\nx"]
        );
    }

    #[test]
    fn the_names_that_an_agent_is_passed_can_be_sent_and_are_not_filtered() {
        for adapter in adapters(Path::new("/usr/bin/coven")) {
            for name in &adapter.pass_env {
                assert_eq!(check_name(name), Ok(()), "{name}");
                assert!(!is_filtered(name.as_ref()), "{name}");
            }
        }
    }

    #[test]
    fn a_model_is_left_out_where_the_harness_has_no_choice() {
        assert_eq!(
            argv("hello", Some("m")),
            ["coven", "__hello", "--", "-p\nx"]
        );
    }
}
