//! The program behind execve(2): goes on with what the previous one has handed over, or executes that one again.
//!
//! Runs on the main thread. Until everything is taken up, nothing of the handover is changed: the previous program can
//! go on with the same document and the same descriptors.

use std::ffi::OsString;
use std::io::{self, Read, Seek};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Instant;

use super::{FORMAT, Handover, binary, successor};
use crate::api::{ApiError, Timestamp, Upgraded, version};
use crate::daemon::error::{ServeError, io_error};
use crate::daemon::serve::Shared;
use crate::http;
use crate::observe::{field, metrics, say};
use crate::settings::durations;
use crate::state::State;
use crate::sys::passed::Passed;
use crate::sys::{self, Execution, OomWatch};

/// Option of `daemon serve`: the document's descriptor and the previous program's, separated by a comma.
const HANDOVER: &str = "--handover";

/// Option of `daemon serve`: why the next program could not take over.
const WENT_WRONG: &str = "--went-wrong";

/// What execve(2) has left to this program.
#[derive(Debug, Clone)]
pub struct Executed {
    document: RawFd,
    program: RawFd,
    /// This program has handed over, and goes on since the next one failed for this reason.
    pub(in crate::daemon) went_wrong: Option<String>,
}

impl Executed {
    /// Reads the options of `daemon serve`.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(descriptors: &str, went_wrong: Option<&str>) -> Result<Self, String> {
        let malformed = || format!("{HANDOVER} takes two descriptors");
        let (document, program) = descriptors.split_once(',').ok_or_else(malformed)?;
        Ok(Self {
            document: document.parse().map_err(|_| malformed())?,
            program: program.parse().map_err(|_| malformed())?,
            went_wrong: went_wrong.map(str::to_owned),
        })
    }

    /// The document.
    ///
    /// # Errors
    /// It cannot be read, or is of a newer format.
    pub(in crate::daemon) fn read(&self) -> io::Result<Handover> {
        // The descriptor stays open: another program may have to read it again.
        let passed = serde_json::from_value::<Passed>(self.document.into())?;
        let mut file = std::fs::File::from(passed.duplicate()?);
        file.rewind()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let handover: Handover = serde_json::from_slice(&text)?;
        match handover.format > FORMAT {
            true => Err(io::Error::other("the handover has a newer format")),
            false => Ok(handover),
        }
    }

    /// Executes the previous program again, and tells it the `reason`. Returns only if that fails, or if this is the
    /// previous program.
    pub(in crate::daemon) fn go_back(&self, reason: &str) {
        if self.went_wrong.is_none() {
            let _ = self.way_back(reason).execute();
        }
    }

    fn way_back(&self, reason: &str) -> Execution {
        let options = [
            HANDOVER.into(),
            format!("{},{}", self.document, self.program).into(),
            WENT_WRONG.into(),
            reason.into(),
        ];
        Execution::new(self.program, own_arguments().into_iter().chain(options))
    }

    /// Everything is taken up: there is no way back any more.
    pub(in crate::daemon) fn complete(self) {
        sys::disarm();
        // Both are open, since the document has been read.
        for number in [self.document, self.program] {
            if let Ok(passed) = serde_json::from_value::<Passed>(number.into()) {
                drop(passed.take());
            }
        }
        sys::keep_inherited_descriptors();
    }
}

/// When the daemon was started, and when its program was last replaced.
#[derive(Debug)]
pub(in crate::daemon) struct Origin {
    /// The start of the first program, by both clocks.
    pub(in crate::daemon) started: Instant,
    pub(in crate::daemon) started_at: Timestamp,
    pub(in crate::daemon) upgraded_at: Option<Timestamp>,
    /// Path of the program that an upgrade takes by default.
    pub(in crate::daemon) installed: PathBuf,
}

impl Origin {
    /// The daemon starts now.
    ///
    /// # Errors
    /// The path of this program cannot be read.
    pub(in crate::daemon) fn new() -> io::Result<Self> {
        Ok(Self {
            started: Instant::now(),
            started_at: Timestamp::now(),
            upgraded_at: None,
            installed: binary::own_path()?,
        })
    }
}

impl Handover {
    /// The origin of the daemon that goes on as `executed`.
    pub(in crate::daemon) fn origin(&self, executed: &Executed) -> Origin {
        let old = PathBuf::from(&self.installed);
        let (upgraded_at, installed) = match executed.went_wrong {
            None => {
                let (program, home) = (PathBuf::from(&self.program), PathBuf::from(&self.home));
                let installed = successor::installed(program, old, &home);
                (Some(Timestamp::now()), installed)
            }
            Some(_) => (self.upgraded_at, old),
        };
        Origin {
            started: self.started.into(),
            started_at: self.started_at,
            upgraded_at,
            installed,
        }
    }
}

/// The rooms that take up their parts.
pub(in crate::daemon) struct Rooms<'a> {
    pub(in crate::daemon) server: &'a http::Server,
    pub(in crate::daemon) state: &'a mut State,
    pub(in crate::daemon) shared: &'a Shared,
}

