//! A client that goes from page to page on one connection gets what a connection a page would give it, also where the
//! daemon has read a page before it was asked for.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::*;

/// Prints four pages of output, and then as much again for each line that it reads.
const PRINTS: &str = "flood() { yes \"$(printf %099d 7)\" | head -c 3500000; echo done; }
    flood; while read -r line; do flood; done";

/// A connection of a client.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(coven: &Coven) -> Self {
        Self(BufReader::new(coven.connect()))
    }

    fn get(&mut self, path: &str) -> Answer {
        let request = format!("GET /api/v1{path} HTTP/1.1\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        read_answer(&mut self.0)
    }

    /// Asks for two pages, so that the third is read before it is asked for, and gives the path of that.
    fn read_two_of_three(&mut self, id: &str) -> String {
        let mut path = path(id, &json!(0));
        for _ in 0..2 {
            path = self::path(id, &self.get(&path).json()["nextCursor"]["afterSeq"]);
        }
        // The connection's thread reads no request before it has read the page.
        assert_eq!(self.get("/health").status, 200);
        path
    }
}

fn path(id: &str, after: &Value) -> String {
    format!("/events?sessionId={id}&afterSeq={after}")
}

/// A session that has printed once, and waits for more to do.
fn printed(coven: &Coven) -> String {
    coven.harness_with("prints", PRINTS, json!({ "stdin": "open" }));
    coven.start_daemon();
    let id = coven.launch("prints", "x");
    coven.wait_for_output(&id, "done");
    id
}

/// The same, ended.
fn printed_and_ended(coven: &Coven) -> String {
    let id = printed(coven);
    coven.kill_session(&id);
    coven.events_to_end(&id);
    id
}

#[test]
fn pages_in_a_row_are_those_of_a_connection_each() {
    let coven = Coven::new();
    let id = printed_and_ended(&coven);
    let mut client = Client::connect(&coven);
    // Also with another limit on the way, and from the beginning again.
    for limits in [
        vec!["1000"],
        vec!["3"],
        vec!["3", "3", "4", "1000"],
        vec!["1"],
    ] {
        let mut after = json!(0);
        let mut limits = limits.iter().cycle();
        loop {
            let path = format!("{}&limit={}", path(&id, &after), limits.next().unwrap());
            let page = client.get(&path);
            let alone = coven.get(&format!("/api/v1{path}"));
            assert_eq!(page.body, alone.body, "{path}");
            let page = page.json();
            if page["hasMore"] == false {
                break;
            }
            after = page["nextCursor"]["afterSeq"].clone();
        }
    }
}

#[test]
fn no_page_is_shown_of_a_session_that_has_been_deleted_meanwhile() {
    let coven = Coven::new();
    let id = printed_and_ended(&coven);
    let mut client = Client::connect(&coven);
    let third = client.read_two_of_three(&id);
    let deleted = coven.delete(&format!("/api/v1/sessions/{id}"));
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    client.get(&third).assert_error(404, "session_not_found");
}

#[test]
fn no_output_is_shown_that_retention_has_taken_meanwhile() {
    let coven = Coven::new().env("COVEN_LOG_RETENTION_DAYS", "0");
    let id = printed_and_ended(&coven);
    let mut client = Client::connect(&coven);
    let third = client.read_two_of_three(&id);
    let pruned = coven.post("/api/v1/store/prune", &json!({}));
    assert_eq!(pruned.json()["sessions"], 1, "{}", pruned.text());
    let page = client.get(&third).json();
    let first = &page["events"][0];
    assert_eq!(first["kind"], "output_truncated", "{first}");
}

#[test]
fn no_output_is_shown_that_a_sessions_limit_has_taken_meanwhile() {
    let coven = Coven::new().env("COVEN_SESSION_MAX_BYTES", "4000000");
    let id = printed(&coven);
    let mut client = Client::connect(&coven);
    let third = client.read_two_of_three(&id);
    let last = coven.session(&id)["last_seq"].as_u64().unwrap();
    assert_eq!(coven.input(&id, "again\n").status, 202);
    let first = |answer: &Answer| answer.json()["events"][0]["seq"].as_u64().unwrap();
    let end = path(&id, &json!(last - 1));
    eventually("all that was printed first has been taken", || {
        first(&coven.get(&format!("/api/v1{end}"))) != last
    });
    let page = client.get(&third);
    assert!(first(&page) > last, "{} of {last}", first(&page));
}

#[test]
fn clients_that_stop_in_the_middle_of_a_session_cost_little_memory() {
    // Their pages would be 72 MB: more than the bound.
    const CLIENTS: usize = 80;
    let coven = Coven::new();
    let id = printed(&coven);
    let stop_in_the_middle = || {
        let mut client = Client::connect(&coven);
        client.read_two_of_three(&id);
        client
    };
    let _clients: Vec<_> = (0..CLIENTS).map(|_| stop_in_the_middle()).collect();
    let peak = peak_kib(coven.daemon_pid());
    assert!(peak < 64 << 10, "{peak} KiB for {CLIENTS} clients");
}
