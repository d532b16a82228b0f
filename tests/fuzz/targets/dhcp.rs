//! Whatever arrives on UDP port 67: decoded, answered, and encoded again.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use protocols::dhcp::{
    AddressRange, BootSources, LeasePool, MAX_DATAGRAM_BYTES, Network, Packet, serve,
};

fuzz_target!(|datagram: &[u8]| {
    let Ok(packet) = Packet::decode(datagram) else {
        return;
    };
    // What one decode accepts, another accepts again, with the same meaning.
    // Only length may stop it: decoding joins options that were split.
    if let Ok(bytes) = packet.encode(MAX_DATAGRAM_BYTES) {
        assert_eq!(Packet::decode(&bytes).as_ref(), Ok(&packet));
    }
    let network = network();
    let range = AddressRange::new(Ipv4Addr::new(10, 77, 0, 50), Ipv4Addr::new(10, 77, 0, 53))
        .expect("a fixed range");
    let mut pool = LeasePool::new(range, &[network.server], 600);
    for (now_ms, boot) in [(0, None), (1000, Some(boot()))] {
        if let Ok(Some(reply)) = serve(&mut pool, &network, &packet, boot.as_ref(), now_ms)
            && let Ok(bytes) = reply.encode()
        {
            assert!(Packet::decode(&bytes).is_ok());
        }
    }
});

fn network() -> Network {
    Network {
        server: Ipv4Addr::new(10, 77, 0, 1),
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
        dns: vec![Ipv4Addr::new(10, 77, 0, 1)],
        lease_seconds: 600,
    }
}

fn boot() -> BootSources {
    BootSources {
        script_url: "http://10.77.0.1:8481/boot.ipxe".to_owned(),
        http_boot_url: Some("http://10.77.0.1:8481/snponly.efi".to_owned()),
    }
}
