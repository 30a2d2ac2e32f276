//! Declares every route of the API once: method, pattern, summary, the types of query, body and answer, and the errors.
//!
//! The server maps each [`Route`] to its handler, the client sends a [`Request`] of an [`Endpoint`], [`super::openapi`]
//! describes both to programs, and coven-api(7) to people. It has no thread. It knows paths and wire types, and neither
//! sockets nor handlers.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wire::{Shape, Wire};
use super::{
    Accepted, ActionRequest, ActionResult, BackedUp, BackupRequest, Code, CompleteRequest, Deleted,
    EditRequest, EventPage, EventsQuery, ExternalRequest, InputRequest, KillRequest, LaunchRequest,
    PreviewLine, PruneRequest, Pruned, SessionPage, SessionRecord, SessionsQuery, StopReport, Text,
    UpgradeRequest, Upgraded, Vacuumed,
};

/// Facts about a route for programs, besides its name and summary.
#[derive(Debug)]
pub struct Facts {
    /// Its variant's name.
    pub id: &'static str,
    pub query: &'static Shape,
    pub body: &'static Shape,
    /// The body can be missing.
    pub is_body_optional: bool,
    /// A header of the request that it reads.
    pub header: Option<&'static str>,
    pub answer: &'static Shape,
    /// Another form of the answer.
    pub other: Option<&'static Shape>,
    /// Statuses with the answer.
    pub statuses: &'static [u16],
    /// Codes of its errors, besides [`COMMON`].
    pub refusals: &'static [Code],
}

/// Codes of errors that every route can answer.
pub const COMMON: &[Code] = &[
    Code::InvalidRequest,
    Code::PayloadTooLarge,
    Code::RequestTooLarge,
    Code::InternalError,
    Code::StoreUnavailable,
    Code::ShuttingDown,
    Code::TooManyConnections,
    Code::Busy,
];

macro_rules! first {
    ($first:expr $(, $other:expr)?) => {
        $first
    };
}

macro_rules! is_optional {
    ($body:ty) => {
        true
    };
}

macro_rules! or_unit {
    () => {
        ()
    };
    ($type:ty) => {
        $type
    };
}

/// Declares the routes. A route's doc comment is its summary in coven-api(7). `optional` is a body that can be missing,
/// `or` another form of the answer; the status is 200 unless `status` lists others; `fails` lists the errors' codes.
macro_rules! routes {
    ($(
        $(#[doc = $summary:literal])+
        $name:ident: $method:ident $pattern:literal
            {
                $(query: $query:ty,)? $(body: $body:ty,)? $(optional: $optional:ty,)? $(header: $header:literal,)?
                answer: $answer:ty $(, or: $or:ty)? $(, status: $($status:literal)+)? $(, fails: $($code:ident)+)?
            }
    )+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Route {
            $($(#[doc = $summary])+ $name,)+
        }

        impl Route {
            /// Every route. If two patterns match a path, the first one wins: fixed words come before `:id`.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// `METHOD /pattern`: its name in the log and the metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!(stringify!($method), " ", $pattern),)+
                }
            }

            pub fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => &Facts {
                        id: stringify!($name),
                        query: <<$name as Endpoint>::Query as Wire>::SHAPE,
                        body: <<$name as Endpoint>::Body as Wire>::SHAPE,
                        is_body_optional: first!($(is_optional!($optional),)? false),
                        header: first!($(Some($header),)? None),
                        answer: <$answer as Wire>::SHAPE,
                        other: first!($(Some(<$or as Wire>::SHAPE),)? None),
                        statuses: first!($(&[$($status),+],)? &[200]),
                        refusals: first!($(&[$(Code::$code),+],)? &[]),
                    },)+
                }
            }

            /// Its purpose, in one line for people.
            pub fn summary(self) -> &'static str {
                let text = match self {
                    $(Self::$name => concat!($($summary),+),)+
                };
                text.trim_start()
            }

            /// The answer that is read from this JSON, written again.
            #[cfg(test)]
            pub(super) fn answer_again(self, json: Value) -> Value {
                match self {
                    $(Self::$name => tests::again::<$answer>(json),)+
                }
            }

            /// The body that is read from this JSON, written again.
            #[cfg(test)]
            pub(super) fn body_again(self, json: &Value) -> Value {
                match self {
                    $(Self::$name => tests::body_again::<<$name as Endpoint>::Body>(json),)+
                }
            }

            /// The names of its query's and its body's fields.
            #[cfg(test)]
            pub(super) fn fields(self) -> Vec<&'static str> {
                match self {
                    $(Self::$name => [
                        tests::fields::<<$name as Endpoint>::Query>(),
                        tests::fields::<<$name as Endpoint>::Body>(),
                    ].concat(),)+
                }
            }
        }

        $(
            $(#[doc = $summary])+
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Endpoint for $name {
                const ROUTE: Route = Route::$name;
                type Query = or_unit!($($query)?);
                type Body = or_unit!($($body)? $($optional)?);
                type Answer = $answer;
            }
        )+
    };
}

