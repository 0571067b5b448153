"""A keystore plugin over SQLite: an example to start from, in one file.

It needs grpcio and grpcio-tools, which make the messages from the published .proto when it starts. It keeps `rows.sqlite` in the folder that
Strongroom names in STRONGROOM_PLUGIN_STATE (or systemd in STATE_DIRECTORY), and listens on the Unix socket STRONGROOM_PLUGIN_SOCKET.
"""

import os
import pathlib
import sqlite3
import sys
import threading
from concurrent import futures

import grpc

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, os.environ.get("STRONGROOM_PLUGIN_PROTO", str(HERE.parent.parent / "proto")))
v1, services = grpc.protos_and_services("strongroom/keystore/v1/keystore.proto")

PROTOCOL = 1
REQUEST_BYTES_MAX = 64 << 20
ANSWER_BYTES_MAX = 4 << 20
PAGE_ROWS_MAX = 1024

SCHEMA = """
create table if not exists rows (id blob primary key, generation text not null, stored blob not null) without rowid;
create table if not exists terms (term blob, id blob, primary key (term, id)) without rowid;
create index if not exists terms_of on terms (id);
create table if not exists records (node blob, seq blob, record blob not null, primary key (node, seq)) without rowid;
create table if not exists commits (node blob primary key, last blob not null) without rowid;
"""


class Refused(Exception):
    """What a change is refused with; undoes its transaction."""

    def __init__(self, **outcome):
        super().__init__(outcome)
        self.outcome = outcome


def number(value):
    """SQLite's integers have 63 bits; eight bytes compare like the number."""
    return value.to_bytes(8, "big")


