//! What others may ask of the writer.

use skyweir_store::{Deliveries, DeliveryReport, Enrol, EnrolReason};
use skyweir_types::{ActorId, ItemId};

/// The writer, as reads and the admin port see it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

impl Enrol for Handle {
    fn enrol(&self, _viewer: ActorId, _why: EnrolReason) {}
    fn touch(&self, _viewer: ActorId) {}
    fn lower_rate(&self, _viewer: ActorId, _rate: f32) {}
    fn caught_up(&self) -> bool {
        true
    }
}

impl Deliveries for Handle {
    fn delivery(&self, _item: ItemId) -> Option<DeliveryReport> {
        None
    }
}