routes! {
    /// the daemon, its sessions, the event writer, the store; never waits
    Health: GET "/health" { answer: super::Health }
    /// the metrics, in Prometheus' text format; the only answer that is not JSON
    Metrics: GET "/metrics" { answer: Text }
    /// the supported versions
    ApiVersion: GET "/api-version" { answer: super::ApiVersion }
    /// the daemon's features and adapters, the rejected manifests, and in `process` its environment and limits
    Capabilities: GET "/capabilities" { answer: super::Capabilities }
    /// `coven.capabilities.refresh` reads the manifests again
    Act: POST "/actions" { body: ActionRequest, answer: ActionResult, status: 200 400 }
    /// ends the daemon, as SIGTERM does; its last answer says what is not on disk
    StopDaemon: POST "/daemon/stop" { answer: StopReport }
    /// replaces the daemon's program under its sessions, by that of `binary`; with `check` only checks whether it could
    UpgradeDaemon: POST "/daemon/upgrade" {
        optional: UpgradeRequest, answer: Upgraded, fails: UpgradeRefused UpgradeFailed
    }
    /// an array of the sessions that are not archived; with any parameter pages
    ListSessions: GET "/sessions" { query: SessionsQuery, answer: SessionPage, or: Vec<SessionRecord> }
    /// launches a session; an `Idempotency-Key` makes the request safe to repeat
    Launch: POST "/sessions" {
        body: LaunchRequest, header: "Idempotency-Key", answer: SessionRecord, status: 201 200,
        fails: ProjectRootViolation IdempotencyConflict HarnessNotFound TooManySessions LaunchFailed
    }
    /// registers an external session
    RegisterExternal: POST "/sessions/external" {
        body: ExternalRequest, answer: SessionRecord, status: 201 200, fails: SessionIdConflict
    }
    /// the session's record
    ShowSession: GET "/sessions/:id" { answer: SessionRecord }
    /// changes the session's title, adds and removes labels
    Edit: PATCH "/sessions/:id" { body: EditRequest, answer: SessionRecord }
    /// deletes the session's record and events permanently
    DeleteSession: DELETE "/sessions/:id" { answer: Deleted, fails: SessionLive }
    /// as `GET /events`, of the session in the path
    SessionEvents: GET "/sessions/:id/events" { query: EventsQuery, answer: EventPage }
    /// `[{"ts","level","message"}]`, a readable preview: stdout is `info`, stderr `warn`; the newest 900 kB
    PreviewLog: GET "/sessions/:id/log" { answer: Vec<PreviewLine> }
    /// writes to the session's stdin
    Input: POST "/sessions/:id/input" {
        body: InputRequest, answer: Accepted, status: 202,
        fails: SessionNotLive InputNotAccepted InputBacklogFull SendInputFailed
    }
    /// ends the session; the answer comes when its exit is on disk
    Kill: POST "/sessions/:id/kill" {
        optional: KillRequest, answer: Accepted, status: 202,
        fails: SessionNotLive ExternalSessionNotKillable KillFailed
    }
    /// hides the session from the list
    Archive: POST "/sessions/:id/archive" { answer: SessionRecord, fails: SessionLive }
    /// shows the session in the list again
    Summon: POST "/sessions/:id/summon" { answer: SessionRecord }
    /// ends an external session
    Complete: POST "/sessions/:id/complete" { optional: CompleteRequest, answer: SessionRecord, fails: NotExternalSession }
    /// events of a session, in the order of their seq; an empty page is held back for `waitMs`
    Events: GET "/events" { query: EventsQuery, answer: EventPage, fails: SessionNotFound }
    /// deletes the output that retention does not keep, or with `dryRun` only counts it
    Prune: POST "/store/prune" { optional: PruneRequest, answer: Pruned }
    /// checks and rewrites the database
    Vacuum: POST "/store/vacuum" { answer: Vacuumed }
    /// a copy of the database to a new file
    Backup: POST "/store/backup" { body: BackupRequest, answer: BackedUp }
    /// this API as an OpenAPI document
    OpenApi: GET "/openapi.json" { answer: Value }
    /// the entry: where health is
    Index: GET "/" { answer: super::Index }
}

