//! What the programs that `doctor --client` knows send, in order, one table each; written as [`kmip::notation`] describes.
//!
//! Sequences stand for what these programs were seen to send. `$name` and `$name2` are names that nobody else uses, `$absent` is an identifier of
//! nothing, `$material` and `$seed` are 32 and 96 bytes; everything else is taken from earlier answers.

use ::kmip::{Operation, ProtocolVersion, ResultReason};
use Operation as O;
use ProtocolVersion::{V1_0, V1_1, V1_2, V1_4};
use Wants::{Done, Refusal};

/// A program that keeps keys in a KMIP server.
pub(super) struct Consumer {
    /// What `--client` calls it.
    pub(super) name: &'static str,
    /// Which program it is.
    pub(super) about: &'static str,
    pub(super) road: Road,
    /// What its messages have in their header between version and count.
    pub(super) header: &'static str,
    /// Whether it gives a Unique Batch Item ID to single items, too.
    pub(super) marks_items: bool,
    pub(super) steps: &'static [Step],
}

/// How its messages get to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    /// All on one connection, by the KMIP port.
    Connection,
    /// Each on its own connection, by the KMIP port.
    ConnectionPerMessage,
    /// By HTTPS.
    Https,
}

/// One message, or without items the question whether TLS sessions are resumed.
pub(super) struct Step {
    pub(super) sends: &'static str,
    pub(super) version: ProtocolVersion,
    pub(super) asked: &'static [Asked],
    /// What it means to the program if this fails, and what to do.
    pub(super) otherwise: &'static str,
}

/// One operation of a message.
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) payload: &'static str,
    pub(super) wants: Wants,
}

/// What has to come back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wants {
    /// A success that has all of this in its payload.
    Done(&'static str),
    /// A refusal for this reason.
    Refusal(ResultReason),
}

const fn step(version: ProtocolVersion, sends: &'static str, asked: &'static [Asked], otherwise: &'static str) -> Step {
    Step { sends, version, asked, otherwise }
}

const fn ask(operation: Operation, payload: &'static str, wants: Wants) -> Asked {
    Asked { operation, payload, wants }
}

/// All of them.
pub(super) const CONSUMERS: &[Consumer] = &[MONGODB, PERCONA, MYSQL_KEYRING, PG_TDE, CEPH, VCENTER, SYNOLOGY, VAST, VEEAM, FORTIGATE];

const ALLOW: &str = "let this client's certificate do it, or ask the vendor of the server for the operation";

