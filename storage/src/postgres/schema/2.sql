-- Whose row a term leads to, so that a search comes upon one tenant's rows alone.
alter table strongroom.terms add column tenant uuid;
update strongroom.terms t set tenant = r.tenant from strongroom.records r where r.layer = t.layer and r.id = t.id;
-- What leads nowhere was never listed.
delete from strongroom.terms where tenant is null;
alter table strongroom.terms alter column tenant set not null;

-- As whom the node works: not by the name of who has logged in, so that a copy of the database under other names is still found right.
create table strongroom.roles (
    is_only boolean primary key default true check (is_only),
    requests varchar(63) not null,
    worker varchar(63) not null
);
insert into strongroom.roles (requests, worker) values ({requests_text}, {worker_text});

grant usage on schema strongroom to {requests}, {worker};
grant select, insert, update, delete on strongroom.records to {requests}, {worker};
grant select, insert, delete on strongroom.terms to {requests}, {worker};
grant select, insert, update, delete on strongroom.kek_storage to {requests}, {worker};
grant usage on sequence strongroom.kek_storage_kek_id_seq to {requests}, {worker};
-- These needs who makes a backup in this role.
grant select on sequence strongroom.kek_storage_kek_id_seq to {worker};
grant select on strongroom.schema, strongroom.roles to {worker};
grant select, insert on strongroom.encryption_keys to {requests}, {worker};
grant select, insert, delete on strongroom.outbox to {requests}, {worker};
grant select, update on strongroom.nodes to {requests};
grant select, insert, update on strongroom.nodes to {worker};

-- Forced, because the owner is who logs in: without a role it sees nothing. Requests see the rows of the tenants that their transaction names, and the
-- appliance's own only if it names those; a setting that is missing names nobody.
alter table strongroom.records enable row level security;
alter table strongroom.records force row level security;
create policy requests on strongroom.records to {requests}
    using (tenant = any (nullif(current_setting('strongroom.tenants', true), '')::uuid[]));

alter table strongroom.terms enable row level security;
alter table strongroom.terms force row level security;
create policy requests on strongroom.terms to {requests}
    using (tenant = any (nullif(current_setting('strongroom.tenants', true), '')::uuid[]));

-- The IVK is the appliance's own, and so is all that is said of it here.
alter table strongroom.kek_storage enable row level security;
alter table strongroom.kek_storage force row level security;
create policy requests on strongroom.kek_storage to {requests}
    using ('00000000-0000-0000-0000-000000000000' = any (nullif(current_setting('strongroom.tenants', true), '')::uuid[]));

alter table strongroom.encryption_keys enable row level security;
alter table strongroom.encryption_keys force row level security;
create policy requests on strongroom.encryption_keys to {requests}
    using ('00000000-0000-0000-0000-000000000000' = any (nullif(current_setting('strongroom.tenants', true), '')::uuid[]));

-- What a node has to say of itself is of no tenant: an audit record names none, and lies here only until the node's log has it. So these are kept apart by node.
alter table strongroom.outbox enable row level security;
alter table strongroom.outbox force row level security;
create policy requests on strongroom.outbox to {requests}
    using (node = nullif(current_setting('strongroom.node', true), '')::uuid);

alter table strongroom.nodes enable row level security;
alter table strongroom.nodes force row level security;
create policy requests on strongroom.nodes to {requests}
    using (node = nullif(current_setting('strongroom.node', true), '')::uuid);

-- The node's own work is about everybody's rows. It has to have taken the role: who is only a member of it sees nothing.
create policy worker on strongroom.records to {worker} using (current_user = {worker_text});
create policy worker on strongroom.terms to {worker} using (current_user = {worker_text});
create policy worker on strongroom.kek_storage to {worker} using (current_user = {worker_text});
create policy worker on strongroom.encryption_keys to {worker} using (current_user = {worker_text});
create policy worker on strongroom.outbox to {worker} using (current_user = {worker_text});
create policy worker on strongroom.nodes to {worker} using (current_user = {worker_text});
