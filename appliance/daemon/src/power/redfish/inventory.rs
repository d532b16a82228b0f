//! What a BMC says about itself and its system: the meter, and the facts that
//! nobody but the operator should change.

use messages::PowerMeter;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::RedfishClient;
use super::document::{link, links, name};
use super::fault::RedfishFault;
use crate::power::{BmcFacts, Watts};

/// Longer values are noted as their hash, in bytes.
const VALUE_BYTES: usize = 200;
/// Properties of the system that are facts.
const SYSTEM: [&str; 8] = [
    "Manufacturer",
    "Model",
    "SerialNumber",
    "UUID",
    "BiosVersion",
    "Boot/BootOrder",
    "Boot/BootNext",
    "PowerRestorePolicy",
];
/// Of its manager, which is the BMC.
const MANAGER: [&str; 2] = ["Model", "FirmwareVersion"];
/// Of an account. The password is never shown.
const ACCOUNT: [&str; 4] = ["UserName", "RoleId", "Enabled", "AccountTypes"];
/// Of the BMC's interfaces. Link states and host names change by themselves.
const INTERFACE: [&str; 5] = [
    "MACAddress",
    "InterfaceEnabled",
    "IPv4StaticAddresses",
    "DHCPv4/DHCPEnabled",
    "VLAN",
];
/// Of the way from the host to the BMC.
const HOST_INTERFACE: [&str; 3] = [
    "InterfaceEnabled",
    "AuthenticationModes",
    "CredentialBootstrapping",
];
/// Of what the BMC serves on its network.
const PROTOCOLS: [&str; 6] = ["HTTP", "HTTPS", "IPMI", "SSH", "Telnet", "KVMIP"];
/// Of a piece of firmware.
const FIRMWARE: [&str; 2] = ["Name", "Version"];

impl RedfishClient {
    /// DSP2046: EnvironmentMetrics is the newer way, Power the older.
    pub(super) async fn read_watts(&mut self) -> Result<Option<Watts>, RedfishFault> {
        let system = self.system().await?.1.value;
        let Some(chassis) = links(&system, "/Links/Chassis").into_iter().next() else {
            return Ok(None);
        };
        let Some(chassis) = self.optional(&chassis).await? else {
            return Ok(None);
        };
        let ways = [
            ("/EnvironmentMetrics", "/PowerWatts/Reading"),
            ("/Power", "/PowerControl/0/PowerConsumedWatts"),
        ];
        for (document, pointer) in ways {
            if let Some(path) = link(&chassis, document)
                && let Some(document) = self.optional(&path).await?
                && let Some(now) = document.pointer(pointer).and_then(whole)
            {
                let meter = PowerMeter::Redfish;
                return Ok(Some(Watts { now, meter }));
            }
        }
        Ok(None)
    }

    pub(super) async fn read_facts(&mut self) -> Result<BmcFacts, RedfishFault> {
        let mut facts = BmcFacts::default();
        let root = self.service.root().await?;
        let system = self.system().await?.1.value;
        take(&mut facts, "system", &system, &SYSTEM);
        for path in links(&system, "/Links/ManagedBy") {
            if let Some(manager) = self.optional(&path).await? {
                self.manager_facts(&mut facts, name(&path), &manager)
                    .await?;
            }
        }
        if let Some(path) = link(&root, "/AccountService")
            && let Some(accounts) = self.optional(&path).await?
        {
            self.members(&mut facts, "account", &accounts, "/Accounts", &ACCOUNT)
                .await?;
        }
        if let Some(path) = link(&root, "/UpdateService")
            && let Some(updates) = self.optional(&path).await?
        {
            let key = "/FirmwareInventory";
            self.members(&mut facts, "firmware", &updates, key, &FIRMWARE)
                .await?;
        }
        Ok(facts)
    }

