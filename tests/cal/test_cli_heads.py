"""What the configuration keeps outside of the ledger's folder: the head's row, and a witness's word."""

import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from attunement.config_schema import Config, ConfigError, LoggingConfig
from attunement.heads import configured_head_store
from ledger import HeadStoreError, Kind, NoteKey, SigningKey, read_records, sqlite_head_store
from ledger.note import COSIGNATURE, Note, cosign

WITNESS = SigningKey(bytes(range(60, 92)))
VKEY = NoteKey("witness.example", WITNESS.verify_key, COSIGNATURE)


@pytest.fixture
def witness():
    """A witness on loopback that cosigns whatever it is offered."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            note = self.rfile.read(int(self.headers["Content-Length"])).partition(b"\n\n")[2]
            answer = cosign("witness.example", WITNESS, Note.parse(note).text, 1_800_000_000).encode()
            self.send_response(200 if note else 403)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def logging(site, **more):
    return {
        "audit_ledger_path": str(site.ledger),
        "key_path": str(site.key),
        "log_key_path": str(site.log_key),
        **more,
    }


def test_a_run_owns_the_heads_row_and_a_copy_that_lags_behind_it_does_not_start(cli, site, tmp_path):
    rows = tmp_path / "heads.db"
    config = ("--config", site.config(logging=logging(site, head_store=f"sqlite:{rows}")))
    for epoch in (1, 2):
        code, _, err = cli("run", *config, "--plain")
        assert code == 0, err
        assert cli("keys", "rotate", *config)[0] == 0 if epoch == 2 else True
    records = list(read_records(site.ledger))
    store = sqlite_head_store(rows)
    row = store.read(Config().logging.origin)
    assert (row.epoch, row.size) == (3, len(records))
    assert sum(record.kind is Kind.EPOCH for record in records) == 3
    # The folder is set back as a whole: nothing in it shows that, but the row does.
    ahead = store._execute("UPDATE head SET size = size + 1", ())
    assert ahead.rowcount == 1
    store.close()
    code, _, err = cli("run", *config, "--plain")
    assert (code, "the head's row has" in err) == (3, True)


def test_a_row_that_another_writer_took_stops_the_run(cli, site, tmp_path):
    rows = tmp_path / "heads.db"
    config = ("--config", site.config(logging=logging(site, head_store=f"sqlite:{rows}")))
    assert cli("run", *config, "--plain", "--cycles", 2)[0] == 0
    connection = sqlite3.connect(rows)
    connection.execute(
        "CREATE TRIGGER taken AFTER UPDATE ON head WHEN NEW.epoch = 2 AND NEW.size > 20 "
        "BEGIN UPDATE head SET epoch = 9; END"
    )
    connection.commit()
    connection.close()
    code, _, err = cli("run", *config, "--plain", "--cycles", 60)
    assert (code, "is no longer at epoch 2" in err) == (1, True)


@pytest.mark.parametrize("address", ["sqlite:", "mysql://secret@host", "heads.db"])
def test_an_address_of_no_known_kind_is_named_without_its_secret(address):
    with pytest.raises(ConfigError, match="must be sqlite:FILE or postgresql") as caught:
        Config(logging=LoggingConfig(head_store=address))
    assert "secret" not in str(caught.value)


def test_a_store_that_cannot_be_reached_is_said(tmp_path):
    for address in ("postgresql://127.0.0.1:1/none", f"sqlite:{tmp_path}/none/heads.db"):
        with (
            pytest.raises(HeadStoreError, match="cannot"),
            configured_head_store(Config(logging=LoggingConfig(head_store=address))),
        ):
            pass


def test_a_witness_cosigns_and_the_audit_counts_it(cli, site, witness, tmp_path):
    config = ("--config", site.config())
    assert cli("run", *config, "--plain")[0] == 0
    key = tmp_path / "witness.vkey"
    key.write_text(f"{VKEY}\n")
    for given in (key, str(VKEY)):
        code, out, err = cli("ledger", "witness", "--url", witness, "--key", given, *config)
        assert (code, out.startswith("witness.example cosigned the checkpoint of ")) == (0, True), err
        assert cli("keys", "rotate", "--log", *config)[0] == 0
    told = json.loads(cli("ledger", "verify", "--witness-key", key, "--json", *config)[1])
    assert told["verdict"] == "verified"
    code, _, err = cli("ledger", "witness", "--url", "http://127.0.0.1:1", "--key", key, *config)
    assert (code, "cannot reach" in err) == (1, True)
