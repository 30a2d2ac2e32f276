//! Manifests: JSON files that add adapters. A manifest names a program to run, so that one which others could
//! have written is refused.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Adapter, Executable, PromptStyle, StdinMode, TelemetryFormat};
use crate::api::{Variables, Word, check_name};
use crate::settings;
use crate::sys;

/// No manifest is larger than this, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// Where manifests are looked for.
#[derive(Debug, Clone, Default)]
pub struct ManifestSources {
    /// One file: `COVEN_HARNESS_ADAPTER_MANIFEST`.
    pub file: Option<PathBuf>,
    /// Directories whose `*.json` are manifests: `COVEN_HARNESS_ADAPTER_DIRS`, then `$COVEN_HOME/adapters`.
    pub dirs: Vec<PathBuf>,
}

impl ManifestSources {
    /// As the environment and the home say.
    pub fn from_env(home_adapters: PathBuf) -> Self {
        // No path is refused.
        let mut dirs = settings::HARNESS_ADAPTER_DIRS.read().unwrap_or_default();
        dirs.push(home_adapters);
        Self {
            file: settings::HARNESS_ADAPTER_MANIFEST
                .read()
                .unwrap_or_default(),
            dirs,
        }
    }

    /// The files, each directory's in the order of their names; and the directories that cannot be trusted, each with
    /// the reason.
    pub(super) fn files(&self) -> (Vec<PathBuf>, Vec<(PathBuf, String)>) {
        let mut files: Vec<PathBuf> = self.file.iter().cloned().collect();
        let mut refused = Vec::new();
        for dir in &self.dirs {
            // One that is not there holds nothing.
            let Ok(meta) = dir.metadata() else { continue };
            if let Err(reason) = check_owner(&meta, dir) {
                refused.push((dir.clone(), reason));
                continue;
            }
            let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "json")
                })
                .collect();
            found.sort();
            files.extend(found);
        }
        (files, refused)
    }
}

#[derive(Deserialize)]
struct Manifest {
    adapters: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    label: Option<String>,
    executable: String,
    #[serde(default)]
    non_interactive_prompt_prefix_args: Vec<String>,
    prompt_flag: Option<String>,
    model_flag: Option<String>,
    #[serde(default)]
    install_hint: String,
    #[serde(default)]
    stdin: Stdin,
    #[serde(default)]
    prompt: Prompt,
    #[serde(default)]
    env: Variables,
    #[serde(default, alias = "passEnv")]
    pass_env: Vec<String>,
    telemetry: Option<TelemetryFormat>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Stdin {
    #[default]
    Closed,
    Open,
}

#[derive(Deserialize, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Prompt {
    #[default]
    Argument,
    Stdin,
}

/// The adapters of the manifest at `path`; the error says for a person what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Vec<Adapter>, String> {
    adapters(&read_trusted(path)?, path)
}

fn adapters(text: &str, path: &Path) -> Result<Vec<Adapter>, String> {
    let manifest: Manifest =
        serde_json::from_str(text).map_err(|err| format!("not a manifest: {err}"))?;
    let mut adapters: Vec<Adapter> = Vec::with_capacity(manifest.adapters.len());
    for entry in manifest.adapters {
        let adapter = adapter(entry, path)?;
        if adapters.iter().any(|other| other.id == adapter.id) {
            return Err(format!("adapter {:?} stands in it twice", adapter.id));
        }
        adapters.push(adapter);
    }
    Ok(adapters)
}

fn read_trusted(path: &Path) -> Result<String, String> {
    let unreadable = |err| format!("cannot be read: {err}");
    // O_NONBLOCK: a FIFO by this name must not hold the daemon's start.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|err| match err.raw_os_error() {
            Some(libc::ELOOP) => "it is a symbolic link".to_owned(),
            _ => unreadable(err),
        })?;
    check_trust(&file, path)?;
    let mut text = String::new();
    file.take(SIZE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(format!("it is larger than {SIZE_MAX} bytes"));
    }
    Ok(text)
}

