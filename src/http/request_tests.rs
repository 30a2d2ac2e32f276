//! Reading requests: framing, limits, and any split of the bytes.

use super::*;
use crate::api::Code;
use crate::random::{Random, rounds};
use std::io::Write;

fn parse(head: &str) -> Result<Option<Head>, ApiError> {
    parse_head(head.as_bytes())
}

fn code(head: &str) -> Option<Code> {
    parse(head).err().map(|error| error.code())
}

#[test]
fn a_target_is_split_into_path_and_query() {
    assert_eq!(split_target("/a?b=c?d"), ("/a", "b=c?d"));
    assert_eq!(split_target("http://localhost/a?b"), ("/a", "b"));
    assert_eq!(split_target("http://localhost"), ("/", ""));
    assert_eq!(split_target("/a://b"), ("/a://b", ""));
}

#[test]
fn a_body_is_framed_in_one_way_only() {
    assert_eq!(
        code("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        None
    );
    assert_eq!(
        code("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        Some(Code::InvalidRequest)
    );
    assert_eq!(
        code("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Some(Code::InvalidRequest)
    );
    for bad in ["-1", "+1", "1 2", "", "0x10"] {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {bad}\r\n\r\n");
        assert_eq!(code(&head), Some(Code::InvalidRequest), "{bad}");
    }
    for large in ["4194305", "1000000000000", "99999999999999999999999999"] {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {large}\r\n\r\n");
        assert_eq!(code(&head), Some(Code::PayloadTooLarge), "{large}");
    }
}

#[test]
fn what_is_not_http_1_is_refused() {
    for bad in [
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "\u{1}\u{2}\r\n\r\n",
        "GET / HTTP/1.1\r\na b: c\r\n\r\n",
    ] {
        assert_eq!(code(bad), Some(Code::InvalidRequest), "{bad:?}");
    }
}

#[test]
fn a_connection_is_kept_as_the_client_asks() {
    let keeps = |head| parse(head).unwrap().unwrap().request.keep_alive;
    assert!(keeps("GET / HTTP/1.1\r\n\r\n"));
    assert!(!keeps("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"));
    assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
    assert!(!keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

/// A random valid request, as bytes and as the expected result.
fn good_request(random: &mut Random) -> (Vec<u8>, String) {
    let method = *random.pick(&["GET", "POST", "DELETE", "X-Own!"]);
    let path = *random.pick(&["/", "/api/v1/sessions", "/a/%2e%2e/b", "/x://y"]);
    let query = *random.pick(&["", "a=b", "a=b&c", "?x=/y?"]);
    let body = match random.below(3) {
        0 => Vec::new(),
        _ => {
            let length = random.below(300);
            random.bytes(length)
        }
    };
    let minor = random.below(2);
    let mut head = format!("{method} {path}?{query} HTTP/1.{minor}\r\n");
    for _ in 0..random.below(20) {
        let value = "v".repeat(random.below(30));
        head.push_str(&format!("X-{}: {value}\r\n", random.below(1000)));
    }
    let framed = match random.one_in(2) {
        true => {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            let mut chunks = Vec::new();
            for chunk in body.chunks(1 + random.below(100)) {
                chunks.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                chunks.extend_from_slice(chunk);
                chunks.extend_from_slice(b"\r\n");
            }
            chunks.extend_from_slice(b"0\r\n");
            for _ in 0..random.below(4) {
                chunks.extend_from_slice(b"X-Trailer: x\r\n");
            }
            chunks.extend_from_slice(b"\r\n");
            chunks
        }
        false => {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            body.clone()
        }
    };
    let read = format!("{method} {path} {query} {minor} {body:?}");
    ([head.into_bytes(), framed].concat(), read)
}

fn shown(request: &HttpRequest) -> String {
    let HttpRequest {
        method,
        path,
        query,
        minor,
        body,
        ..
    } = request;
    format!("{method} {path} {query} {minor} {body:?}")
}

#[test]
fn requests_are_read_the_same_whichever_way_they_arrive() {
    let mut random = Random::new(1);
    for _ in 0..rounds(300) {
        let requests: Vec<_> = (0..1 + random.below(4))
            .map(|_| good_request(&mut random))
            .collect();
        let bytes: Vec<u8> = requests
            .iter()
            .flat_map(|(bytes, _)| bytes.clone())
            .collect();
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut cuts: Vec<usize> = (0..random.below(30))
            .map(|_| random.below(bytes.len()))
            .collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut begun = 0;
                for cut in cuts {
                    (&client).write_all(&bytes[begun..cut]).unwrap();
                    begun = cut;
                    std::thread::yield_now();
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let (bodies, parking) = (MemoryBudget::default(), Parking::new().unwrap());
            let mut incoming = Incoming::new(&server, &bodies, &parking, Vec::new(), false);
            for (_, expected) in &requests {
                assert_eq!(&shown(&incoming.request(|| Ok(())).unwrap()), expected);
            }
            let end = incoming.request(|| Ok(()));
            assert!(matches!(end, Err(Unreadable::Ended)), "{end:?}");
        });
    }
}

#[test]
fn a_delivery_that_is_interrupted_anywhere_goes_on_with_what_has_been_read() {
    let mut random = Random::new(7);
    for _ in 0..rounds(200) {
        let (bytes, expected) = good_request(&mut random);
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut unread = Vec::new();
        let mut begun = 0;
        for _ in 0..random.below(5) {
            let cut = begun + random.below(bytes.len() - begun);
            (&client).write_all(&bytes[begun..cut]).unwrap();
            begun = cut;
            let (bodies, parking) = (MemoryBudget::default(), Parking::new().unwrap());
            // Each wait is interrupted.
            parking.wake().wake();
            let mut incoming = Incoming::new(&server, &bodies, &parking, unread, false);
            let end = incoming.request(|| Ok(()));
            assert!(matches!(end, Err(Unreadable::Parked)), "{end:?}");
            unread = incoming.rest().unread.0;
        }
        (&client).write_all(&bytes[begun..]).unwrap();
        let (bodies, parking) = (MemoryBudget::default(), Parking::new().unwrap());
        let mut incoming = Incoming::new(&server, &bodies, &parking, unread, false);
        assert_eq!(shown(&incoming.request(|| Ok(())).unwrap()), expected);
        assert_eq!(incoming.unread(), b"");
    }
}

#[test]
fn a_head_is_complete_at_its_last_byte_and_not_before() {
    let mut random = Random::new(2);
    for _ in 0..rounds(300) {
        let (bytes, _) = good_request(&mut random);
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        for length in 0..end {
            assert!(matches!(parse_head(&bytes[..length]), Ok(None)), "{length}");
        }
        assert_eq!(parse_head(&bytes).unwrap().unwrap().length, end);
    }
}

#[test]
fn no_head_makes_the_parser_panic_or_ask_for_more_than_the_bound() {
    let mut random = Random::new(3);
    for _ in 0..rounds(20_000) {
        let (mut bytes, _) = good_request(&mut random);
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes.insert(at, random.next() as u8),
                _ => bytes.truncate(at + 1),
            }
        }
        let Ok(Some(head)) = parse_head(&bytes) else {
            continue;
        };
        assert!((1..=bytes.len()).contains(&head.length));
        assert!(matches!(
            head.framing,
            Framing::Length(0..=BODY_MAX) | Framing::Chunked
        ));
        assert!(!head.request.method.is_empty() && !head.request.path.contains('?'));
    }
}
