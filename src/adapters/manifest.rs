//! Manifests: JSON files that add adapters. A manifest names a program to run, so one that other users can write is
//! rejected.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Adapter;
use crate::api::{Word, fields};
use crate::settings;
use crate::sys;

/// Largest size of a manifest, in bytes.
const SIZE_MAX: u64 = 1024 * 1024;

/// Locations of manifests.
#[derive(Debug, Clone, Default)]
pub struct ManifestSources {
    /// One file: `COVEN_HARNESS_ADAPTER_MANIFEST`.
    pub file: Option<PathBuf>,
    /// Directories whose `*.json` are manifests: `COVEN_HARNESS_ADAPTER_DIRS`, then `$COVEN_HOME/adapters`.
    pub dirs: Vec<PathBuf>,
}

impl ManifestSources {
    /// The locations by environment and home.
    pub fn from_env(home_adapters: PathBuf) -> Self {
        // Cannot fail: every path is valid.
        let mut dirs = settings::HARNESS_ADAPTER_DIRS.read().unwrap_or_default();
        dirs.push(home_adapters);
        Self {
            file: settings::HARNESS_ADAPTER_MANIFEST
                .read()
                .unwrap_or_default(),
            dirs,
        }
    }

    /// The files, sorted by name within each directory; and the directories that are not trusted, with reasons.
    pub(super) fn files(&self) -> (Vec<PathBuf>, Vec<(PathBuf, String)>) {
        let mut files: Vec<PathBuf> = self.file.iter().cloned().collect();
        let mut refused = Vec::new();
        for dir in &self.dirs {
            // A missing directory has no manifests.
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
            found.sort_unstable();
            files.extend(found);
        }
        (files, refused)
    }
}

/// Reads the adapters of the manifest at `path`; the error is for people.
pub(super) fn read(path: &Path) -> Result<Vec<Adapter>, String> {
    let mut adapters = parse(&read_trusted(path)?)?;
    for adapter in &mut adapters {
        adapter.source = Word::Other(path.display().to_string());
    }
    Ok(adapters)
}

/// Parses the adapters in `text`; the error has the path of the invalid key.
pub(super) fn parse(text: &str) -> Result<Vec<Adapter>, String> {
    let manifest: Value =
        crate::api::from_json(text).map_err(|err| format!("not a manifest: {err}"))?;
    let entries = manifest.get("adapters").and_then(Value::as_array);
    let entries = entries.ok_or("not a manifest: it has no list `adapters`")?;
    let mut adapters: Vec<Adapter> = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        if !entry.is_object() {
            return Err(format!("not a manifest: adapters[{at}] is no object"));
        }
        let adapter = fields::read_value::<Adapter>(entry).and_then(Adapter::checked);
        let adapter = adapter.map_err(|wrong| match entry.get("id").and_then(Value::as_str) {
            Some(id) => format!("adapter {id:?}: {wrong}"),
            None => format!("adapters[{at}]: {wrong}"),
        })?;
        if adapters.iter().any(|other| other.id == adapter.id) {
            return Err(format!("adapter {:?} stands in it twice", adapter.id));
        }
        adapters.push(adapter);
    }
    Ok(adapters)
}

