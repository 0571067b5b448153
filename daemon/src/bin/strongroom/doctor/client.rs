//! `doctor --client`: replays what a program sends to its KMIP server, any server, and says what would fail there.

use std::fmt::Write;

use ::kmip::notation::{self, Bindings, Bound};
use ::kmip::ttlv::Item;
use ::kmip::{
    ActivateRequest, Call, CreateRequest, Decode, DecryptRequest, DestroyRequest, EncryptRequest, LocateRequest, Operation, ReKeyRequest,
    RegisterRequest, ResponseBatchItem, ResponseMessage, ResultReason, ResultStatus, RevokeRequest, Rules, VersionNumber,
};
use daemon::kmip_client::{KmipClient, KmipError, post};
use daemon::tls::ClientTls;
use serde::Serialize;

use super::Verdict;
use super::consumer::{Asked, CONSUMERS, Consumer, Road, Step, Wants};
use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::kmip::connection::{Server, shown};
use crate::output::clean;

/// What a consumer would meet.
#[derive(Debug, Serialize)]
struct Replay {
    client: &'static str,
    about: &'static str,
    server: String,
    steps: Vec<Outcome>,
    /// Identifiers of objects that the replay has made and could not destroy.
    left: Vec<String>,
}

/// How a step went.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Outcome {
    operation: String,
    version: String,
    sends: &'static str,
    came_back: String,
    verdict: Verdict,
    /// What it means to the consumer, and what to do about it.
    #[serde(rename = "do")]
    todo: Option<&'static str>,
}

/// Replays the consumer of that name.
pub(super) fn run(context: &Context, name: &str, server: &Server) -> Result<(), Failure> {
    let consumer = CONSUMERS.iter().find(|consumer| consumer.name == name);
    let consumer = consumer.ok_or_else(|| Failure::usage(format!("there is no client {name}")))?;
    let mut endpoint = server.endpoint()?;
    let bare = endpoint.server.trim_start_matches("https://").trim_end_matches('/').trim_end_matches("/kmip").to_owned();
    endpoint.server = bare;
    let line = Line { tls: endpoint.tls()?, server: endpoint.server, road: consumer.road, client: None };
    let mut player = Player { consumer, line, bound: Bindings::new(), made: Vec::new(), serial: 0 };
    player.bind_inputs();
    let replay = player.play()?;
    context.out.show(&replay, replay_text)?;
    verdict(&replay)
}

/// The way to the server.
struct Line {
    tls: ClientTls,
    server: String,
    road: Road,
    client: Option<KmipClient>,
}

impl Line {
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, KmipError> {
        if self.road == Road::Https {
            return wait(post(&self.tls, &self.server, request));
        }
        if self.road == Road::ConnectionPerMessage {
            self.client = None;
        }
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(KmipClient::over(&self.tls, &self.server, ::kmip::ProtocolVersion::LATEST)?),
        };
        let answer = client.exchange_bytes(request).map(<[u8]>::to_vec);
        if answer.is_err() {
            self.client = None;
        }
        answer
    }

    /// What to do if the server answers by the other of the two ways that there are.
    fn other_road(&mut self, error: &KmipError) -> Option<Failure> {
        if !matches!(error, KmipError::Lost { .. } | KmipError::TimedOut { .. } | KmipError::Http { .. } | KmipError::Kmip(_)) {
            return None;
        }
        let instead = match self.road {
            Road::Https => "speaks KMIP on a connection of its own, and this client uses HTTPS: give --server the HTTPS address",
            Road::Connection | Road::ConnectionPerMessage => {
                "speaks HTTPS, and this client uses KMIP on a connection of its own: give --server the address of the KMIP port"
            }
        };
        let tried = self.road;
        self.road = if tried == Road::Https { Road::Connection } else { Road::Https };
        self.client = None;
        let request = notation::request((1, 1), "", &["Operation=#1E RequestPayload{}"]);
        let answer = self.ask(&notation::encode(&request, &Bindings::new()).expect("it is right"));
        self.road = tried;
        let answers = match answer {
            Ok(answer) => ResponseMessage::read(&answer).is_ok(),
            Err(KmipError::Http { .. }) => true,
            Err(_) => false,
        };
        answers.then(|| Failure::usage(format!("{} {instead}", self.server)))
    }

    /// Connects twice more; the second time as a client that remembers the session.
    fn resumes(&mut self) -> Result<bool, KmipError> {
        self.client = None;
        let request = notation::request((1, 1), "", &["Operation=#1E RequestPayload{}"]);
        let request = notation::encode(&request, &Bindings::new()).expect("it is right");
        let _before = self.ask(&request)?;
        self.client = None;
        let _after = self.ask(&request)?;
        Ok(self.client.as_ref().is_some_and(KmipClient::is_resumed))
    }
}

