//! State of a harness's stdin, as far as clients may use it.
//!
//! Runs on the state thread. The harness thread redacts, records and writes the input.

use serde::{Deserialize, Serialize};

use super::life::Phase;
use super::session::Session;
use crate::api::ApiError;

/// State of the harness's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stdin {
    /// The harness has no stdin.
    None,
    /// The harness takes clients' input.
    Open,
    /// The harness has closed its stdin.
    Closed,
    /// A client has sent its end.
    Ended,
}

impl Session {
    /// Checks that the harness accepts input now.
    ///
    /// # Errors
    /// The reason why it accepts none.
    pub(super) fn check_reads(&self) -> Result<(), ApiError> {
        let id = self.id;
        if self.phase != Phase::Running {
            return Err(self.not_live());
        }
        match self.stdin {
            Stdin::Open => Ok(()),
            Stdin::None => Err(ApiError::InputNotAccepted { id }),
            Stdin::Closed => {
                let reason = "the harness has closed its stdin".into();
                Err(ApiError::SendInputFailed { id, reason })
            }
            Stdin::Ended => {
                let reason = "the end of its stdin has been sent already".into();
                Err(ApiError::SendInputFailed { id, reason })
            }
        }
    }

    /// True if it runs and a client has ended its stdin.
    pub(super) fn is_at_eof(&self) -> bool {
        self.phase == Phase::Running && self.stdin == Stdin::Ended
    }
}
