//! A coordinator and an agent do a task through secured services, by a password and by certificates.

use crate::kafka::mtls;
use crate::site::Site;
use std::time::Duration;
use synod_tests::{Process, eventually};

/// All of it may take so long on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn by_a_password() {
    check(&[]).await;
}

#[tokio::test]
async fn by_certificates() {
    let site = Site::new().await;
    let (cert, key) = (site.file("synod.crt"), site.file("synod.key"));
    let mut settings = mtls(&site, &cert, &key)
        .each()
        .into_iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect::<Vec<_>>();
    settings.push(("SYNOD_REDIS_CERT".to_owned(), cert));
    settings.push(("SYNOD_REDIS_KEY".to_owned(), key));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    check(&settings).await;
}

async fn check(changed: &[(&str, &str)]) {
    let site = Site::new().await;
    let listen =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").to_string();
    let url = format!("http://{listen}");
    let with = |more: &[(&'static str, &str)]| -> Vec<(String, String)> {
        changed.iter().chain(more).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    };
    let mut coordinator = start(&site, &["coordinator"], &with(&[("SYNOD_HTTP_LISTEN", &listen)]));
    let http = synod_tests::plain();
    eventually("the coordinator is ready", LIMIT, || {
        assert!(coordinator.ended().is_none(), "{}", coordinator.last_words());
        let asked = http.get(format!("{url}/readyz")).send();
        async { asked.await.ok().filter(|answer| answer.status() == 200) }
    })
    .await;
    let capability = synod_tests::fresh("shout");
    let client = with(&[("SYNOD_HTTP_URL", &url)]);
    let _agent =
        start(&site, &["agent", "run", "--capability", &capability, "--", "tr", "a-z", "A-Z"], &client);
    let words =
        ["task", "submit", "--capability", &capability, "--input", "\"hello\"", "--wait", "-o", "json"];
    let mut task = start(&site, &words, &client);
    let status = eventually("the task is done", LIMIT, || std::future::ready(task.ended())).await;
    assert!(status.success() && task.log().contains("HELLO"), "{}", task.last_words());
    for process in [&coordinator, &task] {
        assert!(!process.log().contains(&site.password()), "the password is shown: {}", process.last_words());
    }
}

fn start(site: &Site, words: &[&str], settings: &[(String, String)]) -> Process {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    site.start(words, &settings)
}
