//! The follow graph as a function: who follows whom is computed from seed and number whenever it is asked.

use super::NetworkSpec;
use crate::prng::Prng;
use std::collections::HashSet;

/// Accounts with at least so many followers, of all 11,316,811 accounts of the 2009 Twitter crawl of the Social
/// Computing Data Repository (Arizona State University).
const FOLLOWER_CCDF: [(f64, f64); 17] = [
    (1.0, 6_626_985.0),
    (2.0, 2_850_180.0),
    (5.0, 1_224_301.0),
    (10.0, 688_106.0),
    (20.0, 386_003.0),
    (50.0, 162_663.0),
    (100.0, 79_270.0),
    (200.0, 34_933.0),
    (500.0, 11_356.0),
    (1_000.0, 5_689.0),
    (2_000.0, 3_406.0),
    (5_000.0, 1_712.0),
    (10_000.0, 809.0),
    (20_000.0, 408.0),
    (50_000.0, 116.0),
    (100_000.0, 32.0),
    (200_000.0, 4.0),
];
const CRAWLED: f64 = 11_316_811.0;
const MOST_FOLLOWERS: f64 = 564_512.0;
const OUT_SIGMA: f64 = 1.8;
const ACTIVITY_SIGMA: f64 = 2.3;
const MASS_FOLLOW_LIMIT: f64 = 50_000.0;

mod purpose {
    pub(super) const WEIGHT: u64 = 1;
    pub(super) const FOLLOWS: u64 = 2;
    pub(super) const ACTIVITY: u64 = 3;
}

/// Cumulated weights, and what is needed to draw by them.
#[derive(Debug)]
pub(super) struct Graph {
    seed: u64,
    actors: u32,
    celebrities: u32,
    celebrity_share: f64,
    mass_followers: u32,
    mass_degree: u32,
    mean_follows: f64,
    /// Cumulated weight of being followed.
    followed: Vec<f64>,
    /// Cumulated weight of being active.
    active: Vec<f64>,
}

impl Graph {
    pub(super) fn new(spec: &NetworkSpec) -> Self {
        let mut followed = Vec::with_capacity(spec.actors as usize);
        let mut active = Vec::with_capacity(spec.actors as usize);
        let (mut followed_sum, mut active_sum) = (0.0, 0.0);
        for actor in 0..spec.actors {
            let celebrity = actor < spec.celebrities;
            let weight = follower_weight(Prng::new(spec.seed, purpose::WEIGHT, actor.into()).unit());
            followed_sum += if celebrity { 0.0 } else { weight };
            followed.push(followed_sum);
            // who has more followers posts more; the exponent is an assumption, the spread is measured
            let fame = if celebrity { MOST_FOLLOWERS } else { 1.0 + weight };
            let normal = Prng::new(spec.seed, purpose::ACTIVITY, actor.into()).normal();
            active_sum += (ACTIVITY_SIGMA * normal).exp() * fame.powf(0.4);
            active.push(active_sum);
        }
        if followed_sum == 0.0 {
            // a handful of accounts, all without followers by chance: let them be alike
            followed.iter_mut().enumerate().for_each(|(i, sum)| *sum = (i + 1) as f64);
        }
        let mass_degree = (f64::from(spec.actors) * spec.mass_follow_share).min(MASS_FOLLOW_LIMIT) as u32;
        Self {
            seed: spec.seed,
            actors: spec.actors,
            celebrities: spec.celebrities,
            celebrity_share: spec.celebrity_share,
            mass_followers: spec.mass_followers,
            mass_degree,
            mean_follows: spec.mean_follows,
            followed,
            active,
        }
    }

    /// An actor by its weight of being followed; never a celebrity, unless all are.
    pub(super) fn draw_followed(&self, prng: &mut Prng) -> u32 {
        draw(&self.followed, prng)
    }

    /// An actor by its activity.
    pub(super) fn draw_active(&self, prng: &mut Prng) -> u32 {
        draw(&self.active, prng)
    }

    pub(super) fn is_celebrity(&self, actor: u32) -> bool {
        actor < self.celebrities
    }

