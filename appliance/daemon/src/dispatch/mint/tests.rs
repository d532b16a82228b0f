//! Minting at a stand-in of GitHub's where public repositories could come in.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use control::Limits;
use fakehub::Running;
use messages::ApplianceId;

use super::*;
use crate::{
    agents::Wakers,
    engine::{Clock, EngineConfig},
    github::{GithubConfig, Secret as Key},
    keys::Keys,
    store::Store,
    vault::Vault,
};

const GROUPS: &str = "/orgs/{org}/actions/runner-groups";

/// GitHub, where organization `octo-org` has a group that is `open`.
async fn github(dir: &Path) -> (Running, GithubClient) {
    let file = |name: &str| dir.join(name);
    fakehub::keys::generate(&file("app.pem"), &file("app.pub.pem")).unwrap();
    std::fs::write(file("secret"), "secret").unwrap();
    std::fs::set_permissions(file("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = r#"
        [api]
        listen = "127.0.0.1:0"
        [[app]]
        app_id = 1
        public_key_path = "app.pub.pem"
        webhook_secret_path = "secret"
        [[app.installation]]
        id = 1001
        account = "octo-org"
        repositories = ["app"]
        public_repositories = ["site"]
        [[app.installation.runner_groups]]
        id = 1
        name = "Default"
        [[app.installation.runner_groups]]
        id = 7
        name = "open"
        allows_public_repositories = true
        "#;
    std::fs::write(file("fakehub.toml"), text).unwrap();
    let config = fakehub::Config::load(&file("fakehub.toml")).unwrap();
    let running = fakehub::start(config).await.unwrap();
    let client = GithubClient::start(GithubConfig {
        web_url: None,
        name: "main".to_owned(),
        api_url: running.hub.urls.api.clone(),
        app_id: 1,
        private_key_pem: Key::new(std::fs::read_to_string(file("app.pem")).unwrap()),
        enterprise_token: None,
        ca_file: None,
    });
    (running, client.unwrap())
}

fn shared(dir: &Path, client: &GithubClient) -> Shared {
    let clock = Clock::start();
    let config = EngineConfig {
        appliance: ApplianceId([7; 4]),
        limits: Limits::default(),
        clock,
        store: Store::open(&dir.join("musher.redb")).unwrap(),
    };
    let (engine, waiting) = config.load().unwrap();
    // Nobody answers: no boot is known, so no group is named.
    drop(waiting);
    Shared {
        engine,
        clock,
        vault: Vault::default(),
        wakers: Wakers::default(),
        receipts: Arc::new(Keys::load(dir).unwrap().receipts),
        hubs: [(HubId(1), client.clone())].into(),
        entrances: Entrances::default(),
    }
}

fn minting(scope: &Scope, name: &str) -> Minting {
    Minting {
        hub: HubId(1),
        scope: scope.clone(),
        name: name.to_owned(),
        labels: Labels::new(["self-hosted", "linux"]),
        boot: BootId(1),
    }
}

fn refusal(result: Result<Option<RunnerId>, GithubFailure>) -> String {
    match result {
        Err(GithubFailure::Refused(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_registered_where_strangers_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let (running, client) = github(folder.path()).await;
    let shared = shared(folder.path(), &client);
    let org = Scope::Org("octo-org".into());
    let asked = || running.hub.state().asked.get(&("GET", GROUPS)).copied();

    let closed = (HubId(1), org.clone(), None);
    for name in ["a", "b"] {
        let minted = shared.mint_at(&closed, &[], minting(&org, name)).await;
        minted.unwrap();
    }
    assert_eq!(asked(), Some(1), "the answer is good for a while");

    let open = (HubId(1), org.clone(), Some("open".to_owned()));
    for _ in 0..2 {
        let said = refusal(shared.mint_at(&open, &[], minting(&org, "c")).await);
        assert!(
            said.contains("runner group \"open\" of organization octo-org allows public")
                && said.contains("untick \"Allow public repositories\""),
            "{said}"
        );
    }
    assert_eq!(asked(), Some(2));
    assert_eq!(running.hub.state().runners.len(), 2);
    let named = ["octo-org/site".to_owned()];
    let minted = shared.mint_at(&open, &named, minting(&org, "c")).await;
    minted.unwrap();
    let group = |runner: &fakehub::state::Runner| (runner.name == "c").then_some(runner.group.0);
    let state = running.hub.state();
    assert_eq!(state.runners.values().find_map(group), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_became_public_gets_no_runner() {
    let folder = tempfile::tempdir().unwrap();
    let (running, client) = github(folder.path()).await;
    let shared = shared(folder.path(), &client);
    let site = Scope::Repo("octo-org/site".into());
    let place = (HubId(1), site.clone(), None);
    let said = refusal(shared.mint_at(&place, &[], minting(&site, "a")).await);
    assert!(said.contains("octo-org/site is public"), "{said}");
    assert!(running.hub.state().runners.is_empty());
    let named = ["Octo-Org/site".to_owned()];
    let minted = shared.mint_at(&place, &named, minting(&site, "a")).await;
    minted.unwrap();
    let app = Scope::Repo("octo-org/app".into());
    let place = (HubId(1), app.clone(), None);
    let minted = shared.mint_at(&place, &[], minting(&app, "b")).await;
    minted.unwrap();
}
