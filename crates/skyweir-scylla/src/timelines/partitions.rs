//! The partitions of timelines: what is read from one, and what is written to one in one step.

use std::collections::HashMap;
use std::sync::Arc;

use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use skyweir_store::Result;
use skyweir_types::{ActorId, Generation, ItemId, Reference};

use crate::error;
use crate::session::{Db, Use};
use crate::table::timeline::{self, Head, NewRow, floor_cell, key, rate_cell, time};

/// Stands behind every item of its millisecond.
const LAST_ITEM: i64 = i64::MAX;

/// The timelines' rows.
pub(super) struct Partitions {
    db: Arc<Db>,
    insert: PreparedStatement,
    publish: PreparedStatement,
    raise: PreparedStatement,
    lower: PreparedStatement,
    cut: PreparedStatement,
    wipe: PreparedStatement,
    page: PreparedStatement,
    head: PreparedStatement,
    heads: PreparedStatement,
    /// How many rows one request reads or writes.
    page_rows: usize,
    batch_rows: usize,
}

/// A page of a timeline.
pub(super) struct Page {
    /// (`sort_at`, item), newest first.
    pub(super) rows: Vec<(i64, ItemId)>,
    /// What stood in the partition as the rows were read.
    pub(super) head: Option<Head>,
    /// Nothing comes after the rows.
    pub(super) ended: bool,
}

/// Statements for one partition, in one request.
struct OneStep {
    batch: Batch,
    values: Vec<Vec<CqlValue>>,
}

impl OneStep {
    fn new() -> Self {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        Self { batch, values: Vec::new() }
    }

    fn add<const N: usize>(&mut self, statement: &PreparedStatement, values: [CqlValue; N]) {
        self.batch.append_statement(statement.clone());
        self.values.push(values.into());
    }

    async fn run(self, db: &Db) -> Result<()> {
        if self.values.is_empty() {
            return Ok(());
        }
        // fan-out waits for trims: one node that hangs must not be waited for
        let Self { mut batch, values } = self;
        batch.set_execution_profile_handle(Some(db.speculating().clone()));
        let done = db.session().batch(&batch, values).await;
        done.map(|_| ()).map_err(|e| error::execution("timeline", &e))
    }
}

impl Partitions {
    pub(super) async fn prepare(db: &Arc<Db>, page_rows: usize, batch_rows: usize) -> Result<Self> {
        Ok(Self {
            db: Arc::clone(db),
            insert: db.prepare(Use::Write, timeline::INSERT).await?,
            publish: db.prepare(Use::Write, timeline::PUBLISH).await?,
            raise: db.prepare(Use::Write, timeline::RAISE).await?,
            lower: db.prepare(Use::Write, timeline::LOWER).await?,
            cut: db.prepare(Use::Write, timeline::CUT).await?,
            wipe: db.prepare(Use::Write, timeline::WIPE).await?,
            page: db.prepare(Use::Read, timeline::PAGE).await?,
            head: db.prepare(Use::Read, timeline::HEAD).await?,
            heads: db.prepare(Use::Read, timeline::HEADS).await?,
            page_rows: page_rows.max(2),
            batch_rows: batch_rows.max(1),
        })
    }

    /// The statement that writes one reference.
    pub(super) fn insert(&self) -> &PreparedStatement {
        &self.insert
    }

    /// The newest `n` rows, or as many as one request reads, above `floor` and below `below`: all of that millisecond
    /// if no item of it is named.
    pub(super) async fn page(
        &self,
        viewer: ActorId,
        (below_ms, below): (i64, Option<ItemId>),
        floor: i64,
        n: usize,
    ) -> Result<Page> {
        let n = n.clamp(1, self.page_rows);
        let below = below.map_or(LAST_ITEM, |item| item.0.cast_signed());
        let values = (key(viewer), below_ms, below, floor, LAST_ITEM, n as i32);
        let read = self.db.rows(&self.page, values).await?;
        let mut page =
            Page { rows: Vec::with_capacity(read.rows_num()), head: None, ended: read.rows_num() < n };
        let read = read.rows::<timeline::Row>().map_err(|e| error::unreadable("timeline", e))?;
        for row in read {
            let (sort_at, item, floor, rate, generation, at) =
                row.map_err(|e| error::unreadable("timeline", e))?;
            if page.rows.is_empty() {
                page.head = Head::read(floor.as_deref(), rate.as_deref(), generation, at)?;
            }
            page.rows.push((sort_at, ItemId(item.cast_unsigned())));
        }
        if page.rows.is_empty() {
            // where no row is matched, what stands once isn't told either
            page.head = self.head(viewer).await?;
        }
        Ok(page)
    }