impl Rooms<'_> {
    /// Goes on with everything; `start_signals` is the last step that can fail.
    ///
    /// # Errors
    /// A thread cannot be created. Nothing of the handover is changed then.
    pub(in crate::daemon) fn take_up(
        self,
        handover: Handover,
        executed: Executed,
        start_signals: impl FnOnce(Option<OwnedFd>) -> Result<(), ServeError>,
    ) -> Result<(), ServeError> {
        let Handover {
            // The document was read.
            format: _,
            home: _,
            is_socket_own: _,
            // The daemon's origin has them.
            started: _,
            started_at: _,
            upgraded_at: _,
            installed: _,
            program: _,
            from,
            begun,
            lock,
            listener,
            names,
            open_files_before,
            oom_claimed,
            redactions,
            metrics: counters,
            store,
            state: sessions,
            clients,
        } = handover;
        let live = sessions.live();
        let sessions = self.state.take_up(sessions);
        let sessions = sessions.map_err(io_error("no thread for a session"))?;
        #[cfg(debug_assertions)]
        fail_as_told("take_up").map_err(io_error("a failure"))?;
        let watched = names.as_ref().map(Passed::duplicate).transpose();
        start_signals(watched.map_err(io_error("no descriptor for the home"))?)?;
        let went_wrong = executed.went_wrong.clone();
        executed.complete();
        // Their duplicates are in use.
        drop((lock.take(), listener.take(), names.map(Passed::take)));
        if let Some(before) = open_files_before {
            sys::take_up_open_files(before);
        }
        OomWatch::take_up(oom_claimed);
        self.shared.redactor.take_up_counts(&redactions);
        metrics::take_up(counters);
        self.shared.status.take_up(&store);
        let begin = self.state.begin(sessions);
        let took_ms = Instant::from(begun).elapsed().as_millis() as u64;
        let mut replaced = None;
        let answer = match went_wrong {
            None => {
                replaced = successor::put_previous_in_place();
                say!(Upgraded, from: field::Version(&from), to: field::Version(version()), sessions: live, took_ms);
                Ok(Upgraded {
                    ok: true,
                    pid: std::process::id(),
                    from,
                    to: version().to_owned(),
                    sessions: live as u64,
                    took_ms,
                })
            }
            Some(reason) => {
                successor::remove_draft();
                say!(UpgradeFailed, sessions: live, took_ms, reason: &reason);
                Err(ApiError::UpgradeFailed { reason })
            }
        };
        self.server.open(Some((clients, answer)));
        begin.open();
        // Its blocks are freed while nobody waits.
        drop(replaced);
        Ok(())
    }
}

/// The arguments of this process without those of a handover.
pub(super) fn own_arguments() -> Vec<OsString> {
    let mut own = Vec::new();
    let mut args = std::env::args_os();
    while let Some(arg) = args.next() {
        match arg == HANDOVER || arg == WENT_WRONG {
            true => drop(args.next()),
            false => own.push(arg),
        }
    }
    own
}

/// The arguments for a program that takes up the `document`; `program` is the previous one.
pub(super) fn arguments(document: RawFd, program: RawFd) -> Vec<OsString> {
    let mut arguments = own_arguments();
    arguments.extend([HANDOVER.into(), format!("{document},{program}").into()]);
    arguments
}

/// Prepares this process if it was executed by a daemon. The first step of the program: until it, a signal that waits
/// since the execution would end the process.
pub fn begin() {
    // An argument of another verb need not be UTF-8.
    let all = || std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let mut args = all().skip_while(|arg| arg != HANDOVER).skip(1);
    let is_serve = all().skip(1).take(2).eq(["daemon", "serve"]);
    let Some(descriptors) = args.next().filter(|_| is_serve) else {
        return;
    };
    sys::prepare_executed();
    sys::name_process();
    let went_wrong = args.next().filter(|option| option == WENT_WRONG);
    if let (Ok(executed), None) = (Executed::parse(&descriptors, None), went_wrong) {
        let seconds = durations::TAKE_UP.as_secs();
        sys::arm(
            executed.way_back("the new program has crashed"),
            executed.way_back(&format!(
                "the new program has not taken over within {seconds} s"
            )),
            executed.way_back("the new program has ended"),
            durations::TAKE_UP,
        );
    }
    #[cfg(debug_assertions)]
    let _ = fail_as_told("begin");
}

/// Fails at `place` if a test wants it, so that the way back can be tried.
///
/// # Errors
/// As the test wants.
#[cfg(debug_assertions)]
pub(in crate::daemon) fn fail_as_told(place: &str) -> io::Result<()> {
    let told = crate::api::of_test("fails").unwrap_or_default();
    let how = match told.split_once(' ') {
        Some((at, how)) if at == place => how,
        _ => return Ok(()),
    };
    match how {
        "panic" => panic!("as the test wants"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "hang" => loop {
            std::thread::park();
        },
        "segfault" => drop(sys::send_signal(std::process::id() as i32, libc::SIGSEGV)),
        _ => {}
    }
    Err(io::Error::other("as the test wants"))
}
