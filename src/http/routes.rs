//! Dispatches a request to its handler. To add a route, declare it in [`crate::api::routes`] and write its handler.
//!
//! Runs on the connection thread. It knows paths and methods, and not the handlers' work.

use super::call::{Exchange, Routed};
use super::response::Answer;
use super::{about, events, kill, launch, preview, sessions, store, upgrade};
use crate::api::routes::{Route, UNKNOWN};
use crate::api::{API_VERSION, ApiError};

fn handle(routed: Routed<'_>) -> Result<Answer, ApiError> {
    match routed.route {
        Route::Health => about::health(&routed.call()),
        Route::Metrics => about::metrics(&routed.call()),
        Route::ApiVersion => about::api_version(&routed.call()),
        Route::Capabilities => about::capabilities(&routed.call()),
        Route::Act => about::act(&routed.call()),
        Route::StopDaemon => about::stop(&routed.call()),
        Route::UpgradeDaemon => upgrade::upgrade(&routed.call()),
        Route::ListSessions => sessions::list(&routed.call()),
        Route::Launch => launch::launch(&routed.call()),
        Route::RegisterExternal => sessions::register_external(&routed.call()),
        Route::ShowSession => sessions::show(&routed.call()),
        Route::Edit => sessions::edit(&routed.call()),
        Route::DeleteSession => sessions::delete(&routed.call()),
        Route::SessionEvents => events::of_session(&routed.call()),
        Route::PreviewLog => preview::log(&routed.call()),
        Route::Input => sessions::input(&routed.call()),
        Route::Kill => kill::kill(&routed.call()),
        Route::Archive => sessions::archive(&routed.call()),
        Route::Summon => sessions::summon(&routed.call()),
        Route::Complete => sessions::complete(&routed.call()),
        Route::Events => events::list(&routed.call()),
        Route::Prune => store::prune(&routed.call()),
        Route::Vacuum => store::vacuum(&routed.call()),
        Route::Backup => store::backup(&routed.call()),
        Route::OpenApi => about::openapi(&routed.call()),
        Route::Index => about::index(&routed.call()),
    }
}

/// Finds and calls the handler of a request; also returns the route's name for the log.
pub(super) fn dispatch(exchange: &Exchange<'_>) -> (&'static str, Result<Answer, ApiError>) {
    let method = exchange.request.method.as_str();
    let path = match unversioned(&exchange.request.path) {
        Ok(path) => path,
        Err(error) => return (UNKNOWN, Err(error)),
    };
    let Some(found) = find(path) else {
        return (UNKNOWN, Err(ApiError::RouteNotFound));
    };
    let same_path = || {
        let routes = Route::ALL.iter().copied();
        routes.filter(|route| route.pattern() == found.pattern())
    };
    // HEAD is GET without the body (RFC 9110, 9.3.2).
    let wanted = if method == "HEAD" { "GET" } else { method };
    match same_path().find(|route| route.method() == wanted) {
        Some(route) => {
            let id = session_in(path).unwrap_or("");
            let routed = Routed {
                exchange,
                route,
                id,
            };
            let result = handle(routed);
            let status = match &result {
                Ok(answer) => answer.status,
                Err(error) => error.status(),
            };
            debug_assert!(
                route.has_status(status),
                "{} does not declare {status}: {result:?}",
                route.name()
            );
            (route.name(), result)
        }
        None => {
            let allow: Vec<&str> = same_path().map(Route::method).collect();
            let allow = allow.join(", ");
            let error = ApiError::MethodNotAllowed { allow };
            (found.pattern(), Err(error))
        }
    }
}

/// The first route whose pattern matches `path`, for any method.
fn find(path: &str) -> Option<Route> {
    let mut routes = Route::ALL.iter().copied();
    routes.find(|route| matches(route.pattern(), path))
}

/// The path without its version: `/api/v1/health` and `/health` are equal.
fn unversioned(path: &str) -> Result<&str, ApiError> {
    let Some(rest) = path.strip_prefix("/api/") else {
        return Ok(path);
    };
    let (version, _) = rest.split_once('/').unwrap_or((rest, ""));
    if version == API_VERSION {
        let below = &rest[version.len()..];
        return Ok(if below.is_empty() { "/" } else { below });
    }
    let is_version = version
        .strip_prefix('v')
        .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
    if is_version {
        return Err(ApiError::UnsupportedVersion {
            requested: version.to_owned(),
        });
    }
    Err(ApiError::RouteNotFound)
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let all = pattern.split('/').all(|want| {
        segments
            .next()
            .is_some_and(|have| have == want || (want == ":id" && !have.is_empty()))
    });
    all && segments.next().is_none()
}

/// The session id in a path, if its route has one.
pub(super) fn session_in(path: &str) -> Option<&str> {
    let path = unversioned(path).ok()?;
    let mut segments = find(path)?.pattern().split('/').zip(path.split('/'));
    segments
        .find(|(want, _)| *want == ":id")
        .map(|(_, have)| have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;

    #[test]
    fn a_path_matches_whole_segments() {
        assert!(matches("/sessions/:id", "/sessions/a"));
        assert!(!matches("/sessions/:id", "/sessions/"));
        assert!(!matches("/sessions/:id", "/sessions/a/b"));
        assert!(!matches("/sessions", "/sessions/"));
        assert!(matches("/", "/"));
    }

    #[test]
    fn a_version_is_named_or_left_out() {
        assert_eq!(unversioned("/api/v1/health").unwrap(), "/health");
        assert_eq!(unversioned("/health").unwrap(), "/health");
        let code = |path| unversioned(path).err().map(|e| (e.code(), e.status()));
        assert_eq!(code("/api/v2/health"), Some((Code::InvalidRequest, 404)));
        assert_eq!(code("/api/v10"), Some((Code::InvalidRequest, 404)));
        assert_eq!(code("/api/version"), Some((Code::NotFound, 404)));
        assert_eq!(code("/api/"), Some((Code::NotFound, 404)));
    }

    #[test]
    fn fixed_words_stand_before_ids() {
        let first = |path| find(path).unwrap().pattern();
        assert_eq!(first("/sessions/external"), "/sessions/external");
        assert_eq!(session_in("/api/v1/sessions/external"), None);
        assert_eq!(session_in("/api/v1/sessions/x/kill"), Some("x"));
        assert_eq!(session_in("/sessions"), None);
        assert_eq!(session_in("/sessions/x/no/such/route"), None);
    }
}
