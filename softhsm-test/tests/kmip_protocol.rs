//! kmip-protocol, the client that NLnet Labs signs DNS zones with, through every operation it has, at an edge.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use daemon::kmip_client::Endpoint;
use daemon::tls::ClientTls;
use kmip_protocol::auth::{CredentialType, UsernameAndPasswordCredential};
use kmip_protocol::types::common::{
    AttributeName, AttributeValue, CryptographicAlgorithm, CryptographicLength, CryptographicParameters, Data, DataLength,
    HashingAlgorithm, KeyFormatType, KeyMaterial, ObjectType, Operation, PaddingMethod, RevocationReasonCode, UniqueIdentifier,
};
use kmip_protocol::types::request::{
    Attribute, CommonTemplateAttribute, KeyBlock, KeyValue, ManagedObject, PrivateKeyTemplateAttribute, ProtocolVersion,
    ProtocolVersionMajor, ProtocolVersionMinor, PublicKeyTemplateAttribute, QueryFunction, RequestPayload as Ask, RevocationReason,
    SymmetricKey, TemplateAttribute,
};
use kmip_protocol::types::response::{ManagedObject as Got, ResponseMessage, ResponsePayload as Answer, ResultReason, ResultStatus};
use kmip_protocol::{request, response};
use rustls::{ClientConnection, StreamOwned};
use softhsm_test::{Appliance, Who, told};

const MATERIAL: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

/// The crate's messages over our TLS; its own clients need a TLS library that the product does without.
struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// A user to name in the header.
    user: Option<String>,
    cases: usize,
}

impl Client {
    fn connect(endpoint: &Endpoint) -> Self {
        let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "localhost").expect("dev's certificates are good");
        let connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
        let socket = TcpStream::connect(&endpoint.server).expect("the edge listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
        Self { stream: StreamOwned::new(connection, socket), user: None, cases: 0 }
    }

    fn exchange(&mut self, payload: Ask) -> ResponseMessage {
        self.cases += 1;
        let password = || Some("not checked".to_owned());
        let credential = |user: String| CredentialType::UsernameAndPassword(UsernameAndPasswordCredential::new(user, password()));
        let credential = self.user.clone().map(credential);
        let bytes = request::to_vec(payload, credential).expect("the crate writes its own requests");
        self.stream.write_all(&bytes).and_then(|()| self.stream.flush()).expect("the edge reads");
        let mut answer = vec![0; 8];
        self.stream.read_exact(&mut answer).expect("the edge answers");
        let length = u32::from_be_bytes(answer[4..8].try_into().expect("four bytes"));
        answer.resize(8 + usize::try_from(length).expect("short"), 0);
        self.stream.read_exact(&mut answer[8..]).expect("the edge answers");
        response::from_slice(&answer).expect("the crate reads every answer of the edge")
    }

    fn ask(&mut self, payload: Ask) -> Answer {
        let shown = format!("{payload:?}");
        let mut message = self.exchange(payload);
        let item = message.batch_items.remove(0);
        assert_eq!(item.result_status, ResultStatus::Success, "{shown}: {:?} {:?}", item.result_reason, item.result_message);
        item.payload.unwrap_or_else(|| panic!("{shown}: no payload"))
    }

    fn refused(&mut self, payload: Ask) -> ResultReason {
        let shown = format!("{payload:?}");
        let message = self.exchange(payload);
        let item = &message.batch_items[0];
        assert_eq!(item.result_status, ResultStatus::OperationFailed, "{shown} was done");
        assert!(item.result_message.as_ref().is_some_and(|message| !message.is_empty()), "{shown}");
        item.result_reason.expect("a failure has a reason")
    }
}

fn id(text: &str) -> Option<UniqueIdentifier> {
    Some(UniqueIdentifier(text.to_owned()))
}

fn attribute(name: &str, value: AttributeValue) -> Attribute {
    Attribute(AttributeName(name.to_owned()), None, value)
}

fn for_data(name: &str) -> TemplateAttribute {
    TemplateAttribute::unnamed(vec![
        Attribute::CryptographicAlgorithm(CryptographicAlgorithm::AES),
        Attribute::CryptographicLength(256),
        attribute("Cryptographic Usage Mask", AttributeValue::Integer(12)),
        Attribute::Name(name.to_owned()),
    ])
}

fn get(key: &str) -> Ask {
    Ask::Get(id(key), None, None, None)
}

fn revoke(key: &str) -> Ask {
    Ask::Revoke(id(key), RevocationReason(RevocationReasonCode::CessationOfOperation, None), None)
}

#[test]
fn kmip_protocol_does_everything_it_has_at_an_edge() {
    let appliance = Appliance::with_edges(1);
    let mut client = Client::connect(&appliance.endpoint_at("edge", Who::Service));
    what_is_offered(&mut client);
    let key = a_key_that_is_made(&mut client);
    a_key_that_is_brought(&mut client);
    attributes(&mut client, &key);
    let mut other = Client::connect(&appliance.endpoint_at("edge", Who::OtherService));
    for payload in [get(&key), Ask::Activate(id(&key)), revoke(&key), Ask::Destroy(id(&key)), Ask::GetAttributeList(id(&key))] {
        assert_eq!(other.refused(payload), ResultReason::ItemNotFound);
    }
    an_end(&mut client, &key);
    a_key_pair(&mut client);
    random_bytes(&mut client);
    credentials(&mut client);
    told(&format!("edge: kmip-protocol: {} cases passed", client.cases + other.cases));
    drop(appliance.stop());
}