struct Player {
    consumer: &'static Consumer,
    line: Line,
    bound: Bindings,
    /// Identifiers of what was made and is not destroyed.
    made: Vec<String>,
    /// Items sent so far.
    serial: u8,
}

impl Player {
    /// What sequences use without having it from the server. The material is no secret: it keys nothing, and is destroyed.
    fn bind_inputs(&mut self) {
        let unique = uuid::Uuid::from_bytes(random());
        let name = |suffix: &str| Bound::Text(format!("strongroom-doctor-{unique}{suffix}"));
        self.bound.insert("name".to_owned(), name(""));
        self.bound.insert("name2".to_owned(), name("-2"));
        self.bound.insert("absent".to_owned(), Bound::Text(unique.to_string()));
        for (variable, bytes) in [("material", 32_u8), ("seed", 96)] {
            self.bound.insert(variable.to_owned(), Bound::Bytes((0..bytes).collect()));
        }
    }

    fn play(mut self) -> Result<Replay, Failure> {
        let mut steps = Vec::new();
        for step in self.consumer.steps {
            match self.step(step) {
                // Without a first answer there is nothing to be said of the server.
                Err(error) if steps.is_empty() => return Err(self.line.other_road(&error).unwrap_or_else(|| error.into())),
                Err(error) => steps.push(outcome(step, Verdict::Bad, error.to_string())),
                Ok(outcome) => steps.push(outcome),
            }
        }
        let left = self.clean_up();
        let Consumer { name, about, .. } = *self.consumer;
        Ok(Replay { client: name, about, server: self.line.server, steps, left })
    }

    fn step(&mut self, step: &'static Step) -> Result<Outcome, KmipError> {
        if step.asked.is_empty() {
            let (verdict, said) = match self.line.resumes()? {
                true => (Verdict::Good, "the session is resumed"),
                false => (Verdict::Bad, "a full handshake each time"),
            };
            return Ok(outcome(step, verdict, said.to_owned()));
        }
        let Some(request) = self.request(step) else {
            return Ok(outcome(step, Verdict::Unknown, "not sent: an earlier step did not give what it needs".to_owned()));
        };
        let answer = self.line.ask(&request)?;
        Ok(match self.judge(step, &answer) {
            Ok(said) => outcome(step, Verdict::Good, said),
            Err(complaint) => outcome(step, Verdict::Bad, complaint),
        })
    }

    /// The bytes to send; `None` if something in it is not known.
    fn request(&mut self, step: &Step) -> Option<Vec<u8>> {
        let is_marked = step.asked.len() > 1 || self.consumer.marks_items;
        let item = |asked: &Asked| {
            self.serial = self.serial.wrapping_add(1);
            let mark = if is_marked { format!("UniqueBatchItemID=0x{:02x} ", self.serial) } else { String::new() };
            format!("Operation=#{:X} {mark}RequestPayload{{{}}}", asked.operation.number(), asked.payload)
        };
        let items: Vec<String> = step.asked.iter().map(item).collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let VersionNumber { major, minor } = step.version.into();
        let text = notation::request((major, minor), self.consumer.header, &items);
        notation::encode(&text, &self.bound).ok()
    }

    /// What came back in a few words; an error says what is wrong with it.
    fn judge(&mut self, step: &Step, answer: &[u8]) -> Result<String, String> {
        let message = ResponseMessage::read(answer).map_err(|error| format!("the answer cannot be read: {error}"))?;
        let version = message.header.protocol_version;
        if let [only] = &message.items[..]
            && only.operation.is_none()
        {
            return Err(refusal(only));
        }
        if version != step.version.into() {
            return Err(format!("the answer is in version {}", shown(version)));
        }
        if message.items.len() != step.asked.len() {
            return Err(format!("{} of {} items were answered", message.items.len(), step.asked.len()));
        }
        let first = self.serial.wrapping_sub(u8::try_from(step.asked.len()).unwrap_or(0));
        let is_marked = step.asked.len() > 1 || self.consumer.marks_items;
        let mut said = Vec::new();
        for ((number, asked), item) in (1_u8..).zip(step.asked).zip(&message.items) {
            let mark = is_marked.then(|| vec![first.wrapping_add(number)]);
            if item.operation != Some(asked.operation.into()) || item.unique_batch_item_id.map(|id| id.0.to_vec()) != mark {
                return Err("operation or Unique Batch Item ID are not those that were sent".to_owned());
            }
            said.push(self.judge_item(asked, item, Rules::of_response(step.version))?);
        }
        said.dedup();
        Ok(said.join(", "))
    }

