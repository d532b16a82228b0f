//! The agent's key: made fresh at each start, kept in memory only. Signing
//! envelopes with it is what redeems the boot ticket, once.

use messages::{AgentKey, Envelope, SignatureBytes, TicketToken, encode};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Who this agent is for this boot.
pub(super) struct Identity {
    ticket: TicketToken,
    pair: Ed25519KeyPair,
    key: AgentKey,
    sequence: u64,
}

impl Identity {
    /// A fresh key for `ticket`; `None` without randomness.
    pub(super) fn new(ticket: TicketToken) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&random::<32>()?).ok()?;
        let key = AgentKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self {
            ticket,
            pair,
            key,
            sequence: 0,
        })
    }

    /// The next request's envelope, encoded.
    pub(super) fn envelope(&mut self, frame: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let signed = Envelope::signed_bytes(&self.ticket, &self.key, self.sequence, frame);
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(&signed).as_ref());
        encode(&Envelope {
            ticket: self.ticket,
            key: self.key,
            sequence: self.sequence,
            body: frame.to_vec(),
            signature: SignatureBytes(signature),
        })
    }
}

/// Random bytes, unless the system has none.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use messages::{AgentFrame, AgentMessage, decode};
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn envelopes_are_numbered_and_signed() {
        let ticket = TicketToken([9; 16]);
        let mut identity = Identity::new(ticket).expect("randomness");
        let frame = encode(&AgentFrame::V1(AgentMessage::Poll));
        for sequence in 1..=3 {
            let envelope: Envelope = decode(&identity.envelope(&frame)).expect("an envelope");
            assert_eq!((envelope.sequence, envelope.ticket), (sequence, ticket));
            let key = UnparsedPublicKey::new(&ED25519, envelope.key.0);
            let signed = Envelope::signed_bytes(
                &envelope.ticket,
                &envelope.key,
                envelope.sequence,
                &envelope.body,
            );
            key.verify(&signed, &envelope.signature.0).expect("signed");
            let other = Envelope::signed_bytes(&ticket, &envelope.key, sequence + 1, &frame);
            assert!(key.verify(&other, &envelope.signature.0).is_err());
        }
    }

    #[test]
    fn each_start_has_its_own_key() {
        let key = || Identity::new(TicketToken([0; 16])).expect("randomness").key;
        assert_ne!(key(), key());
    }
}
