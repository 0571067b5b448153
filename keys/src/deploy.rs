//! A service's deployment, which its default key's next version comes with (ARCH-19).

use uuid::Uuid;

use crate::answers::Forwarded;
use crate::error::Error;
use crate::id::RowId;
use crate::tenancy::Service;
use crate::unit::Unit;
use crate::vault::{Vault, View};

/// A version that is younger than this, in milliseconds, is new enough for a further deployment.
pub const FRESH_MILLIS: i64 = 60 * 1000;

/// What a deployment has come to.
#[derive(Debug)]
pub enum Deployed {
    /// The default key has a next version.
    Rotated(View),
    /// Its version in force is new enough.
    Kept(View),
    /// The request came before, and this is the version that it has led to.
    Repeated(View),
}

impl Vault {
    /// Stages the next version of a service's default key, unless the one in force was made just now, or for the same request.
    ///
    /// - `request`: SHA-256 of what names the request; it is remembered for as long as an edge's is.
    ///
    /// # Errors
    /// As [`Vault::rekey`].
    pub async fn deploy_service(&self, unit: &mut Unit, service: &Service, request: Option<[u8; 32]>) -> Result<Deployed, Error> {
        let request = request.map(|asked| {
            let name = Uuid::from_bytes(*asked.first_chunk().expect("a hash has 32 bytes"));
            Forwarded { group: service.id, request: name, asked }
        });
        if let Some(request) = &request
            && let Some(answer) = self.remembered(request).await?
        {
            let key = RowId::from_bytes(&answer).ok_or_else(|| Error::corrupt("it names no key", "the answer to a deployment"))?;
            return Ok(Deployed::Repeated(self.view_of_row(&self.shelf.existing(key).await?).await?));
        }
        let row = self.row_in(unit, service.default_key).await?;
        let view = self.view_of_row(&row).await?;
        let age = self.now().millis().saturating_sub(view.attributes.dates.initial.millis());
        if age < FRESH_MILLIS {
            return Ok(Deployed::Kept(view));
        }
        let new = self.rekey_row(unit, row, view, |_, attributes, _| Ok::<_, Error>(attributes)).await?;
        if let Some(request) = &request {
            self.remember(unit, request, &new.header.id.to_bytes()).await?;
        }
        Ok(Deployed::Rotated(new))
    }
}
