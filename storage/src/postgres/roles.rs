//! The two roles in which the node works, under row-level security (D13).
//!
//! Requests work in one that sees the rows of the tenants that a transaction names, and nothing if it names none. The node's own work (sweep, walk, migration,
//! start) has one that sees all, on connections of its own. That guards against mistakes above the store, which would else show a tenant another's
//! row. It does not guard against the database's operator: against that stand the MACs.

use deadpool_postgres::Object;
use keys::id::TenantId;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::fault::NotOpen;

/// What of a user's name goes into the names of its roles, so that they fit into 63 bytes.
const OF_USER_CHARS: &str = "select left(current_user, 40)::text, current_user::text";
/// Names whose rows, and which node's, the rest of a transaction is about.
pub(super) const NAME_SCOPE: &str = "select set_config('strongroom.tenants', $1, true), set_config('strongroom.node', $2, true)";

/// Their names.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    pub(super) requests: String,
    pub(super) worker: String,
}

impl Roles {
    /// Those that the tables know, `None` if these are of a release without.
    pub(super) async fn stored(client: &Object) -> Result<Option<Self>, NotOpen> {
        match client.query_opt("select requests, worker from strongroom.roles", &[]).await {
            Ok(Some(row)) => Ok(Some(Self { requests: row.try_get(0)?, worker: row.try_get(1)? })),
            Ok(None) => Ok(None),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Those of the user who has logged in.
    pub(super) async fn of_user(client: &Object) -> Result<Self, NotOpen> {
        let user: String = client.query_one(OF_USER_CHARS, &[]).await?.try_get(0)?;
        Ok(Self { requests: format!("{user}_requests"), worker: format!("{user}_worker") })
    }

    /// Makes what is missing of them, if the user may.
    ///
    /// # Errors
    /// [`NotOpen::Roles`] with what an administrator has to do; [`NotOpen::Careless`] if row-level security would not bind them.
    pub(super) async fn prepare(&self, client: &Object) -> Result<(), NotOpen> {
        let user: String = client.query_one(OF_USER_CHARS, &[]).await?.try_get(1)?;
        let mut missing = Vec::new();
        for role in [&self.requests, &self.worker] {
            let found = client.query_opt("select rolsuper or rolbypassrls from pg_roles where rolname = $1", &[role]).await?;
            if found.map(|row| row.try_get::<_, bool>(0)).transpose()? == Some(true) {
                return Err(NotOpen::Unbound { role: role.clone() });
            }
            // Of a role that is not there nobody is a member.
            let is_member = "select pg_has_role(current_user, oid, 'member') from pg_roles where rolname = $1";
            let is_member = client.query_opt(is_member, &[role]).await?.map(|row| row.try_get::<_, bool>(0)).transpose()?;
            missing.extend(is_member.is_none().then(|| format!("CREATE ROLE {} NOLOGIN", quoted(role))));
            missing.extend((is_member != Some(true)).then(|| format!("GRANT {} TO {}", quoted(role), quoted(&user))));
        }
        for statement in &missing {
            match client.batch_execute(statement).await {
                // Somebody else has come before.
                Err(error) if matches!(error.code(), Some(code) if [SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION].contains(code)) =>
                    {}
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    return Err(NotOpen::Roles { missing: missing.join("; ") });
                }
                made => made?,
            }
        }
        Ok(())
    }

    /// A step of the schema with the names in their places.
    pub(super) fn fill_in(&self, step: &str) -> String {
        let step = step.replace("{requests}", &quoted(&self.requests)).replace("{worker}", &quoted(&self.worker));
        step.replace("{requests_text}", &text(&self.requests)).replace("{worker_text}", &text(&self.worker))
    }
}

/// The statement that takes a role.
pub(super) fn taking(role: &str) -> String {
    format!("set role {}", quoted(role))
}

/// What a transaction begins with that only reads, of these tenants.
pub(super) fn beginning(tenants: &[TenantId]) -> String {
    // Identifiers, which have nothing in them that would end a text.
    format!("begin read only; set local strongroom.tenants = '{}'", named(tenants))
}

/// Tenants as a transaction names them.
pub(super) fn named(tenants: &[TenantId]) -> String {
    let tenants: Vec<String> = tenants.iter().map(|tenant| Uuid::from_bytes(*tenant.as_bytes()).to_string()).collect();
    format!("{{{}}}", tenants.join(","))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_end_its_quotes() {
        let roles = Roles { requests: "o\"r'eq".to_owned(), worker: "w".to_owned() };
        let filled = roles.fill_in("{requests} {requests_text} {worker} {worker_text}");
        assert_eq!(filled, "\"o\"\"r'eq\" 'o\"r''eq' \"w\" 'w'");
        assert_eq!(named(&[TenantId::SYSTEM]), "{00000000-0000-0000-0000-000000000000}");
    }
}
