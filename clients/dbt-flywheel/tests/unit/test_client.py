"""Requests and answers, with a server of the test's own."""

import http.server
import json
import threading

import pytest

from dbt.adapters.flywheel.client import Client, FlywheelError, Handle


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with what the test has laid out, and keeps what was asked."""

    asked: list = []
    answers: dict = {}

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        self.asked.append((self.path, self.headers["Authorization"], body))
        status, answer = self.answers.get(self.path, (404, {"code": "not-found", "detail": "no"}))
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Answers.asked, Answers.answers = [], {}
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def cursor_of(url):
    return Handle(Client(url, "fwt_secret", 1_000)).cursor()


def test_a_script_goes_statement_by_statement_to_the_door_of_each(server):
    columns = [{"name": "n", "type": "integer", "arrow_type": "Int64"}]
    Answers.answers = {
        "/v1/sql": (
            200,
            {"columns": columns, "rows": [[1], ["9007199254740993"]], "truncated": False},
        ),
        "/v1/sql/write": (200, {"statement": "insert", "inserted": 2, "updated": 1, "deleted": 0}),
    }
    cursor = cursor_of(server)
    cursor.execute("begin; insert into a values (%s); commit; select n from a", ["it's"])
    assert [path for path, *_ in Answers.asked] == ["/v1/sql/write", "/v1/sql"]
    assert Answers.asked[0][2]["sql"] == "insert into a values ('it''s')"
    assert Answers.asked[0][1] == "Bearer fwt_secret"
    assert cursor.fetchone() == (1,)
    assert cursor.fetchall() == [(9007199254740993,)]
    assert cursor.fetchone() is None
    cursor.execute("insert into a select 1")
    assert (cursor.statement, cursor.rowcount, cursor.description) == ("insert", 3, None)


def test_what_the_server_refuses_is_told_in_its_words(server):
    refused = {"code": "denied", "detail": "table is built by a model", "hint": "Change the model."}
    Answers.answers = {"/v1/sql/write": (403, refused)}
    with pytest.raises(FlywheelError) as told:
        cursor_of(server).execute("drop table a.b")
    assert told.value.code == "denied"
    assert "built by a model" in str(told.value) and "Change the model." in str(told.value)


def test_an_answer_that_is_cut_short_is_an_error(server):
    Answers.answers = {"/v1/sql": (200, {"columns": [], "rows": [[]], "truncated": True})}
    with pytest.raises(FlywheelError, match="more rows"):
        cursor_of(server).execute("select 1")


def test_what_is_no_server_of_ours_is_told(server):
    Answers.answers = {"/v1/sql": (200, b"<html>")}
    with pytest.raises(FlywheelError, match="no Flywheel server"):
        cursor_of(server).execute("select 1")
    with pytest.raises(FlywheelError, match="no address"):
        Client("127.0.0.1:8700", "t", 1)
    # A port that was just let go of has nobody behind it.
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as gone:
        port = gone.server_port
    with pytest.raises(FlywheelError, match="does not answer"):
        cursor_of(f"http://127.0.0.1:{port}").execute("select 1")


def test_cancelling_what_has_ended_is_no_error(server):
    handle = Handle(Client(server, "t", 1_000))
    handle.cancel()
    assert Answers.asked == []
    handle.begun("dbt-1")
    handle.cancel()
    assert Answers.asked[0][0] == "/v1/sql/dbt-1/cancel"
