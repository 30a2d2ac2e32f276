//! What the harness of `coven run` may do: by which word it is set, and what is said of it.

use super::CliError;
use super::daemon;
use crate::api::{Approval, Code, LaunchPolicy, LaunchRequest, Permission, SessionRecord};
use crate::settings;

/// Where the permission of a launch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `--permission`, or the session that is run again.
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
    Ok(set(permission, source, request))
}

/// Puts `permission`, which comes from `source`, into `request`; gives where it comes from then.
pub(super) fn set(permission: Permission, source: Source, request: &mut LaunchRequest) -> Source {
    if permission == Permission::Default {
        return Source::Adapter;
    }
    request.launch_policy = Some(LaunchPolicy {
        approval: Approval::Never,
        sandbox: permission,
        add_dirs: Vec::new(),
    });
    source
}

fn setting() -> Result<Permission, CliError> {
    let word = settings::PERMISSION.read().map_err(|bad| {
        CliError::failed(Code::InvalidSetting, bad.to_string(), Some(&bad.mend()))
    })?;
    Ok(Permission::parse(word).unwrap_or_default())
}

/// Says before a launch which permission the setting gives it: the launch may fail for it.
pub(super) fn remark_on_setting(request: &LaunchRequest, source: Source) {
    if let (Source::Setting, Some(policy)) = (source, &request.launch_policy) {
        let (permission, name) = (policy.sandbox, settings::PERMISSION.name);
        daemon::remark(&format!(
            "{} runs with permission {permission}, by {name}",
            request.harness
        ));
    }
}

/// Says which permission a session has that its adapter gives it, or that its harness changes no files by itself.
pub(super) fn remark_on_default(record: &SessionRecord, source: Source) {
    let (options, harness) = (&record.options, &record.harness);
    let (Source::Adapter, Some(permission)) = (source, &options.permission) else {
        return;
    };
    if *permission != Permission::Default {
        daemon::remark(&format!(
            "{harness} runs with permission {permission}, by default_permission of its adapter"
        ));
    } else if options.can_write == Some(false) {
        daemon::remark(&format!(
            "{harness} changes no files unless it is set up to: --permission workspace-write lets it (coven adapters show {harness})"
        ));
    }
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
