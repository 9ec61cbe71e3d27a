//! Readers come, the celebrity posts, and what became of it is read back over gRPC.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use indicatif::HumanCount;
use skyweir_loadtest::{Network, Upstream};
use skyweir_proto::skyweir::v1::{
    GetDeliveryRequest, GetDeliveryResponse, GetFollowCountsRequest, GetTimelineRequest, GetTimelineResponse,
};
use skyweir_types::Clock;
use tokio::time::Instant;
use tonic::Code;

use super::post;
use super::stage::{Stage, short};
use crate::client::{self, Client, refused};

/// A share of 1/20 of all accounts reads.
const READERS: u32 = 20;
/// How often the celebrity posts.
const POSTS: u64 = 10;
/// Enrolling all readers, or the fan-out of one post, has to be over by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// The acts after the history.
pub(super) struct Show<'a> {
    network: &'a Network,
    upstream: &'a Upstream,
    stage: &'a Stage,
    clock: &'a Clock,
    client: Client,
    reasonable_limit: u32,
}

impl<'a> Show<'a> {
    /// Connects to the service as any client does.
    pub(super) async fn open(
        network: &'a Network,
        upstream: &'a Upstream,
        stage: &'a Stage,
        clock: &'a Clock,
        grpc: &str,
        reasonable_limit: u32,
    ) -> Result<Self> {
        let client = client::connect(grpc).await?;
        Ok(Self { network, upstream, stage, clock, client, reasonable_limit })
    }

    /// All of them.
    pub(super) async fn run(mut self) -> Result<()> {
        self.enrol().await?;
        let posts = self.celebrity().await?;
        self.timelines(&posts).await
    }

    /// Reads once, which enrols, then until the answer comes from the materialised timeline.
    async fn enrol(&mut self) -> Result<()> {
        let readers = self.network.actors() / READERS;
        self.stage.act("Readers come: a timeline is written to once it is read")?;
        let began = Instant::now();
        for actor in 1..=readers {
            self.read(actor, 50).await?;
        }
        self.stage.say(format_args!(
            "{} first reads, merged from the feeds of all that the reader follows: {} each",
            HumanCount(readers.into()),
            short(began.elapsed() / readers)
        ))?;
        let waited = Instant::now();
        let mut items = 0;
        for actor in 1..=readers {
            items += loop {
                let page = self.read(actor, 50).await?;
                if page.from_merge == 0 {
                    break u64::from(page.from_cache);
                }
                ensure!(
                    waited.elapsed() < PATIENCE,
                    "not all readers were enrolled after {} s",
                    PATIENCE.as_secs()
                );
                tokio::time::sleep(LOOK).await;
            };
        }
        ensure!(items > 0, "no timeline holds anything: the network is too small, try more --actors");
        let began = Instant::now();
        for actor in 1..=readers {
            self.read(actor, 50).await?;
        }
        self.stage.say(format_args!(
            "{} reads of materialised timelines: {} each, {} items in all",
            HumanCount(readers.into()),
            short(began.elapsed() / readers),
            HumanCount(items)
        ))
    }

    /// The URIs of the posts.
    async fn celebrity(&mut self) -> Result<Vec<String>> {
        let followers = self.counts(0).await?.0;
        self.stage.act("The celebrity posts")?;
        self.stage.say(format_args!(
            "{}, with {} followers",
            self.network.did(0),
            HumanCount(followers.into())
        ))?;
        let mut posts = Vec::new();
        for n in 1..=POSTS {
            let now_us = u64::try_from(self.clock.now_micros()).unwrap_or(0);
            let event = post(self.network, now_us, &format!("Post {n} of {POSTS}."));
            let uri = format!("at://{}/{}/{}", event.did, super::POST, skyweir_loadtest::tid(now_us, 0));
            let began = Instant::now();
            self.upstream.push(event);
            let report = self.delivered(&uri).await?;
            self.stage.say(format_args!(
                "post {n:>2}: {}; seen here {} after it was sent",
                told(&report)?,
                short(began.elapsed())
            ))?;
            posts.push(uri);
        }
        self.stage.say(
            "Hibernating timelines nobody reads; if somebody does, they are merged, with every post in them.",
        )?;
        Ok(posts)
    }

