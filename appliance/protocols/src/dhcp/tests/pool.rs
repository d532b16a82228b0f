use super::*;

fn mac(number: u8) -> MacAddress {
    MacAddress::new([0x52, 0x54, 0, 0x77, 0, number])
}

/// A pool of `size` addresses from 10.77.0.50 on, leases of 100 s.
pub(super) fn pool(size: u8) -> LeasePool {
    let last = Ipv4Addr::new(10, 77, 0, 49 + size);
    LeasePool::new(AddressRange::new(ADDRESS, last).unwrap(), &[], 100)
}

#[test]
fn ranges_are_checked() {
    #[track_caller]
    fn check(first: [u8; 4], last: [u8; 4], fits: bool) {
        assert_eq!(AddressRange::new(first.into(), last.into()).is_ok(), fits);
    }
    check([10, 0, 0, 1], [10, 0, 0, 1], true);
    check([10, 0, 0, 2], [10, 0, 0, 1], false);
    check([10, 0, 0, 0], [10, 0, 15, 255], true);
    check([10, 0, 0, 0], [10, 0, 16, 0], false);
    check([0, 0, 0, 0], [255, 255, 255, 255], false);
}

#[test]
fn a_machine_keeps_its_address_over_stages_and_restarts() {
    let mut first = pool(50);
    let address = first.offer(mac(1), None, 0).unwrap();
    assert_eq!(first.grant(mac(1), Some(address), 10), Ok(address));
    assert_eq!(first.grant(mac(1), None, 200_000), Ok(address));
    assert_eq!(pool(50).offer(mac(1), None, 0), Ok(address));
}

#[test]
fn no_address_has_two_holders() {
    let mut pool = pool(4);
    let given: alloc::collections::BTreeSet<_> = (1..=4)
        .map(|number| pool.grant(mac(number), None, 0).unwrap())
        .collect();
    assert_eq!(given.len(), 4);
    assert_eq!(pool.offer(mac(5), None, 0), Err(PoolError::Exhausted));
    assert_eq!(
        pool.offer(mac(5), Some(ADDRESS), 99_999),
        Err(PoolError::Exhausted)
    );
    assert!(pool.offer(mac(5), None, 100_000).is_ok());
}

#[test]
fn offers_end_sooner_than_leases_and_never_shorten_one() {
    let mut pool = pool(1);
    pool.offer(mac(1), None, 0).unwrap();
    assert_eq!(pool.holder(ADDRESS, 59_999), Some(mac(1)));
    assert_eq!(pool.holder(ADDRESS, 60_000), None);
    pool.grant(mac(1), None, 0).unwrap();
    pool.offer(mac(1), None, 10_000).unwrap();
    assert_eq!(pool.holder(ADDRESS, 99_999), Some(mac(1)));
}

#[test]
fn a_free_hint_is_followed_and_a_taken_one_is_not() {
    let mut pool = pool(10);
    let hint = Ipv4Addr::new(10, 77, 0, 55);
    assert_eq!(pool.offer(mac(1), Some(hint), 0), Ok(hint));
    assert_ne!(pool.offer(mac(2), Some(hint), 0), Ok(hint));
    assert_ne!(
        pool.offer(mac(3), Some(Ipv4Addr::new(8, 8, 8, 8)), 0),
        Ok([8, 8, 8, 8].into())
    );
}

#[test]
fn excluded_addresses_are_never_given() {
    let range = AddressRange::new(ADDRESS, Ipv4Addr::new(10, 77, 0, 51)).unwrap();
    let mut pool = LeasePool::new(range, &[ADDRESS], 100);
    assert_eq!(
        pool.offer(mac(1), Some(ADDRESS), 0),
        Ok([10, 77, 0, 51].into())
    );
    assert_eq!(pool.offer(mac(2), None, 0), Err(PoolError::Exhausted));
}

#[test]
fn release_frees_only_the_own_address() {
    let mut pool = pool(1);
    pool.grant(mac(1), None, 0).unwrap();
    pool.release(mac(2), ADDRESS);
    assert_eq!(pool.holder(ADDRESS, 1), Some(mac(1)));
    pool.release(mac(1), ADDRESS);
    assert_eq!(pool.holder(ADDRESS, 1), None);
}