    pub(super) fn followees(&self, actor: u32) -> Vec<u32> {
        let mut prng = Prng::new(self.seed, purpose::FOLLOWS, actor.into());
        let mut followees: Vec<u32> = (0..self.celebrities)
            .filter(|celebrity| prng.chance(self.celebrity_share) && *celebrity != actor)
            .collect();
        let is_mass = (self.celebrities..self.celebrities + self.mass_followers).contains(&actor);
        // celebrities are drawn apart, so that their share is what the spec says
        let ordinary = self.actors - self.celebrities;
        let others = ordinary - u32::from(!self.is_celebrity(actor));
        if is_mass {
            followees.extend(self.walk(&mut prng, actor).take(self.mass_degree.min(others) as usize));
            return followees;
        }
        let mu = self.mean_follows.ln() - OUT_SIGMA * OUT_SIGMA / 2.0;
        let wanted = (mu + OUT_SIGMA * prng.normal()).exp() + prng.unit();
        let wanted = (wanted as u32).min(self.actors / 2).min(others) as usize;
        let mut seen: HashSet<u32> = HashSet::with_capacity(wanted);
        let start = followees.len();
        for _ in 0..wanted * 4 {
            if seen.len() == wanted {
                break;
            }
            let followee = self.draw_followed(&mut prng);
            if followee != actor && !self.is_celebrity(followee) && seen.insert(followee) {
                followees.push(followee);
            }
        }
        // a few hubs take most draws in a small network: fill up evenly
        let missing = wanted - (followees.len() - start);
        let walk: Vec<u32> =
            self.walk(&mut prng, actor).filter(|followee| !seen.contains(followee)).take(missing).collect();
        followees.extend(walk);
        followees
    }

    /// All ordinary accounts but `actor`, each once, from a random one on in random steps.
    fn walk(&self, prng: &mut Prng, actor: u32) -> impl Iterator<Item = u32> + use<> {
        let (first, count) = (self.celebrities, u64::from(self.actors - self.celebrities));
        let start = prng.below(count);
        let mut step = 1 + prng.below(count);
        while gcd(step, count) != 1 {
            step += 1;
        }
        (0..count)
            .map(move |i| first + ((start + i * step) % count) as u32)
            .filter(move |other| *other != actor)
    }
}

/// The number of followers above which a share `u` of all accounts lies, by straight lines in log-log paper.
fn follower_weight(u: f64) -> f64 {
    let users = u * CRAWLED;
    if users >= FOLLOWER_CCDF[0].1 {
        return 0.0;
    }
    let tail = (MOST_FOLLOWERS, 1.0);
    for (i, (low, at_least)) in FOLLOWER_CCDF.iter().enumerate() {
        let (high, at_least_high) = FOLLOWER_CCDF.get(i + 1).copied().unwrap_or(tail);
        if users > at_least_high {
            let along = (users / at_least).ln() / (at_least_high / at_least).ln();
            return low * (high / low).powf(along);
        }
    }
    MOST_FOLLOWERS
}