    async fn manager_facts(
        &mut self,
        facts: &mut BmcFacts,
        id: &str,
        manager: &Value,
    ) -> Result<(), RedfishFault> {
        take(facts, &format!("manager.{id}"), manager, &MANAGER);
        if let Some(path) = link(manager, "/NetworkProtocol")
            && let Some(protocols) = self.optional(&path).await?
        {
            for protocol in PROTOCOLS {
                for property in ["ProtocolEnabled", "Port"] {
                    let key = format!("{protocol}/{property}");
                    take(
                        facts,
                        &format!("manager.{id}.protocol"),
                        &protocols,
                        &[&key],
                    );
                }
            }
        }
        let prefix = format!("manager.{id}.lan");
        self.members(facts, &prefix, manager, "/EthernetInterfaces", &INTERFACE)
            .await?;
        let prefix = format!("manager.{id}.host-interface");
        self.members(facts, &prefix, manager, "/HostInterfaces", &HOST_INTERFACE)
            .await
    }

    /// Properties of each member of the collection that `owner` refers to.
    async fn members(
        &mut self,
        facts: &mut BmcFacts,
        prefix: &str,
        owner: &Value,
        pointer: &str,
        properties: &[&str],
    ) -> Result<(), RedfishFault> {
        let Some(path) = link(owner, pointer) else {
            return Ok(());
        };
        let Some(collection) = self.optional(&path).await? else {
            return Ok(());
        };
        for path in links(&collection, "/Members") {
            if let Some(member) = self.optional(&path).await? {
                take(
                    facts,
                    &format!("{prefix}.{}", name(&path)),
                    &member,
                    properties,
                );
            }
        }
        Ok(())
    }

    /// A document that a BMC may lack, or hide from our account.
    async fn optional(&mut self, path: &str) -> Result<Option<Value>, RedfishFault> {
        match self.service.get(path).await {
            Ok(document) => Ok(Some(document.value)),
            Err(RedfishFault::Refused {
                status: 403 | 404 | 405 | 501,
                ..
            }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Notes the properties that are there, in dotted names; `/` leads into
/// objects.
fn take(facts: &mut BmcFacts, prefix: &str, value: &Value, properties: &[&str]) {
    for property in properties {
        let text = match value.pointer(&format!("/{property}")) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) if text.is_empty() => continue,
            Some(Value::String(text)) => text.clone(),
            // Maps are sorted, so that equal values have equal texts.
            Some(other) => other.to_string(),
        };
        let name = format!("{prefix}.{}", property.replace('/', "."));
        if text.len() <= VALUE_BYTES {
            facts.note(name, text);
        } else {
            let digest = Sha256::digest(&text);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            facts.note(name, format!("{} bytes, SHA-256 {hex}", text.len()));
        }
    }
}

/// A number of watts, rounded.
fn whole(value: &Value) -> Option<u32> {
    let watts = value.as_f64()?.round();
    // Exact after the check.
    (0.0..=f64::from(u32::MAX))
        .contains(&watts)
        .then_some(watts as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_there_is_taken() {
        let mut facts = BmcFacts::default();
        let long = "x".repeat(VALUE_BYTES + 1);
        let value = json!({"A": "x", "B": {"C": true, "D": [1, {"z": 1, "a": 2}]}, "E": null,
            "F": "", "H": long});
        take(
            &mut facts,
            "p",
            &value,
            &["A", "B/C", "B/D", "E", "F", "G", "H"],
        );
        let seen: Vec<_> = facts.iter().collect();
        assert_eq!(
            seen[..3],
            [
                ("p.A", "x"),
                ("p.B.C", "true"),
                ("p.B.D", "[1,{\"a\":2,\"z\":1}]")
            ]
        );
        assert_eq!(seen.len(), 4);
        assert!(seen[3].1.starts_with("201 bytes, SHA-256 "), "{seen:?}");
    }

    #[test]
    fn watts_are_whole() {
        for (value, expect) in [
            (json!(87.5), Some(88)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("87"), None),
        ] {
            assert_eq!(whole(&value), expect, "{value}");
        }
    }
}
