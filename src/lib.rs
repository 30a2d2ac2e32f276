//! `coven` runs coding-agent command lines ("harnesses") as supervised sessions, keeps every byte of their output in an
//! append-only SQLite event table, and answers clients over a Unix socket.
//!
//! This page is the map: the rooms, the threads, the channels and the shared memory between them, and the invariants.
//!
//! # Rooms
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`api`] | the wire contract: every structure that crosses the socket, declared once |
//! | [`http`] | the server, which accepts, parses, routes and answers; the blocking client of the verbs |
//! | [`state`] | the state thread: commands, live sessions, the stop |
//! | [`harness`] | one thread per harness: spawn, pump, reap; also the `hello` harness itself |
//! | [`store`] | SQLite: schema, writer thread, readers, followers |
//! | [`adapters`] | the known harnesses, and the command line and environment of a launch |
//! | [`daemon`] | the daemon's life: home, lock, serve, guard; start, stop and status from outside; [`daemon::service`] for service managers |
//! | [`cli`] | the verbs, one file each; the pages of the manual |
//! | [`redact`] | redaction of secrets in events and the log, also where writes split them |
//! | [`settings`] | all settings and all durations; knows no other room |
//! | [`observe`] | the log, written and read back; the metrics and their page; messages that mark private parts |
//! | [`sys`] | kernel and processor features that std does not offer; the only `unsafe`, and the only `cfg(target_os)` |
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
//! * A **connection thread** waits in `accept`, and serves the connection that it gets until its end. It parses each
//!   request into one [`state::Command`]; a read goes to the store's readers instead.
//! * The **state thread** is the main thread. Each of its inputs is one [`state::StateEvent`]. A session's reaction is decided
//!   without side effects, by one table of phases (`state::life`); the resulting effects are values, executed in one
//!   place (`state::perform`). System calls pass through one seam (`state::kernel`), which the simulation replaces.
//! * A **harness thread** lives as long as its session, and longer while a process that the harness left behind holds a
//!   stream: there are at most as many as live sessions are allowed. It prepares the spawn while the session's row is
//!   written; afterwards it blocks only in `poll`.
//! * The **writer thread** owns the only connection that writes, and assigns the seqs. It serves sessions in turn, so that a
//!   line does not wait behind a flood. Between two batches it runs small steps of retention and vacuum.
//! * The **checkpoint thread** copies the write-ahead log into the database, and waits for the disk in the writer's place.
//!
//! # Channels and their bounds
//!
//! | from → to | what | bounded by |
//! | --- | --- | --- |
//! | connection → state | `StateEvent::Command` | connections: each waits for its answer before it sends another |
//! | state → connection | `Reply` | one message |
//! | harness → state | `StateEvent::Harness` | a few reports per session |
//! | harness → writer | output | 8 MiB in total, and 24 KiB per session in any case ([`store::Share`]); reserved before the pipe is read |
//! | writer → checkpoint | copy the log | one request; the log itself: floods wait from 48 MiB on, all writes from 64 MiB |
//! | state → writer | requests, facts | requests by connections; facts by the number of sessions |
//! | state → harness | input and its end, hurry, reap, close | 4 MiB of input per session |
//! | writer → harness | the row's number, on which the harness is spawned | one message |
//! | connection → its next request | a page that is read ahead | 4 pages of 900 kB in total ([`store::PageAhead`]) |
//! | any → log | lines | 1024 lines; further ones are dropped and counted, and the count is logged |
//!
//! # Shared memory
//!
//! | memory | written by | read by | why it is no channel |
//! | --- | --- | --- | --- |
//! | writer's figures and failures ([`store::StoreStatus`]) | writer; senders count what they queue; the guard marks lost files | health, metrics, each launch | health must answer while the writer hangs |
//! | byte budget of the queue (`store::write::budget`) | harness threads, writer | the same, health | check and reservation must be one atomic step |
//! | wake-ups of followers ([`store::Followers`]) | connection threads | writer | a follower polls its client's socket and its wake-up together |
//! | number of live sessions ([`state::Publisher`]) | state thread | health, metrics | only the latest value matters |
//! | output counters of a harness (`harness::Tally`) | its harness thread | connection threads | read at any time without disturbing the pump |
//! | waiting input of a harness (`harness::input`) | state thread, harness thread | the same | the refusal must be immediate |
//! | capacity of all pipes (`harness::Pipes`) | harness threads | the same | the kernel's limit is one for all pipes of a user |
//! | registry, environment, redaction patterns | signals thread at a reload; `POST /actions` | connection and harness threads | replaced as a whole: a launch uses one version |
//! | guard of the home, with the shown socket path | signals thread; before a launch, a connection thread; with a sweep, the writer; at the end, main | health | files that vanish must be replaced before the next step |
//! | memory budgets, requests in flight, free accept threads (`http`) | connection threads | the same; main at the stop | waits need a condition, not a message |
//! | last live figures (`http::live`) | the connection thread that measures | connection threads | one measurement serves all clients of that second |
//! | metrics ([`observe::metrics`]) | every thread | the metrics page | counting must neither block nor allocate |
//! | allocator's reserve, claimed OOM kills, chosen session ids, turn of spawns (`static`) | every thread | every thread | each belongs to the process, as the kernel's object does |
//!
//! # Invariants
//!
//! Each one names the tests that hold it, in `tests/coven` or in this crate.
//!
//! 1. Only the state thread decides about a session and signals a running one. It never waits for the writer, the disk or
//!    a harness: a kill works in any state of those. `state::simulation::in_any_order_of_events_a_session_ends_once_with_the_requested_cause`,
//!    `store::a_harness_that_fills_the_disk_can_be_killed`
//! 2. A harness is signalled only while its zombie cannot have been reaped: its thread reaps only when ordered to, and no
//!    signal follows that order. So no signal reaches a process that got the same pid later. The main thread reaps only
//!    the orphans that it adopted. `state::tests::in_any_order_of_inputs_a_session_is_closed_and_reaped_once_at_most`
//! 3. A *fact* has happened: it is kept, in order, until it is on disk. A *request* is refused while the store cannot be
//!    written. `store::write::model_tests::reads_return_all_of_each_commit_and_nothing_of_an_interrupted_transaction`,
//!    `disk_full::sessions_on_a_full_disk_wait_for_room_and_lose_nothing`
//! 4. No output is dropped without an event that counts it. A full queue blocks the harness through its pipe, and the
//!    pipes are drained after the exit. An event replaces the output that retention deletes.
//!    `stop::a_stop_under_load_loses_no_byte_that_was_written_before_the_signal`,
//!    `store::keep::retention::retention_in_steps_deletes_the_events_that_the_rules_name_one_by_one`
//! 5. Clients see only committed events; a commit survives the death of the process.
//!    `orphans::events_that_followers_were_shown_survive_a_kill_at_any_moment`
//! 6. A session stops being live before its closing facts go to the writer: a client that reads it as ended can archive it
//!    at once. Only late output follows the closing facts, since a harness thread is drained only after it was told that
//!    no input follows. `endings::a_session_that_reads_as_ended_can_be_archived_and_deleted_at_once`,
//!    `input::input_accepted_while_a_harness_exits_is_on_record_before_the_end`
//! 7. A killed session is final only when none of its processes is left. Until then it is unfinished on disk, and the next
//!    daemon continues. `endings::a_killed_session_leaves_no_process`,
//!    `misbehaviour::a_kill_that_a_crash_interrupts_is_finished_by_the_next_daemon`
//! 8. A read ends before the first byte of its answer is sent: no client holds a snapshot. A page read ahead is shown only
//!    if a read now would return the same. `hostile::followers_that_never_read_hold_no_session_back`,
//!    `paging::no_output_is_shown_that_retention_has_taken_meanwhile`
//! 9. No thread polls on a timer, except the watchdog of a service manager: an idle daemon waits in `accept`, `recv` and
//!    `poll`. Every deadline (grace, timeout, retry, `onEnd`, the hourly sweep, a busy harness's quarter of a millisecond)
//!    is the timeout of such a wait. `resources::an_idle_daemon_with_a_quiet_session_never_wakes`
//! 10. A stop is bounded in any state of the store and the harnesses. Data that is not on disk by then is reported by
//!     session: in the log, on stderr, and in the last answer to the clients that asked for the stop.
//!     `disk_full::a_stop_that_cannot_write_says_what_is_lost_to_all_who_ask`
//! 11. The last descriptors are not for launches, and the very last not for clients ([`sys::is_scarce`]): sessions can be
//!     inspected and ended when none can be started.
//!     `limits::when_descriptors_run_out_launches_fail_and_say_why_and_clients_are_still_answered`
//! 12. The daemon's working directory is its home, and its file names are relative: they stay valid when the home is moved.
//!     Vanished files are noticed by name (`daemon::guard`), and the database is saved from its open descriptors.
//!     `vanished::a_home_that_is_moved_is_followed`,
//!     `vanished::a_home_that_is_deleted_ends_the_daemon_which_saves_the_database_beside_it`
//!
//! # Replacing a running daemon
//!
//! `POST /daemon/upgrade` replaces the daemon's program by execve(2) under its sessions (`daemon::handover`):
//!
//! 1. The connection thread has the new program checked by running it once, then brings the other connections to rest
//!    (`http::parking`): threads in accept(2) get connections of the daemon's own, followers an empty page, and requests
//!    that are being answered are waited for. Bytes of a begun request and of an unsent answer are kept.
//! 2. The state thread orders the harness threads to end (`state::upgrade`): each leaves its pipes, and what it holds of
//!    their bytes. The writer commits everything queued, and pauses.
//! 3. The main thread collects the parts of all rooms in one document in memory, and executes the new program, which
//!    inherits the document, the pipes, the sockets, the lock, and the previous program as an open file.
//! 4. The new program opens the store and starts its threads, which wait. Only when nothing else can fail do they begin.
//!    Until then an error, a fatal signal, an exit or a deadline executes the previous program again, which takes up the
//!    same document.
//!
//! Up to the execution, every failure leaves this program as it is: the harness threads go on with what they left.

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

/// Random values for unit tests; shared with the integration tests.
#[cfg(test)]
#[path = "../tests/coven/support/random.rs"]
mod random;

/// Tables of unit tests; shared with the integration tests.
#[cfg(test)]
#[path = "../tests/coven/support/rows.rs"]
mod rows;
