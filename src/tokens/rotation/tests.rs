//! Keys come and go, and nobody is logged out by it.

use std::sync::Arc;

use super::*;
use crate::config::settings::SigningAlgorithm;
use crate::domain::clock::Clock;
use crate::domain::id::UserId;
use crate::domain::secret::Secret;
use crate::domain::session::Session;
use crate::store::{Db, migrations};
use crate::tokens::keys::{KeyRing, Purpose};
use crate::tokens::tests::{jwt, minted, private_key, session, verifier, wanted};
use crate::tokens::{MasterKeys, RefreshTokens};

const START: Time = Time::from_secs(1_700_000_000);
const DAY: Duration = Duration::from_hours(24);
const A_SECOND: Duration = Duration::from_secs(1);

/// Nodes on one database, and the hand on their clock.
struct Cluster {
    store: Store,
    nodes: Vec<Keychain>,
    schedule: Schedule,
    now: Time,
}

impl Cluster {
    async fn of(nodes: usize, wanted: &Wanted) -> Self {
        let store = Store::new(Db::in_memory().await.unwrap());
        migrations::apply(store.db(), START).await.unwrap();
        let schedule = Schedule::by(&crate::config::defaults());
        let mut cluster = Self { store, nodes: Vec::new(), schedule, now: START };
        for _ in 0..nodes {
            cluster.nodes.push(cluster.node(wanted).await);
        }
        cluster.follow().await;
        cluster
    }

    async fn node(&self, wanted: &Wanted) -> Keychain {
        Keychain::open(self.store.clone(), masters(1, &[]), wanted, self.now).await.unwrap()
    }

    /// Every node reads the keys, as it does every few seconds.
    async fn follow(&self) {
        for node in &self.nodes {
            node.follow().await.unwrap();
        }
    }

    /// Time passes, a node looks at the schedule, all read the keys.
    async fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.nodes[0].tend(&self.schedule, self.now).await.unwrap();
        self.follow().await;
    }

    fn ring(&self) -> Arc<KeyRing> {
        self.nodes[0].ring()
    }

    fn signer(&self, of: Use) -> String {
        self.ring().signing(of).active.kid().to_owned()
    }

    async fn states(&self, of: Rotating) -> Vec<String> {
        let rows = self.store.keys().all().await.unwrap();
        let ours = rows.into_iter().filter(|row| row.purpose == of.as_str());
        let mut states: Vec<String> = ours.map(|row| row.state).collect();
        states.sort();
        states
    }
}

/// A second less.
fn before(time: Duration) -> Duration {
    time.saturating_sub(A_SECOND)
}

fn masters(current: u8, previous: &[u8]) -> MasterKeys {
    let key = |byte: u8| Secret::new(vec![byte; 32]);
    MasterKeys { current: key(current), previous: previous.iter().copied().map(key).collect() }
}

fn token(ring: &KeyRing) -> String {
    minted(ring.signing(Use::Access), &jwt())
}

#[tokio::test]
async fn a_key_is_known_to_every_node_before_one_signs_with_it() {
    let mut cluster = Cluster::of(3, &wanted(SigningAlgorithm::Es256)).await;
    let (first, schedule) = (cluster.signer(Use::Access), cluster.schedule);
    let mut tokens = vec![token(&cluster.ring())];

    let published = cluster.nodes[1].publish(Rotating::Access, &schedule, cluster.now).await.unwrap();
    let Rotation::Published { kid, signs_at } = &published else { panic!("{published:?}") };
    assert_eq!(*signs_at, START + LEAD);
    let again = cluster.nodes[2].publish(Rotating::Access, &schedule, cluster.now + DAY).await.unwrap();
    assert_eq!(again, published, "one is published at a time");

    cluster.pass(before(LEAD)).await;
    assert_eq!(cluster.signer(Use::Access), first);
    assert!(cluster.nodes.iter().all(|node| node.ring().signing(Use::Access).all.iter().any(|key| key.kid == *kid)));
    assert_eq!(cluster.ring().signing(Use::Access).jwks().len(), 2);

    // The schedule is looked at, and each node reads in its own time.
    cluster.now = cluster.now + A_SECOND;
    cluster.nodes[2].tend(&schedule, cluster.now).await.unwrap();
    for reading in 0..3 {
        cluster.nodes[reading].follow().await.unwrap();
        tokens.extend(cluster.nodes.iter().map(|node| token(&node.ring())));
        for node in &cluster.nodes {
            let verifier = verifier(&node.ring());
            assert!(tokens.iter().all(|token| verifier.verify(token).is_ok()), "{reading} nodes have read");
        }
    }
    assert_eq!(cluster.signer(Use::Access), *kid);
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE, RETIRED]);
}

