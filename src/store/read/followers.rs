//! Who waits for a session's next event. HTTP threads register; the writer wakes them after each commit.
//!
//! Only a list of descriptors to wake: what there is to read, a follower reads for itself.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::rows::SessionNum;
use crate::sys::Wake;

/// The followers of all sessions.
#[derive(Debug, Default)]
pub struct Followers(Mutex<HashMap<SessionNum, Vec<Arc<Wake>>>>);

impl Followers {
    /// Registers a follower of `num`. Whoever registers reads once more before waiting: a commit in between
    /// woke nobody.
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

    /// Wakes those who follow one of `nums`.
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

    /// Wakes everybody: the daemon is about to go.
    pub fn wake_all(&self) {
        self.lock().values().flatten().for_each(|wake| wake.wake());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionNum, Vec<Arc<Wake>>>> {
        // The map is whole after a panic elsewhere: nothing in here can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registration, until it is dropped.
#[derive(Debug)]
pub struct Following {
    followers: Arc<Followers>,
    num: SessionNum,
    wake: Arc<Wake>,
}

impl Following {
    /// What becomes readable at the session's next commit.
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
