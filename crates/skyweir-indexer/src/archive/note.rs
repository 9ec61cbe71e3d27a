//! What a load has left, as bytes: CBOR items one after the other. `stream_us` is the stream's clock by then.

use std::convert::Infallible;

use minicbor::{Decoder, Encoder};
use skyweir_store::{Error, Notes, SyncMark};
use skyweir_types::{Action, ActorId, Body, Cid, Collection, Did, Event, Record, RecordKey, RecordOp, Tid};

use crate::apply::{Left, What};

const OPERATION: u8 = 0;
const WIPE: u8 = 1;
const SWEEP: u8 = 2;

const DELETE: u8 = 0;
const POST: u8 = 1;
const REPOST: u8 = 2;
const FOLLOW: u8 = 3;

type Written = Result<(), minicbor::encode::Error<Infallible>>;
type Read<T> = Result<T, minicbor::decode::Error>;

/// The bytes of an operation: the event's.
pub(super) fn operation(
    actor: ActorId,
    stream_us: i64,
    event: &Event,
    op: &RecordOp,
    goes_on: bool,
) -> Vec<u8> {
    bytes(|out| {
        out.u8(OPERATION)?.u32(actor.0)?.i64(stream_us)?;
        out.bool(goes_on)?.str(event.did.as_str())?.i64(event.time_us)?;
        out.u64(op.rev.0)?.str(op.collection.nsid())?.str(op.rkey.as_str())?;
        let Action::Put { cid, record } = &op.action else { return out.u8(DELETE)?.ok() };
        match record {
            Record::Post { created_at, is_reply, is_quote } => {
                out.u8(POST)?.bytes(cid.digest())?.i64(*created_at)?.bool(*is_reply)?.bool(*is_quote)?;
            }
            Record::Repost { created_at, uri, cid: subject } => {
                out.u8(REPOST)?.bytes(cid.digest())?.i64(*created_at)?.str(uri)?.str(subject)?;
            }
            Record::Follow { subject } => {
                out.u8(FOLLOW)?.bytes(cid.digest())?.str(subject.as_str())?;
            }
        }
        Ok(())
    })
}

/// The bytes of an account's deletion.
pub(super) fn wipe(actor: ActorId, stream_us: i64) -> Vec<u8> {
    bytes(|out| out.u8(WIPE)?.u32(actor.0)?.i64(stream_us)?.ok())
}

/// The bytes of a resync's end.
pub(super) fn sweep(actor: ActorId, stream_us: i64, mark: SyncMark) -> Vec<u8> {
    bytes(|out| out.u8(SWEEP)?.u32(actor.0)?.i64(stream_us)?.u64(mark.rev.0)?.i64(mark.since_ms)?.ok())
}

fn bytes(write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Written) -> Vec<u8> {
    let mut out = Encoder::new(Vec::with_capacity(192));
    write(&mut out).expect("memory takes all");
    out.into_writer()
}

/// The next one, and the number to go on behind it from.
pub(super) fn next(notes: &mut dyn Notes) -> skyweir_store::Result<Option<(Left, u64)>> {
    let Some((bytes, behind)) = notes.next()? else { return Ok(None) };
    Ok(Some((decode(&bytes)?, behind)))
}

/// Back from those.
fn decode(bytes: &[u8]) -> skyweir_store::Result<Left> {
    let mut from = Decoder::new(bytes);
    let left = read(&mut from).ok().filter(|_| from.position() == bytes.len());
    left.ok_or_else(|| Error::Corrupt("undecodable bytes among what a load has left".into()))
}

fn read(from: &mut Decoder<'_>) -> Read<Left> {
    let (tag, actor, stream_us) = (from.u8()?, ActorId(from.u32()?), from.i64()?);
    let what = match tag {
        OPERATION => {
            let (goes_on, did, time_us) = (from.bool()?, read_did(from)?, from.i64()?);
            let (rev, collection) = (Tid(from.u64()?), from.str()?);
            let collection = Collection::from_nsid(collection).ok_or_else(|| wrong("a collection"))?;
            let rkey = RecordKey::parse(from.str()?).map_err(|_| wrong("a record key"))?;
            let body = Body::Record(RecordOp { rev, collection, rkey, action: action(from)? });
            What::Operation { event: Event { did, time_us, body }, goes_on }
        }
        WIPE => What::Wipe,
        SWEEP => What::Sweep(SyncMark { rev: Tid(from.u64()?), since_ms: from.i64()? }),
        _ => return Err(wrong("a tag")),
    };
    Ok(Left { actor, stream_us, what })
}

fn action(from: &mut Decoder<'_>) -> Read<Action> {
    let tag = from.u8()?;
    if tag == DELETE {
        return Ok(Action::Delete);
    }
    let digest = <[u8; 32]>::try_from(from.bytes()?).map_err(|_| wrong("a digest"))?;
    let record = match tag {
        POST => Record::Post { created_at: from.i64()?, is_reply: from.bool()?, is_quote: from.bool()? },
        REPOST => {
            let (created_at, uri, cid) = (from.i64()?, from.str()?.to_owned(), from.str()?.to_owned());
            Record::Repost { created_at, uri, cid }
        }
        FOLLOW => Record::Follow { subject: read_did(from)? },
        _ => return Err(wrong("a tag")),
    };
    Ok(Action::Put { cid: Cid::from_digest(digest), record })
}

fn read_did(from: &mut Decoder<'_>) -> Read<Did> {
    Did::parse(from.str()?).map_err(|_| wrong("a DID"))
}

fn wrong(what: &'static str) -> minicbor::decode::Error {
    minicbor::decode::Error::message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTOR: ActorId = ActorId(u32::MAX);

    fn left(stream_us: i64, what: What) -> Left {
        Left { actor: ACTOR, stream_us, what }
    }

    fn event(collection: Collection, action: Action) -> Event {
        let rkey = RecordKey::parse("a:key").unwrap();
        let op = RecordOp { rev: Tid(u64::MAX), collection, rkey, action };
        Event { did: Did::parse("did:web:a.example").unwrap(), time_us: -7, body: Body::Record(op) }
    }

    #[test]
    fn round_trip() {
        let put = |record| Action::Put { cid: Cid::from_digest([9; 32]), record };
        let repost = Record::Repost { created_at: i64::MIN, uri: "at://x".into(), cid: "y".into() };
        let follow = Record::Follow { subject: Did::parse("did:plc:b").unwrap() };
        for event in [
            event(Collection::Post, Action::Delete),
            event(
                Collection::Post,
                put(Record::Post { created_at: i64::MAX, is_reply: true, is_quote: false }),
            ),
            event(Collection::Repost, put(repost)),
            event(Collection::Follow, put(follow)),
        ] {
            let Body::Record(op) = &event.body else { panic!("{event:?}") };
            for goes_on in [false, true] {
                let mut bytes = operation(ACTOR, i64::MAX, &event, op, goes_on);
                let event = event.clone();
                assert_eq!(decode(&bytes).unwrap(), left(i64::MAX, What::Operation { event, goes_on }));
                bytes.push(0);
                assert!(decode(&bytes).is_err() && decode(&bytes[..bytes.len() - 2]).is_err());
            }
        }
        assert_eq!(decode(&wipe(ACTOR, 5)).unwrap(), left(5, What::Wipe));
        let mark = SyncMark { rev: Tid(3), since_ms: -1 };
        assert_eq!(decode(&sweep(ACTOR, i64::MIN, mark)).unwrap(), left(i64::MIN, What::Sweep(mark)));
    }
}
