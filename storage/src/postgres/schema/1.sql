-- How many commits each node has made: the row is locked while one is open.
create table strongroom.nodes (
    node uuid primary key,
    commits bigint not null
);

-- One row for each stored record. Everything but `stored` is there to be looked at and searched; `stored` is what counts, and a MAC covers it.
create table strongroom.records (
    layer smallint not null,
    id uuid not null,
    chain uuid not null,
    version bigint not null,
    object_type bigint not null,
    algorithm bigint not null,
    bits bigint not null,
    state varchar(50) not null,
    expiry bigint,
    tenant uuid not null,
    service uuid,
    generation bigint not null,
    parent uuid not null,
    parent_version bigint not null,
    stored bytea not null,
    primary key (layer, id)
);

-- By what records are found, without their saying what it is.
create table strongroom.terms (
    term bytea not null,
    layer smallint not null,
    id uuid not null,
    primary key (term, layer, id)
);
create index terms_of_record on strongroom.terms (layer, id);

-- Generations of the MasterKey, which is nowhere in here.
create table strongroom.encryption_keys (
    id bigint primary key,
    created_at timestamptz not null default now()
);

-- The material of each version of the Internal Versioned Key, wrapped by the MasterKey; empty once it is destroyed.
create table strongroom.kek_storage (
    kek_id serial primary key,
    ivk_version int not null unique,
    kek_encrypted bytea not null,
    encryption_key_id bigint not null references strongroom.encryption_keys (id),
    created_at timestamptz not null default now(),
    rotated_at timestamptz,
    status varchar(50) not null default 'active'
);

-- Audit records that became durable with their change, on their way to the node's log.
create table strongroom.outbox (
    node uuid not null,
    seq bigint not null,
    record bytea not null,
    primary key (node, seq)
);