fn what_is_offered(client: &mut Client) {
    let version = ProtocolVersion(ProtocolVersionMajor(1), ProtocolVersionMinor(2));
    let Answer::DiscoverVersions(discovered) = client.ask(Ask::DiscoverVersions(vec![version])) else { panic!("another answer") };
    let versions = discovered.supported_versions.expect("1.2 is spoken");
    assert_eq!(versions.iter().map(|version| (version.major, version.minor)).collect::<Vec<_>>(), [(1, 2)]);
    let Answer::DiscoverVersions(discovered) = client.ask(Ask::DiscoverVersions(Vec::new())) else { panic!("another answer") };
    assert_eq!(discovered.supported_versions.map(|versions| versions.len()), Some(5));
    let functions = vec![QueryFunction::QueryOperations, QueryFunction::QueryObjects, QueryFunction::QueryServerInformation];
    let Answer::Query(offered) = client.ask(Ask::Query(functions)) else { panic!("another answer") };
    assert!(offered.object_types.is_some_and(|types| types.contains(&ObjectType::SymmetricKey)));
    assert!(offered.vendor_identification.is_some_and(|vendor| !vendor.is_empty()));
    let operations = offered.operations.expect("they were asked for");
    assert!(
        [Operation::CreateKeyPair, Operation::Sign, Operation::RNGRetrieve].iter().all(|one| operations.contains(one)),
        "{operations:?}"
    );
}

fn a_key_that_is_made(client: &mut Client) -> String {
    let Answer::Create(made) = client.ask(Ask::Create(ObjectType::SymmetricKey, for_data("made"))) else { panic!("another answer") };
    assert_eq!(made.object_type, ObjectType::SymmetricKey);
    let key = made.unique_identifier.0;
    let Answer::Get(got) = client.ask(get(&key)) else { panic!("another answer") };
    let Got::SymmetricKey(object) = got.cryptographic_object else { panic!("another object") };
    assert_eq!((object.key_block.cryptographic_length, object.key_block.key_format_type), (Some(256), KeyFormatType::Raw));
    assert!(matches!(object.key_block.key_value.key_material, KeyMaterial::Bytes(bytes) if bytes.len() == 32));
    let Answer::Activate(activated) = client.ask(Ask::Activate(id(&key))) else { panic!("another answer") };
    assert_eq!(activated.unique_identifier.0, key);
    assert_eq!(client.refused(Ask::Activate(id(&key))), ResultReason::PermissionDenied, "it is Active");
    assert_eq!(client.refused(Ask::Create(ObjectType::SymmetricKey, for_data("made"))), ResultReason::InvalidField, "the name is taken");
    key
}

fn a_key_that_is_brought(client: &mut Client) {
    let block = KeyBlock(
        KeyFormatType::Raw,
        None,
        Some(KeyValue(KeyMaterial::Bytes(MATERIAL.to_vec()), None)),
        Some(CryptographicAlgorithm::AES),
        Some(CryptographicLength(256)),
        None,
    );
    let object = Some(ManagedObject::SymmetricKey(SymmetricKey(block)));
    let Answer::Register(made) = client.ask(Ask::Register(ObjectType::SymmetricKey, for_data("brought"), object)) else {
        panic!("another answer")
    };
    let key = made.unique_identifier.0;
    assert_eq!(made.template_attributes, None);
    let Answer::Get(got) = client.ask(get(&key)) else { panic!("another answer") };
    let Got::SymmetricKey(object) = got.cryptographic_object else { panic!("another object") };
    assert!(matches!(object.key_block.key_value.key_material, KeyMaterial::Bytes(bytes) if bytes == MATERIAL));
    assert_eq!(object.key_block.key_value.attributes, None);
    assert_eq!(client.refused(Ask::Register(ObjectType::SymmetricKey, for_data("nothing"), None)), ResultReason::InvalidMessage);
    assert!(matches!(client.ask(Ask::Destroy(id(&key))), Answer::Destroy(gone) if gone.unique_identifier.0 == key), "it was never Active");
}

