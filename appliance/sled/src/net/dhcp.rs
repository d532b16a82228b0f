//! DHCP messages of a client (RFC 2131, RFC 2132): values to bytes and hostile
//! bytes to values. No IO.

use std::net::Ipv4Addr;

/// BOOTP's fixed part with the magic cookie, in bytes.
const FIXED_BYTES: usize = 240;
/// Shorter messages than BOOTP's are dropped by some relays (RFC 1542, 2.1).
const MIN_BYTES: usize = 300;
/// RFC 2131, 3: the first four bytes of the options field.
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Name servers that are kept: resolvers use no more (resolv.conf(5), MAXNS).
const MAX_DNS: usize = 3;

const OPTION_MASK: u8 = 1;
const OPTION_ROUTER: u8 = 3;
const OPTION_DNS: u8 = 6;
const OPTION_DOMAIN: u8 = 15;
const OPTION_REQUESTED: u8 = 50;
const OPTION_LEASE_TIME: u8 = 51;
const OPTION_TYPE: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_PARAMETERS: u8 = 55;
const OPTION_MAX_SIZE: u8 = 57;
const OPTION_CLASS: u8 = 60;
const OPTION_PAD: u8 = 0;
const OPTION_END: u8 = 255;

/// What the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Is anyone there?
    Discover,
    /// Takes an offer.
    Request {
        /// What was offered.
        address: Ipv4Addr,
        /// By whom.
        server: Ipv4Addr,
    },
    /// Extends a lease (RFC 2131, 4.3.2: RENEWING and REBINDING name the
    /// address in `ciaddr` and no server).
    Extend {
        /// What is leased.
        address: Ipv4Addr,
        /// Whether the answer must be broadcast.
        broadcast: bool,
    },
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// Our address.
    pub(super) address: Ipv4Addr,
    /// Subnet mask.
    pub(super) mask: Ipv4Addr,
    /// Default route.
    pub(super) router: Option<Ipv4Addr>,
    /// Name servers.
    pub(super) dns: Vec<Ipv4Addr>,
    /// Domain to search.
    pub(super) domain: Option<String>,
    /// Who gave it.
    pub(super) server: Ipv4Addr,
    /// For how many seconds.
    pub(super) seconds: u32,
}

#[cfg(test)]
impl Lease {
    pub(super) fn default_for_test() -> Self {
        Self {
            address: Ipv4Addr::new(10, 77, 0, 50),
            mask: Ipv4Addr::new(255, 255, 255, 0),
            router: None,
            dns: Vec::new(),
            domain: None,
            server: Ipv4Addr::new(10, 77, 0, 1),
            seconds: 3600,
        }
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// You could have this.
    Offer(Lease),
    /// It is yours.
    Acknowledge(Lease),
    /// It is not, or no more.
    Refuse,
}

/// The bytes of a message.
pub(super) fn encode(ask: Ask, transaction: u32, mac: [u8; 6]) -> Vec<u8> {
    let (kind, broadcast, current) = match ask {
        Ask::Discover => (1, true, Ipv4Addr::UNSPECIFIED),
        Ask::Request { .. } => (3, true, Ipv4Addr::UNSPECIFIED),
        Ask::Extend { address, broadcast } => (3, broadcast, address),
    };
    let mut bytes = vec![0; FIXED_BYTES];
    // BOOTREQUEST, Ethernet, addresses of 6 bytes.
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&transaction.to_be_bytes());
    bytes[10] = if broadcast { 0x80 } else { 0 };
    bytes[12..16].copy_from_slice(&current.octets());
    bytes[28..34].copy_from_slice(&mac);
    bytes[236..].copy_from_slice(&MAGIC);
    let mut option = |code: u8, value: &[u8]| {
        bytes.push(code);
        bytes.push(u8::try_from(value.len()).unwrap_or(0));
        bytes.extend_from_slice(value);
    };
    option(OPTION_TYPE, &[kind]);
    // No client identifier: firmware, iPXE and this agent would each send
    // another, and the sled would use up three leases in one boot.
    if let Ask::Request { address, server } = ask {
        option(OPTION_REQUESTED, &address.octets());
        option(OPTION_SERVER, &server.octets());
    }
    option(OPTION_MAX_SIZE, &1472u16.to_be_bytes());
    option(OPTION_CLASS, b"musher-sled");
    option(
        OPTION_PARAMETERS,
        &[
            OPTION_MASK,
            OPTION_ROUTER,
            OPTION_DNS,
            OPTION_DOMAIN,
            OPTION_LEASE_TIME,
            OPTION_SERVER,
        ],
    );
    bytes.push(OPTION_END);
    if bytes.len() < MIN_BYTES {
        bytes.resize(MIN_BYTES, OPTION_PAD);
    }
    bytes
}