fn check_trust(file: &File, path: &Path) -> Result<(), String> {
    let meta = file
        .metadata()
        .map_err(|err| format!("cannot be read: {err}"))?;
    if !meta.is_file() {
        return Err("it is not a regular file".into());
    }
    check_owner(&meta, path)
}

/// Whether nobody but this user and root can have written what is at `path`.
fn check_owner(meta: &Metadata, path: &Path) -> Result<(), String> {
    if meta.uid() != sys::euid() && meta.uid() != 0 {
        return Err(format!("it belongs to another user (uid {})", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!(
            "others can write it (mode {:04o}): chmod go-w {}",
            meta.mode() & 0o7777,
            path.display()
        ));
    }
    Ok(())
}

fn check(entry: &Entry) -> Result<(), String> {
    let Entry { id, executable, .. } = entry;
    let is_id =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > 64 || !id.chars().all(is_id) {
        return Err(format!(
            "adapter id {id:?}: 1 to 64 of a-z, 0-9, '-', '_' and '.'"
        ));
    }
    if executable.is_empty() || executable.contains(['/', '\0']) || executable.starts_with('.') {
        return Err(format!(
            "adapter {id}: executable {executable:?} is not a bare name"
        ));
    }
    if entry.prompt == Prompt::Stdin && entry.prompt_flag.is_some() {
        return Err(format!(
            "adapter {id}: prompt_flag has no use where the prompt goes to stdin"
        ));
    }
    let mut names = entry.pass_env.iter();
    let pass_env = names.try_for_each(|name| check_name(name));
    let variables = [("env", entry.env.check()), ("pass_env", pass_env)];
    for (key, checked) in variables {
        checked.map_err(|reason| format!("adapter {id}: {key} {reason}"))?;
    }
    let flags = [&entry.prompt_flag, &entry.model_flag];
    let args = entry
        .non_interactive_prompt_prefix_args
        .iter()
        .chain(flags.into_iter().flatten());
    if args
        .clone()
        .any(|arg| arg.contains('\0') || arg.len() > 4096)
    {
        return Err(format!(
            "adapter {id}: an argument holds a NUL byte, or is longer than 4096 bytes"
        ));
    }
    Ok(())
}

fn adapter(entry: Entry, path: &Path) -> Result<Adapter, String> {
    check(&entry)?;
    Ok(Adapter {
        label: entry.label.unwrap_or_else(|| entry.id.clone()),
        executable: Executable::OnPath(entry.executable),
        prefix_args: entry.non_interactive_prompt_prefix_args,
        model_flag: entry.model_flag.filter(|flag| !flag.is_empty()),
        prompt: match (entry.prompt, entry.prompt_flag) {
            (Prompt::Stdin, _) => PromptStyle::Stdin,
            (Prompt::Argument, Some(flag)) if !flag.is_empty() => PromptStyle::Flag(flag),
            (Prompt::Argument, _) => PromptStyle::AfterDashes,
        },
        stdin: match entry.stdin {
            Stdin::Closed => StdinMode::Closed,
            Stdin::Open => StdinMode::Open,
        },
        env: entry.env,
        pass_env: entry.pass_env,
        telemetry: entry.telemetry,
        install_hint: entry.install_hint,
        source: Word::Other(path.display().to_string()),
        id: entry.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LaunchOptions;
    use crate::random::{Random, rounds};

    fn parse(json: &str) -> Result<Adapter, String> {
        let entry: Entry = serde_json::from_str(json).map_err(|err| err.to_string())?;
        adapter(entry, Path::new("/m.json"))
    }

    fn with_model() -> LaunchOptions {
        LaunchOptions {
            model: Some("m".into()),
            ..LaunchOptions::default()
        }
    }

    #[test]
    fn the_contracts_example_is_an_adapter() {
        let adapter = parse(
            r#"{ "id": "example", "label": "Example", "executable": "example",
                 "non_interactive_prompt_prefix_args": ["run", "--quiet"],
                 "interactive_prompt_prefix_args": [], "prompt_flag": null, "model_flag": "--model",
                 "install_hint": "Install Example …", "stdin": "closed", "a_new_key": 1 }"#,
        )
        .unwrap();
        assert_eq!(
            adapter.argv("p", &with_model()),
            ["example", "run", "--quiet", "--model", "m", "--", "p"]
        );
        assert_eq!(adapter.stdin, StdinMode::Closed);
    }

    #[test]
    fn a_prompt_for_stdin_is_no_argument() {
        let adapter = parse(
            r#"{ "id": "x", "executable": "x", "prompt": "stdin", "model_flag": "-m",
                 "non_interactive_prompt_prefix_args": ["run"] }"#,
        )
        .unwrap();
        assert_eq!(adapter.argv("p", &with_model()), ["x", "run", "-m", "m"]);
        assert_eq!(adapter.stdin_prompt("p").as_deref(), Some("p"));
        for bad in [r#""stdin", "prompt_flag": "-p""#, r#""file""#] {
            let json = format!(r#"{{"id":"x","executable":"x","prompt":{bad}}}"#);
            assert!(parse(&json).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_and_the_names_that_are_passed_on_are_checked() {
        for key in ["pass_env", "passEnv"] {
            let json =
                format!(r#"{{"id":"x","executable":"x","env":{{"A":"1"}},"{key}":["B","_c1"]}}"#);
            let adapter = parse(&json).unwrap();
            assert_eq!(adapter.env.get("A"), Some("1"));
            assert_eq!(adapter.pass_env, ["B", "_c1"], "{key}");
        }
        for bad in [
            r#""env":{"COVEN_LOG":"1"}"#,
            r#""env":{"A B":"1"}"#,
            r#""env":{"A":1}"#,
            r#""env":{"A":null}"#,
            r#""env":["A=1"]"#,
            r#""pass_env":["COVEN_SESSION_ID"]"#,
            r#""pass_env":["A*"]"#,
            r#""pass_env":"A""#,
        ] {
            let json = format!(r#"{{"id":"x","executable":"x",{bad}}}"#);
            assert!(parse(&json).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_executable_is_a_bare_name() {
        for bad in ["/bin/sh", "./sh", "../sh", "a/b", "", "..", "a\\u0000b"] {
            let json = format!(r#"{{"id":"x","executable":"{bad}"}}"#);
            assert!(parse(&json).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_lower_case() {
        for bad in ["Example", "", "a b", "é", "a/b"] {
            assert!(
                parse(&format!(r#"{{"id":"{bad}","executable":"x"}}"#)).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn whatever_a_manifest_holds_no_adapter_runs_a_path_or_takes_another_argument() {
        let mut random = Random::new(1);
        let whole = r#"{"adapters":[{"id":"a-1","label":null,"executable":"run","install_hint":"x",
            "non_interactive_prompt_prefix_args":["-q","é"],"prompt_flag":"--p","model_flag":"-m","stdin":"open"},
            {"id":"b","executable":"r.un"}]}"#;
        let mut taken = 0;
        for _ in 0..rounds(10_000) {
            let mut chars: Vec<char> = whole.chars().collect();
            for _ in 0..random.below(4) {
                let at = random.below(chars.len());
                match random.below(3) {
                    0 => chars[at] = random.text(1).chars().next().unwrap_or('x'),
                    1 => chars.insert(at, *random.pick(&['/', '.', '"', '\\', 'A', ' ', '}'])),
                    _ => drop(chars.remove(at)),
                }
            }
            let text: String = chars.into_iter().collect();
            let Ok(found) = adapters(&text, Path::new("/m.json")) else {
                continue;
            };
            taken += 1;
            for adapter in found {
                let Executable::OnPath(executable) = &adapter.executable else {
                    panic!("{text}");
                };
                assert!(
                    !executable.is_empty() && !executable.contains(['/', '\0']),
                    "{text}"
                );
                assert!((1..=64).contains(&adapter.id.len()), "{text}");
                assert!(
                    !adapter.id.contains(|c: char| c.is_uppercase() || c == '/'),
                    "{text}"
                );
                let argv = adapter.argv("the prompt", &LaunchOptions::default());
                assert!(argv.last().unwrap().ends_with("the prompt"), "{text}");
                assert!(!argv.iter().any(|arg| arg.contains('\0')), "{text}");
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
