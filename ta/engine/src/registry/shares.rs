//! What each TAM can count on, however much the others use.

use otrp_wire::limits::{
    SD_LIMIT, SD_SHARE, TA_LIMIT, TA_SHARE, TAM_LIMIT, UUID_LIMIT, UUID_SHARE,
};

const _: () = assert!(
    TAM_LIMIT * SD_SHARE <= SD_LIMIT
        && TAM_LIMIT * TA_SHARE <= TA_LIMIT
        && TAM_LIMIT * UUID_SHARE <= UUID_LIMIT,
    "there are more shares than there is to share"
);

/// Something of which a device has a limited number, shared out among TAMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Security domains.
    Sds,
    /// Installed trusted applications.
    Tas,
    /// UUIDs that are remembered.
    Uuids,
}

impl Resource {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Sds, Self::Tas, Self::Uuids];

    /// How many there are, and how many each TAM can count on.
    pub(super) const fn limit_and_share(self) -> (usize, usize) {
        match self {
            Self::Sds => (SD_LIMIT, SD_SHARE),
            Self::Tas => (TA_LIMIT, TA_SHARE),
            Self::Uuids => (UUID_LIMIT, UUID_SHARE),
        }
    }

    /// Whether there is capacity for `total` in use and for the rest of the share of each TAM, which uses
    /// as many of them as `used` says. What is in use and nobody's of `used` was left by TAMs that
    /// are no longer known.
    pub(super) fn fits(self, total: usize, used: impl IntoIterator<Item = usize>) -> bool {
        let (limit, share) = self.limit_and_share();
        let rests = used.into_iter().map(|used| share.saturating_sub(used));
        rests.fold(total, usize::saturating_add) <= limit
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that panics has found something"
)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn shares_fit_up_to_the_limit() {
        for resource in Resource::ALL {
            let (limit, share) = resource.limit_and_share();
            // Alone, one TAM has all but the shares of the others.
            let most = limit - (TAM_LIMIT - 1) * share;
            let alone = |used| {
                let others = vec![0; TAM_LIMIT - 1];
                resource.fits(used, [vec![used], others].concat())
            };
            assert!(alone(0) && alone(share) && alone(most));
            assert!(!alone(most + 1));
            // What others use of their shares changes nothing, what they use beyond does.
            let beside = |used: usize, other: usize| {
                let rest = vec![0; TAM_LIMIT - 2];
                resource.fits(used + other, [vec![used, other], rest].concat())
            };
            assert!(beside(most, share) && !beside(most + 1, 0));
            assert!(beside(most - 1, share + 1) && !beside(most, share + 1));
            // Nor does it matter whether somebody is known who left them.
            let forgotten = limit - TAM_LIMIT * share;
            assert!(resource.fits(forgotten, vec![0; TAM_LIMIT]));
            assert!(!resource.fits(forgotten + 1, vec![0; TAM_LIMIT]));
            assert!(resource.fits(limit, []) && !resource.fits(limit + 1, []));
        }
    }

    /// TAMs come, take, give back, and leave things behind when they go, as a sequence of numbers has
    /// it: whoever is known has its share.
    #[test]
    fn whoever_is_known_has_its_share() {
        for resource in Resource::ALL {
            let (limit, share) = resource.limit_and_share();
            let (mut used, mut left): (Vec<usize>, usize) = (Vec::new(), 0);
            let (mut seed, mut refused, mut turned_away) = (1_u64, 0, 0);
            for _ in 0..100_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let dice = usize::try_from(seed >> 40).unwrap_or_default();
                let total = left + used.iter().sum::<usize>();
                let who = (dice / 16) % (used.len() + 1);
                match (dice % 16, used.get(who).copied()) {
                    (0, _) if used.len() < TAM_LIMIT => {
                        if resource.fits(total, used.iter().copied().chain([0])) {
                            used.push(0);
                        } else {
                            turned_away += 1;
                        }
                    }
                    (1, Some(own)) => {
                        left += own;
                        used.remove(who);
                    }
                    (2, Some(own)) if own > 0 => used[who] -= 1,
                    (3, _) => left = left.saturating_sub(limit / 8),
                    (_, Some(own)) => {
                        let mut after = used.clone();
                        after[who] += 1;
                        after.resize(TAM_LIMIT, 0);
                        if own < share || resource.fits(total + 1, after) {
                            used[who] += 1;
                        } else {
                            refused += 1;
                        }
                    }
                    _ => {}
                }
                let total = left + used.iter().sum::<usize>();
                assert!(resource.fits(total, used.iter().copied()), "{used:?} and {left}");
            }
            assert!(refused > 0 && turned_away > 0, "{refused}, {turned_away}");
        }
    }
}