    fn judge_item(&mut self, asked: &Asked, item: &ResponseBatchItem<'_>, rules: Rules) -> Result<String, String> {
        if item.result_status == ResultStatus::Success
            && let Some(payload) = &item.payload
        {
            self.note_objects(asked.operation, payload);
        }
        match asked.wants {
            Wants::Refusal(reason) if item.result_reason == Some(reason) => Ok(reason.name().to_owned()),
            Wants::Refusal(reason) => {
                let came = if item.result_status == ResultStatus::Success { "it was done".to_owned() } else { refusal(item) };
                Err(format!("{came}; {} was expected", reason.name()))
            }
            Wants::Done(pattern) => {
                if item.result_status != ResultStatus::Success {
                    return Err(refusal(item));
                }
                let payload = item.payload.ok_or("a success without a payload")?;
                let pattern = notation::Notation::read(pattern).map_err(|error| error.to_string())?;
                pattern.find_in(&payload, &mut self.bound).map_err(|difference| difference.to_string())?;
                strictly(asked.operation, payload, rules).map_err(|error| error.to_string())?;
                Ok("done".to_owned())
            }
        }
    }

    /// Remembers what a success has made, and forgets what it has destroyed.
    fn note_objects(&mut self, operation: Operation, payload: &Item<'_>) {
        let mut ids = Vec::new();
        if let Ok(mut fields) = payload.fields() {
            while let Ok(Some(field)) = fields.next_item() {
                let is_id =
                    [::kmip::Tag::UNIQUE_IDENTIFIER, ::kmip::Tag::PRIVATE_KEY_UNIQUE_IDENTIFIER, ::kmip::Tag::PUBLIC_KEY_UNIQUE_IDENTIFIER]
                        .contains(&field.tag);
                ids.extend(field.text().ok().filter(|_| is_id).map(ToOwned::to_owned));
            }
        }
        match operation {
            Operation::Create | Operation::Register | Operation::CreateKeyPair | Operation::ReKey => self.made.extend(ids),
            Operation::Destroy => self.made.retain(|made| !ids.contains(made)),
            _ => {}
        }
    }

    /// Destroys what is left, and returns what cannot be.
    fn clean_up(&mut self) -> Vec<String> {
        let made = std::mem::take(&mut self.made);
        made.into_iter().filter(|id| !self.is_destroyed(id)).collect()
    }

    fn is_destroyed(&mut self, id: &str) -> bool {
        // Only Active objects have to be revoked, and may be; so whether that is done tells nothing.
        let revoke = "Operation=#13 RequestPayload{UniqueIdentifier=$made RevocationReason{RevocationReasonCode=#6}}";
        let destroy = "Operation=#14 RequestPayload{UniqueIdentifier=$made}";
        let _revoked = self.is_done(revoke, id);
        self.is_done(destroy, id)
    }

