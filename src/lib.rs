//! `coven` runs coding-agent command lines ("harnesses") as supervised sessions, keeps every byte of their output
//! in an append-only SQLite event table, and answers clients over a Unix socket.
//!
//! This page is the map: the rooms, the threads, the channels between them, and what always holds.
//!
//! # Rooms
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`api`] | the wire contract: every structure that crosses the socket, once |
//! | [`http`] | the socket: the server, which accepts, parses, routes and answers; the blocking client that the verbs use |
//! | [`state`] | the state thread: the commands, the live sessions, the stop |
//! | [`harness`] | one thread per harness: spawn, pump, reap; and the `hello` harness itself |
//! | [`store`] | SQLite: the schema, the writer thread, the readers, who waits for events |
//! | [`adapters`] | which harnesses there are, and what the program of each is given for a launch |
//! | [`daemon`] | the daemon's life: home, lock, serve, what vanishes meanwhile, and start/stop/status from outside; in [`daemon::service`] the service managers |
//! | [`cli`] | the verbs, a file each |
//! | [`redact`] | secrets out of events and the log, also where a stream's writes split them |
//! | [`settings`] | what can be set, and every duration; knows no other room |
//! | [`observe`] | the log, written and read back; the metrics: atomics that every thread bumps, and their page; messages, of whose parts a report tells which are private |
//! | [`sys`] | what the kernel and the processor offer and std does not; the only `unsafe`, and the only `cfg(target_os)` |
//!
//! # Threads of a daemon
//!
//! ```text
//!              Unix socket                                        coven.sqlite3 (WAL)
//!                  │                                                 ▲          ▲
//!     ┌────────────┴────────────┐        reads, 4 connections        │          │
//!     │ connection threads      │────────────────────────────────────┘          │ one transaction
//!     │ accept, parse, answer   │◀──────────── wakes (followers) ──────────┐    │ a batch
//!     └────┬───────────────▲────┘                                          │    │
//!  Command │  one channel  │ Reply, a channel each                  ┌──────┴────┴──┐
//!          ▼               │                                        │ writer thread │
//!     ┌────────────────────┴────┐    requests, closing facts        └──▲────────▲───┘
//!     │ state thread (main)     │──────────────────────────────────────┘        │
//!     │ owns every live session │◀──── Created, Ended ──── (writer)             │ output, by budget
//!     └────┬───────────────▲────┘                                               │
//!   Order  │               │ Report                                             │
//!          ▼               │                                                    │
//!     ┌────────────────────┴────┐                                               │
//!     │ harness thread, one per │───────────────────────────────────────────────┘
//!     │ session: poll(2) on its │      stdout, stderr, stdin, exit
//!     │ pipes, its exit, orders │◀────────────────────────────────▶ harness process
//!     └─────────────────────────┘
//!     checkpoint thread: the log ─▶ the database (SQLite's, not the daemon's own), beside the writer
//!     notify, watchdog threads: only under a service manager that asks for them
//!     signals thread: signals, names in the home ─▶ Stop, ChildEnded     log thread: lines ─▶ file or stderr
//! ```
//!
//! * A **connection thread** waits in `accept`, serves the connection that it gets to its end, and parses each
//!   request into one [`state::Command`]. Reading needs no command: it goes to the store's readers.
//! * The **state thread** is the main thread. Everything that can happen to it is one [`state::Event`]. What a session
//!   does on each of them is decided without a side effect, by one table of its phases (`state::life`); the effects that
//!   follow are values, which are carried out in one place (`state::perform`).
//! * A **harness thread** lives as long as its session, and on while something that the harness has left behind holds a
//!   stream: at most as many as sessions can be live. It prepares the start of its program while the session's row is on its
//!   way to the disk; from then on it blocks in `poll` only.
//! * The **writer thread** owns the only connection that writes, and gives events their seq. It serves sessions in turn, so
//!   that a line does not wait behind a flood. Between two batches it takes away, in small steps, what retention does not
//!   keep, and gives the space back.
//! * The **checkpoint thread** waits for the disk in the writer's place.
//!
//! # Channels and their bounds
//!
//! | from → to | what | bounded by |
//! | --- | --- | --- |
//! | connection → state | `Event::Command` | connections: each waits for its answer before it sends another |
//! | state → connection | `Reply` | one message |
//! | harness → state | `Event::Harness` | a handful of reports a session |
//! | harness → writer | output | 8 MiB in all, and 24 KiB a session in any case ([`store::Share`]): reserved before the pipe is read |
//! | writer → checkpoint | copy the log | one at a time; of the log: floods wait from 48 MiB on, all from 64 |
//! | state → writer | requests, facts | requests by connections; facts by what clients may send and sessions may do |
//! | state → harness | input and its end, hurry, reap, close | 4 MiB of input a session |
//! | writer → harness | the number of its row, on which it starts its program | one message |
//! | connection → its next request | a page that is read ahead | 4 pages of 900 kB in all ([`store::PageAhead`]) |
//! | any → log | lines | 1024; lines that do not fit are counted, and the count is logged |
//!
//! # What always holds
//!
//! 1. Only the state thread decides about a session, and signals a running one. It never waits for the writer, the
//!    disk or a harness: a kill works whatever those do.
//! 2. A harness is signalled only while its zombie cannot have been reaped: the thread that would reap it waits
//!    to be told to, and that order is the last that happens to the process. So no signal ever reaches a process that merely got the same pid. Orphans that the daemon adopts
//!    are children of the main thread, and it reaps its own only.
//! 3. What has happened (a *fact*) is kept until it is on disk, in order. What somebody wishes (a *request*) is
//!    refused while the store cannot be written.
//! 4. No output is dropped without an event that says how much: a harness is held back by its pipe when the writer's queue
//!    is full, and what its pipes hold at its exit is read in any case. What retention takes later is accounted for by an
//!    event in its place.
//! 5. A client is shown only what has been committed; a commit survives the death of the process.
//! 6. A session is not live any more before its closing facts are handed to the writer. Whoever reads it as
//!    ended can archive it at once. Only late output comes behind its closing facts: a harness thread is not drained before
//!    it has been told that no input follows.
//! 7. A session that was killed is final when none of its processes is left: its thread looks for them. Until then it
//!    is unfinished on disk, so that the next daemon goes on where this one dies.
//! 8. A read is over before the first byte of its answer is sent: no client holds a snapshot. A page that was read before
//!    it was asked for is shown only if reading it then would give the same.
//! 9. Nothing runs on a timer but the watchdog, where a service manager asks for it: an idle daemon waits in `accept`,
//!    `recv` and `poll`. What has a deadline (a grace, a timeout, a retry, an `onEnd`, the next sweep in an hour, the quarter of a
//!    millisecond in which a busy harness's pipes are let fill) is waited for with that deadline.
//! 10. A stop is bounded, whatever the store and the harnesses do. What is not on disk then is said, by session: in the
//!     log, on stderr, and in the daemon's last answer, to whoever asked it to stop.
//! 11. The last descriptors are not for launches, and the very last not for clients ([`sys::is_scarce`]): how sessions
//!     are can be asked, and they can be ended, when nothing more can be started.
//! 12. The daemon's working directory is its home, and names in it are relative: they hold wherever it is moved. What of it
//!     vanishes is noticed by its name ([`daemon`], `guard`), and the database is saved from its open descriptors.
//!
//! # Room for what comes
//!
//! A daemon that replaces itself by `exec` would hand over per session: where it is in its life (`state::session`, plain
//! data but for its thread and those who wait), its process mark (`sessions` table), the descriptors and what is held
//! undecoded (`harness::pump`), and the next seq (`sessions.last_seq`). Each of these facts stands in one place.

pub mod adapters;
pub mod api;
pub mod cli;
pub mod daemon;
pub mod harness;
pub mod http;
pub mod observe;
pub mod redact;
pub mod settings;
pub mod state;
pub mod store;
pub mod sys;

#[cfg(test)]
mod checkout;

/// The chance of the unit tests is that of the tests beside the crate.
#[cfg(test)]
#[path = "../tests/coven/support/random.rs"]
mod random;