    /// All rows above a floor, newest first.
    pub(super) async fn all(&self, viewer: ActorId, floor: i64) -> Result<Vec<(i64, ItemId)>> {
        self.between(viewer, i64::MAX, floor).await
    }

    /// All rows at or below a time and above a floor, newest first.
    pub(super) async fn between(
        &self,
        viewer: ActorId,
        to_ms: i64,
        floor: i64,
    ) -> Result<Vec<(i64, ItemId)>> {
        let (mut all, mut below) = (Vec::new(), (to_ms, None));
        loop {
            let mut page = self.page(viewer, below, floor, usize::MAX).await?;
            all.append(&mut page.rows);
            match all.last() {
                Some((sort_at, item)) if !page.ended => below = (*sort_at, Some(*item)),
                _ => return Ok(all),
            }
        }
    }

    /// What stands in a partition.
    pub(super) async fn head(&self, viewer: ActorId) -> Result<Option<Head>> {
        match self.db.first::<timeline::HeadRow>(&self.head, (key(viewer),)).await? {
            Some((_, floor, rate, generation, at)) => {
                Head::read(floor.as_deref(), rate.as_deref(), generation, at)
            }
            None => Ok(None),
        }
    }

    /// What stands in all partitions.
    pub(super) async fn heads(&self) -> Result<HashMap<ActorId, Head>> {
        let rows = self.db.scan::<timeline::HeadRow>(&self.heads).await?;
        let mut heads = HashMap::with_capacity(rows.len());
        for (viewer, floor, rate, generation, at) in rows {
            let head = Head::read(floor.as_deref(), rate.as_deref(), generation, at)?;
            heads.extend(head.map(|head| (timeline::viewer(viewer), head)));
        }
        Ok(heads)
    }

    /// Raises the floor, if one is given, then writes references, which stand above it. Of two floors of a generation the
    /// higher one counts, whoever writes it when; of one that fills it stands alone until the publication.
    pub(super) async fn change(
        &self,
        viewer: ActorId,
        generation: Generation,
        floor: Option<i64>,
        added: &[Reference],
    ) -> Result<()> {
        let mut step = OneStep::new();
        if let Some(floor) = floor {
            let cell = CqlValue::Blob(floor_cell(floor).into());
            step.add(&self.raise, [bigint(time(generation)), cell, int(viewer)]);
            self.cut(&mut step, viewer, generation, floor);
        }
        for reference in added {
            if step.values.len() >= self.batch_rows {
                std::mem::replace(&mut step, OneStep::new()).run(&self.db).await?;
            }
            let NewRow(viewer, sort_at, item, uri_hash, author, at) =
                timeline::new_row(viewer, reference, generation);
            let values = [
                CqlValue::Int(viewer),
                bigint(sort_at),
                bigint(item),
                bigint(uri_hash),
                CqlValue::Int(author),
                bigint(at),
            ];
            step.add(&self.insert, values);
        }
        step.run(&self.db).await
    }

    /// Makes what stands once, and drops what the floor is above, in one step: from then on the timeline answers.
    pub(super) async fn publish(&self, viewer: ActorId, head: Head) -> Result<()> {
        let Head { floor, rate, generation, published_at } = head;
        let mut step = OneStep::new();
        if floor > i64::MIN {
            self.cut(&mut step, viewer, generation, floor);
        }
        let values = [
            bigint(time(generation)),
            CqlValue::Blob(floor_cell(floor).into()),
            CqlValue::Blob(rate_cell(rate).into()),
            bigint(time(generation)),
            bigint(published_at),
            int(viewer),
        ];
        step.add(&self.publish, values);
        step.run(&self.db).await
    }

    fn cut(&self, step: &mut OneStep, viewer: ActorId, generation: Generation, floor: i64) {
        step.add(&self.cut, [bigint(time(generation)), int(viewer), bigint(floor)]);
    }

    /// Lowers the rate.
    pub(super) async fn lower(&self, viewer: ActorId, generation: Generation, rate: f32) -> Result<()> {
        self.db.write(&self.lower, (time(generation), rate_cell(rate), key(viewer))).await
    }

    /// Removes whatever was and will be written to generations up to this one.
    pub(super) async fn wipe(&self, viewer: ActorId, generation: Generation) -> Result<()> {
        self.db.write(&self.wipe, (time(generation), key(viewer))).await
    }
}

fn bigint(n: i64) -> CqlValue {
    CqlValue::BigInt(n)
}

fn int(viewer: ActorId) -> CqlValue {
    CqlValue::Int(key(viewer))
}
