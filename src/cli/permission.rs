//! What the harness of `coven run` may do: by which word it is set, and what is said of it.

use super::CliError;
use super::daemon;
use crate::api::{Approval, Code, LaunchPolicy, LaunchRequest, Permission, SessionRecord};
use crate::settings;

/// Where the permission of a launch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `--permission`.
    Option,
    /// `COVEN_PERMISSION`.
    Setting,
    /// Neither of them: the adapter, or the harness itself.
    Adapter,
}

/// Puts into `request` what the option says, or else the setting.
pub(super) fn choose(
    option: Option<Permission>,
    request: &mut LaunchRequest,
) -> Result<Source, CliError> {
    let (permission, source) = match option {
        Some(permission) => (permission, Source::Option),
        None => (setting()?, Source::Setting),
    };
    if permission == Permission::Default {
        return Ok(Source::Adapter);
    }
    request.launch_policy = Some(LaunchPolicy {
        approval: Approval::Never,
        sandbox: permission,
        add_dirs: Vec::new(),
    });
    Ok(source)
}

fn setting() -> Result<Permission, CliError> {
    let word = settings::PERMISSION.read().map_err(|bad| {
        CliError::failed(Code::InvalidSetting, bad.to_string(), Some(&bad.mend()))
    })?;
    Ok(Permission::parse(word).unwrap_or_default())
}

/// Says which permission holds that was not asked for by its name, and whether it keeps the harness from its work.
pub(super) fn remark(record: &SessionRecord, source: Source) {
    let options = &record.options;
    let (Some(permission), harness) = (&options.permission, &record.harness) else {
        return;
    };
    let is_default = *permission == Permission::Default;
    let said = match source {
        Source::Option => return,
        Source::Setting => format!(
            "{harness} runs with permission {permission}, by {}",
            settings::PERMISSION.name
        ),
        Source::Adapter if !is_default => {
            format!(
                "{harness} runs with permission {permission}, by default_permission of its adapter"
            )
        }
        Source::Adapter if options.can_write == Some(false) => format!(
            "{harness} changes no files unless it is set up to: --permission workspace-write lets it (coven adapters show {harness})"
        ),
        Source::Adapter => return,
    };
    daemon::remark(&said);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Declared;

    #[test]
    fn the_setting_has_the_words_of_a_permission() {
        let words = Permission::ALL.map(Permission::as_str).join(", ");
        assert_eq!(settings::PERMISSION.values(), words);
    }
}