const MONGODB: Consumer = Consumer {
    name: "mongodb",
    about: "MongoDB drivers and shells: client-side field level encryption, Queryable Encryption",
    road: Road::Connection,
    header: "",
    marks_items: false,
    steps: &[
        step(
            V1_0,
            "a seed of 96 bytes as Secret Data in format Opaque, with Usage Mask 0",
            &[ask(
                O::Register,
                r#"ObjectType=#7 TemplateAttribute{"Cryptographic Usage Mask"=0} SecretData{SecretDataType=#2 KeyBlock{KeyFormatType=#2 KeyValue{KeyMaterial=$seed}}}"#,
                Done("UniqueIdentifier=$master"),
            )],
            "no master key can be made: the server has to keep Secret Data of type Seed that is for nothing but being returned",
        ),
        step(V1_0, "the seed", &[ask(O::Activate, "UniqueIdentifier=$master", Done("UniqueIdentifier=$master"))], ALLOW),
        step(
            V1_0,
            "the seed, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$master",
                Done(
                    "ObjectType=#7 UniqueIdentifier=$master SecretData{SecretDataType=#2 KeyBlock{KeyFormatType=#2 KeyValue{KeyMaterial=$seed}}}",
                ),
            )],
            "no data key can be made or opened: the same 96 bytes have to come back in format Opaque, neither wrapped nor sensitive",
        ),
        step(
            V1_2,
            "delegated mode: a key AES-256 to encrypt and decrypt",
            &[ask(
                O::Create,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "`delegated: true` does not work: let the client make AES-256 keys, or leave the option out",
        ),
        step(V1_2, "delegated mode: the key", &[ask(O::Activate, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
        step(
            V1_2,
            "delegated mode: 96 bytes, AES in CBC with PKCS5 and an IV of the server's",
            &[ask(
                O::Encrypt,
                "UniqueIdentifier=$key CryptographicParameters{BlockCipherMode=#1 PaddingMethod=#3 CryptographicAlgorithm=#3 RandomIV=true} Data=$seed",
                Done("UniqueIdentifier=$key Data=$sealed IVCounterNonce=$iv"),
            )],
            "`delegated: true` does not work: the server has to choose the IV and return it",
        ),
        step(
            V1_2,
            "delegated mode: the same to be decrypted",
            &[ask(
                O::Decrypt,
                "UniqueIdentifier=$key CryptographicParameters{BlockCipherMode=#1 PaddingMethod=#3 CryptographicAlgorithm=#3} Data=$sealed IVCounterNonce=$iv",
                Done("UniqueIdentifier=$key Data=$seed"),
            )],
            "`delegated: true` does not work: what was encrypted has to open with the IV that was returned",
        ),
    ],
};

const PERCONA: Consumer = Consumer {
    name: "percona",
    about: "Percona Server for MongoDB: encryption at rest",
    road: Road::Connection,
    header: "MaximumResponseSize=8192 TimeStamp=@1700000000",
    marks_items: false,
    steps: &[
        step(
            V1_0,
            "a key AES-256 of its own, Raw, to encrypt and decrypt, without a name",
            &[ask(
                O::Register,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12} SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$material} CryptographicAlgorithm=#3 CryptographicLength=256}}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "mongod does not start: the server has to take keys that the client made, whatever the header's Time Stamp says",
        ),
        step(V1_0, "the key", &[ask(O::Activate, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
        step(
            V1_0,
            "the key, for its state",
            &[ask(O::GetAttributes, r#"UniqueIdentifier=$key AttributeName="State""#, Done(r#"UniqueIdentifier=$key "State"=#2"#))],
            "mongod shuts down unless it is told that its key is Active",
        ),
        step(
            V1_0,
            "the key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done("ObjectType=#2 UniqueIdentifier=$key SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$material}}}"),
            )],
            "mongod does not start: the key has to come back Raw and unwrapped",
        ),
        step(
            V1_0,
            "an identifier of nothing",
            &[ask(O::Get, "UniqueIdentifier=$absent", Refusal(ResultReason::ItemNotFound))],
            "mongod takes any other answer for a fault of the server, and goes on to the next one in its list",
        ),
    ],
};

const MYSQL_KEYRING: Consumer = Consumer {
    name: "mysql-keyring",
    about: "Percona Server for MySQL: component_keyring_kmip, which mixes 1.4 and 1.0 on one connection",
    road: Road::Connection,
    header: "",
    marks_items: false,
    steps: &[
        step(
            V1_4,
            "a key AES-256 with name and group",
            &[ask(
                O::Register,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12 "Name"{NameValue=$name NameType=#1} "Object Group"=$name} SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$material} CryptographicAlgorithm=#3 CryptographicLength=256}}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "no table key can be stored: the server has to take keys that the client made",
        ),
        step(
            V1_0,
            "a password with the masks Derive Key and Export",
            &[ask(
                O::Register,
                r#"ObjectType=#7 TemplateAttribute{"Cryptographic Usage Mask"=576 "Name"{NameValue=$name2 NameType=#1} "Object Group"=$name} SecretData{SecretDataType=#1 KeyBlock{KeyFormatType=#2 KeyValue{KeyMaterial=$material}}}"#,
                Done("UniqueIdentifier=$password"),
            )],
            "secrets cannot be stored, or not in 1.0 behind a message in 1.4 on the same connection",
        ),
        step(V1_4, "the key", &[ask(O::Activate, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
        step(
            V1_4,
            "its group, by pages of 16",
            &[ask(
                O::Locate,
                r#"MaximumItems=16 OffsetItems=0 "Object Type"=#2 "Object Group"=$name"#,
                Done("LocatedItems=1 UniqueIdentifier=$key"),
            )],
            "the component finds no keys after a restart: the server has to search by group and say in Located Items how many there are",
        ),
        step(
            V1_0,
            "the key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done("ObjectType=#2 UniqueIdentifier=$key SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$material}}}"),
            )],
            "tables cannot be opened: the key has to come back Raw and unwrapped, in the version of the question",
        ),
        step(
            V1_0,
            "the key, for its name",
            &[ask(
                O::GetAttributes,
                r#"UniqueIdentifier=$key AttributeName="Name""#,
                Done(r#"UniqueIdentifier=$key Attribute{AttributeName="Name" AttributeValue{NameValue=$name}}"#),
            )],
            "the component cannot tell its keys apart",
        ),
        step(
            V1_0,
            "the key, unspecified reason, occurrence date 0",
            &[ask(
                O::Revoke,
                "UniqueIdentifier=$key RevocationReason{RevocationReasonCode=#1} CompromiseOccurrenceDate=@0",
                Done("UniqueIdentifier=$key"),
            )],
            "keys cannot be removed: a date of 0 has to be taken",
        ),
        step(V1_4, "the key", &[ask(O::Destroy, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
    ],
};

const PG_TDE: Consumer = Consumer {
    name: "pg_tde",
    about: "Percona pg_tde: transparent encryption of PostgreSQL",
    road: Road::Connection,
    header: "",
    marks_items: false,
    steps: &[
        step(
            V1_0,
            "type and name of a key that is not there",
            &[ask(O::Locate, r#""Object Type"=#2 "Name"{NameValue=$name NameType=#1}"#, Done(""))],
            "no principal key can be made: nothing found is a success without identifiers",
        ),
        step(
            V1_0,
            "a key AES-256 with that name",
            &[ask(
                O::Register,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12 "Name"{NameValue=$name NameType=#1}} SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$material} CryptographicAlgorithm=#3 CryptographicLength=256}}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "no principal key can be made: the server has to take keys that the client made",
        ),
        step(
            V1_0,
            "type and name again",
            &[ask(O::Locate, r#""Object Type"=#2 "Name"{NameValue=$name NameType=#1}"#, Done("UniqueIdentifier=$key"))],
            "PostgreSQL does not find its key after a restart",
        ),
        step(
            V1_0,
            "the key, which it never activates",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done("ObjectType=#2 UniqueIdentifier=$key SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$material}}}"),
            )],
            "PostgreSQL does not start: the server has to return Pre-Active keys",
        ),
        step(
            V1_0,
            "an identifier of nothing",
            &[ask(O::Get, "UniqueIdentifier=$absent", Refusal(ResultReason::ItemNotFound))],
            "a key that is gone is reported as a server that is down",
        ),
    ],
};

const CEPH: Consumer = Consumer {
    name: "ceph",
    about: "Ceph Object Gateway: SSE-KMS",
    road: Road::Connection,
    header: r#"MaximumResponseSize=1048576 Authentication{Credential{CredentialType=#1 CredentialValue{Username="strongroom-doctor" Password="not a password"}}} TimeStamp=@1700000000"#,
    marks_items: false,
    steps: &[
        step(
            V1_0,
            "a key AES-256 with a name, with user and password in the header",
            &[ask(
                O::Create,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12 "Name"{NameValue=$name NameType=#1}}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "no key can be made; if the credential is what is refused, leave rgw_crypt_kmip_username out or let the server pass over it",
        ),
        step(
            V1_0,
            "the name",
            &[ask(O::Locate, r#""Name"{NameValue=$name NameType=#1}"#, Done("UniqueIdentifier=$key"))],
            "radosgw finds no key: it knows them by name alone",
        ),
        step(
            V1_0,
            "the key, which it does not activate",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done(
                    "ObjectType=#2 UniqueIdentifier=$key SymmetricKey{KeyBlock{KeyFormatType=#1 KeyValue{KeyMaterial=$made-here} CryptographicLength=256}}",
                ),
            )],
            "objects cannot be written or read: the server has to return Pre-Active keys that it made, unwrapped",
        ),
    ],
};

const VCENTER: Consumer = Consumer {
    name: "vcenter",
    about: "VMware vCenter and ESXi: encryption of virtual machines and vSAN",
    road: Road::Connection,
    header: "",
    marks_items: true,
    steps: &[
        step(
            V1_1,
            "nothing, as a question of health",
            &[ask(O::DiscoverVersions, "", Done("ProtocolVersion{ProtocolVersionMajor=1 ProtocolVersionMinor=1}"))],
            "vCenter shows the server as not connected: it asks this every five minutes and needs 1.1",
        ),
        step(V1_1, "server information", &[ask(O::Query, "QueryFunction=#3", Done(""))], "vCenter cannot show what server it is"),
        step(
            V1_1,
            "a key AES-256 to encrypt and decrypt",
            &[ask(
                O::Create,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "no machine can be encrypted: let the client make AES-256 keys",
        ),
        step(
            V1_1,
            "the key, for length and state",
            &[ask(
                O::GetAttributes,
                r#"UniqueIdentifier=$key AttributeName="Cryptographic Length" AttributeName="State""#,
                Done(r#"UniqueIdentifier=$key "Cryptographic Length"=256 "State"=*"#),
            )],
            ALLOW,
        ),
        step(
            V1_1,
            "three attributes of its own, in one batch",
            &[
                ask(O::AddAttribute, r#"UniqueIdentifier=$key "x-Product"="VMware vSphere""#, Done("UniqueIdentifier=$key Attribute{}")),
                ask(O::AddAttribute, r#"UniqueIdentifier=$key "x-Product_Version"="8.0.3""#, Done("UniqueIdentifier=$key Attribute{}")),
                ask(O::AddAttribute, r#"UniqueIdentifier=$key "x-Vendor"="VMware, Inc.""#, Done("UniqueIdentifier=$key Attribute{}")),
            ],
            "vCenter gives the key up: the server has to keep custom attributes, and to return each Unique Batch Item ID",
        ),
        step(
            V1_1,
            "the key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done(
                    "ObjectType=#2 UniqueIdentifier=$key SymmetricKey{KeyBlock{KeyValue{KeyMaterial=$made-here} CryptographicLength=256}}",
                ),
            )],
            "machines do not start: the server has to return Pre-Active keys that it made, unwrapped",
        ),
    ],
};

const SYNOLOGY: Consumer = Consumer {
    name: "synology",
    about: "Synology DSM 7: the vault of encrypted volumes; a connection for each operation",
    road: Road::ConnectionPerMessage,
    header: "",
    marks_items: false,
    steps: &[
        step(
            V1_2,
            "all that 1.2 can be asked",
            &[ask(
                O::Query,
                "QueryFunction=#1 QueryFunction=#2 QueryFunction=#3 QueryFunction=#4 QueryFunction=#5 QueryFunction=#6",
                Done("Operation=#3 Operation=#8 Operation=#A Operation=#E ObjectType=#7"),
            )],
            "DSM refuses the server: it has to offer Register, Locate, Get and Modify Attribute, and Secret Data",
        ),
        step(
            V1_2,
            "a name that nobody has",
            &[ask(O::Locate, r#""Name"{NameValue=$name NameType=#1}"#, Done(""))],
            "DSM takes it for a fault if nothing is found",
        ),
        step(
            V1_2,
            "Secret Data in format Opaque to verify by, with Operation Policy Name",
            &[ask(
                O::Register,
                r#"ObjectType=#7 TemplateAttribute{"Cryptographic Usage Mask"=2 "Operation Policy Name"="default" "Name"{NameValue=$name2 NameType=#1}} SecretData{SecretDataType=#1 KeyBlock{KeyFormatType=#2 KeyValue{KeyMaterial=$material}}}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "no volume can be encrypted: the server has to keep Secret Data, and to take the policy name",
        ),
        step(
            V1_2,
            "another name, before it is activated",
            &[ask(
                O::ModifyAttribute,
                r#"UniqueIdentifier=$key "Name"{NameValue=$name NameType=#1}"#,
                Done(r#"UniqueIdentifier=$key Attribute{AttributeName="Name" AttributeValue{NameValue=$name}}"#),
            )],
            "DSM gives up: the answer has to repeat the attribute, and Pre-Active objects have to be changeable",
        ),
        step(V1_2, "the secret", &[ask(O::Activate, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
        step(
            V1_2,
            "the secret",
            &[ask(
                O::GetAttributeList,
                "UniqueIdentifier=$key",
                Done(r#"UniqueIdentifier=$key AttributeName="Name" AttributeName="State""#),
            )],
            ALLOW,
        ),
        step(
            V1_2,
            "the secret, for its state",
            &[ask(O::GetAttributes, r#"UniqueIdentifier=$key AttributeName="State""#, Done(r#"UniqueIdentifier=$key "State"=#2"#))],
            "DSM takes the volume's key for lost",
        ),
        step(
            V1_2,
            "the secret, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done("ObjectType=#7 UniqueIdentifier=$key SecretData{KeyBlock{KeyFormatType=#2 KeyValue{KeyMaterial=$material}}}"),
            )],
            "volumes are not unlocked at start: the same bytes have to come back",
        ),
        step(
            V1_2,
            "the secret, cessation of operation",
            &[ask(O::Revoke, "UniqueIdentifier=$key RevocationReason{RevocationReasonCode=#6}", Done("UniqueIdentifier=$key"))],
            ALLOW,
        ),
        step(V1_2, "the secret", &[ask(O::Destroy, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
    ],
};

const VAST: Consumer = Consumer {
    name: "vast",
    about: "VAST Data: encryption of a cluster, by HTTPS (give --server the HTTPS address)",
    road: Road::Https,
    header: "",
    marks_items: false,
    steps: &[
        step(
            V1_4,
            "nothing",
            &[ask(O::DiscoverVersions, "", Done("ProtocolVersion{ProtocolVersionMajor=1 ProtocolVersionMinor=4}"))],
            "VAST speaks 1.4 alone",
        ),
        step(
            V1_4,
            "a key AES-256 with name, group and policy name",
            &[ask(
                O::Create,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12 "Name"{NameValue=$name NameType=#1} "Object Group"=$name "Operation Policy Name"="default"}"#,
                Done("ObjectType=#2 UniqueIdentifier=$old"),
            )],
            "no key can be made: let the client make AES-256 keys in groups, and take the policy name",
        ),
        step(
            V1_4,
            "an attribute of its own",
            &[ask(O::AddAttribute, r#"UniqueIdentifier=$old "x-vast"="1""#, Done("UniqueIdentifier=$old Attribute{}"))],
            "the server has to keep custom attributes",
        ),
        step(V1_4, "the key", &[ask(O::Activate, "UniqueIdentifier=$old", Done("UniqueIdentifier=$old"))], ALLOW),
        step(
            V1_4,
            "the name",
            &[ask(O::Locate, r#""Name"{NameValue=$name NameType=#1}"#, Done("UniqueIdentifier=$old"))],
            "VAST finds its keys by name",
        ),
        step(
            V1_4,
            "the key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$old",
                Done("ObjectType=#2 UniqueIdentifier=$old SymmetricKey{KeyBlock{KeyValue{KeyMaterial=$made-here}}}"),
            )],
            "nothing can be decrypted: the key has to come back unwrapped",
        ),
        step(
            V1_4,
            "the key, for its state, every 61 seconds",
            &[ask(O::GetAttributes, r#"UniqueIdentifier=$old AttributeName="State""#, Done(r#"UniqueIdentifier=$old "State"=#2"#))],
            "VAST takes the key for revoked",
        ),
        step(
            V1_4,
            "the key, to be replaced",
            &[ask(O::ReKey, "UniqueIdentifier=$old", Done("UniqueIdentifier=$new"))],
            "rotation does not work: the server has to offer Re-key",
        ),
        step(
            V1_4,
            "the name again",
            &[ask(O::Locate, r#""Name"{NameValue=$name NameType=#1}"#, Done("UniqueIdentifier=$new"))],
            "VAST goes on with the old key: Re-key has to move the name to the new one",
        ),
        step(
            V1_4,
            "whether the new key may encrypt and decrypt",
            &[ask(O::Check, "UniqueIdentifier=$new CryptographicUsageMask=12", Done("UniqueIdentifier=$new"))],
            "the server has to offer Check",
        ),
        step(
            V1_4,
            "the old key, superseded",
            &[ask(O::Revoke, "UniqueIdentifier=$old RevocationReason{RevocationReasonCode=#4}", Done("UniqueIdentifier=$old"))],
            ALLOW,
        ),
        step(V1_4, "the old key", &[ask(O::Destroy, "UniqueIdentifier=$old", Done("UniqueIdentifier=$old"))], ALLOW),
    ],
};

const VEEAM: Consumer = Consumer {
    name: "veeam",
    about: "Veeam Backup & Replication 12 and later: keys of backups",
    road: Road::Connection,
    header: "",
    marks_items: false,
    steps: &[
        step(
            V1_4,
            "three connections; a client in .NET takes its session up again",
            &[],
            "each connection costs a whole handshake, and some releases give up: let the server's TLS resume sessions",
        ),
        step(
            V1_4,
            "a name that nobody has",
            &[ask(O::Locate, r#""Name"{NameValue=$name NameType=#1}"#, Done(""))],
            "nothing found is a success without identifiers",
        ),
        step(
            V1_4,
            "an RSA key pair of 2048 bits",
            &[ask(
                O::CreateKeyPair,
                r#"CommonTemplateAttribute{"Cryptographic Algorithm"=#4 "Cryptographic Length"=2048} PrivateKeyTemplateAttribute{"Name"{NameValue=$name NameType=#1} "Cryptographic Usage Mask"=8} PublicKeyTemplateAttribute{"Name"{NameValue=$name2 NameType=#1} "Cryptographic Usage Mask"=4}"#,
                Done("PrivateKeyUniqueIdentifier=$private PublicKeyUniqueIdentifier=$public"),
            )],
            "no backup can be encrypted: the server has to offer Create Key Pair for RSA-2048",
        ),
        step(V1_4, "the private key", &[ask(O::Activate, "UniqueIdentifier=$private", Done("UniqueIdentifier=$private"))], ALLOW),
        step(V1_4, "the public key", &[ask(O::Activate, "UniqueIdentifier=$public", Done("UniqueIdentifier=$public"))], ALLOW),
        step(
            V1_4,
            "the public key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$public",
                Done(
                    "ObjectType=#3 UniqueIdentifier=$public PublicKey{KeyBlock{KeyFormatType=* KeyValue{KeyMaterial=*} CryptographicLength=2048}}",
                ),
            )],
            "no backup can be encrypted: the public key has to come back",
        ),
        step(
            V1_4,
            "the private key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$private",
                Done(
                    "ObjectType=#4 UniqueIdentifier=$private PrivateKey{KeyBlock{KeyFormatType=* KeyValue{KeyMaterial=*} CryptographicLength=2048}}",
                ),
            )],
            "no backup can be restored: the private key has to come back unwrapped",
        ),
    ],
};

const FORTIGATE: Consumer = Consumer {
    name: "fortigate",
    about: "FortiGate 7.4 and later: keys of disks and of its configuration",
    road: Road::Connection,
    header: r#"Authentication{Credential{CredentialType=#1 CredentialValue{Username="strongroom-doctor" Password="not a password"}}}"#,
    marks_items: false,
    steps: &[
        step(
            V1_0,
            "a key AES-256 with a name, with user and password in the header",
            &[ask(
                O::Create,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12 "Name"{NameValue=$name NameType=#1}}"#,
                Done("UniqueIdentifier=$key"),
            )],
            "no key can be made; if the credential is what is refused, let the server pass over it",
        ),
        step(
            V1_0,
            "a newer key with another name",
            &[ask(
                O::Create,
                r#"ObjectType=#2 TemplateAttribute{"Cryptographic Algorithm"=#3 "Cryptographic Length"=256 "Cryptographic Usage Mask"=12 "Name"{NameValue=$name2 NameType=#1}}"#,
                Done("UniqueIdentifier=$other"),
            )],
            "no second key can be made",
        ),
        step(
            V1_0,
            "the name inside a Template-Attribute, at most one item",
            &[ask(O::Locate, r#"MaximumItems=1 TemplateAttribute{"Name"{NameValue=$name NameType=#1}}"#, Done("UniqueIdentifier=$key"))],
            "FortiGate gets another key than its own: the server has to search by what is inside the Template-Attribute",
        ),
        step(
            V1_4,
            "the same in 1.4",
            &[ask(O::Locate, r#"MaximumItems=1 TemplateAttribute{"Name"{NameValue=$name NameType=#1}}"#, Done("UniqueIdentifier=$key"))],
            "as in 1.0; set the FortiGate to a version that works",
        ),
        step(
            V1_0,
            "the key, to be returned",
            &[ask(
                O::Get,
                "UniqueIdentifier=$key",
                Done(
                    "ObjectType=#2 UniqueIdentifier=$key SymmetricKey{KeyBlock{KeyValue{KeyMaterial=$made-here} CryptographicLength=256}}",
                ),
            )],
            "nothing can be decrypted: the key has to come back unwrapped",
        ),
        step(V1_0, "the key", &[ask(O::Activate, "UniqueIdentifier=$key", Done("UniqueIdentifier=$key"))], ALLOW),
    ],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ::kmip::notation::{Bindings, Bound, Notation};

    use super::*;

    #[test]
    fn every_consumer_is_known_by_one_name_and_asks_something() {
        let names: BTreeSet<&str> = CONSUMERS.iter().map(|consumer| consumer.name).collect();
        assert_eq!(names.len(), CONSUMERS.len());
        assert!(CONSUMERS.iter().all(|consumer| consumer.steps.len() > 2));
    }

    /// A table that has a mistake would blame the server for it.
    #[test]
    fn every_message_can_be_read_and_written_once_the_answers_before_it_are_there() {
        for consumer in CONSUMERS {
            let text = Bound::Text("text".to_owned());
            let mut bound: Bindings = ["name", "name2", "absent"].map(|name| (name.to_owned(), text.clone())).into();
            bound.extend(["material", "seed"].map(|name| (name.to_owned(), Bound::Bytes(vec![0]))));
            for asked in consumer.steps.iter().flat_map(|step| step.asked) {
                let encoded = Notation::read(asked.payload).and_then(|payload| payload.encoded(&bound));
                assert!(encoded.is_ok(), "{}: {encoded:?} in {}", consumer.name, asked.payload);
                let Done(pattern) = asked.wants else { continue };
                let read = Notation::read(pattern);
                assert!(read.is_ok(), "{}: {read:?} in {pattern}", consumer.name);
                let variables = pattern.split('$').skip(1).map(|rest| rest.split([' ', '}']).next().unwrap_or_default());
                bound.extend(variables.map(|variable| (variable.to_owned(), text.clone())));
            }
            assert!(Notation::read(consumer.header).is_ok(), "{}", consumer.name);
        }
    }

    #[test]
    fn nothing_is_sent_in_a_version_that_does_not_have_the_operation() {
        for step in CONSUMERS.iter().flat_map(|consumer| consumer.steps) {
            assert!(step.asked.iter().all(|asked| asked.operation.since() <= step.version), "{}", step.sends);
        }
    }
}
