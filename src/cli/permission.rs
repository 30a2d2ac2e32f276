//! The permission of a launch by `coven run`: its source, and remarks about it.

use super::CliError;
use super::daemon;
use crate::api::{Approval, LaunchPolicy, LaunchRequest, Permission, SessionRecord};
use crate::settings;

/// Source of a launch's permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PermissionSource {
    /// `--permission`, or the session that is repeated.
    Option,
    /// `COVEN_PERMISSION`.
    Setting,
    /// The adapter, or the harness's own configuration.
    Adapter,
}

/// Sets the permission of `request` by the option, or else by the setting.
pub(super) fn choose(
    option: Option<Permission>,
    request: &mut LaunchRequest,
) -> Result<PermissionSource, CliError> {
    let (permission, source) = match option {
        Some(permission) => (permission, PermissionSource::Option),
        None => {
            let word = settings::PERMISSION.read()?;
            let permission = Permission::parse(word).unwrap_or_default();
            (permission, PermissionSource::Setting)
        }
    };
    Ok(set(permission, source, request))
}

/// Sets `permission`, which comes from `source`, in `request`; returns its effective source.
pub(super) fn set(
    permission: Permission,
    source: PermissionSource,
    request: &mut LaunchRequest,
) -> PermissionSource {
    if permission == Permission::Default {
        return PermissionSource::Adapter;
    }
    request.launch_policy = Some(LaunchPolicy {
        approval: Approval::Never,
        sandbox: permission,
        add_dirs: Vec::new(),
    });
    source
}

/// Reports a permission that comes from the setting, before the launch: the launch may fail because of it.
pub(super) fn remark_on_setting(request: &LaunchRequest, source: PermissionSource) {
    if let (PermissionSource::Setting, Some(policy)) = (source, &request.launch_policy) {
        let (permission, name) = (policy.sandbox, settings::PERMISSION.name);
        daemon::remark(&format!(
            "{} runs with permission {permission}, by {name}",
            request.harness
        ));
    }
}

/// Reports the permission of a session that comes from its adapter, or that its harness changes no files by default.
pub(super) fn remark_on_default(record: &SessionRecord, source: PermissionSource) {
    let (options, harness) = (&record.options, &record.harness);
    let (PermissionSource::Adapter, Some(permission)) = (source, &options.permission) else {
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
    use crate::settings::SettingKind;

    #[test]
    fn the_setting_has_the_words_of_a_permission() {
        let words = Permission::ALL.map(Permission::as_str).join(", ");
        assert_eq!(settings::PERMISSION.kind.values(), words);
    }
}
