//! A founded core in memory that answers one message at a time, as a tenant-admin and as a service.

#[path = "../../tests/server/fakes.rs"]
#[allow(dead_code, missing_docs)]
mod fakes;
#[path = "../../tests/server/world.rs"]
#[allow(dead_code, missing_docs, clippy::all)]
mod world;

use std::cell::RefCell;

use keys::policy::Role;
use kmip::ResponseMessage;
use world::World;

/// A world is left behind after so many messages, because what they make stays in its memory.
const MESSAGES_MAX: u32 = 20_000;

struct Server {
    world: World,
    key: String,
    messages: u32,
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::found());
}

impl Server {
    fn found() -> Self {
        let world = World::found();
        let key = world.key();
        Self { world, key, messages: 0 }
    }
}

/// The identifier of a key that the clients may use, until one of them destroys it.
#[allow(dead_code, reason = "not every target needs one")]
pub(crate) fn key() -> String {
    SERVER.with_borrow(|server| server.key.clone())
}

/// Asks once as each client; every answer is a legal message.
pub(crate) fn ask(message: &[u8]) {
    SERVER.with_borrow_mut(|server| {
        server.messages += 1;
        if server.messages == MESSAGES_MAX {
            *server = Server::found();
        }
        for (role, service) in [(Role::TenantAdmin, ""), (Role::Service, "billing")] {
            let (answer, _withheld) = server.world.client(role, "acme", service).try_ask(message);
            ResponseMessage::read(&answer).expect("answers are legal in their version");
        }
        drop(server.world.take_records());
    });
}
