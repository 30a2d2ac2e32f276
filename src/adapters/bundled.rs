//! The adapters that come with coven. A prompt can begin with `-`: it stands behind `--`, or is a part of its
//! flag's own argument.

use std::path::Path;

use super::{Adapter, Executable, PromptStyle, StdinMode};
use crate::api::AdapterSource;

/// The hidden verb under which this binary is the `hello` harness.
pub const HELLO_VERB: &str = "__hello";

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
            model_flag: Some("--model".into()),
            ..bundled(
                "codex",
                "Codex",
                &["exec", "--skip-git-repo-check", "--color", "never"],
                "Install it with: npm install -g @openai/codex",
            )
        },
        Adapter {
            model_flag: Some("--model".into()),
            ..bundled(
                "claude",
                "Claude Code",
                &["--print"],
                "Install it with: npm install -g @anthropic-ai/claude-code",
            )
        },
        Adapter {
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
            model_flag: Some("--model".into()),
            ..bundled(
                "opencode",
                "opencode",
                &["run"],
                "Install it with: npm install -g opencode-ai",
            )
        },
        Adapter {
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
        install_hint: install_hint.into(),
        source: AdapterSource::Bundled.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LaunchOptions;

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
    fn a_model_is_left_out_where_the_harness_has_no_choice() {
        assert_eq!(
            argv("hello", Some("m")),
            ["coven", "__hello", "--", "-p\nx"]
        );
    }
}