#[tokio::test]
async fn a_key_goes_when_nothing_it_signed_lives() {
    let mut cluster = Cluster::of(1, &wanted(SigningAlgorithm::EdDsa)).await;
    let (old, schedule) = (token(&cluster.ring()), cluster.schedule);
    cluster.nodes[0].publish(Rotating::Access, &schedule, cluster.now).await.unwrap();
    cluster.pass(LEAD).await;
    cluster.pass(Duration::ZERO).await;
    let life = schedule.access_life + MARGIN;

    cluster.pass(before(life)).await;
    assert!(verifier(&cluster.ring()).verify(&old).is_ok());
    cluster.pass(A_SECOND).await;

    assert!(verifier(&cluster.ring()).verify(&old).is_err());
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE]);
}

/// A shorter `jwt.access_ttl` does not shorten what was promised before.
#[tokio::test]
async fn a_key_stays_as_long_as_the_longest_token_of_any_session() {
    let mut cluster = Cluster::of(1, &wanted(SigningAlgorithm::EdDsa)).await;
    let latest = cluster.now + DAY;
    store_session(&cluster.store, latest).await;
    let schedule = cluster.schedule;
    cluster.nodes[0].publish(Rotating::Access, &schedule, cluster.now).await.unwrap();

    cluster.pass(LEAD).await;
    cluster.pass(Duration::ZERO).await;
    cluster.pass(before(DAY + MARGIN).saturating_sub(LEAD)).await;
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE, RETIRED]);
    cluster.pass(A_SECOND).await;
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE]);
}

async fn store_session(store: &Store, latest_exp: Time) -> Session {
    let mut ada = crate::domain::user::tests_support::ada();
    ada.id = UserId::random();
    let session = Session { user: ada.id, latest_exp, expires_at: latest_exp, ..session("k", START) };
    let mut tx = store.begin().await.unwrap();
    tx.users().insert(&ada, false, "test").await.unwrap();
    tx.sessions().insert(&session).await.unwrap();
    tx.commit().await.unwrap();
    session
}

#[tokio::test]
async fn a_key_that_has_leaked_counts_no_more() {
    let cluster = Cluster::of(2, &wanted(SigningAlgorithm::Es256)).await;
    let leaked = token(&cluster.ring());
    let (first, schedule) = (&cluster.nodes[0], cluster.schedule);
    assert_eq!(first.promote(Rotating::Access, Former::Go).await.unwrap(), None, "something must sign");
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE]);

    first.publish(Rotating::Access, &schedule, cluster.now).await.unwrap();
    first.promote(Rotating::Access, Former::Go).await.unwrap().unwrap();
    cluster.follow().await;

    for node in &cluster.nodes {
        assert!(verifier(&node.ring()).verify(&leaked).is_err());
        assert!(verifier(&node.ring()).verify(&token(&node.ring())).is_ok());
        assert_eq!(node.ring().signing(Use::Access).jwks().len(), 1);
    }
    assert_eq!(cluster.states(Rotating::Assertion).await, [ACTIVE], "other keys stay");
}

#[tokio::test]
async fn private_keys_change_by_themselves_and_secrets_do_not() {
    for (algorithm, changes) in [(SigningAlgorithm::Es256, true), (SigningAlgorithm::Hs256, false)] {
        let mut cluster = Cluster::of(1, &wanted(algorithm)).await;
        let signers = |cluster: &Cluster| Use::ALL.map(|of| cluster.signer(of));
        let first = signers(&cluster);

        cluster.pass(before(DAY * 90)).await;
        assert_eq!(cluster.states(Rotating::Assertion).await, [ACTIVE]);
        cluster.pass(A_SECOND).await;
        assert_eq!(signers(&cluster), first, "published, no more");
        cluster.pass(LEAD).await;

        let second = signers(&cluster);
        assert_eq!([first[0] != second[0], first[1] != second[1]], [changes, true], "{algorithm:?}");
        assert_eq!(cluster.states(Rotating::Refresh).await, [ACTIVE]);
    }
}

#[tokio::test]
async fn nothing_changes_by_itself_where_the_operator_says_so() {
    let mut by_hand = Cluster::of(1, &wanted(SigningAlgorithm::Es256)).await;
    by_hand.schedule.every = Duration::ZERO;
    by_hand.pass(DAY * 1000).await;
    assert_eq!(by_hand.states(Rotating::Access).await, [ACTIVE]);

    let mut settings = crate::config::defaults();
    settings.jwt.algorithm = SigningAlgorithm::EdDsa;
    settings.jwt.private_key = Some(private_key(SigningAlgorithm::EdDsa));
    let mut fixed = Cluster::of(1, &Wanted::by(&settings)).await;
    fixed.pass(DAY * 1000).await;
    assert_eq!(fixed.states(Rotating::Access).await, [ACTIVE]);
    let schedule = fixed.schedule;
    assert_eq!(fixed.nodes[0].publish(Rotating::Access, &schedule, fixed.now).await.unwrap(), Rotation::Fixed);
}

