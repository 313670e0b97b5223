//! Trusted devices: a client that is known by a token of its own.
//!
//! The token is bound to one user, only its hash is stored, and it is replaced by another one with
//! every login. Trust ends by age, by the user's word, and with everything that raises the device
//! epoch: a changed password, a disabled account.

use crate::auth::entry::truncated_agent;
use crate::auth::own::OwnChange;
use crate::auth::{Auth, Caller, Client, DeviceToken};
use crate::config::settings::TrustRule;
use crate::domain::client_hints;
use crate::domain::context::RequestContext;
use crate::domain::device::TrustedDevice;
use crate::domain::error::{Denial, Error};
use crate::domain::event::Event;
use crate::domain::hex::hex;
use crate::domain::id::{UserId, random_number};
use crate::domain::secret::Secret;
use crate::domain::session::Device;
use crate::domain::user::User;
use crate::events::Change;

/// Random bytes in a device token.
const TOKEN_BYTES: usize = 32;
/// Most devices a user trusts.
const MAX_DEVICES: usize = 20;
/// Longest name a client may give its device, in characters.
const MAX_NAME: usize = 100;

/// What a login finds out about the device it comes from.
#[derive(Debug)]
pub(super) struct Recognised {
    pub(super) device: Device,
    /// Its number, when it is trusted.
    pub(super) trusted: Option<i64>,
    /// What the client is to hold from now on.
    pub(super) token: Option<DeviceToken>,
}

impl Auth {
    /// Trusts the caller's device from now on; answers its token. A device that is trusted already keeps its own;
    /// where the client does not show it, another one takes its place.
    ///
    /// # Errors
    /// [`Error::Forbidden`] unless `mfa.trust.devices` leaves it to the user, and unless the user was just proven.
    pub async fn trust_device(&self, caller: &Caller, ctx: &RequestContext) -> Result<Secret<String>, Error> {
        if self.settings.mfa.trust.devices != TrustRule::UserOptIn {
            return Err(Error::Forbidden(Denial::DeviceTrust));
        }
        let mut own = self.change_of(caller).await?;
        self.require_authority(&mut own).await?;
        let OwnChange { mut change, user, session } = own;
        let known = self.known_device(&mut change, &user, ctx).await?.map(|device| device.id);
        if let (Some(id), Some(token)) = (known, &ctx.device_token)
            && change.trusted_devices().holds(id, &hash_of(token)).await?
        {
            return Ok(Secret::new(token.to_string()));
        }
        let known = known.or(session.trusted_device);
        let token = if let Some(token) = self.trust_again(&mut change, &user, known).await? {
            token
        } else {
            let mut device = session.device;
            if device.id.is_empty() {
                device.id = uuid::Uuid::new_v4().to_string();
            }
            let (id, token) = self.trust(&mut change, &user, device, ctx).await?;
            change.sessions().set_trusted_device(session.id, Some(id)).await?;
            token
        };
        self.parts.events.commit(change, ctx).await?;
        Ok(token)
    }

    /// Another token for a device whose present one the client does not show; `None` when there is none.
    /// A session stands for one device, however often it asks.
    async fn trust_again(
        &self,
        change: &mut Change,
        user: &User,
        device: Option<i64>,
    ) -> Result<Option<Secret<String>>, Error> {
        let (Some(id), now) = (device, self.now()) else { return Ok(None) };
        if change.trusted_devices().by_id(user.id, id, user.device_epoch, now).await?.is_none() {
            return Ok(None);
        }
        let (token, until) = (random_token(), now + self.settings.mfa.trust.ttl);
        if !change.trusted_devices().replace(id, &hash_of(token.expose()), until, now).await? {
            return Ok(None);
        }
        change.record(Event::DeviceTrusted { user: user.id, device: id });
        Ok(Some(token))
    }

    /// Whether the caller comes from a trusted device.
    pub async fn is_trusted_device(&self, caller: &Caller, ctx: &RequestContext) -> Result<bool, Error> {
        let Some(token) = &ctx.device_token else { return Ok(false) };
        let (user, now) = (&caller.user, self.now());
        let mut devices = self.parts.store.trusted_devices();
        Ok(devices.by_token(user.id, &hash_of(token), user.device_epoch, now).await?.is_some())
    }

    /// The caller's trusted devices, the most recently used first.
    pub async fn trusted_devices(&self, caller: &Caller) -> Result<Vec<TrustedDevice>, Error> {
        let user = &caller.user;
        Ok(self.parts.store.trusted_devices().of_user(user.id, user.device_epoch, self.now()).await?)
    }

    /// Forgets one of the caller's devices.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is none of theirs.
    pub async fn forget_device(&self, caller: &Caller, id: i64, ctx: &RequestContext) -> Result<(), Error> {
        let mut change = self.parts.events.begin().await?;
        if !change.trusted_devices().delete(caller.user.id, id).await? {
            return Err(Error::NotFound);
        }
        change.record(Event::DevicesUntrusted { user: caller.user.id, count: 1 });
        self.parts.events.commit(change, ctx).await
    }

    /// Forgets all of the caller's devices; answers how many.
    pub async fn forget_devices(&self, user: UserId, ctx: &RequestContext) -> Result<u64, Error> {
        let mut change = self.parts.events.begin().await?;
        let count = self.forget_all_devices(&mut change, user).await?;
        self.parts.events.commit(change, ctx).await?;
        Ok(count)
    }

