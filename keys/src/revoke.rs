//! Revoke: the end of a key's use by decision, with the reason that is kept with it (KMIP 1.4 §4.20).

use crate::attributes::{Attributes, Revocation};
use crate::error::Error;
use crate::id::Time;
use crate::lifecycle::Event;
use crate::policy::Authorized;
use crate::policy::verb::Revoke;
use crate::unit::Unit;
use crate::vault::{Vault, View};

impl Vault {
    /// Stages the revocation of a key: Compromised if the reason says so, else Deprecated; returns the key as it will be.
    ///
    /// - `occurred`: since when it has been compromised; without it, since it was made. It means nothing with another reason.
    ///
    /// # Errors
    /// [`Error::WrongState`] by the lifecycle table; [`Error::Denied`] for a service's default key, which is replaced by ReKey instead.
    pub async fn revoke(
        &self,
        unit: &mut Unit,
        authorized: Authorized<Revoke>,
        revocation: Revocation,
        occurred: Option<Time>,
    ) -> Result<View, Error> {
        let is_compromise = revocation.is_compromise();
        let event = if is_compromise { Event::Compromise } else { Event::Deprecate };
        let edit = |attributes: &mut Attributes, now: Time| {
            if is_compromise {
                attributes.dates.compromise = Some(now);
                attributes.dates.compromise_occurrence = occurred.or(Some(attributes.dates.initial));
            } else {
                attributes.dates.deactivation = Some(now);
            }
            attributes.revocation = Some(revocation);
        };
        self.change_seen(unit, authorized, event, edit).await
    }
}
