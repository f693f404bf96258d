//! P1, P2: connecting, with either DTLS role.

use std::time::Duration;

use bowline::{ChannelConfig, Message};
use bowline_interop::duo::{Duo, FIRST, Meeting};
use bowline_interop::foreign::crc32;

use crate::table::Outcome;
use crate::{Bench, Verdict};

/// P1: one channel announced in-band by the offerer, open on both sides in five seconds, and a message each way.
pub(super) async fn one_message_each_way_on_an_in_band_channel(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer).connect(&bench.stack).await?;
    one_message_each_way(&duo).await?;
    duo.part().await;
    Ok(Outcome::Passed)
}

/// On the channel of whoever offered.
async fn one_message_each_way(duo: &Duo) -> Result<(), String> {
    let (ours, theirs) = match duo.first {
        Some(theirs) => {
            let opened = duo.bowline.accept_channel().await.ok_or("no channel")?;
            assert_eq!(opened.label, FIRST);
            (opened.id, theirs)
        }
        None => {
            let config = ChannelConfig::new(FIRST);
            let ours = duo
                .bowline
                .open_channel(config)
                .map_err(|error| error.to_string())?;
            (ours, duo.peer.opened(FIRST).await.0)
        }
    };
    duo.bowline
        .send(ours, "from bowline")
        .await
        .map_err(|error| error.to_string())?;
    duo.peer.send_text(theirs, "from the peer").await?;
    let received = duo.peer.messages(theirs, 1, QUICK).await;
    assert_eq!(
        (received[0].text, received[0].crc),
        (true, crc32(b"from bowline"))
    );
    let received = tokio::time::timeout(QUICK, duo.bowline.recv_from(ours)).await;
    assert_eq!(received, Ok(Some(Message::text("from the peer"))));
    Ok(())
}

const QUICK: Duration = Duration::from_secs(5);