fn attributes(client: &mut Client, key: &str) {
    let text = |text: &str| AttributeValue::TextString(text.to_owned());
    let Answer::AddAttribute(added) = client.ask(Ask::AddAttribute(id(key), attribute("x-zone", text("example.")))) else {
        panic!("another answer")
    };
    assert_eq!((added.unique_identifier.0.as_str(), added.attribute.name.0.as_str()), (key, "x-zone"));
    let Answer::ModifyAttribute(changed) = client.ask(Ask::ModifyAttribute(id(key), attribute("x-zone", text("example.org.")))) else {
        panic!("another answer")
    };
    assert_eq!(changed.attribute.value, text("example.org."));
    let Answer::ModifyAttribute(renamed) = client.ask(Ask::ModifyAttribute(id(key), Attribute::Name("renamed".to_owned()))) else {
        panic!("another answer")
    };
    assert_eq!(renamed.attribute.name.0, "Name");
    let Answer::Locate(found) =
        client.ask(Ask::Locate(vec![Attribute::Name("renamed".to_owned()), attribute("x-zone", text("example.org."))]))
    else {
        panic!("another answer")
    };
    assert_eq!(found.unique_identifiers.iter().map(|id| id.0.as_str()).collect::<Vec<_>>(), [key]);
    let Answer::GetAttributeList(list) = client.ask(Ask::GetAttributeList(id(key))) else { panic!("another answer") };
    assert!(["Name", "State", "x-zone"].iter().all(|wanted| list.attributes.iter().any(|name| name.0 == *wanted)), "{list:?}");
    let wanted = vec![AttributeName("x-zone".to_owned()), AttributeName("Cryptographic Length".to_owned())];
    let Answer::GetAttributes(values) = client.ask(Ask::GetAttributes(id(key), Some(wanted))) else { panic!("another answer") };
    let values: Vec<_> = values.attributes.unwrap_or_default().into_iter().map(|attribute| attribute.value).collect();
    assert!(values.contains(&text("example.org.")) && values.contains(&AttributeValue::Integer(256)) && values.len() == 2, "{values:?}");
    let Answer::DeleteAttribute(gone) = client.ask(Ask::DeleteAttribute(id(key), AttributeName("x-zone".to_owned()), None)) else {
        panic!("another answer")
    };
    assert_eq!(gone.attribute.value, text("example.org."));
    assert_eq!(client.refused(Ask::DeleteAttribute(id(key), AttributeName("State".to_owned()), None)), ResultReason::PermissionDenied);
}

fn an_end(client: &mut Client, key: &str) {
    assert_eq!(client.refused(Ask::Destroy(id(key))), ResultReason::PermissionDenied, "it is Active");
    assert!(matches!(client.ask(revoke(key)), Answer::Revoke(revoked) if revoked.unique_identifier.0 == key));
    assert!(matches!(client.ask(Ask::Destroy(id(key))), Answer::Destroy(gone) if gone.unique_identifier.0 == key));
    assert_eq!(client.refused(get(key)), ResultReason::IllegalOperation, "it is destroyed");
    assert_eq!(client.refused(get("nobody")), ResultReason::ItemNotFound);
}

fn random_bytes(client: &mut Client) {
    let mut draw = || match client.ask(Ask::RNGRetrieve(DataLength(32))) {
        Answer::RNGRetrieve(drawn) => drawn.data,
        other => panic!("{other:?}"),
    };
    let (first, second) = (draw(), draw());
    assert!(first.len() == 32 && second.len() == 32 && first != second);
}

fn credentials(client: &mut Client) {
    client.user = Some("globex/billing".to_owned());
    let located = client.ask(Ask::Locate(vec![Attribute::ObjectType(ObjectType::SymmetricKey)]));
    assert!(
        matches!(located, Answer::Locate(found) if found.unique_identifiers.is_empty()),
        "nothing is left, and nothing of others is there"
    );
    client.user = None;
}

/// As Krill's and NLnet Labs' signers make a zone's keys.
fn a_key_pair(client: &mut Client) {
    let key_pair = Ask::CreateKeyPair(
        Some(CommonTemplateAttribute::unnamed(vec![
            Attribute::CryptographicAlgorithm(CryptographicAlgorithm::RSA),
            Attribute::CryptographicLength(2048),
        ])),
        Some(PrivateKeyTemplateAttribute::unnamed(vec![attribute("Cryptographic Usage Mask", AttributeValue::Integer(1))])),
        Some(PublicKeyTemplateAttribute::unnamed(vec![attribute("Cryptographic Usage Mask", AttributeValue::Integer(2))])),
    );
    let Answer::CreateKeyPair(made) = client.ask(key_pair) else { panic!("another answer") };
    let (private, public) = (made.private_key_unique_identifier.0, made.public_key_unique_identifier.0);
    assert!(matches!(client.ask(Ask::Activate(id(&private))), Answer::Activate(_)));
    let parameters = CryptographicParameters::default()
        .with_padding_method(PaddingMethod::PKCS1_v1_5)
        .with_hashing_algorithm(HashingAlgorithm::SHA256)
        .with_cryptographic_algorithm(CryptographicAlgorithm::RSA);
    let sign = |key: &str| Ask::Sign(id(key), Some(parameters), Data(b"a zone".to_vec()));
    let Answer::Sign(signed) = client.ask(sign(&private)) else { panic!("another answer") };
    assert_eq!(signed.signature_data.len(), 256);
    assert_eq!(client.refused(sign("nobody")), ResultReason::ItemNotFound);
    let Answer::Get(got) = client.ask(get(&public)) else { panic!("another answer") };
    assert!(matches!(got.cryptographic_object, Got::PublicKey(_)), "another object");
    client.ask(revoke(&private));
    for key in [private, public] {
        client.ask(Ask::Destroy(id(&key)));
    }
}