#[tokio::test]
async fn another_algorithm_signs_when_every_node_verifies_it() {
    let mut cluster = Cluster::of(2, &wanted(SigningAlgorithm::Hs256)).await;
    let old = token(&cluster.ring());

    cluster.nodes[0].refit(&wanted(SigningAlgorithm::Es256), cluster.now).await.unwrap();
    cluster.follow().await;
    assert_eq!(cluster.ring().signing(Use::Access).active.algorithm(), SigningAlgorithm::Hs256);
    cluster.nodes[1].refit(&wanted(SigningAlgorithm::Es256), cluster.now).await.unwrap();
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE, UPCOMING], "both want the same key");
    cluster.pass(LEAD).await;

    for node in &cluster.nodes {
        let ring = node.ring();
        assert_eq!(ring.signing(Use::Access).active.algorithm(), SigningAlgorithm::Es256);
        assert!(verifier(&ring).verify(&old).is_ok() && verifier(&ring).verify(&token(&ring)).is_ok());
    }
}

/// A reload that has nothing to do with keys does not need the database.
#[tokio::test]
async fn settings_that_want_the_same_keys_ask_nobody_for_them() {
    let cluster = Cluster::of(1, &wanted(SigningAlgorithm::Es256)).await;
    let (node, signer) = (&cluster.nodes[0], cluster.signer(Use::Access));
    cluster.store.db().close().await;

    node.refit(&wanted(SigningAlgorithm::Es256), cluster.now).await.unwrap();
    assert!(node.refit(&wanted(SigningAlgorithm::EdDsa), cluster.now).await.is_err());
    assert!(node.follow().await.is_err());

    assert_eq!(cluster.signer(Use::Access), signer, "the keys at hand stay in force");
}

#[tokio::test]
async fn an_algorithm_taken_back_leaves_nothing_behind() {
    let mut cluster = Cluster::of(1, &wanted(SigningAlgorithm::Hs256)).await;
    let first = cluster.signer(Use::Access);

    for algorithm in [SigningAlgorithm::Rs256, SigningAlgorithm::EdDsa, SigningAlgorithm::Hs256] {
        cluster.nodes[0].refit(&wanted(algorithm), cluster.now).await.unwrap();
    }
    cluster.pass(LEAD).await;

    assert_eq!(cluster.signer(Use::Access), first);
    assert_eq!(cluster.states(Rotating::Access).await, [ACTIVE]);
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_not_waited_for() {
    let wanted = wanted(SigningAlgorithm::Hs256);
    let cluster = Cluster::of(1, &wanted).await;
    let second = Keychain::open(cluster.store.clone(), masters(2, &[1]), &wanted, START).await.unwrap();
    assert_eq!(second.ring().signing(Use::Access).active.kid(), cluster.signer(Use::Access), "it signs on");

    // The former master key is taken out of the configuration before its successor's key signs.
    let third = Keychain::open(cluster.store.clone(), masters(2, &[]), &wanted, START).await.unwrap();
    let ring = third.ring();

    assert_ne!(ring.signing(Use::Access).active.kid(), cluster.signer(Use::Access));
    assert!(verifier(&ring).verify(&token(&ring)).is_ok());
}

#[tokio::test]
async fn sessions_go_on_under_another_refresh_key() {
    let mut cluster = Cluster::of(1, &wanted(SigningAlgorithm::Hs256)).await;
    let clock = Clock::manual(START);
    let tokens =
        |cluster: &Cluster| RefreshTokens::new(cluster.ring().purpose(Purpose::Refresh), Duration::ZERO, clock.clone());
    let before = tokens(&cluster);
    let ada = session(before.active_kid(), START);
    let old = before.of(&ada).unwrap();
    store_session(&cluster.store, START + DAY * 60).await;
    let schedule = cluster.schedule;

    cluster.nodes[0].publish(Rotating::Refresh, &schedule, cluster.now).await.unwrap();
    cluster.follow().await;
    assert_eq!(tokens(&cluster).active_kid(), before.active_kid());
    cluster.pass(LEAD_AMONG_NODES).await;
    cluster.pass(Duration::ZERO).await;

    let after = tokens(&cluster);
    assert_ne!(after.active_kid(), before.active_kid());
    assert!(after.verify(old.expose()).is_ok());
    assert_eq!(after.of(&ada).unwrap().expose(), old.expose(), "made again, byte for byte");
    cluster.pass(DAY * 59).await;
    assert_eq!(cluster.states(Rotating::Refresh).await, [ACTIVE, RETIRED]);
    cluster.pass(DAY + MARGIN).await;
    assert_eq!(cluster.states(Rotating::Refresh).await, [ACTIVE]);
}
