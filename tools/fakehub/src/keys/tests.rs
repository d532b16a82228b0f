use super::*;

const NOW_S: i64 = 1_800_000_000;

fn key() -> Vec<u8> {
    openssl(&["genrsa", "-traditional", "2048"], &[]).expect("openssl makes a key")
}

#[test]
fn tokens_are_judged_as_github_does() {
    let (ours, other) = (key(), key());
    let public = AppKey::from_private_pem(&ours).expect("a key");
    let check = |pem: &[u8], claims: Value, expect: Result<u64, TokenError>| {
        let token = sign(pem, &claims).expect("a token");
        let got = verify(&token, NOW_S, |issuer| {
            (issuer == "7").then_some((&public, 7))
        });
        assert_eq!(got, expect, "{claims}");
    };
    let claims = |iat: i64, exp: i64| json!({ "iss": 7, "iat": NOW_S + iat, "exp": NOW_S + exp });
    check(&ours, claims(-60, 540), Ok(7));
    check(
        &ours,
        json!({ "iss": "7", "iat": NOW_S, "exp": NOW_S + 600 }),
        Ok(7),
    );
    check(&ours, claims(59, 540), Ok(7));
    check(&ours, claims(61, 540), Err(TokenError::IssuedInFuture));
    check(&ours, claims(-60, 601), Err(TokenError::TooLong));
    check(&ours, claims(-60, 0), Err(TokenError::Expired));
    check(
        &ours,
        json!({ "iss": 7, "iat": NOW_S }),
        Err(TokenError::Expired),
    );
    check(
        &ours,
        json!({ "iss": 7, "exp": NOW_S + 60 }),
        Err(TokenError::IssuedInFuture),
    );
    check(
        &ours,
        json!({ "iss": 8, "iat": NOW_S, "exp": NOW_S + 60 }),
        Err(TokenError::UnknownApp),
    );
    check(&other, claims(0, 540), Err(TokenError::Undecodable));
}

#[test]
fn other_algorithms_and_garbage_are_undecodable() {
    let public = AppKey::from_private_pem(&key()).expect("a key");
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":7,"iat":{NOW_S},"exp":{}}}"#, NOW_S + 60))
    );
    for token in ["", "ghs_abc", "a.b.c", "a.b", "....", none.as_str()] {
        let got = verify(token, NOW_S, |_| Some((&public, ())));
        assert_eq!(got, Err(TokenError::Undecodable), "{token}");
    }
}

#[test]
fn public_pem_is_the_same_key() {
    let private = key();
    let open = openssl(&["rsa", "-pubout"], &private).expect("a public key");
    let from_public = AppKey::from_public_pem(&open).expect("a key");
    assert_eq!(
        from_public.0,
        AppKey::from_private_pem(&private).expect("a key").0
    );
    assert!(matches!(
        AppKey::from_public_pem(&private),
        Err(KeyError::NotPublicPem)
    ));
}