    async fn delivered(&mut self, uri: &str) -> Result<GetDeliveryResponse> {
        let began = Instant::now();
        loop {
            match self.client.get_delivery(GetDeliveryRequest { uri: uri.to_owned() }).await {
                Ok(report) if report.get_ref().finished => return Ok(report.into_inner()),
                Ok(_) => {}
                // not applied, or not begun
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(refused(&status)),
            }
            ensure!(began.elapsed() < PATIENCE, "the fan-out did not finish within {} s", PATIENCE.as_secs());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A few timelines: two whole ones, and a sample.
    async fn timelines(&mut self, posts: &[String]) -> Result<()> {
        self.stage.act("Timelines, read over gRPC")?;
        let (mut whole, mut sampled) = (0, 0);
        let network = self.network;
        let followers = |actor: &u32| network.followees(*actor).contains(&0);
        for actor in (1..=network.actors() / READERS).filter(followers) {
            let page = self.read(actor, 4).await?;
            match page.sampled {
                true if sampled == 0 && page.items.len() == 4 => {
                    sampled += 1;
                    self.print(actor, &page).await?;
                    self.lost(actor, posts).await?;
                }
                false if whole < 2 && page.items.len() == 4 => {
                    whole += 1;
                    self.print(actor, &page).await?;
                }
                _ => {}
            }
        }
        ensure!(
            whole + sampled > 0,
            "no timeline has four items: the network is too small, try more --actors"
        );
        Ok(())
    }

    async fn print(&mut self, actor: u32, page: &GetTimelineResponse) -> Result<()> {
        let follows = self.counts(actor).await?.1;
        self.stage.say(format_args!(
            "{}, who follows {}:",
            self.network.did(actor),
            HumanCount(follows.into())
        ))?;
        for item in &page.items {
            self.stage.say(format_args!("  {}", client::line(item)))?;
        }
        Ok(())
    }

    /// What a reader that follows far too many does not see.
    async fn lost(&mut self, actor: u32, posts: &[String]) -> Result<()> {
        let mut request = self.request(actor, 100);
        let (mut items, mut celebrity) = (0_u64, 0);
        let rate = loop {
            let page = self.client.get_timeline(request.clone()).await.map_err(|status| refused(&status))?;
            let page = page.into_inner();
            items += page.items.len() as u64;
            celebrity +=
                page.items.iter().filter(|item| !item.is_repost && posts.contains(&item.uri)).count();
            if page.cursor.is_empty() {
                break page.rate;
            }
            request.cursor = page.cursor;
        };
        let all = HumanCount((items as f64 / f64::from(rate)) as u64);
        let (limit, items) = (self.reasonable_limit, HumanCount(items));
        self.stage.say(format_args!(
            "  That is more than the reasonable limit of {limit}, so it is a sample at a rate of {rate:.3}: {items} items \
             of about {all}. Of the celebrity's {POSTS} posts it shows {celebrity}."
        ))
    }

    fn request(&self, actor: u32, limit: i32) -> GetTimelineRequest {
        GetTimelineRequest { actor_did: self.network.did(actor), limit, ..GetTimelineRequest::default() }
    }

    async fn read(&mut self, actor: u32, limit: i32) -> Result<GetTimelineResponse> {
        let request = self.request(actor, limit);
        Ok(self.client.get_timeline(request).await.map_err(|status| refused(&status))?.into_inner())
    }

    /// How many follow an account, and how many it follows.
    async fn counts(&mut self, actor: u32) -> Result<(u32, u32)> {
        let request = GetFollowCountsRequest { actor_did: self.network.did(actor) };
        let counts =
            self.client.get_follow_counts(request).await.map_err(|status| refused(&status))?.into_inner();
        Ok((counts.followers, counts.follows))
    }
}

/// The accounting in words, once its sums balance.
fn told(report: &GetDeliveryResponse) -> Result<String> {
    let GetDeliveryResponse { followers, written, below_floor, sampled_out, hibernating, .. } = *report;
    if followers != written + below_floor + sampled_out + hibernating {
        bail!("the accounting does not balance: {report:?}");
    }
    let took = u64::try_from(report.finished_at_us - report.started_at_us).unwrap_or(0);
    let [followers, written, below_floor, sampled_out, hibernating] =
        [followers, written, below_floor, sampled_out, hibernating].map(HumanCount);
    Ok(format!(
        "{followers} followers = {written} written + {below_floor} below the floor + {sampled_out} sampled out + \
         {hibernating} hibernating, in {}",
        short(Duration::from_micros(took))
    ))
}
