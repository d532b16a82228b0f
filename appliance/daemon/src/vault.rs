//! What runners prove themselves to GitHub with, between minting and hand-over:
//! in memory only, one per boot.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use messages::{BootId, Identity};

/// At most this many at once; more than any rack boots together.
const CAPACITY: usize = 4096;

/// Keeps runners' identities by boot. Clones share it.
#[derive(Clone, Default)]
pub struct Vault(Arc<Mutex<BTreeMap<BootId, (String, Identity)>>>);

impl Vault {
    /// Keeps the identity of a boot's runner; an earlier one is dropped.
    pub fn keep(&self, boot: BootId, runner_name: String, identity: Identity) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= CAPACITY {
            kept.pop_first();
        }
        kept.insert(boot, (runner_name, identity));
    }

    /// The identity of this runner, if it is here.
    #[must_use]
    pub fn get(&self, boot: BootId, runner_name: &str) -> Option<Identity> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, identity) = kept.get(&boot)?;
        (name == runner_name).then(|| identity.clone())
    }

    /// Drops the identity of this runner: its agent has it, or it is void.
    pub fn forget_runner(&self, boot: BootId, runner_name: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.get(&boot).is_some_and(|(name, _)| name == runner_name) {
            kept.remove(&boot);
        }
    }
}

#[cfg(test)]
mod tests {
    use messages::Secret;

    use super::*;

    #[test]
    fn an_identity_is_given_for_its_own_runner_only() {
        let vault = Vault::default();
        let identity = Identity::Jit(Secret::new("x".into()));
        vault.keep(BootId(1), "a".into(), identity.clone());
        assert!(vault.get(BootId(1), "b").is_none());
        assert!(vault.get(BootId(2), "a").is_none());
        assert_eq!(vault.get(BootId(1), "a"), Some(identity));
        vault.forget_runner(BootId(1), "void");
        assert!(vault.get(BootId(1), "a").is_some());
        vault.forget_runner(BootId(1), "a");
        assert!(vault.get(BootId(1), "a").is_none());
    }
}