    /// The number of the trusted device of this user that the client shows the token of. Looked for
    /// alike when there is no user.
    pub(super) async fn device_of(&self, user: Option<&User>, ctx: &RequestContext) -> Result<Option<i64>, Error> {
        let Some(token) = &ctx.device_token else { return Ok(None) };
        let (id, epoch) = user.map_or((UserId::random(), 0), |user| (user.id, user.device_epoch));
        let mut devices = self.parts.store.trusted_devices();
        let device = devices.by_token(id, &hash_of(token), epoch, self.now()).await?;
        Ok(device.inspect(|device| ctx.comes_from(&device.device)).map(|device| device.id))
    }

    /// Forgets the device whose token the client shows, if it is one of the user's.
    pub(super) async fn forget_this_device(
        &self,
        change: &mut Change,
        user: UserId,
        ctx: &RequestContext,
    ) -> Result<(), Error> {
        let Some(user) = change.users().by_id(user).await? else { return Ok(()) };
        let Some(device) = self.known_device(change, &user, ctx).await? else { return Ok(()) };
        if change.trusted_devices().delete(user.id, device.id).await? {
            change.record(Event::DevicesUntrusted { user: user.id, count: 1 });
        }
        Ok(())
    }

    pub(super) async fn forget_all_devices(&self, change: &mut Change, user: UserId) -> Result<u64, Error> {
        let count = change.trusted_devices().delete_all(user).await?;
        change.users().raise_device_epoch(user).await?;
        change.record(Event::DevicesUntrusted { user, count });
        Ok(count)
    }

    /// Forgets the devices that were trusted while there was no factor: what nobody has shown, they do not spare.
    /// The epoch covers those of logins that are on their way.
    pub(super) async fn forget_earlier_devices(&self, change: &mut Change, user: UserId) -> Result<(), Error> {
        let count = change.trusted_devices().delete_all(user).await?;
        change.users().raise_device_epoch(user).await?;
        if count > 0 {
            change.record(Event::DevicesUntrusted { user, count });
        }
        Ok(())
    }

    /// Who comes in on which device; its token is replaced by the next one.
    pub(super) async fn recognise_device(
        &self,
        change: &mut Change,
        user: &User,
        client: &Client,
        ctx: &RequestContext,
    ) -> Result<Recognised, Error> {
        let mut device = client_hints::device(ctx.user_agent.as_deref().unwrap_or(""));
        let given = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(MAX_NAME).collect::<String>());
        device.name = given(&client.device_name).or(device.name);
        device.kind = given(&client.device_type).or(device.kind);
        if let Some(known) = self.known_device(change, user, ctx).await? {
            let token = random_token();
            // Whoever comes with the predecessor has lost the present one. Only its hash is known here: they get a
            // third one, and nobody else can have theirs.
            let hash = hash_of(token.expose());
            if change.trusted_devices().replace(known.id, &hash, known.trusted_until, self.now()).await? {
                device.id.clone_from(&known.device.id);
                let token = Some(DeviceToken { value: token, trusted: true, renewed: true });
                return Ok(Recognised { device, trusted: Some(known.id), token });
            }
        }
        if ctx.device_token.is_some() {
            change.record(Event::UnknownDeviceToken { user: user.id });
        }
        device.id = uuid::Uuid::new_v4().to_string();
        ctx.comes_from(&device);
        if self.settings.mfa.trust.devices == TrustRule::Always {
            let (id, value) = self.trust(change, user, device.clone(), ctx).await?;
            let token = Some(DeviceToken { value, trusted: true, renewed: true });
            return Ok(Recognised { device, trusted: Some(id), token });
        }
        let shown = ctx.device_token.as_ref().map(|token| DeviceToken {
            value: Secret::new(token.to_string()),
            trusted: false,
            renewed: false,
        });
        Ok(Recognised { device, trusted: None, token: shown })
    }

    /// The trusted device of this user that the client shows the token of.
    pub(super) async fn known_device(
        &self,
        change: &mut Change,
        user: &User,
        ctx: &RequestContext,
    ) -> Result<Option<TrustedDevice>, Error> {
        let Some(token) = &ctx.device_token else { return Ok(None) };
        let mut devices = change.trusted_devices();
        let device = devices.by_token(user.id, &hash_of(token), user.device_epoch, self.now()).await?;
        Ok(device.inspect(|device| ctx.comes_from(&device.device)))
    }

    async fn trust(
        &self,
        change: &mut Change,
        user: &User,
        device: Device,
        ctx: &RequestContext,
    ) -> Result<(i64, Secret<String>), Error> {
        let (now, token) = (self.now(), random_token());
        self.make_room_for_device(change, user).await?;
        let device = TrustedDevice {
            id: random_number(),
            user: user.id,
            device_epoch: user.device_epoch,
            device,
            ip: ctx.ip.to_string(),
            trusted_until: now + self.settings.mfa.trust.ttl,
            last_used_at: None,
            created_at: now,
        };
        change.trusted_devices().insert(&device, &hash_of(token.expose()), truncated_agent(ctx)).await?;
        change.record(Event::DeviceTrusted { user: user.id, device: device.id });
        Ok((device.id, token))
    }

    /// Forgets the devices that were unused longest, where there are as many as may be.
    async fn make_room_for_device(&self, change: &mut Change, user: &User) -> Result<(), Error> {
        let held = change.trusted_devices().of_user(user.id, user.device_epoch, self.now()).await?;
        let mut count = 0;
        for device in held.iter().skip(MAX_DEVICES - 1) {
            count += u64::from(change.trusted_devices().delete(user.id, device.id).await?);
        }
        if count > 0 {
            change.record(Event::DevicesUntrusted { user: user.id, count });
        }
        Ok(())
    }
}

fn random_token() -> Secret<String> {
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    Secret::new(hex(&bytes))
}

/// How a token is stored. It is random enough to need no key.
fn hash_of(token: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()).as_ref())
}
