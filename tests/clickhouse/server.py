"""ClickHouse's newest engine (PyPI's chdb) behind as much of its HTTP interface as weir uses: statements and settings go to the engine
as they are. argv: a directory, a port, a password. Its processes are not the server's: system.processes knows no query_id.
"""

import os
import sys
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chdb import session

directory, port, password = sys.argv[1:]
engine = session.Session(os.path.join(directory, "data"))
one_at_a_time = threading.Lock()
# Settings of the interface, not of a query.
INTERFACE = {"query", "query_id", "wait_end_of_query", "database"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("x-clickhouse-key", "") != password:
            return self.answer(403, b"Code: 516. DB::Exception: Authentication failed (AUTHENTICATION_FAILED)")
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        settings = {name: value for name, value in parameters.items() if name not in INTERFACE}
        try:
            with one_at_a_time:
                if "query" in parameters:
                    answer = self.insert(parameters["query"], settings, body)
                else:
                    answer = engine.query(body.decode(), "TabSeparated").bytes()
        except Exception as error:  # whatever the engine says
            return self.answer(500, str(error).encode())
        self.answer(200, answer)

    def insert(self, statement, settings, rows):
        # The engine reads the rows of an insert from a file alone.
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            file.write(rows)
            file.flush()
            head, _, form = statement.rpartition(" format ")
            words = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
            engine.query(f"{head} from infile '{file.name}' settings {words} format {form}")
        return b""

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