/// The answer in `bytes`, when it is one to this client and transaction.
/// Anything else on the port is another's business, hence no error.
pub(super) fn decode(bytes: &[u8], transaction: u32, mac: [u8; 6]) -> Option<Answer> {
    let (fixed, options) = bytes.split_at_checked(FIXED_BYTES)?;
    // BOOTREPLY.
    let ours = fixed.first() == Some(&2)
        && fixed.get(4..8) == Some(&transaction.to_be_bytes()[..])
        && fixed.get(28..34) == Some(&mac[..])
        && fixed.get(236..) == Some(&MAGIC[..]);
    if !ours {
        return None;
    }
    let kind = *find(options, OPTION_TYPE)?.first()?;
    if kind == 6 {
        return Some(Answer::Refuse);
    }
    let lease = lease(addresses(fixed.get(16..20)?).next()?, options)?;
    match kind {
        2 => Some(Answer::Offer(lease)),
        5 => Some(Answer::Acknowledge(lease)),
        _ => None,
    }
}

fn lease(address: Ipv4Addr, options: &[u8]) -> Option<Lease> {
    let first = |code| addresses(find(options, code)?).next();
    let usable = !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast();
    let seconds = find(options, OPTION_LEASE_TIME)?.try_into().ok()?;
    usable.then_some(())?;
    Some(Lease {
        address,
        mask: match first(OPTION_MASK) {
            Some(mask) => Some(mask).filter(is_mask)?,
            None => Ipv4Addr::new(255, 255, 255, 0),
        },
        router: first(OPTION_ROUTER).filter(|router| !router.is_unspecified()),
        dns: find(options, OPTION_DNS)
            .map(|value| addresses(value).take(MAX_DNS).collect())
            .unwrap_or_default(),
        domain: find(options, OPTION_DOMAIN).and_then(domain),
        server: first(OPTION_SERVER)?,
        seconds: u32::from_be_bytes(seconds),
    })
}

/// Ones, then zeros.
fn is_mask(mask: &Ipv4Addr) -> bool {
    let bits = mask.to_bits();
    bits.leading_ones() + bits.trailing_zeros() == 32
}

/// A domain that cannot break out of its line in `resolv.conf`.
fn domain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (!text.is_empty() && text.bytes().all(valid)).then(|| text.to_owned())
}

fn addresses(value: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    value
        .as_chunks::<4>()
        .0
        .iter()
        .map(|octets| Ipv4Addr::from(*octets))
}

