//! Our own user's password: changed, proved, kept in its file, whatever ends
//! the change half-way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use musher::power::{IpmiClient, PasswordFile, PowerErrorKind, Settled};
use musher_bmc::Server;
use protocols::rmcp::{CipherSuite, Password};

use super::{PASSWORD, bmc, client, config};

#[tokio::test]
async fn the_password_is_changed_and_proved() {
    let server = bmc(|_| {});
    let mut ours = client(server.address());
    ours.read().await.unwrap();
    let new = b"twenty letters long!";
    ours.change_password(Password::new(new).unwrap())
        .await
        .unwrap();
    assert_eq!(server.with(|bmc| bmc.chassis.users[1].password), *new);
    ours.read().await.unwrap();
    // Who has the old one is locked out.
    let error = client(server.address()).read().await.unwrap_err();
    assert!(error.to_string().contains("wrong password"), "{error}");
    ours.close().await;
    assert_eq!(server.with(|bmc| bmc.sessions()), 0);

    // A BMC that refuses keeps the old one, and so do we.
    let server = bmc(|chassis| chassis.quirks.short_passwords = true);
    let mut ours = client(server.address());
    let error = ours
        .change_password(Password::new(new).unwrap())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("set user password was refused"),
        "{error}"
    );
    ours.read().await.unwrap();
}

/// A client whose password is kept in a file of this folder.
fn kept(server: &Server, folder: &Path) -> IpmiClient {
    let path = folder.join("bmc-01");
    if !path.exists() {
        fs::write(&path, PASSWORD).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    }
    let text = fs::read(&path).unwrap();
    let password = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut config = config(server.address(), CipherSuite::Suite17);
    config.console = true;
    config.set_password(Password::new(password).unwrap());
    config.password_file = Some(PasswordFile::new(&path));
    IpmiClient::new(config, Some("sled-01".to_owned()))
}

/// What the BMC's user has for a password.
fn password_of(server: &Server) -> Vec<u8> {
    let padded = server.with(|bmc| bmc.chassis.users[1].password);
    let end = padded.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    padded[..end].to_vec()
}

fn offer(folder: &Path, text: &[u8]) {
    let next = folder.join("bmc-01.next");
    fs::write(&next, text).unwrap();
    fs::set_permissions(&next, Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_rotated_password_is_in_its_file() {
    for (refuses, cuts, length) in [(false, false, 20), (true, false, 16), (false, true, 16)] {
        let server = bmc(|chassis| {
            chassis.quirks.short_passwords = refuses;
            chassis.quirks.cuts_passwords = cuts;
        });
        let dir = tempfile::tempdir().unwrap();
        let mut ours = kept(&server, dir.path());
        let console = ours.console_source().unwrap();
        ours.read().await.unwrap();
        ours.rotate_password().await.unwrap();
        let first = password_of(&server);
        assert_eq!(first.len(), length);
        let path = dir.path().join("bmc-01");
        let text = fs::read(&path).unwrap();
        assert_eq!(text, [first.as_slice(), b"\n"].concat());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        ours.read().await.unwrap();
        // The console's sessions are opened with the new one too, and it is
        // what the next start reads.
        console.open().await.unwrap().close().await;
        kept(&server, dir.path()).read().await.unwrap();
        ours.rotate_password().await.unwrap();
        assert_ne!(password_of(&server), first);
    }
}

#[tokio::test]
async fn a_change_that_was_cut_short_is_settled() {
    let new = b"twenty letters long!";
    let check = async |at_bmc: &[u8], beside: &[u8], expect: Result<Settled, PowerErrorKind>| {
        let server = bmc(|chassis| {
            chassis.users[1].password = [0; 20];
            chassis.users[1].password[..at_bmc.len()].copy_from_slice(at_bmc);
        });
        let dir = tempfile::tempdir().unwrap();
        let mut ours = kept(&server, dir.path());
        offer(dir.path(), beside);
        let settled = ours.settle_password().await;
        let said = settled
            .as_ref()
            .map_or_else(ToString::to_string, |_| String::new());
        assert_eq!(settled.map_err(|error| error.kind()), expect, "{said}");
        let (file, files) = (
            fs::read(dir.path().join("bmc-01")).unwrap(),
            fs::read_dir(dir.path()).unwrap().count(),
        );
        match expect {
            Ok(_) => {
                assert_eq!(file.strip_suffix(b"\n").unwrap_or(&file), at_bmc);
                assert_eq!(files, 1);
                ours.read().await.unwrap();
            }
            // A person decides; nothing is thrown away, and nothing said.
            Err(_) => {
                assert_eq!((file.as_slice(), files), (PASSWORD, 2));
                assert!(said.contains("bmc-01.next"), "{said}");
                assert!(
                    !said.contains("letters") && !said.contains("horse"),
                    "{said}"
                );
            }
        }
    };
    // The BMC was never told; or it was, and the answer was lost.
    check(PASSWORD, b"twenty letters long!\n", Ok(Settled::Kept)).await;
    check(new, b"twenty letters long!\n", Ok(Settled::Taken)).await;
    // Cut short on disk: then the BMC was not told.
    check(PASSWORD, b"", Ok(Settled::Kept)).await;
    check(PASSWORD, b"twenty let", Ok(Settled::Kept)).await;
    let wrong = Err(PowerErrorKind::WrongPassword);
    check(b"a third one", b"twenty letters long!\n", wrong).await;
    check(b"a third one", b"", wrong).await;
}

#[tokio::test]
async fn a_bmc_that_dies_meanwhile_is_settled_later() {
    // Each place on the way in turn, until it lives long enough.
    for commands in 1.. {
        let server = bmc(|chassis| chassis.manner = musher_bmc::Manner::DiesAfter(commands));
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(server.address(), CipherSuite::Suite17);
        config.patience.set_up_tries = 1;
        config.patience.command_tries = 1;
        let path = dir.path().join("bmc-01");
        drop(kept(&server, dir.path()));
        config.password_file = Some(PasswordFile::new(&path));
        let rotated = IpmiClient::new(config, None).rotate_password().await;
        server.with(|bmc| {
            bmc.restart();
            bmc.chassis.manner = musher_bmc::Manner::Honest;
        });
        // As after a restart.
        let mut ours = kept(&server, dir.path());
        ours.settle_password().await.unwrap();
        ours = kept(&server, dir.path());
        ours.read().await.unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{commands}");
        if rotated.is_ok() {
            assert!(commands > 5, "it was asked nothing");
            break;
        }
    }
}

#[tokio::test]
async fn a_password_of_several_sleds_stays() {
    let server = bmc(|_| {});
    let dir = tempfile::tempdir().unwrap();
    drop(kept(&server, dir.path()));
    let mut config = config(server.address(), CipherSuite::Suite17);
    let mut file = PasswordFile::new(&dir.path().join("bmc-01"));
    file.share();
    config.password_file = Some(file);
    let error = IpmiClient::new(config, None)
        .rotate_password()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("give each its own"), "{error}");
    assert_eq!(password_of(&server), PASSWORD);
}
