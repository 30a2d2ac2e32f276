//! The routing table. To add a route is to add a line here, and its handler.

use std::os::unix::net::UnixStream;

use super::paging::Paging;
use super::request::Request;
use super::response::Answer;
use super::{Context, about, events, preview, sessions, store};
use crate::api::{API_VERSION, ApiError};

/// A request on its way through a handler.
pub(super) struct Call<'a> {
    pub request: &'a Request,
    /// To notice that a client which waits has gone.
    pub stream: &'a UnixStream,
    pub context: &'a Context,
    /// The pages that its connection has been asked for.
    pub paging: &'a Paging,
}

type Handler = fn(&Call<'_>, &str) -> Result<Answer, ApiError>;

struct Route {
    /// `METHOD /path`, the path below the version, with `:id` for a session's id.
    name: &'static str,
    handler: Handler,
}

const fn route(name: &'static str, handler: Handler) -> Route {
    Route { name, handler }
}

/// Every route there is. Where two paths match, the first decides: fixed words stand before `:id`.
static ROUTES: [Route; 23] = [
    route("GET /health", about::health),
    route("GET /metrics", about::metrics),
    route("GET /api-version", about::api_version),
    route("GET /capabilities", about::capabilities),
    route("POST /actions", about::action),
    route("POST /daemon/stop", about::stop),
    route("GET /sessions", sessions::list),
    route("POST /sessions", sessions::launch),
    route("POST /sessions/external", sessions::register_external),
    route("GET /sessions/:id", sessions::show),
    route("DELETE /sessions/:id", sessions::delete),
    route("GET /sessions/:id/events", events::of_session),
    route("GET /sessions/:id/log", preview::log),
    route("POST /sessions/:id/input", sessions::input),
    route("POST /sessions/:id/kill", sessions::kill),
    route("POST /sessions/:id/archive", sessions::archive),
    route("POST /sessions/:id/summon", sessions::summon),
    route("POST /sessions/:id/complete", sessions::complete),
    route("GET /events", events::list),
    route("POST /store/prune", store::prune),
    route("POST /store/vacuum", store::vacuum),
    route("POST /store/backup", store::backup),
    route("GET /", about::index),
];

impl Route {
    fn method(&self) -> &'static str {
        self.name.split_once(' ').map_or("", |(method, _)| method)
    }

    fn pattern(&self) -> &'static str {
        self.name.split_once(' ').map_or("", |(_, pattern)| pattern)
    }
}

/// Whether `name` is what the log calls a route: a pattern of ours, with its method or, for one that the route does not
/// take, without; or that of a request that came to none.
pub fn is_route_name(name: &str) -> bool {
    let mut routes = ROUTES.iter();
    matches!(name, "unknown" | "unread")
        || routes.any(|route| name == route.name || name == route.pattern())
}

/// Finds the handler for a request and calls it; also gives the route's name, for the log.
pub(super) fn dispatch(call: &Call<'_>) -> (&'static str, Result<Answer, ApiError>) {
    let method = call.request.method.as_str();
    let path = match unversioned(&call.request.path) {
        Ok(path) => path,
        Err(error) => return ("unknown", Err(error)),
    };
    let Some(found) = ROUTES.iter().find(|route| matches(route.pattern(), path)) else {
        return ("unknown", Err(ApiError::RouteNotFound));
    };
    let same_path = || {
        ROUTES
            .iter()
            .filter(|route| route.pattern() == found.pattern())
    };
    // HEAD is GET without the body (RFC 9110, 9.3.2).
    let wanted = if method == "HEAD" { "GET" } else { method };
    match same_path().find(|route| route.method() == wanted) {
        Some(route) => {
            let id = session_in(path).unwrap_or("");
            (route.name, (route.handler)(call, id))
        }
        None => {
            let allow: Vec<&str> = same_path().map(Route::method).collect();
            (
                found.pattern(),
                Err(ApiError::MethodNotAllowed {
                    allow: allow.join(", "),
                }),
            )
        }
    }
}

/// The path without its version: `/api/v1/health` and `/health` are the same.
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

/// The session id in a path, where its route has one.
pub(super) fn session_in(path: &str) -> Option<&str> {
    let path = unversioned(path).ok()?;
    let (id, _) = path
        .strip_prefix("/sessions/")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
    (id != "external").then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(code("/api/v2/health"), Some(("invalid_request", 404)));
        assert_eq!(code("/api/v10"), Some(("invalid_request", 404)));
        assert_eq!(code("/api/version"), Some(("not_found", 404)));
        assert_eq!(code("/api/"), Some(("not_found", 404)));
    }

    #[test]
    fn fixed_words_stand_before_ids() {
        let first = |path| {
            ROUTES
                .iter()
                .find(|route| matches(route.pattern(), path))
                .unwrap()
                .pattern()
        };
        assert_eq!(first("/sessions/external"), "/sessions/external");
        assert_eq!(session_in("/api/v1/sessions/external"), None);
        assert_eq!(session_in("/api/v1/sessions/x/kill"), Some("x"));
        assert_eq!(session_in("/sessions"), None);
    }
}