/// The first option of that code. Option 52 (overload) is not read: what this
/// client asks for fits in the options field of any server.
fn find(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (code, rest) = options.split_first()?;
        match *code {
            OPTION_PAD => options = rest,
            OPTION_END => return None,
            code => {
                let (length, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                if code == wanted {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
    const ID: u32 = 0x0102_0304;

    fn reply(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_BYTES];
        bytes[0] = 2;
        bytes[4..8].copy_from_slice(&ID.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 77, 0, 50]);
        bytes[28..34].copy_from_slice(&MAC);
        bytes[236..].copy_from_slice(&MAGIC);
        bytes.extend_from_slice(&[53, 1, kind]);
        bytes.extend_from_slice(options);
        bytes.push(255);
        bytes
    }

    /// Mask, server, lease time.
    const PLAIN: [u8; 18] = [
        1, 4, 255, 255, 255, 0, 54, 4, 10, 77, 0, 1, 51, 4, 0, 0, 14, 16,
    ];

    #[test]
    fn asking() {
        #[track_caller]
        fn check(ask: Ask, flags: u8, current: [u8; 4], options: &[u8]) {
            let bytes = encode(ask, ID, MAC);
            assert!(bytes.len() >= MIN_BYTES);
            assert_eq!(bytes[..4], [1, 1, 6, 0]);
            assert_eq!(bytes[4..8], ID.to_be_bytes());
            assert_eq!((bytes[10], &bytes[12..16]), (flags, &current[..]));
            assert_eq!(bytes[28..34], MAC);
            assert!(bytes[FIXED_BYTES..].starts_with(options));
        }
        let address = Ipv4Addr::new(10, 77, 0, 50);
        let server = Ipv4Addr::new(10, 77, 0, 1);
        check(Ask::Discover, 0x80, [0; 4], &[53, 1, 1, 57]);
        check(
            Ask::Request { address, server },
            0x80,
            [0; 4],
            &[53, 1, 3, 50, 4, 10, 77, 0, 50, 54, 4, 10, 77, 0, 1, 57],
        );
        let broadcast = false;
        check(
            Ask::Extend { address, broadcast },
            0,
            [10, 77, 0, 50],
            &[53, 1, 3, 57],
        );
    }

    #[test]
    fn answers() {
        let check = |bytes: &[u8], expect: Option<Answer>| {
            assert_eq!(decode(bytes, ID, MAC), expect, "{bytes:?}");
        };
        let plain = Lease::default_for_test();
        check(&reply(2, &PLAIN), Some(Answer::Offer(plain.clone())));
        check(&reply(5, &PLAIN), Some(Answer::Acknowledge(plain.clone())));
        check(&reply(6, &[]), Some(Answer::Refuse));
        check(&reply(1, &PLAIN), None);

        let mut rich = PLAIN.to_vec();
        rich.extend_from_slice(&[0, 3, 4, 10, 77, 0, 1, 6, 8, 10, 77, 0, 1, 9, 9, 9, 9]);
        rich.extend_from_slice(b"\x0f\x0aci.example");
        let lease = Lease {
            router: Some(Ipv4Addr::new(10, 77, 0, 1)),
            dns: vec![Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(9, 9, 9, 9)],
            domain: Some("ci.example".to_owned()),
            ..plain.clone()
        };
        check(&reply(5, &rich), Some(Answer::Acknowledge(lease)));

        let mut sly = PLAIN.to_vec();
        sly.extend_from_slice(b"\x0f\x10x\nnameserver 6.6");
        check(&reply(5, &sly), Some(Answer::Acknowledge(plain)));
    }

    #[test]
    fn foreign_and_broken_answers_are_passed_over() {
        let good = reply(5, &PLAIN);
        assert_eq!(decode(&good, ID + 1, MAC), None);
        assert_eq!(decode(&good, ID, [0; 6]), None);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode(&bytes, ID, MAC)
        };
        assert_eq!(with(0, 1), None, "a request");
        assert_eq!(with(236, 0), None, "no cookie");
        assert_eq!(with(16, 224), None, "a multicast address");
        assert_eq!(with(FIXED_BYTES + 3 + 2, 7), None, "no mask");
        let end = good.len() - 1;
        for length in 0..end {
            // Cut within the options, only whole answers remain readable.
            assert_eq!(decode(&good[..length], ID, MAC), None, "{length}");
        }
        assert!(decode(&good[..end], ID, MAC).is_some(), "no end marker");
    }
}