    fn is_done(&mut self, item: &str, id: &str) -> bool {
        self.bound.insert("made".to_owned(), Bound::Text(id.to_owned()));
        let VersionNumber { major, minor } = self.consumer.steps[0].version.into();
        let request = notation::encode(&notation::request((major, minor), self.consumer.header, &[item]), &self.bound);
        let answer = request.ok().and_then(|request| self.line.ask(&request).ok());
        let message = answer.as_deref().and_then(|answer| ResponseMessage::read(answer).ok());
        message.is_some_and(|message| message.items.iter().all(|item| item.result_status == ResultStatus::Success))
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    bytes
}

fn outcome(step: &'static Step, verdict: Verdict, came_back: String) -> Outcome {
    let operations: Vec<&str> = step.asked.iter().map(|asked| asked.operation.name()).collect();
    let operation = match operations[..] {
        [] => "TLS".to_owned(),
        [first, ..] if operations.iter().all(|each| *each == first) && operations.len() > 1 => format!("{first} x{}", operations.len()),
        _ => operations.join(" + "),
    };
    let todo = (verdict == Verdict::Bad).then_some(step.otherwise);
    Outcome { operation, version: step.version.to_string(), sends: step.sends, came_back, verdict, todo }
}

/// Whether the payload has the fields of its version and no other: what broke real clients.
fn strictly(operation: Operation, payload: Item<'_>, rules: Rules) -> Result<(), ::kmip::Error> {
    fn read<C: Call>(payload: Item<'_>, rules: Rules) -> Result<(), ::kmip::Error> {
        C::Answer::decode(payload, rules).map(drop)
    }
    match operation {
        Operation::Create => read::<CreateRequest<'_>>(payload, rules),
        Operation::Register => read::<RegisterRequest<'_>>(payload, rules),
        Operation::ReKey => read::<ReKeyRequest<'_>>(payload, rules),
        Operation::Locate => read::<LocateRequest<'_>>(payload, rules),
        Operation::Activate => read::<ActivateRequest<'_>>(payload, rules),
        Operation::Revoke => read::<RevokeRequest<'_>>(payload, rules),
        Operation::Destroy => read::<DestroyRequest<'_>>(payload, rules),
        Operation::Encrypt => read::<EncryptRequest<'_>>(payload, rules),
        Operation::Decrypt => read::<DecryptRequest<'_>>(payload, rules),
        _ => Ok(()),
    }
}

/// A failure in the server's own words.
fn refusal(item: &ResponseBatchItem<'_>) -> String {
    let reason = item.result_reason.map_or(item.result_status.name(), ResultReason::name);
    match item.result_message {
        Some(message) if !message.is_empty() => format!("{reason}: {message}"),
        _ => reason.to_owned(),
    }
}

fn verdict(replay: &Replay) -> Result<(), Failure> {
    let bad = replay.steps.iter().filter(|step| step.verdict == Verdict::Bad);
    let bad: Vec<&str> = bad.map(|step| step.operation.as_str()).collect();
    let mut complaints = Vec::new();
    if !bad.is_empty() {
        complaints.push(format!("{} of {} steps of {} would fail: {}", bad.len(), replay.steps.len(), replay.client, bad.join(", ")));
    }
    if !replay.left.is_empty() {
        complaints.push(format!("remove what could not be destroyed: {}", replay.left.join(", ")));
    }
    if complaints.is_empty() { Ok(()) } else { Err(Failure::failed(complaints.join("; "))) }
}

fn replay_text(replay: &Replay) -> String {
    let Replay { client, about, server, steps, left } = replay;
    let width = steps.iter().map(|step| step.operation.len()).max().unwrap_or(0);
    let mut text = format!("{client} ({about}) at {server}\n");
    for Outcome { operation, version, sends, came_back, verdict, todo } in steps {
        let _written = writeln!(text, "{verdict:<4}  {operation:<width$}  {version}  {}: {}", clean(sends), clean(came_back));
        let indent = width + 13;
        let _written = todo.map(|todo| writeln!(text, "{:indent$}{}", "", clean(todo)));
    }
    for id in left {
        let _written = writeln!(text, "LEFT  {}: `strongroom kmip revoke` and `destroy` remove it", clean(id));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(verdicts: &[Verdict], left: &[&str]) -> Replay {
        let step = &CONSUMERS[0].steps[0];
        let steps = verdicts.iter().map(|verdict| outcome(step, *verdict, "what came".to_owned())).collect();
        let left = left.iter().map(|id| (*id).to_owned()).collect();
        Replay { client: "mongodb", about: "a database", server: "h:5696".to_owned(), steps, left }
    }

    #[test]
    fn each_step_is_a_line_and_a_failure_says_what_to_do() {
        let text = replay_text(&replay(&[Verdict::Good, Verdict::Bad], &["id-1"]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "mongodb (a database) at h:5696");
        assert!(lines[1].starts_with("ok    Register  1.0  ") && lines[1].ends_with(": what came"), "{text}");
        assert!(lines[2].starts_with("FAIL  Register  1.0  "), "{text}");
        assert_eq!(lines[3].trim_start(), CONSUMERS[0].steps[0].otherwise);
        assert!(lines[4].starts_with("LEFT  id-1"), "{text}");
    }

    #[test]
    fn what_fails_and_what_is_left_are_the_failure() {
        assert_eq!(verdict(&replay(&[Verdict::Good, Verdict::Unknown], &[])), Ok(()));
        let failure = verdict(&replay(&[Verdict::Bad, Verdict::Good], &["id-1"])).expect_err("one is bad");
        assert_eq!(failure.kind.code(), 1);
        assert_eq!(failure.message, "1 of 2 steps of mongodb would fail: Register; remove what could not be destroyed: id-1");
    }

    #[test]
    fn the_machine_form_keeps_its_names() {
        let json = serde_json::to_value(replay(&[Verdict::Bad], &[])).expect("a plain structure");
        let step = &json["steps"][0];
        assert_eq!((&json["client"], &json["left"]), (&"mongodb".into(), &serde_json::json!([])));
        assert_eq!((&step["operation"], &step["version"], &step["verdict"]), (&"Register".into(), &"1.0".into(), &"bad".into()));
        assert!(step["sends"].is_string() && step["came_back"].is_string() && step["do"].is_string(), "{json}");
    }
}