/// The parameter that names the session if the path does not.
pub const SESSION_PARAMETER: &str = "sessionId";

/// Name for a request without a matching route, in the log and the metrics.
pub const UNKNOWN: &str = "unknown";
/// Name for a request that could not be parsed.
pub const UNREADABLE: &str = "unreadable";
/// Name for a connection that was refused before it was read.
pub const UNREAD: &str = "unread";

impl Route {
    pub fn method(self) -> &'static str {
        self.parts().0
    }

    /// The path after the version, with `:id` for a session's id.
    pub fn pattern(self) -> &'static str {
        self.parts().1
    }

    fn parts(self) -> (&'static str, &'static str) {
        self.name().split_once(' ').unwrap_or((self.name(), ""))
    }

    /// True if an answer of this route can have `status`.
    pub fn has_status(self, status: u16) -> bool {
        self.facts().statuses.contains(&status)
            || self.refusals().any(|code| code.status() == Some(status))
    }

    /// True if its path names a session.
    pub fn has_session(self) -> bool {
        self.pattern().contains(":id")
    }

    /// Codes of its errors.
    pub fn refusals(self) -> impl Iterator<Item = Code> {
        let own = self.facts().refusals.iter();
        let of_path = self.has_session().then_some(&Code::SessionNotFound);
        own.chain(of_path).chain(COMMON).copied()
    }

    /// True if `name` is a route's name in the log: a pattern with its method, or without it for a method that the
    /// route does not accept; or one of the substitutes.
    pub fn is_name(name: &str) -> bool {
        [UNKNOWN, UNREADABLE, UNREAD].contains(&name)
            || Self::ALL
                .iter()
                .any(|route| name == route.name() || name == route.pattern())
    }
}

/// A route as a type, with the types of its requests and answers.
pub trait Endpoint: Sized {
    const ROUTE: Route;
    /// Its query; `()` if it has none.
    type Query: Serialize + DeserializeOwned + Wire;
    /// Its body; `()` if it has none.
    type Body: Serialize + DeserializeOwned + Wire;
    /// Its answer.
    type Answer: Wire;

    /// A request to a route without a session.
    fn request(self) -> Request<Self> {
        Request {
            id: String::new(),
            query: String::new(),
            body: Vec::new(),
            endpoint: PhantomData,
        }
    }

    /// A request about the session `id`.
    fn of(self, id: &str) -> Request<Self> {
        let id = id.to_owned();
        Request {
            id,
            ..self.request()
        }
    }
}

/// A request to an [`Endpoint`], ready to be sent.
#[derive(Debug)]
pub struct Request<E: Endpoint> {
    id: String,
    query: String,
    body: Vec<u8>,
    endpoint: PhantomData<E>,
}