fn draw(cumulated: &[f64], prng: &mut Prng) -> u32 {
    let total = cumulated.last().copied().unwrap_or(0.0);
    let at = prng.unit() * total;
    // rounding may put `at` on the very end
    cumulated.partition_point(|sum| *sum <= at).min(cumulated.len() - 1) as u32
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(actors: u32) -> Graph {
        Graph::new(&NetworkSpec { actors, mean_follows: 20.0, ..NetworkSpec::default() })
    }

    #[test]
    fn weights_follow_the_table() {
        for (followers, users) in FOLLOWER_CCDF {
            let weight = follower_weight(users / CRAWLED * 0.999_999);
            assert!((weight / followers - 1.0).abs() < 0.01, "{weight} for {followers}");
        }
        assert_eq!(follower_weight(0.9), 0.0);
        assert_eq!(follower_weight(1e-12), MOST_FOLLOWERS);
    }

    #[test]
    fn the_graph_is_heavy_tailed_and_simple() {
        let actors = 20_000;
        let graph = graph(actors);
        let mut followers = vec![0_u32; actors as usize];
        let mut ordinary = 0;
        for actor in 0..actors {
            let followees = graph.followees(actor);
            assert_eq!(followees, graph.followees(actor));
            let distinct: HashSet<_> = followees.iter().collect();
            assert_eq!(distinct.len(), followees.len());
            assert!(!followees.contains(&actor));
            followees.iter().for_each(|followee| followers[*followee as usize] += 1);
            ordinary += if actor == 1 { 0 } else { followees.iter().filter(|f| **f > 0).count() };
        }
        let mean = ordinary as f64 / f64::from(actors);
        assert!((14.0..26.0).contains(&mean), "mean follows {mean}");
        let share = f64::from(followers[0]) / f64::from(actors);
        assert!((0.68..0.72).contains(&share), "celebrity share {share}");
        assert_eq!(graph.followees(1).iter().filter(|f| **f > 0).count(), 10_000, "the mass follower");
        let mut rest = followers.split_off(1);
        rest.sort_unstable_by(|a, b| b.cmp(a));
        let all: u32 = rest.iter().sum();
        let top: u32 = rest[..200].iter().sum();
        assert!(f64::from(top) / f64::from(all) > 0.3, "the top percent holds {top} of {all}");
    }

    #[test]
    fn the_table_is_that_of_the_measured_histogram() {
        let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let shared = std::env::var_os("SKYWEIR_SHARED").map_or(beside, Into::into);
        let file = shared.join("data/graphs/twitter-2009-follower-histogram.preseqR.txt");
        let Ok(text) = std::fs::read_to_string(&file) else {
            assert!(std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"), "no {}", file.display());
            println!("skipped: no {}", file.display());
            return;
        };
        let numbers =
            |line: &str| line.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let histogram: Vec<(f64, f64)> = text.lines().filter_map(numbers).collect();
        for (followers, users) in FOLLOWER_CCDF {
            let counted: f64 =
                histogram.iter().filter(|(at, _)| *at >= followers).map(|(_, users)| users).sum();
            assert_eq!(counted, users, "{followers} followers");
        }
        assert_eq!(histogram.last().map(|(most, _)| *most), Some(MOST_FOLLOWERS));
    }

    #[test]
    fn followers_are_spread_as_in_the_measured_histogram() {
        let actors = 100_000;
        let spec = NetworkSpec {
            actors,
            mean_follows: 12.0,
            mass_followers: 0,
            celebrities: 0,
            ..NetworkSpec::default()
        };
        let graph = Graph::new(&spec);
        let mut followers = vec![0.0_f64; actors as usize];
        for actor in 0..actors {
            graph.followees(actor).iter().for_each(|followee| followers[*followee as usize] += 1.0);
        }
        followers.sort_unstable_by(|a, b| b.total_cmp(a));
        // a hub can't have more followers than there are, and what it lacks goes to all others: the scale of the rest
        // is taken where it is surest. The smaller and denser a network, the flatter its top.
        let (least, users) = FOLLOWER_CCDF[4];
        let scale = followers[(users / CRAWLED * f64::from(actors)) as usize] / least;
        let mut compared = 0;
        for (least, users) in FOLLOWER_CCDF {
            let wanted = users / CRAWLED * f64::from(actors);
            // few followers are a matter of chance, and so are few accounts
            if least * scale < 10.0 || wanted < 60.0 {
                continue;
            }
            let found = followers.iter().filter(|count| **count >= least * scale).count() as f64;
            let off = found / wanted - 1.0;
            assert!(
                off.abs() < 0.25,
                "{found} for {wanted:.0} with {least} followers or more (scale {scale})"
            );
            compared += 1;
        }
        assert!(compared >= 5, "only {compared} steps of the histogram could be compared");
    }

    #[test]
    fn tiny_networks_do_not_hang() {
        for actors in 2..20 {
            for seed in 0..20 {
                let spec =
                    NetworkSpec { seed, actors, celebrities: 0, mass_followers: 1, ..NetworkSpec::default() };
                let graph = Graph::new(&spec);
                for actor in 0..actors {
                    assert!(graph.followees(actor).len() < actors as usize);
                }
            }
        }
    }
}
