//! The accounting of an item, found by its URI.

use std::sync::Arc;

use skyweir_store::{Deliveries, DeliveryReport, RecordBody, Store};
use skyweir_types::RecordRef;

use crate::{Error, uri};

/// Finds the accounting of items.
pub struct DeliveryReader {
    store: Arc<dyn Store>,
    deliveries: Arc<dyn Deliveries>,
}

impl DeliveryReader {
    /// Joins the parts.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, deliveries: Arc<dyn Deliveries>) -> Self {
        Self { store, deliveries }
    }

    /// The accounting of the item that is current under this AT-URI.
    ///
    /// # Errors
    /// [`Error::Uri`] for a malformed question, [`Error::NoItem`] and [`Error::NoDelivery`] when there is nothing,
    /// [`Error::Store`] when there is no answer.
    pub async fn report(&self, uri: &str) -> Result<DeliveryReport, Error> {
        let (did, collection, rkey) = uri::parse(uri).ok_or(Error::Uri)?;
        let view = self.store.view().await?;
        let actor = view.actor(&did).await?.ok_or(Error::NoItem)?;
        let row = view.records(&[RecordRef { actor, collection, rkey }]).await?.pop().flatten();
        let item = match row.map(|row| row.body) {
            Some(RecordBody::Post { item, .. } | RecordBody::Repost { item: Some(item), .. }) => item,
            _ => return Err(Error::NoItem),
        };
        self.deliveries.delivery(item).ok_or(Error::NoDelivery)
    }
}
