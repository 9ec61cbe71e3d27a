//! `skyweir timeline`: reads a timeline from a running service.

use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use skyweir_proto::skyweir::v1::{GetTimelineRequest, GetTimelineResponse, TimelineItem};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::cli::TimelineOptions;
use crate::date::utc;

/// A service that hasn't answered by then is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Our own interface.
pub(crate) type Client = TimelineServiceClient<Channel>;

/// Prints a page, or all.
pub(crate) fn timeline(options: &TimelineOptions) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(print(options, &mut BufWriter::new(std::io::stdout().lock())))?;
    Ok(ExitCode::SUCCESS)
}

/// Opens a connection.
///
/// # Errors
/// Nobody answers there.
pub(crate) async fn connect(grpc: &str) -> Result<Client> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}"))
        .with_context(|| format!("{grpc:?} is no address: expected ADDR:PORT"))?
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE);
    let channel = endpoint.connect().await;
    let channel =
        channel.with_context(|| format!("nobody answers at {grpc}; does `skyweir serve` run there?"))?;
    Ok(TimelineServiceClient::new(channel))
}

/// Says what the service said.
pub(crate) fn refused(status: &Status) -> anyhow::Error {
    anyhow!("the service answered {:?}: {}", status.code(), status.message())
}

async fn print(options: &TimelineOptions, out: &mut impl Write) -> Result<()> {
    let mut client = connect(&options.grpc).await?;
    let mut request = GetTimelineRequest {
        actor_did: options.did.clone(),
        limit: options.limit,
        ..GetTimelineRequest::default()
    };
    let mut sums = Sums::default();
    loop {
        let answer = client.get_timeline(request.clone()).await;
        let page = answer.map_err(|status| refused(&status))?.into_inner();
        for item in &page.items {
            if options.json {
                writeln!(out, "{}", json(item))?;
            } else {
                writeln!(out, "{}", line(item))?;
            }
        }
        sums.add(&page);
        let more = !page.cursor.is_empty();
        request.cursor = page.cursor;
        if !(options.all && more) {
            if !options.json {
                writeln!(out, "{}", sums.line(more))?;
            }
            return Ok(out.flush()?);
        }
    }
}

fn json(item: &TimelineItem) -> serde_json::Value {
    json!({
        "uri": item.uri,
        "cid": item.cid,
        "repost": item.repost,
        "repost_cid": item.repost_cid,
        "is_reply": item.is_reply,
        "is_repost": item.is_repost,
        "is_quote_post": item.is_quote_post,
        "sort_at": item.sort_at,
    })
}

/// One item for people's eyes.
pub(crate) fn line(item: &TimelineItem) -> String {
    let kind = match item {
        TimelineItem { is_repost: true, .. } => "repost",
        TimelineItem { is_reply: true, .. } => "reply",
        TimelineItem { is_quote_post: true, .. } => "quote",
        _ => "post",
    };
    let by = if item.is_repost { format!("  by {}", item.repost) } else { String::new() };
    format!("{}  {kind:<6}  {}{by}", utc(item.sort_at), item.uri)
}

#[derive(Default)]
struct Sums {
    items: usize,
    from_cache: u32,
    from_merge: u32,
    rate: Option<f32>,
}

impl Sums {
    fn add(&mut self, page: &GetTimelineResponse) {
        self.items += page.items.len();
        self.from_cache += page.from_cache;
        self.from_merge += page.from_merge;
        self.rate = page.sampled.then_some(page.rate);
    }

    fn line(&self, more: bool) -> String {
        let Self { items, from_cache, from_merge, rate } = self;
        let sampled = rate.map(|rate| format!("; a sample, at a rate of {rate:.3}")).unwrap_or_default();
        let more = if more { "; there are more, --all reads them" } else { "" };
        format!(
            "{items} items, {from_cache} from the materialised timeline, {from_merge} merged{sampled}{more}"
        )
    }
}
