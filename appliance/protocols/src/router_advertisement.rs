//! The one IPv6 message that spares iPXE its wait: a router advertisement
//! that says "there is no router here" (RFC 4861). It never offers a route, a
//! prefix or DHCPv6, so it changes nothing on a machine that has IPv6.
//!
//! iPXE configures IPv4 and IPv6 in parallel and waits about 13 s for an
//! advertisement; one without the M and O flags ends its IPv6 part at once.

/// Hop limit that both messages must have (RFC 4861 sections 6.1.1, 6.1.2):
/// proof that no router forwarded them.
pub const HOP_LIMIT: u8 = 255;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;

/// An advertisement as ICMPv6 message: router lifetime 0 (RFC 4861 section
/// 4.2: "not a default router"), flags M and O clear, current hop limit,
/// reachable and retransmission time unspecified, no options. The checksum is
/// zero: a raw ICMPv6 socket fills it in (RFC 3542 section 3.1).
#[must_use]
pub const fn advertisement() -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = ROUTER_ADVERTISEMENT;
    message
}

/// Why a message is not a router solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolicitationError {
    /// Shorter than 8 octets, or an option passes its end.
    #[error("parse router solicitation: truncated")]
    Truncated,
    /// Another message.
    #[error("parse router solicitation: ICMPv6 type {kind} code {code} is another message")]
    OtherMessage {
        /// ICMPv6 type.
        kind: u8,
        /// ICMPv6 code.
        code: u8,
    },
    /// RFC 4861 section 4.6: such a packet is dropped.
    #[error("parse router solicitation: an option has length zero")]
    EmptyOption,
}

/// Checks that an ICMPv6 message is a router solicitation as RFC 4861 section
/// 6.1.1 wants it (checksum and hop limit aside, which the message does not
/// show).
///
/// # Errors
/// [`SolicitationError`]; such a message is ignored.
pub fn parse_solicitation(message: &[u8]) -> Result<(), SolicitationError> {
    let (header, options) = message
        .split_first_chunk::<8>()
        .ok_or(SolicitationError::Truncated)?;
    let [kind, code, ..] = *header;
    if (kind, code) != (ROUTER_SOLICITATION, 0) {
        return Err(SolicitationError::OtherMessage { kind, code });
    }
    let mut rest = options;
    while !rest.is_empty() {
        let length = rest.get(1).ok_or(SolicitationError::Truncated)?;
        if *length == 0 {
            return Err(SolicitationError::EmptyOption);
        }
        // Option lengths count units of 8 octets.
        rest = rest
            .get(usize::from(*length) * 8..)
            .ok_or(SolicitationError::Truncated)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advertisement_offers_nothing() {
        let expect = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(advertisement(), expect);
    }

    #[test]
    fn solicitations_are_checked() {
        #[track_caller]
        fn check(message: &[u8], expect: Result<(), SolicitationError>) {
            assert_eq!(parse_solicitation(message), expect);
        }
        check(&[133, 0, 0, 0, 0, 0, 0, 0], Ok(()));
        check(
            &[133, 0, 9, 9, 0, 0, 0, 0, 1, 1, 0x52, 0x54, 0, 0x77, 0, 1],
            Ok(()),
        );
        check(&[], Err(SolicitationError::Truncated));
        check(&[133, 0, 0, 0, 0, 0, 0], Err(SolicitationError::Truncated));
        check(
            &[133, 0, 0, 0, 0, 0, 0, 0, 1],
            Err(SolicitationError::Truncated),
        );
        check(
            &[133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0],
            Err(SolicitationError::Truncated),
        );
        check(
            &[133, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            Err(SolicitationError::EmptyOption),
        );
        let other = SolicitationError::OtherMessage { kind: 128, code: 0 };
        check(&[128, 0, 0, 0, 0, 0, 0, 0], Err(other));
    }
}
