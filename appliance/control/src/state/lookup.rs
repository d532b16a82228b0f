//! What the rows say: by name, by number, and for whoever checks them.

use alloc::string::String;

use messages::{
    AgentKey, BootId, CircuitId, Digest, HubId, JobId, Mac, PoolId, SledId, TicketToken,
};

use super::State;
use crate::{
    Acceptance, BmcFacts, jobs,
    rows::{Boot, Job, Sled},
};

impl State {
    pub(crate) fn hub_by_name(&self, name: &str) -> Option<HubId> {
        self.hubs
            .iter()
            .find(|(_, hub)| hub.name == name)
            .map(|(id, _)| id)
    }

    pub(crate) fn pool_by_name(&self, name: &str) -> Option<PoolId> {
        self.pools
            .iter()
            .find(|(_, pool)| pool.name == name && !pool.retired)
            .map(|(id, _)| id)
    }

    pub(crate) fn circuit_by_name(&self, name: &str) -> Option<CircuitId> {
        self.circuits
            .iter()
            .find(|(_, circuit)| circuit.name == name && !circuit.retired)
            .map(|(id, _)| id)
    }

    pub(crate) fn sled_by_name(&self, name: &str) -> Option<SledId> {
        self.sleds.index().names.get(name).copied()
    }

    /// The job with GitHub's `number`. Numbers are unique at one GitHub; the
    /// first App that knows it answers.
    pub(crate) fn job_by_number(&self, number: u64) -> Option<(JobId, &Job)> {
        let mut ids = self.hubs.keys().map(|hub: HubId| JobId { hub, number });
        ids.find_map(|id| Some((id, self.jobs.get(id)?)))
    }

    /// The boot that serves or served the job with GitHub's `number`.
    #[must_use]
    pub fn boot_of_job(&self, number: u64) -> Option<BootId> {
        jobs::serving_boot(self, self.job_by_number(number)?.0)
    }

    /// The name of a configured App.
    #[must_use]
    pub fn hub_name(&self, id: HubId) -> Option<&str> {
        self.hubs.get(id).map(|hub| hub.name.as_str())
    }

    /// The number of a configured App.
    #[must_use]
    pub fn hub_id(&self, name: &str) -> Option<HubId> {
        self.hub_by_name(name)
    }

    /// The number of a sled.
    #[must_use]
    pub fn sled_id(&self, name: &str) -> Option<SledId> {
        self.sled_by_name(name)
    }

    /// The name of a sled.
    #[must_use]
    pub fn sled_name(&self, id: SledId) -> Option<&str> {
        self.sleds.get(id).map(|sled| sled.name.as_ref())
    }

    /// The newest claim of a sled. Drivers refuse effects of older ones.
    #[must_use]
    pub fn generation(&self, id: SledId) -> Option<messages::Generation> {
        self.sleds.get(id).map(|sled| sled.generation)
    }

    /// The network card of the sled that a boot ticket was made for.
    #[must_use]
    pub fn ticket_mac(&self, ticket: TicketToken) -> Option<Mac> {
        let boot = self.boots.get(self.boot_of_ticket(ticket)?)?;
        self.sleds.get(boot.sled).map(|sled| sled.mac)
    }

    pub(crate) fn boot_of_ticket(&self, ticket: TicketToken) -> Option<BootId> {
        self.boots.index().tickets.get(&ticket).copied()
    }

    /// Whether this key redeemed this boot ticket.
    #[must_use]
    pub fn redeemed_by(&self, ticket: TicketToken, key: AgentKey) -> bool {
        let boot = self
            .boot_of_ticket(ticket)
            .and_then(|id| self.boots.get(id));
        boot.is_some_and(|boot| boot.key == Some(key))
    }

    /// The firmware that a sled's agent reported last.
    #[must_use]
    pub fn firmware(&self, id: SledId) -> Option<messages::Firmware> {
        let newest = self.boots.iter().rev().filter(|(_, boot)| boot.sled == id);
        newest
            .filter_map(|(_, boot)| boot.inventory.as_ref())
            .map(|seen| seen.firmware)
            .next()
    }

    /// The runner group that a boot's runner is to join, by its name; GitHub's
    /// default one without.
    #[must_use]
    pub fn runner_group(&self, id: BootId) -> Option<&str> {
        let boot = self.boots.get(id)?;
        self.pools.get(boot.pool)?.group.as_deref()
    }

    /// Public repositories (`owner/name`) that a boot's pool serves all the same.
    #[must_use]
    pub fn public_repositories(&self, id: BootId) -> &[String] {
        let boot = self.boots.get(id);
        let pool = boot.and_then(|boot| self.pools.get(boot.pool));
        pool.map_or(&[], |pool| &pool.public)
    }

    /// What a sled's controller is set to, as adopted.
    #[must_use]
    pub fn bmc_facts(&self, id: SledId) -> Option<&BmcFacts> {
        self.facts.get(id)
    }

    /// What sleds owe before they are in service.
    pub fn acceptances(&self) -> impl Iterator<Item = (SledId, &Acceptance)> {
        self.acceptances.iter()
    }

    /// Sleds and boots for invariant checks in simulation.
    pub fn sleds(&self) -> impl Iterator<Item = (SledId, &Sled)> {
        self.sleds.iter()
    }

    /// Boots kept, oldest first.
    pub fn boots(&self) -> impl Iterator<Item = (BootId, &Boot)> {
        self.boots.iter()
    }

    /// Jobs kept.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs.iter()
    }

    /// A boot.
    #[must_use]
    pub fn boot(&self, id: BootId) -> Option<&Boot> {
        self.boots.get(id)
    }

    /// Whether each index is what its rows make it, for invariant checks in
    /// simulation; the name of one that is not.
    pub fn check_indexes(&self) -> Result<(), &'static str> {
        let debug = |index: &dyn core::fmt::Debug| alloc::format!("{index:?}");
        let (jobs, boots) = (&self.jobs, &self.boots);
        let (sleds, outbox) = (&self.sleds, &self.outbox);
        let pairs = [
            (
                "jobs",
                debug(&jobs.index().derived()),
                debug(&jobs.index_anew().derived()),
            ),
            (
                "boots",
                debug(&boots.index().derived()),
                debug(&boots.index_anew().derived()),
            ),
            (
                "sleds",
                debug(&sleds.index().derived()),
                debug(&sleds.index_anew().derived()),
            ),
            ("outbox", debug(outbox.index()), debug(&outbox.index_anew())),
        ];
        let wrong = pairs.iter().find(|(_, is, should)| is != should);
        wrong.map_or(Ok(()), |(name, _, _)| Err(*name))
    }

    /// How many receipts there are, and the chain hash of the last.
    #[must_use]
    pub fn receipt_head(&self) -> (u64, Digest) {
        (self.meta().receipts, self.meta().last_receipt)
    }
}