class Keystore(services.KeystoreOperationsServicer):
    def __init__(self, path, batch):
        self.batch = batch
        # One connection and one lock: a call is short, and commits take turns anyway.
        self.database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.lock = threading.Lock()
        self.database.execute("pragma journal_mode = wal")
        # Each commit is on the disk when it returns.
        self.database.execute("pragma synchronous = full")
        self.database.executescript(SCHEMA)

    def ask(self, sql, *parameters):
        with self.lock:
            return self.database.execute(sql, parameters).fetchall()

    def change(self, context, answer, work):
        """Does the work in one transaction, and answers how it ended."""
        with self.lock:
            try:
                self.database.execute("begin immediate")
                try:
                    work()
                    self.database.execute("commit")
                except BaseException:
                    if self.database.in_transaction:
                        self.database.execute("rollback")
                    raise
            except Refused as refused:
                return answer(**refused.outcome)
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                    return answer(full=v1.Full(at="the folder of rows.sqlite"))
                # Nobody knows whether it has happened: Strongroom asks again.
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return answer(done=v1.Done())

    def must_have_batch(self, context):
        """With `--rows-only` it changes one row at a time, as a store without transactions would."""
        if not self.batch:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "this plugin has no transactions")

    def apply(self, change):
        """Does one change, if the row is as expected. Call it in a transaction."""
        kind = change.WhichOneof("change")
        request = getattr(change, kind)
        key = request.id if kind == "delete" else request.row.id
        expected = None if kind == "store" else str(request.expected_generation)
        found = self.database.execute("select generation from rows where id = ?", (key,)).fetchone()
        if (found[0] if found else None) != expected:
            raise Refused(conflict=v1.Conflict(id=key))
        self.database.execute("delete from rows where id = ?", (key,))
        self.database.execute("delete from terms where id = ?", (key,))
        if kind != "delete":
            row = request.row
            self.database.execute("insert into rows values (?, ?, ?)", (key, str(row.generation), row.stored))
            self.database.executemany("insert or ignore into terms values (?, ?)", [(term, key) for term in row.terms])

    def Capabilities(self, request, context):
        if PROTOCOL not in request.protocols:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"this plugin speaks protocol {PROTOCOL} only")
        last = self.ask("select last from commits where node = ?", request.node)
        return v1.CapabilitiesResponse(
            protocol=PROTOCOL, name="sqlite", version="0.1.0", batch=self.batch, last_commit=last[0][0] if last else b""
        )

    def Health(self, request, context):
        try:
            self.ask("select 1 from rows limit 1")
        except sqlite3.Error as error:
            return v1.HealthResponse(serving=False, detail=str(error))
        return v1.HealthResponse(serving=True)

    def StoreKey(self, request, context):
        return self.change(context, v1.ChangeResponse, lambda: self.apply(v1.Change(store=request)))

    def UpdateKeyMetadata(self, request, context):
        return self.change(context, v1.ChangeResponse, lambda: self.apply(v1.Change(update=request)))

    def DeleteKey(self, request, context):
        return self.change(context, v1.ChangeResponse, lambda: self.apply(v1.Change(delete=request)))

    def RetrieveKey(self, request, context):
        found = self.ask("select stored from rows where id = ?", request.id)
        if not found:
            return v1.RetrieveKeyResponse()
        return v1.RetrieveKeyResponse(row=v1.StoredRow(id=request.id, stored=found[0][0]))

    def ListKeys(self, request, context):
        first = bytes([request.layer])
        below = first + b"\xff" * 17
        if request.before:
            below = min(below, request.before)
        limit = min(max(request.limit, 1), PAGE_ROWS_MAX)
        sql = "select rows.id, length(stored) from rows"
        parameters = []
        for place, term in enumerate(request.terms):
            sql += f" join terms t{place} on t{place}.id = rows.id and t{place}.term = ?"
            parameters.append(term)
        sql += " where rows.id >= ? and rows.id < ? order by rows.id desc limit ?"
        found = self.ask(sql, *parameters, first, below, limit + 1)
        answer, size = v1.ListKeysResponse(), 0
        for key, length in found:
            if len(answer.rows) == limit or (answer.rows and size >= request.bytes_max):
                answer.more = True
                break
            stored = self.ask("select stored from rows where id = ?", key)
            if stored:
                answer.rows.add(id=key, stored=stored[0][0])
                size += length
        return answer

    def Batch(self, request, context):
        self.must_have_batch(context)

        def work():
            last = self.database.execute("select last from commits where node = ?", (request.node,)).fetchone()
            last = last[0] if last else b""
            if last == request.commit:
                return
            if last != request.after:
                raise Refused(other_commit=v1.OtherCommit(last=last))
            self.database.execute("insert or replace into commits values (?, ?)", (request.node, request.commit))
            for change in request.changes:
                self.apply(change)
            for record in request.records:
                try:
                    values = (request.node, number(record.seq), record.record)
                    self.database.execute("insert into records values (?, ?, ?)", values)
                except sqlite3.IntegrityError:
                    raise Refused(record_taken=v1.RecordTaken(seq=record.seq)) from None
            if request.HasField("settled"):
                new = {number(record.seq) for record in request.records}
                sql = "select seq from records where node = ? and seq <= ?"
                for (seq,) in self.database.execute(sql, (request.node, number(request.settled))).fetchall():
                    if seq not in new:
                        self.database.execute("delete from records where node = ? and seq = ?", (request.node, seq))

        return self.change(context, v1.BatchResponse, work)

    def ListRecords(self, request, context):
        self.must_have_batch(context)
        sql = "select seq, record from records where node = ? and seq > ? order by seq limit ?"
        found = self.ask(sql, request.node, number(request.after), min(request.limit, 1024))
        records = [v1.AuditRecord(seq=int.from_bytes(seq, "big"), record=record) for seq, record in found]
        return v1.ListRecordsResponse(records=records)


def main():
    state = os.environ.get("STRONGROOM_PLUGIN_STATE") or os.environ["STATE_DIRECTORY"]
    socket = os.environ["STRONGROOM_PLUGIN_SOCKET"]
    if pathlib.Path(socket).is_socket():
        os.unlink(socket)
    options = [
        ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
        ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=options)
    services.add_KeystoreOperationsServicer_to_server(Keystore(os.path.join(state, "rows.sqlite"), "--rows-only" not in sys.argv), server)
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
