//! The invariants of the edge sets: both hold the same edges, each edge has its records, and counts agree.

use skyweir_store::{RecordBody, Result};
use skyweir_types::{ActorId, Collection, RecordKey, RecordRef};

use super::{Finding, Report, Tables};
use crate::hinted;
use crate::table::duplicates::{self, Row};
use crate::table::follows::Edge;
use crate::table::heads::{Head, Packed};
use crate::table::{Table, actors, follow_blocks, followers};

/// How many followers are compared at a time.
const PAGE: usize = 10_000;

/// What is counted of one account.
#[derive(Clone, Copy, Default)]
struct Counted {
    follows: u32,
    /// How many edges of `follows` end here.
    followers: u32,
    /// Whether there are rows or blocks of followers.
    listed: bool,
    /// How many followers these list.
    list: u32,
}

#[derive(Default)]
struct Counts(Vec<Counted>);

impl Counts {
    fn of(&mut self, actor: ActorId) -> &mut Counted {
        let at = actor.0 as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, Counted::default());
        }
        &mut self.0[at]
    }
}

impl Tables<'_> {
    pub(super) fn edge(&self, follower: ActorId, subject: ActorId) -> Result<Option<Edge>> {
        follow_blocks::edge(self.0, follower, subject)
    }

    /// Whether the record of this key is a living follow of the subject.
    fn is_follow(&self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        let record = RecordRef { actor: follower, collection: Collection::Follow, rkey: rkey.clone() };
        Ok(self.row(&record)?.map(|row| row.body) == Some(RecordBody::Follow { subject }))
    }

    /// Whether an edge's record is there; the only one, if there is a hint at it.
    fn has_record(&self, follower: ActorId, subject: ActorId, edge: &Edge) -> Result<bool> {
        let hint = match edge {
            Edge::Keyed(edge) => return self.is_follow(follower, subject, &edge.first),
            Edge::Hinted(hint) => *hint,
        };
        let mut found = 0;
        hinted::visit(self.0, follower, hint, &mut |_, other| {
            found += u32::from(other == subject);
            Ok(true)
        })?;
        Ok(found == 1)
    }

    pub(super) fn check_edges(&self, report: &mut Report) -> Result<()> {
        let mut counts = Counts::default();
        let mut recorded = Finding::new("every edge has its follow records");
        self.all_edges(&mut |follower, subject, edge| {
            counts.of(follower).follows += 1;
            counts.of(subject).followers += 1;
            report.holdings.edges += 1;
            recorded.expect(self.has_record(follower, subject, edge)?, || {
                format!("{follower} follows {subject} by record {edge:?}")
            });
            Ok(())
        })?;
        self.check_duplicates(&mut recorded)?;
        let blocks = self.check_blocks(&mut counts)?;
        let sets = self.check_followers(&mut counts)?;
        let counted = self.check_counts(&counts)?;
        report.findings.extend([sets, recorded, blocks, counted]);
        Ok(())
    }

    fn check_duplicates(&self, recorded: &mut Finding) -> Result<()> {
        self.all(Table::Duplicates, &mut |key, value| {
            let (follower, subject, row) = duplicates::read_key(key)?;
            let (number, rkey, mirror) = match row {
                Row::Arrival(number) => {
                    let rkey = duplicates::decode_rkey(value)?;
                    let mirror = duplicates::record_key(follower, subject, &rkey);
                    (number, rkey, mirror)
                }
                Row::Record(rkey) => {
                    let number = duplicates::decode_number(value)?;
                    (number, rkey, duplicates::arrival_key(follower, subject, number))
                }
            };
            let edge = self.edge(follower, subject)?;
            let numbered = match edge {
                Some(Edge::Keyed(edge)) => edge.first != rkey && number > edge.gone && number <= edge.last,
                _ => false,
            };
            let holds = numbered
                && self.has(Table::Duplicates, &mirror)?
                && self.is_follow(follower, subject, &rkey)?;
            recorded.expect(holds, || format!("{follower} follows {subject} by record {rkey} too"));
            Ok(true)
        })
    }

    /// Blocks of one author follow each other; it knows that it has them.
    fn check_blocks(&self, counts: &mut Counts) -> Result<Finding> {
        let mut blocks = Finding::new("blocks and rows of followers are as their authors' heads say");
        let mut before = None;
        let mut members = Vec::new();
        self.all(Table::FollowerBlocks, &mut |key, value| {
            members.clear();
            let author = followers::decode_block(key, value, &mut members)?;
            let is_first = before.is_none_or(|(other, _)| other != author);
            let above = before.is_none_or(|(_, greatest)| members.first() > Some(&greatest));
            let known = !is_first || self.head(author)?.packed.is_some();
            let holds = (is_first || above) && known && members.len() <= followers::MOST;
            blocks.expect(holds, || format!("account {author}, up to {:?}", members.last()));
            before = members.last().map(|greatest| (author, *greatest));
            counts.of(author).listed = true;
            Ok(true)
        })?;
        self.all(Table::Followers, &mut |key, value| {
            let (author, layer, follower) = followers::read_row_key(key)?;
            counts.of(author).listed = true;
            let there = followers::decode_row(value)?;
            let packed = self.head(author)?.packed;
            let holds = match packed {
                None => layer == 0 && there,
                Some(Packed { layer: written, folding, .. }) => {
                    let below = layer == written.wrapping_sub(1);
                    layer == written || folding.is_some_and(|next| below && follower >= next)
                }
            };
            blocks.expect(holds, || {
                format!("account {author}, {packed:?}: row of {follower} in layer {layer}")
            });
            Ok(true)
        })?;
        Ok(blocks)
    }

    /// All followers are edges, and as many: then both sets are the same.
    fn check_followers(&self, counts: &mut Counts) -> Result<Finding> {
        let mut sets = Finding::new("both edge sets hold the same edges");
        for (author, counted) in (0..).map(ActorId).zip(&mut counts.0) {
            let packed = self.head(author)?.packed;
            let mut after = None;
            while counted.listed {
                let page = followers::page(self.0, author, packed, after, PAGE)?;
                for follower in &page {
                    sets.expect(self.edge(*follower, author)?.is_some(), || {
                        format!("{follower} is among the followers of {author}, but doesn't follow it")
                    });
                }
                counted.list += page.len() as u32;
                after = page.last().copied();
                if page.len() < PAGE {
                    break;
                }
            }
            if counted.list != counted.followers {
                let Counted { list, followers, .. } = counted;
                sets.expect(false, || format!("{followers} follow {author}, {list} are listed"));
            }
        }
        Ok(sets)
    }

    fn check_counts(&self, counts: &Counts) -> Result<Finding> {
        let mut sizes = Finding::new("follow counts are the sizes of the edge sets");
        let mut with_head = 0;
        self.all(Table::Heads, &mut |key, value| {
            let (actor, head) = (actors::read_number(key)?, Head::decode(value)?);
            let Counted { follows, followers, .. } =
                counts.0.get(actor.0 as usize).copied().unwrap_or_default();
            with_head += u64::from(follows + followers > 0);
            sizes.expect((head.follows, head.followers) == (follows, followers), || {
                format!(
                    "account {actor} has {follows}/{followers}, stored {}/{}",
                    head.follows, head.followers
                )
            });
            Ok(true)
        })?;
        let with_edges = counts.0.iter().filter(|counted| counted.follows + counted.followers > 0).count();
        sizes.expect(with_edges as u64 == with_head, || "accounts with edges and without a row".into());
        Ok(sizes)
    }
}
