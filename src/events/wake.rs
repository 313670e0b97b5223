//! Says that there is something to deliver, to whoever delivers it.

use tokio::sync::Notify;

use crate::store::outbox::Channel;

/// Wakes the loops of the channels.
#[derive(Debug, Default)]
pub struct Wake {
    channels: [Notify; Channel::ALL.len()],
}

impl Wake {
    /// Says that there is something to deliver.
    pub fn all(&self) {
        for channel in &self.channels {
            channel.notify_one();
        }
    }

    /// Waits until there is; for the one loop of a channel.
    pub async fn next(&self, channel: Channel) {
        self.channels[channel as usize].notified().await;
    }
}
