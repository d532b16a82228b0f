//! Who is trusted over TLS, and that nothing is said to anybody else.

use std::path::Path;

use musher::power::redfish::{Fingerprint, Trust};
use musher::power::{PowerErrorKind, PowerReading, RedfishClient};

use crate::check_error;
use crate::standin::Standin;

fn client(bmc: &Standin, trust: Trust<'_>) -> RedfishClient {
    RedfishClient::new(bmc.config(Some(trust)), Some("sled-01".to_owned()))
}

#[tokio::test]
async fn a_pin_is_of_the_certificate_or_its_key() {
    let bmc = Standin::start_tls("some-bmc");
    for print in bmc.prints.unwrap() {
        let mut ours = client(&bmc, Trust::Pin(print));
        assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
        ours.close().await;
    }
    let other = Fingerprint::of(b"another");
    let error = client(&bmc, Trust::Pin(other)).read().await.unwrap_err();
    let [seen, _] = bmc.prints.unwrap().map(|print| print.to_string());
    let parts = [seen.as_str(), "`certificate_sha256`", "nothing was sent"];
    check_error(&error, &bmc, PowerErrorKind::Untrusted, &parts);
    assert_eq!(bmc.state().logins, 2);
}

#[tokio::test]
async fn an_authority_vouches_for_a_name() {
    let bmc = Standin::start_tls("127.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let own = file("own.pem", &bmc.certificate_pem);
    let mut ours = client(&bmc, Trust::Authorities(&own));
    assert_eq!(ours.read().await.unwrap(), PowerReading::Off);
    let check = async |bmc: &Standin, path: &Path| {
        let error = client(bmc, Trust::Authorities(path)).read().await;
        let parts = [
            "`ca_file`",
            "set `certificate_sha256` instead",
            "nothing was sent",
        ];
        check_error(&error.unwrap_err(), bmc, PowerErrorKind::Untrusted, &parts);
    };
    let named = Standin::start_tls("another-bmc");
    check(&named, &own).await;
    check(&named, &file("named.pem", &named.certificate_pem)).await;
    assert_eq!((bmc.state().logins, named.state().logins), (1, 0));
}
