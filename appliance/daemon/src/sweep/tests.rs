//! Where a sweep looks, and under which names it tells what it found.

use super::*;

fn pool(scope: Scope, public: &[&str]) -> control::PoolSpec {
    let digest = messages::Digest([0; 32]);
    control::PoolSpec {
        name: "linux".into(),
        github: "main".into(),
        scope,
        labels: vec!["linux".into()],
        image: control::BootImage {
            kernel: digest,
            initramfs: digest,
            rootfs: messages::ImageRef {
                name: "image".into(),
                digest,
                bytes: 1,
            },
        },
        max_runtime_s: 60,
        min_assurance: messages::Assurance::Claimed,
        policy: control::PoolPolicy::default(),
        group: None,
        public: public.iter().map(|name| (*name).to_owned()).collect(),
        acceptance: None,
    }
}

#[test]
fn only_what_a_pool_could_serve_is_looked_at() {
    let mut places = Places::default();
    assert!(places.is_empty());
    places.add(&pool(Scope::Org("octo-org".into()), &["octo-org/Site"]));
    places.add(&pool(Scope::Org("octo-org".into()), &[]));
    places.add(&pool(Scope::Repo("other/app".into()), &[]));
    assert_eq!(places.scopes.len(), 2, "each scope once");
    assert_eq!(places.runners, places.scopes);
    #[track_caller]
    fn check(places: &Places, full_name: &str, private: bool, archived: bool, expect: bool) {
        let repository = Repository {
            id: 1,
            full_name: full_name.to_owned(),
            private,
            archived,
        };
        assert_eq!(places.hold(&repository), expect, "{full_name}");
    }
    check(&places, "octo-org/app", true, false, true);
    check(&places, "octo-org/app", true, true, false);
    check(&places, "octo-org/open", false, false, false);
    check(&places, "Octo-Org/site", false, false, true);
    check(&places, "other/app", true, false, true);
    check(&places, "other/app", false, false, false);
    check(&places, "other/lib", true, false, false);
}

#[test]
fn runners_are_looked_for_where_they_are_registered() {
    let mut apart = pool(Scope::Org("octo-org".into()), &[]);
    apart.policy.mint_scope = MintScope::Repository;
    let mut places = Places::default();
    places.add(&apart);
    assert_eq!(places.runners, []);
    let repository = |full_name: &str| Repository {
        id: 1,
        full_name: full_name.to_owned(),
        private: true,
        archived: false,
    };
    assert!(places.register_at(&repository("octo-org/app")));
    places.add(&pool(Scope::Org("other".into()), &[]));
    assert_eq!(places.runners, [Scope::Org("other".into())]);
    assert!(!places.register_at(&repository("other/app")));
}

#[test]
fn a_job_in_one_state_has_one_name() {
    let job = |status: &str, attempt: u32| {
        let body = serde_json::json!({
            "id": 7, "run_id": 3, "run_attempt": attempt, "name": "build",
            "labels": ["linux"], "status": status,
        });
        crate::payload::parse_job("o/r", body.to_string().as_bytes()).unwrap()
    };
    let key = |hub: u16, job: &JobPayload| intake::delivery_key(&delivery_id(HubId(hub), job));
    let first = key(1, &job("queued", 1)).unwrap();
    assert_eq!(key(1, &job("queued", 1)), Some(first));
    for other in [
        key(2, &job("queued", 1)),
        key(1, &job("queued", 2)),
        key(1, &job("in_progress", 1)),
    ] {
        assert_ne!(other.unwrap(), first);
    }
    assert_eq!(state_of(job("waiting", 1).action), None);
}
