//! The service managers: who runs a daemon, what it is told, and the socket that it hands over.
//!
//! `notify` and `activation` run in the daemon's process; the others run in the CLI's, and ask for a bounded time. Nothing
//! in here knows how a daemon is started or stopped by hand, or what a session is.

pub(super) mod activation;
mod charge;
mod launchd;
pub(super) mod notify;
mod systemd;
mod tool;
mod unit;

pub use charge::{Service, of_process, own, unit_home, unit_of_process};
pub(super) use systemd::own_unit;
pub use systemd::{
    STAY_DOWN, UNIT, UnitState, find_unit, is_manager, is_systemds, lingers, listens, systemctl,
    tasks_max, unit_of_home, unit_state,
};
pub use tool::tool_output;
pub use unit::{Supervisor, Unit, command_by_hand};
