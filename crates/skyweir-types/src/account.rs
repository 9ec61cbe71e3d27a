//! States of an account (contract, rule 9).

/// What an account event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccountStatus {
    /// Its items are shown.
    #[default]
    Active,
    /// Deactivated, suspended, taken down, or an unknown reason: hidden until it is active again.
    Hidden,
    /// Its records are gone for good.
    Deleted,
}

impl AccountStatus {
    /// Reads the fields of an account event: `active` decides, the status only tells a deletion from the rest.
    #[must_use]
    pub fn from_event(active: bool, status: Option<&str>) -> Self {
        match (active, status) {
            (true, _) => Self::Active,
            (false, Some("deleted")) => Self::Deleted,
            (false, _) => Self::Hidden,
        }
    }
}
