use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::*;
use crate::netboot::authority::BootOffer;
use protocols::ipxe::CommandLine;

const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Answers every question alike.
struct Always(BootAnswer);

impl BootAuthority for Always {
    async fn ask(&self, _question: BootQuestion) -> BootAnswer {
        self.0.clone()
    }
}

struct Seen {
    status: u16,
    length: Option<u64>,
    body: Vec<u8>,
}

fn fetch(answer: &BootAnswer, method: Method, target: &str, range: Option<&str>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let authority = Always(answer.clone());
        let response = serve_boot_file(&authority, peer, request.body(()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let length = parts.headers.get(CONTENT_LENGTH);
        Seen {
            status: parts.status.as_u16(),
            length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    })
}

/// A file of 600,000 octets: three chunks, the last one short.
fn content() -> Vec<u8> {
    (0..600_000u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn offer(kernel: PathBuf) -> BootAnswer {
    BootAnswer::Offer(BootOffer {
        token: BootToken::parse(TOKEN).unwrap(),
        initramfs: kernel.with_extension("missing"),
        kernel,
        command_line: CommandLine::parse("console=ttyS0").unwrap(),
    })
}

fn with_file(check: impl FnOnce(&BootAnswer)) {
    let name = format!(
        "musher-netboot-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, content()).unwrap();
    check(&offer(path.clone()));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn paths_are_read_strictly() {
    #[track_caller]
    fn check(path: &str, query: &str, fits: bool) {
        assert_eq!(target(path, query).is_some(), fits, "{path}?{query}");
    }
    let kernel = format!("/boot/{TOKEN}/kernel");
    check(&kernel, "", true);
    check(&format!("/boot/{TOKEN}/initramfs"), "x=y", true);
    check("/boot/script", "mac=52:54:00:77:00:01", true);
    check("/boot/script", "a=b&mac=52%3A54%3a00:77:00:01", true);
    check("/boot/script", "", false);
    check("/boot/script", "mac=52:54", false);
    check(&format!("/boot/{TOKEN}/other"), "", false);
    check(&format!("/boot/{TOKEN}/kernel/"), "", false);
    check(&format!("/boot/{TOKEN}/../kernel"), "", false);
    check("/boot/../../etc/passwd", "", false);
    check("/boot/zz112233445566778899aabbccddeeff/kernel", "", false);
    check(&kernel, &"x".repeat(512), false);
    check("/", "", false);
}

#[test]
fn refusals_are_told_apart() {
    #[track_caller]
    fn check(answer: BootAnswer, target: &str, status: u16, text: &str) {
        let seen = fetch(&answer, Method::GET, target, None);
        let body = String::from_utf8(seen.body).unwrap();
        assert_eq!(
            (seen.status, body.contains(text)),
            (status, true),
            "{answer:?} {body}"
        );
    }
    let file = format!("/boot/{TOKEN}/kernel");
    let script = "/boot/script?mac=52:54:00:77:00:01";
    let refused = || BootAnswer::Refused {
        reason: "ticket expired".to_owned(),
    };
    let held = || BootAnswer::Held {
        reason: "no ticket".to_owned(),
    };
    check(refused(), &file, 403, "not allowed: ticket expired");
    check(refused(), script, 403, "not allowed: ticket expired");
    check(held(), &file, 403, "not allowed: no ticket");
    check(held(), script, 200, "will not boot: no ticket");
    check(BootAnswer::LeaseOnly, &file, 403, "no boot is due");
    check(BootAnswer::Unknown, &file, 404, "unknown");
    check(BootAnswer::Unknown, script, 404, "unknown");
    check(BootAnswer::Unknown, "/boot/", 404, "no such boot file");
    let missing = offer(PathBuf::from("/nonexistent/kernel"));
    check(missing.clone(), &file, 500, "cannot read");
    check(missing, script, 200, &format!("/boot/{TOKEN}/kernel"));
    assert_eq!(fetch(&refused(), Method::POST, &file, None).status, 405);
}

#[test]
fn files_come_whole_in_part_or_as_their_length() {
    let file = format!("/boot/{TOKEN}/kernel");
    with_file(|answer| {
        let whole = fetch(answer, Method::GET, &file, None);
        assert_eq!((whole.status, whole.length), (200, Some(600_000)));
        assert!(whole.body == content());
        let head = fetch(answer, Method::HEAD, &file, None);
        assert_eq!(
            (head.status, head.length, head.body.len()),
            (200, Some(600_000), 0)
        );
        let part = fetch(answer, Method::GET, &file, Some("bytes=262140-524300"));
        assert_eq!((part.status, part.length), (206, Some(262_161)));
        assert!(part.body == content()[262_140..=524_300]);
        let past = fetch(answer, Method::GET, &file, Some("bytes=600000-"));
        assert_eq!(past.status, 416);
    });
}
