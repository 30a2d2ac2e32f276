//! The state of reading a harness's output, as the next program takes it up.
//!
//! Plain data, for the harness thread.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Lines, Reader, Telemetry, Tokens, Usage};
use crate::redact::Redactor;

/// A [`Reader`] in the middle of its harness's output.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::harness) struct ReaderHandover {
    telemetry: Telemetry,
    harness: String,
    lines: Lines,
    session_id: Option<String>,
    before: Tokens,
    over: Tokens,
    message_id: String,
    message: Tokens,
    turn: Tokens,
    told: Usage,
    counted: Tokens,
    read: usize,
}

impl Reader {
    pub(in crate::harness) fn hand_over(self) -> ReaderHandover {
        let Self {
            telemetry,
            harness,
            // The session has it.
            redactor: _,
            lines,
            session_id,
            before,
            over,
            message_id,
            message,
            turn,
            told,
            counted,
            read,
        } = self;
        ReaderHandover {
            telemetry,
            harness,
            lines,
            session_id,
            before,
            over,
            message_id,
            message,
            turn,
            told,
            counted,
            read,
        }
    }

    pub(in crate::harness) fn take_up(handover: ReaderHandover, redactor: Arc<Redactor>) -> Self {
        let ReaderHandover {
            telemetry,
            harness,
            lines,
            session_id,
            before,
            over,
            message_id,
            message,
            turn,
            told,
            counted,
            read,
        } = handover;
        Self {
            telemetry,
            harness,
            redactor,
            lines,
            session_id,
            before,
            over,
            message_id,
            message,
            turn,
            told,
            counted,
            read,
        }
    }
}
