//! The campaign of lost answers: the way from core to edge is cut in the middle of an answer to a client's request that the core has done; the
//! edge asks again, and nothing is done twice (F8).

use daemon::kmip_client::KmipError;
use kmip::ResultReason;

use crate::appliance::Who;
use crate::edge::Edge;
use crate::requests;
use crate::soak::random::Random;
use crate::soak::verified;
use crate::soak::way::{Way, WayState};

/// An answer has about so many bytes on the wire.
const ANSWER_BYTES: std::ops::Range<u64> = 0..500;

/// Cuts `count` answers to Create of an L3; says how many of them came after all.
///
/// # Panics
/// If a key is made twice, or is not there although it was acknowledged.
#[must_use]
pub fn lost_answer_campaign(count: u32, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut edge = Edge::prepared();
    let way = Way::before(&edge);
    edge.start_both();
    let mut client = edge.connect(Who::TenantAdmin);
    let mut at_core = edge.core.connect(Who::TenantAdmin);
    let (mut cut, mut made, mut unknown) = (0, 0, 0);
    let mut number = 0;
    while cut < count {
        number += 1;
        let name = format!("key {number}");
        way.become_so(WayState::CutAfter(usize::try_from(random.within(ANSWER_BYTES)).expect("it is small")));
        let answer = requests::create(&mut client, &name);
        let was_cut = way.is_open();
        way.become_so(WayState::Open);
        let found = requests::locate(&mut at_core, &name).expect("the core is well");
        match answer {
            Ok(id) => {
                assert_eq!(found, [id], "{name} was acknowledged");
                made += u32::from(was_cut);
            }
            // The second answer was lost too, or came too late: the client is told that it has to look.
            Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(ResultReason::GeneralFailure), .. })) => {
                assert!(found.len() <= 1, "{name}: {found:?}");
                unknown += 1;
            }
            Err(error) => panic!("{name} was refused, because it was made by the request before: {error}"),
        }
        cut += u32::from(was_cut);
    }
    let _edge = verified(&edge);
    let _core = verified(&edge.core);
    drop((client, at_core));
    edge.stop_both();
    format!("answers cut {cut} of {number} requests: acknowledged after all {made}, told to be unknown {unknown}; made twice 0, lost 0")
}
