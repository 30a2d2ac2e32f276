//! Variables that sessions do not inherit, and variables that a started daemon keeps: each declared here once.
//!
//! Constants and their matching; pure. It knows no process.

use std::ffi::OsStr;

use super::SESSION_VARIABLE;
use crate::sys;

/// Variables that a session does not inherit from its daemon. They describe the terminal, the login and the agent in
/// which the daemon was started, and mislead programs that run elsewhere. A `*` matches any part of a name. The filter
/// does not apply to explicit sources (the file `env`, an adapter, a launch).
#[rustfmt::skip]
pub const FILTERED: &[&str] = &[
    // Set by Claude Code for its children; it refuses to start inside itself.
    "CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_EXECPATH", "CLAUDE_EFFORT", "AI_AGENT",
    // Codex
    "CODEX_SANDBOX*", "CODEX_THREAD*", "CODEX_CI",
    // Gemini CLI
    "GEMINI_CLI",
    // opencode
    "AGENT", "OPENCODE", "OPENCODE_PID", "OPENCODE_TERMINAL",
    // GitHub Copilot CLI
    "COPILOT_AGENT_SESSION_ID", "COPILOT_CLI", "COPILOT_CLI_BINARY_VERSION", "COPILOT_CLI_RESOLVED_DIST_DIR",
    "COPILOT_LOADER_PID", "COPILOT_RUN_APP",
    // terminal and multiplexer
    "TMUX", "TMUX_PANE", "STY", "TERM_PROGRAM*", "WINDOWID", "VSCODE_*",
    // login
    "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_ORIGINAL_COMMAND", "XDG_SESSION_*", "XDG_VTNR", "XDG_SEAT",
    // shell
    "_", "SHLVL", "OLDPWD", "PS1",
    // Of another session.
    SESSION_VARIABLE,
];

/// Variables that a daemon keeps of the starting command's environment. The daemon runs for weeks; other variables,
/// such as keys, belong to one shell.
#[rustfmt::skip]
const STARTED_WITH: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR",
    "XDG_*_HOME", "XDG_*_DIRS", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_*", "NODE_EXTRA_CA_CERTS", "COVEN_*",
];

/// True if a session does not inherit `name`.
pub fn is_filtered(name: &OsStr) -> bool {
    matches(FILTERED, name) || sys::is_service_variable(name)
}

/// True if a daemon that a command starts keeps the command's variable `name`.
pub fn is_started_with(name: &OsStr) -> bool {
    matches(STARTED_WITH, name) && !is_filtered(name)
}

fn matches(patterns: &[&str], name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let matches = |pattern: &&str| match pattern.split_once('*') {
        None => name == pattern.as_bytes(),
        Some((start, end)) => name
            .strip_prefix(start.as_bytes())
            .is_some_and(|rest| rest.ends_with(end.as_bytes())),
    };
    patterns.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what `is` says of each of `names`.
    fn check(is: fn(&OsStr) -> bool, names: &str, expected: bool) {
        for name in names.split_whitespace() {
            assert_eq!(is(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_star_is_any_part_of_a_name_and_a_name_without_one_only_itself() {
        let filtered =
            "CLAUDECODE CODEX_SANDBOX CODEX_SANDBOX_NETWORK_DISABLED TERM_PROGRAM_VERSION
            VSCODE_IPC_HOOK_CLI _ COVEN_SESSION_ID NOTIFY_SOCKET";
        check(is_filtered, filtered, true);
        let inherited =
            "CLAUDECODE_X CODEX_HOME CLAUDE_CONFIG_DIR TERM __ SSH_AUTH_SOCK COPILOT_HOME
            XDG_RUNTIME_DIR tmux";
        check(is_filtered, inherited, false);
    }

    #[test]
    fn a_started_daemon_keeps_neither_keys_nor_the_mark_of_a_session() {
        let kept =
            "PATH LC_ALL LC_ COVEN_LOG https_proxy SSL_CERT_FILE XDG_BIN_HOME XDG_CONFIG_DIRS";
        check(is_started_with, kept, true);
        let left = "ANTHROPIC_API_KEY COVEN_SESSION_ID XDG_SESSION_ID XDG_HOME XDG_CONFIG_DIRS_X PATH_X PWD
            SSH_AUTH_SOCK";
        check(is_started_with, left, false);
    }
}
