//! Long polls and streams that wait for a session's next event. Connection threads register; the writer wakes them
//! after each commit.
//!
//! Holds only descriptors to wake: a follower reads the events itself.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::rows::SessionNum;
use crate::sys::Wake;

/// The followers of all sessions.
#[derive(Debug, Default)]
pub struct Followers(Mutex<HashMap<SessionNum, Vec<Arc<Wake>>>>);

impl Followers {
    /// Registers a follower of `num`. The caller must read once more before it waits: a commit before the registration
    /// wakes no one.
    ///
    /// # Errors
    /// No descriptor is left for the wake-up.
    pub fn follow(self: &Arc<Self>, num: SessionNum) -> io::Result<Following> {
        let wake = Arc::new(Wake::new()?);
        self.lock().entry(num).or_default().push(Arc::clone(&wake));
        Ok(Following {
            followers: Arc::clone(self),
            num,
            wake,
        })
    }

    /// Wakes the followers of `nums`.
    pub(crate) fn wake(&self, nums: impl Iterator<Item = SessionNum>) {
        let followers = self.lock();
        if followers.is_empty() {
            return;
        }
        for num in nums {
            followers
                .get(&num)
                .into_iter()
                .flatten()
                .for_each(|wake| wake.wake());
        }
    }

    /// Wakes all followers: the daemon stops.
    pub fn wake_all(&self) {
        self.lock().values().flatten().for_each(|wake| wake.wake());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionNum, Vec<Arc<Wake>>>> {
        // Poisoning is harmless: no code in this file panics while it changes the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registration; dropping it ends it.
#[derive(Debug)]
pub struct Following {
    followers: Arc<Followers>,
    num: SessionNum,
    wake: Arc<Wake>,
}

impl Following {
    /// Becomes readable at the session's next commit.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut followers = self.followers.lock();
        if let Some(wakes) = followers.get_mut(&self.num) {
            wakes.retain(|wake| !Arc::ptr_eq(wake, &self.wake));
            if wakes.is_empty() {
                followers.remove(&self.num);
            }
        }
    }
}
