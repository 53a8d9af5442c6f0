"""What `cargo xtask bench pg-cdc` asks of Debezium.

peer_pg_cdc.py PORT DATABASE EVENTS SECONDS OFFSETS   reads EVENTS changes of the slot "debezium" and counts them
"""

import os
import sys
import threading
import time

import jpype
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

PORT, DATABASE, EVENTS, SECONDS, OFFSETS = sys.argv[1:6]


class Unused(BasePythonChangeHandler):
    def handleJsonBatch(self, records):
        raise NotImplementedError("the batches go to Count")


def give_up():
    print(f"Debezium: {seen[0]} of {EVENTS} events in {SECONDS} s", flush=True)
    os._exit(1)


seen = [0]
timer = threading.Timer(float(SECONDS), give_up)
timer.daemon = True
timer.start()
engine = DebeziumJsonEngine(
    properties={
        "name": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": PORT,
        "database.user": "bench",
        "database.password": "bench",
        "database.dbname": DATABASE,
        "topic.prefix": "bench",
        "table.include.list": "public.orders",
        "plugin.name": "pgoutput",
        "slot.name": "debezium",
        "publication.name": "debezium",
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "decimal.handling.mode": "string",
        "converter.schemas.enable": "false",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": OFFSETS,
        # As its documentation advises for throughput.
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": "50",
    },
    handler=Unused(),
)
engine._ensure_jvm_started()


# The package's own consumer walks through every event in Python, which takes much longer than Debezium; this one
# leaves them in Java.
@jpype.JImplements("io/debezium/engine/DebeziumEngine$ChangeConsumer")
class Count:
    first = None

    @jpype.JOverride
    def handleBatch(self, records, committer):
        if self.first is None:
            self.first = time.monotonic()
        size = records.size()
        seen[0] += size
        committer.markProcessed(records.get(size - 1))
        committer.markBatchFinished()
        if seen[0] >= int(EVENTS):
            took = time.monotonic() - self.first
            print(f"Debezium: {seen[0]} events, {took:.1f} s from the first batch to the last", flush=True)
            # Its threads do not end by themselves.
            os._exit(0)

    @jpype.JOverride
    def supportsTombstoneEvents(self):
        return True


engine.__dict__["consumer"] = Count()
engine.engine.run()
give_up()