fn read_trusted(path: &Path) -> Result<String, String> {
    let unreadable = |err| format!("cannot be read: {err}");
    let file = sys::open_own(path).map_err(|err| match err.raw_os_error() {
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

/// Checks that only this user and root can have written the file or directory at `path`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::adapters::Turn;
    use crate::random::{Random, rounds};
    use crate::rows::rows;

    /// An adapter with every key.
    const WHOLE: &str = r#"{"id":"a-1","label":"A","executable":"run","replaces":false,
        "interactive_prompt_prefix_args":["tui"],"interactive_prompt_flag":"-i",
        "non_interactive_prompt_prefix_args":["-q","é"],"prompt_flag":"-p","prompt":"argument","stdin":"open",
        "model_flag":"-m","model_arg_template":"-m={model}","model_id_transform":"preserve",
        "sandbox":{"flag":"-s","read_only":"r","workspace_write":"w","full":"f","read_only_args":["-r"],
            "workspace_write_args":["-w"],"full_args":["-f"],"read_only_env":{"A_B":"1"}},
        "permission_flags":["-y"],"default_permission":"full","default_can_write":true,
        "refuses_root":{"permissions":["full"],"unless_env":"ROOT_IS_MEANT"},"add_dir_flag":"-d",
        "capabilities":{"stream":true,"preassigned_session_id":true,"think":true,"speed":true},
        "stream_args":{"prefix_args":["-x"],"session_id_flag":"-n","resume_flag":"-c"},
        "continuity_args":{"init_prefix_args":["-x"],"resume_prefix_args":["-y"],"session_id_flag":"-n","resume_flag":"-c"},
        "env":{"A_B":"1"},"pass_env":["C_D"],"telemetry":"codex","install_hint":"i","login_hint":"l","a_new_key":{"x":1}}"#;

    fn one(entry: &str) -> Result<Adapter, String> {
        let mut adapters = parse(&format!(r#"{{"adapters":[{entry}]}}"#))?;
        Ok(adapters.remove(0))
    }

    /// `value` with keys in camelCase, except names of variables.
    fn camel(value: &Value) -> Value {
        let Value::Object(fields) = value else {
            return value.clone();
        };
        let fields = fields.iter().map(|(key, value)| {
            let mut words = key.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            let name = words.fold(first, |name, word| {
                name + &word[..1].to_uppercase() + &word[1..]
            });
            let value = if key.ends_with("env") {
                value.clone()
            } else {
                camel(value)
            };
            (name, value)
        });
        fields.collect()
    }

    #[test]
    fn keys_are_taken_in_snake_case_and_in_camel_case() {
        let snake: Value = serde_json::from_str(WHOLE).unwrap();
        let camel = camel(&snake);
        assert!(camel["sandbox"]["workspaceWriteArgs"].is_array(), "{camel}");
        let shown = |entry: &Value| format!("{:?}", one(&entry.to_string()).unwrap());
        assert_eq!(shown(&camel), shown(&snake));
        // Every key must have an effect.
        let bare = one(r#"{"id":"a-1","executable":"run"}"#).unwrap();
        let bare = format!("{bare:#?}");
        let whole = format!("{:#?}", one(WHOLE).unwrap());
        for key in snake.as_object().unwrap().keys().filter(|key| {
            !matches!(
                key.as_str(),
                "id" | "executable" | "replaces" | "prompt" | "a_new_key"
            )
        }) {
            let line = |text: &str| {
                let at = text
                    .find(&format!("\n    {key}: "))
                    .unwrap_or_else(|| panic!("{key}"));
                text[at + 1..].split(",\n    ").next().map(str::to_owned)
            };
            assert_ne!(line(&bare), line(&whole), "{key}");
        }
    }

    /// `whole` with each value in turn replaced by a number, which no key accepts; with the path of that key.
    fn each_wrong(whole: &Value) -> Vec<(String, Value)> {
        let below = |key: String, at: &dyn Fn(Value) -> Value, inner: &Value| {
            let wrong = each_wrong(inner).into_iter();
            let wrong = wrong.map(move |(path, value)| (format!("{key}{path}"), at(value)));
            wrong.collect::<Vec<_>>()
        };
        let mut all = vec![(String::new(), json!(7))];
        match whole {
            Value::Object(fields) => {
                for (key, inner) in fields.iter().filter(|(key, _)| *key != "a_new_key") {
                    let at = |value| {
                        let mut fields = fields.clone();
                        fields.insert(key.clone(), value);
                        Value::Object(fields)
                    };
                    all.extend(below(format!(".{key}"), &at, inner));
                }
            }
            Value::Array(items) => {
                all.extend(below(String::new(), &|value| json!([value]), &items[0]))
            }
            _ => {}
        }
        all
    }

    #[test]
    fn every_key_with_a_value_of_another_type_is_refused_with_its_path() {
        let whole: Value = serde_json::from_str(WHOLE).unwrap();
        let wrong = each_wrong(&whole);
        assert!(wrong.len() > 60, "{}", wrong.len());
        for (path, entry) in &wrong[1..] {
            let said = one(&entry.to_string()).expect_err(path);
            assert!(
                said.contains(&format!("{}: ", &path[1..])),
                "{path}: {said}"
            );
        }
    }

    /// Keys of an entry with a wrong value, and the path in the refusal.
    const WRONG_VALUES: &str = r#"
"id":"Bad" -> id
"id":7 -> adapters[0]: id
"executable":"/bin/sh" -> executable
"label":1 -> label
"replaces":"yes" -> replaces
"stdin":"maybe" -> stdin
"prompt":"file" -> prompt
"prompt_flag":["-p"] -> prompt_flag
"non_interactive_prompt_prefix_args":"run" -> non_interactive_prompt_prefix_args
"nonInteractivePromptPrefixArgs":["a\u0000"] -> nonInteractivePromptPrefixArgs
"interactive_prompt_prefix_args":[1] -> interactive_prompt_prefix_args
"interactive_prompt_flag":1 -> interactive_prompt_flag
"model_flag":true -> model_flag
"model_arg_template":"-m" -> model_arg_template
"model_id_transform":"upper" -> model_id_transform
"sandbox":true -> sandbox
"sandbox":{"flag":"-s","read_only":"r","full":1} -> sandbox.full
"sandbox":{"flag":"-s","read_only":"r"} -> sandbox.full
"sandbox":{"read_only":"r","full":"f"} -> sandbox.read_only
"sandbox":{"full_args":[]} -> sandbox.read_only
"sandbox":{"fullArgs":[],"readOnlyArgs":"r"} -> sandbox.readOnlyArgs
"sandbox":{"full_args":[],"read_only_args":[],"read_only_env":{"COVEN_LOG":"1"}} -> sandbox.read_only_env
"permission_flags":"-y" -> permission_flags
"default_permission":"some" -> default_permission
"default_permission":"full" -> default_permission
"default_can_write":"no" -> default_can_write
"refuses_root":{"permissions":["all"]} -> refuses_root.permissions
"refuses_root":{"permissions":[],"unless_env":"A B"} -> refuses_root.unless_env
"add_dir_flag":7 -> add_dir_flag
"capabilities":{"think":"a lot"} -> capabilities.think
"capabilities":{"stream":true} -> capabilities.stream
"stream_args":{"prefix_args":[]} -> capabilities.stream
"stream_args":{} -> stream_args.prefix_args
"continuity_args":{"init_prefix_args":[]} -> continuity_args.resume_prefix_args
"continuity_args":{"init_prefix_args":[],"resume_prefix_args":[],"resume_flag":1} -> continuity_args.resume_flag
"env":{"COVEN_LOG":"1"} -> env
"env":{"A B":"1"} -> env
"env":{"A":1} -> env.A
"env":{"A":null} -> env.A
"env":["A=1"] -> env
"pass_env":["COVEN_SESSION_ID"] -> pass_env
"pass_env":["A*"] -> pass_env
"passEnv":"A" -> passEnv
"telemetry":"none" -> telemetry
"install_hint":[] -> install_hint
"login_hint":1 -> login_hint
"#;

    #[test]
    fn a_wrong_value_is_refused_with_its_path() {
        for (keys, path) in rows(WRONG_VALUES) {
            let mut entry: Value = serde_json::from_str(r#"{"id":"x","executable":"x"}"#).unwrap();
            let wrong: Value = serde_json::from_str(&format!("{{{keys}}}")).unwrap();
            let (entry_fields, wrong) =
                (entry.as_object_mut().unwrap(), wrong.as_object().unwrap());
            entry_fields.extend(wrong.clone());
            let said = one(&entry.to_string()).expect_err(keys);
            assert!(said.contains(&format!("{path}: ")), "{keys}: {said}");
        }
    }

    #[test]
    fn an_executable_is_a_bare_name_and_an_id_lower_case() {
        for bad in ["/bin/sh", "./sh", "../sh", "a/b", "", "..", "a\\u0000b"] {
            let said = one(&format!(r#"{{"id":"x","executable":"{bad}"}}"#));
            assert!(said.is_err(), "{bad}");
        }
        for bad in ["Example", "", "a b", "é", "a/b"] {
            let said = one(&format!(r#"{{"id":"{bad}","executable":"x"}}"#));
            assert!(said.is_err(), "{bad}");
        }
    }

    #[test]
    fn no_manifest_makes_an_adapter_run_a_path_or_take_another_argument() {
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
            let Ok(found) = parse(&text) else {
                continue;
            };
            taken += 1;
            for adapter in found {
                let executable = &adapter.executable;
                assert!(
                    !executable.is_empty() && !executable.contains(['/', '\0']),
                    "{text}"
                );
                assert_eq!(adapter.own_executable, None, "{text}");
                assert!((1..=64).contains(&adapter.id.len()), "{text}");
                assert!(
                    !adapter.id.contains(|c: char| c.is_uppercase() || c == '/'),
                    "{text}"
                );
                let argv = adapter.command_line(&Turn::of("the prompt")).unwrap().argv;
                assert!(argv.last().unwrap().ends_with("the prompt"), "{text}");
                assert!(!argv.iter().any(|arg| arg.contains('\0')), "{text}");
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