impl<E: Endpoint> Request<E> {
    /// Adds a query without its null fields. The contract's values need no escaping.
    pub fn query(mut self, query: &E::Query) -> Self {
        // Cannot fail: a query is a structure of strings, numbers and booleans.
        let fields = serde_json::to_value(query).expect("a query is plain data");
        for (name, value) in fields.as_object().into_iter().flatten() {
            let separator = if self.query.is_empty() { '?' } else { '&' };
            match value {
                Value::Null => {}
                Value::String(text) => self.query += &format!("{separator}{name}={text}"),
                value => self.query += &format!("{separator}{name}={value}"),
            }
        }
        self
    }

    /// Adds a body.
    pub fn body(mut self, body: &E::Body) -> Self {
        // Cannot fail: a body is strings, numbers and lists of them, and writing to a Vec cannot fail.
        self.body = serde_json::to_vec(body).expect("a body is plain data");
        self
    }

    /// The path after the version, with the query.
    pub fn target(&self) -> String {
        E::ROUTE.pattern().replace(":id", &self.id) + &self.query
    }

    /// The body; empty if there is none.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::forward_to_deserialize_any;

    use super::*;

    #[test]
    fn a_request_fills_in_the_pattern_and_leaves_out_what_is_not_asked_for() {
        let id = "5b7c";
        assert_eq!(ShowSession.of(id).target(), "/sessions/5b7c");
        assert_eq!(Kill.of(id).target(), "/sessions/5b7c/kill");
        let query = EventsQuery {
            after_seq: Some(7),
            limit: Some(2),
            ..EventsQuery::default()
        };
        let target = SessionEvents.of(id).query(&query).target();
        assert_eq!(target, "/sessions/5b7c/events?afterSeq=7&limit=2");
        let query = SessionsQuery {
            include_archived: Some(true),
            id_prefix: Some("5b".into()),
            ..SessionsQuery::default()
        };
        let target = ListSessions.request().query(&query).target();
        assert_eq!(target, "/sessions?idPrefix=5b&includeArchived=true");
        assert_eq!(Capabilities.request().bytes(), b"");
        let body = PruneRequest {
            dry_run: true,
            days: Some(7),
        };
        let bytes = br#"{"dryRun":true,"days":7}"#;
        assert_eq!(Prune.request().body(&body).bytes(), bytes);
    }

    #[test]
    fn a_route_is_known_by_its_names_in_the_log() {
        for name in [
            "POST /sessions/:id/kill",
            "/sessions/:id/kill",
            "GET /",
            UNREADABLE,
        ] {
            assert!(Route::is_name(name), "{name}");
        }
        for name in ["", "GET", "PUT /sessions", "/sessions/5b7c/kill"] {
            assert!(!Route::is_name(name), "{name}");
        }
    }

    /// Collects the names of a structure's fields without deserializing it.
    struct Names<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("it has no fields"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(Self::Error::custom("these are its fields"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    pub(super) fn again<T: Serialize + DeserializeOwned>(json: Value) -> Value {
        let read = serde_json::from_value::<T>(json).unwrap();
        serde_json::to_value(read).unwrap()
    }

    pub(super) fn body_again<T: Serialize + DeserializeOwned>(json: &Value) -> Value {
        let read = crate::api::fields::read_body::<T>(json.to_string().as_bytes()).unwrap();
        serde_json::to_value(read).unwrap()
    }

    pub(super) fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
        let mut fields: &[&str] = &[];
        assert!(T::deserialize(Names(&mut fields)).is_err());
        fields
    }

    #[test]
    fn the_fields_of_a_route_are_those_of_its_structures() {
        assert_eq!(Route::Backup.fields(), ["path"]);
        assert!(Route::Launch.fields().contains(&"projectRoot"));
        assert!(Route::Events.fields().contains(&"afterSeq"));
        assert!(Route::Health.fields().is_empty());
    }
}