#[test]
fn declined_addresses_are_withheld_for_ten_minutes_but_not_all_of_them() {
    let mut pool = pool(4);
    let first = pool.grant(mac(1), None, 0).unwrap();
    pool.decline(mac(2), first, 0);
    assert_eq!(
        pool.holder(first, 0),
        Some(mac(1)),
        "only the holder can decline"
    );
    pool.decline(mac(1), first, 0);
    let second = pool.grant(mac(1), Some(first), 1).unwrap();
    assert_ne!(first, second);
    // A quarter of four is one: the second decline frees the first.
    pool.decline(mac(1), second, 2);
    assert_eq!(pool.grant(mac(3), Some(first), 3), Ok(first));
    assert_ne!(pool.grant(mac(4), Some(second), 3), Ok(second));
    assert_eq!(pool.grant(mac(5), Some(second), 600_002), Ok(second));
}

#[test]
fn leases_are_listed_and_restored() {
    let mut old = pool(4);
    let address = old.grant(mac(1), None, 0).unwrap();
    let lease = Lease {
        mac: mac(1),
        address,
        expires_ms: 100_000,
    };
    assert_eq!(old.leases(0).collect::<Vec<_>>(), [lease]);
    let mut new = pool(4);
    new.restore(lease, 100_000);
    assert_eq!(new.leases(0).count(), 0, "expired");
    new.restore(lease, 5);
    assert_eq!(new.holder(address, 5), Some(mac(1)));
    new.restore(
        Lease {
            mac: mac(2),
            ..lease
        },
        5,
    );
    assert_eq!(new.holder(address, 5), Some(mac(1)), "taken");
}

#[test]
fn another_servers_offer_is_left_alone() {
    let network = answers::network();
    let mut pool = pool(4);
    let set: &[(u8, &[u8])] = &[(54, &[10, 9, 9, 9]), (50, &[10, 77, 0, 50])];
    let packet = request(MessageType::Request, set);
    assert_eq!(serve(&mut pool, &network, &packet, None, 0), Ok(None));
    assert_eq!(pool.leases(0).count(), 0);
}

#[test]
fn discover_request_release_go_through_the_pool() {
    let network = answers::network();
    let mut pool = pool(4);
    let discover = request(MessageType::Discover, &[]);
    let offer = serve(&mut pool, &network, &discover, None, 0)
        .unwrap()
        .unwrap();
    let address = offer.packet.your_address.octets();
    let set: &[(u8, &[u8])] = &[(54, &[10, 77, 0, 1]), (50, &address)];
    let take = request(MessageType::Request, set);
    let ack = serve(&mut pool, &network, &take, None, 1).unwrap().unwrap();
    assert_eq!(
        (ack.message, ack.packet.your_address),
        (MessageType::Ack, address.into())
    );
    assert_eq!(pool.leases(90_000).count(), 1);
    let mut release = request(MessageType::Release, &[(54, &[10, 77, 0, 1])]);
    release.client_address = address.into();
    assert_eq!(serve(&mut pool, &network, &release, None, 2), Ok(None));
    assert_eq!(pool.leases(2).count(), 0);
}

proptest! {
    #[test]
    fn the_pool_stays_consistent(
        steps in proptest::collection::vec((0u8..5, 1u8..12, 0u8..8, 0u64..40_000), 1..200),
    ) {
        let mut pool = pool(6);
        let mut now = 0;
        for (action, number, last, pause) in steps {
            now += pause;
            let hint = Ipv4Addr::new(10, 77, 0, 48 + last);
            match action {
                0 => { let _ = pool.offer(mac(number), Some(hint), now); }
                1 => { let _ = pool.grant(mac(number), None, now); }
                2 => { let _ = pool.grant(mac(number), Some(hint), now); }
                3 => pool.release(mac(number), hint),
                _ => pool.decline(mac(number), hint, now),
            }
            let mut macs: Vec<_> = pool.leases(now).map(|lease| lease.mac).collect();
            let count = macs.len();
            macs.sort();
            macs.dedup();
            prop_assert_eq!(macs.len(), count, "one machine with two addresses");
            prop_assert!(count <= 6);
        }
    }
}
