//! `edge`: which edges may keep whose objects.

use clap::Subcommand;
use daemon::admin::types::{EdgeGroupInfo, EnrolEdges};
use keys::id::ScopeName;

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::{pairs, table};

/// `edge ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Edge {
    /// Let the edges of a group keep objects of tenants, or of further ones, and let edges of it speak for clients
    Enrol {
        /// The group's name, as the certificates of its edges have it: a-z, 0-9 and -, at most 63
        group: ScopeName,
        /// A tenant; give it once for each
        #[arg(long = "tenant", value_name = "NAME", required_unless_present = "keys")]
        tenants: Vec<ScopeName>,
        /// The delegation key that `strongroom init` of an edge has printed; give it once for each edge whose clients use keys of the core
        #[arg(long = "key", value_name = "HEX")]
        keys: Vec<String>,
    },
    /// List all edge groups
    List,
    /// Refuse the edges of a group everything, from now on; or give up one edge of it
    Revoke {
        /// Its name
        group: ScopeName,
        /// Only the edge of this delegation key, which is gone for good: it speaks for no client any more, and `key retire` does not wait for it
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
    },
}

/// Runs `edge ...`.
pub(crate) fn run(context: &Context, command: &Edge) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Edge::Enrol { group, tenants, keys } => {
            let tenants = tenants.iter().map(ScopeName::to_string).collect();
            let enrolment = EnrolEdges { group: group.to_string(), tenants, keys: keys.clone() };
            context.out.show(&wait(client.enrol_edges(&enrolment))?, group_text)
        }
        Edge::List => context.out.show(&wait(client.edges())?, |groups| groups_text(groups)),
        Edge::Revoke { group, key: None } => context.out.show(&wait(client.revoke_edges(group.as_str()))?, group_text),
        Edge::Revoke { group, key: Some(key) } => context.out.show(&wait(client.give_up_edge(group.as_str(), key))?, group_text),
    }
}

fn group_text(group: &EdgeGroupInfo) -> String {
    let mut rows = vec![
        ("edge group", group.name.clone()),
        ("id", group.id.clone()),
        ("status", group.status.clone()),
        ("tenants", group.tenants.join(", ")),
        ("key", group.key.clone()),
    ];
    rows.extend(group.keys.iter().map(|key| ("speaks by", key.clone())));
    pairs(&rows)
}

fn groups_text(groups: &[EdgeGroupInfo]) -> String {
    let row = |group: &EdgeGroupInfo| vec![group.name.clone(), group.status.clone(), group.tenants.join(", "), group.key.clone()];
    let nothing = "no edge groups yet: enrol one by `strongroom edge enrol GROUP --tenant NAME`";
    table(&["edge group", "status", "tenants", "key"], groups.iter().map(row).collect(), nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_shown_alone_or_as_a_row() {
        let west = EdgeGroupInfo {
            name: "west".to_owned(),
            id: "s1".to_owned(),
            key: "L3-1".to_owned(),
            tenants: vec!["acme".to_owned(), "globex".to_owned()],
            keys: vec!["ab".to_owned()],
            status: "enrolled".to_owned(),
        };
        assert_eq!(
            group_text(&west),
            "edge group  west\nid          s1\nstatus      enrolled\ntenants     acme, globex\nkey         L3-1\nspeaks by   ab\n"
        );
        assert_eq!(groups_text(&[west]), "EDGE GROUP  STATUS    TENANTS       KEY\nwest        enrolled  acme, globex  L3-1\n");
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(groups_text(&[]).contains("strongroom edge enrol"));
    }
}
