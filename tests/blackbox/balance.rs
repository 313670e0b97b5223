//! Which target gets a request: what its key is, what a reload changes, and where a name leads.

use crate::support::{Config, Echo, Nauth, Request, eventually, secs};

const OPEN: &str = "path = \"/\"\naccess = \"public\"";

async fn three() -> [Echo; 3] {
    [Echo::start().await, Echo::start().await, Echo::start().await]
}

fn in_front_of(echoes: &[Echo], hash_on: &str) -> Config {
    let urls: Vec<String> = echoes.iter().map(Echo::url).collect();
    Config::whoami()
        .without_verification()
        .targets(&urls.iter().map(String::as_str).collect::<Vec<_>>())
        .upstream(&format!("balance = \"hash\"\nhash_on = \"{hash_on}\""))
}

/// The target that answers all of these, which must be one and the same.
async fn place_of(nauth: &Nauth, echoes: &[Echo], requests: &[Request]) -> usize {
    let counts = || echoes.iter().map(|echo| echo.seen().len()).collect::<Vec<_>>();
    let before = counts();
    for request in requests {
        nauth.send(request).await.expect(200);
    }
    let after = counts();
    let places: Vec<usize> = (0..echoes.len()).filter(|place| after[*place] > before[*place]).collect();
    assert_eq!(places.len(), 1, "{before:?} {after:?}: {requests:?}");
    places[0]
}

/// Every group of requests goes to one target, and not all groups to the same.
async fn sticks(nauth: &Nauth, echoes: &[Echo], groups: &[Vec<Request>]) {
    let mut places = Vec::new();
    for group in groups {
        places.push(place_of(nauth, echoes, group).await);
    }
    places.sort_unstable();
    places.dedup();
    assert!(places.len() > 1, "everybody is sent to {places:?}");
}

#[tokio::test]
async fn an_address_sticks_to_its_target() {
    let echoes = three().await;
    let config = in_front_of(&echoes, "ip").route(OPEN).set("server.trusted_proxies", serde_json::json!(["127.0.0.1"]));
    let nauth = Nauth::start(config).await;
    let from = |client: &str, path: &str| Request::get(path).header("X-Forwarded-For", client);
    let clients = (1..=16).map(|number| format!("192.0.2.{number}"));

    let groups: Vec<Vec<Request>> = clients.map(|client| vec![from(&client, "/a"), from(&client, "/b")]).collect();

    sticks(&nauth, &echoes, &groups).await;
}

#[tokio::test]
async fn a_user_sticks_to_a_target_however_they_come() {
    let echoes = three().await;
    let nauth = Nauth::start(in_front_of(&echoes, "user")).await;
    let mut groups = Vec::new();
    for number in 0..10 {
        let email = format!("user{number}@example.com");
        let (first, second) = (nauth.signup(&email).await, nauth.login(&email).await);
        groups.push(vec![
            Request::get("/a").bearer(&first.access_token),
            Request::get("/b").cookies(&second.cookies()),
            // Refreshed on the way: the access cookie is new, the user is not.
            Request::get("/c").cookies(&second.refresh_cookie()),
        ]);
    }

    sticks(&nauth, &echoes, &groups).await;
}

#[tokio::test]
async fn a_cookie_of_the_app_decides_and_without_it_targets_take_turns() {
    let echoes = three().await;
    let nauth = Nauth::start(in_front_of(&echoes, "cookie:cart").route(OPEN)).await;
    let with = |cookies: &str| Request::get("/").header("Cookie", cookies);
    let groups: Vec<Vec<Request>> = (0..16)
        .map(|cart| vec![with(&format!("cart={cart}")), with(&format!("theme=dark; cart={cart}; x=1"))])
        .collect();

    sticks(&nauth, &echoes, &groups).await;

    let before: Vec<usize> = echoes.iter().map(|echo| echo.seen().len()).collect();
    for _ in 0..6 {
        nauth.send(&with("cart2=1")).await.expect(200);
    }
    let more: Vec<usize> = echoes.iter().zip(before).map(|(echo, before)| echo.seen().len() - before).collect();
    assert_eq!(more, [2, 2, 2]);
}

#[tokio::test]
async fn a_reload_changes_the_shares() {
    let (one, other) = (Echo::start().await, Echo::start().await);
    let config = |weights: [u32; 2], balance: &str| {
        let target = |echo: &Echo, weight: u32| format!("{{ url = \"{}\", weight = {weight} }}", echo.url());
        let targets = format!("[{}, {}]", target(&one, weights[0]), target(&other, weights[1]));
        let config = Config::whoami().targets_as(&targets).route(OPEN).set("reload.debounce", "100ms");
        config.upstream(&format!("balance = \"{balance}\""))
    };
    let nauth = Nauth::start(config([3, 1], "round_robin")).await;
    let shares = async || {
        let before = (one.seen().len(), other.seen().len());
        for _ in 0..8 {
            nauth.send(&Request::get("/")).await.expect(200);
        }
        (one.seen().len() - before.0, other.seen().len() - before.1)
    };
    assert_eq!(shares().await, (6, 2));

    nauth.reconfigure(&config([1, 3], "round_robin"));
    nauth.writes("settings reloaded").await;
    assert_eq!(shares().await, (2, 6));

    // Both are idle each time, so what decides is the weight: who has more of it is less busy with one request.
    nauth.reconfigure(&config([1, 3], "least_conn"));
    let taken_over =
        eventually(secs(5), async || (nauth.output().matches("settings reloaded").count() == 2).then_some(()));
    assert!(taken_over.await.is_some());
    assert_eq!(shares().await, (0, 8));
}

#[tokio::test]
async fn a_name_that_moves_is_followed() {
    let echo = Echo::start_at("127.0.0.1:0").await;
    let port = echo.address().port();
    let moved = Echo::start_at(&format!("127.0.0.2:{port}")).await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    let says = |address: &str| std::fs::write(hosts.path(), format!("127.0.0.1 localhost\n{address} app.internal\n"));
    says("127.0.0.1").unwrap();
    let config = Config::in_front_of_target(&format!("http://app.internal:{port}")).route(OPEN);
    // Where nobody may have a view of their own on files, there is no name to move.
    let Some(nauth) = Nauth::start_with_hosts(config, hosts.path()).await else { return };
    nauth.send(&Request::get("/")).await.expect(200);
    assert_eq!((echo.seen().len(), moved.seen().len()), (1, 0));

    says("127.0.0.2").unwrap();

    let followed = eventually(secs(20), async || {
        nauth.send(&Request::get("/")).await.expect(200);
        (!moved.seen().is_empty()).then_some(())
    });
    assert!(followed.await.is_some(), "{}", nauth.output());
    drop(echo);
    for _ in 0..3 {
        nauth.send(&Request::get("/")).await.expect(200);
    }
}
