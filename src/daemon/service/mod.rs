//! Service managers: which one runs the daemon, the notifications to it, and the socket that it passes.
//!
//! `notify` and `activation` run in the daemon's process. The others run in the CLI's process, with deadlines. This
//! folder knows neither a start or stop by hand, nor sessions.

pub(super) mod activation;
mod charge;
mod launchd;
pub(super) mod notify;
mod systemd;
mod unit;

pub use charge::{Service, of_process, own, unit_home, unit_of_process};
pub(super) use systemd::own_unit;
pub use systemd::{
    STAY_DOWN, UNIT, UnitState, find_unit, is_manager, is_systemds, lingers, listens, systemctl,
    tasks_max, unit_of_home, unit_state,
};
pub use unit::{Supervisor, Unit, command_by_hand};
