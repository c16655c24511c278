"""Stands in for the services whose taps the tests run: enough of each API to discover, to page, and to go on.

    python3 stand_in.py

Says "PORT NOW" when it listens. A request for https://HOST/PATH comes as /HOST/PATH (see wrapped.py). Everything is made up
and the same each time, with times relative to NOW. POST /_next makes the second round: some things are new, changed or gone.
"""

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import front
import intercom
import salesforce
import stripe_api

HOSTS = {
    "api.stripe.com": stripe_api,
    "api.intercom.io": intercom,
    "api2.frontapp.com": front,
    "login.salesforce.com": salesforce,
    "weir.my.salesforce.com": salesforce,
}
ORDERS = 120
ORDERS_OF_PAGE = 50


class World:
    """What the services know."""

    now = int(time.time())
    round = 1


def orders(world, query):
    """An API of nobody's, paged by a number."""
    page = int(query.get("page", ["1"])[0])
    found = [
        {"id": n, "placed_at": f"2026-01-01T{n % 24:02}:00:00+05:00", "total": n / 8, "paid": n % 2 == 0,
         "customer": {"name": f"Zoë \"{n}\"", "tags": ["a", n]}, "note": None if n % 3 else ""}
        for n in range(ORDERS + (2 if world.round == 2 else 0))
    ]
    start = (page - 1) * ORDERS_OF_PAGE
    return {"data": found[start : start + ORDERS_OF_PAGE], "next_page": page + 1 if start + ORDERS_OF_PAGE < len(found) else None}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer in one piece.
    wbufsize = 65_536

    def answer(self, body):
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        if url.path == "/_next":
            World.round = 2
            return 200, {}
        if url.path == "/orders":
            return 200, orders(World, query)
        found = re.fullmatch(r"/([^/]+)(/.*)", url.path)
        service = HOSTS.get(found[1]) if found else None
        answer = service and service.answer(World, self.command, found[2], query, body)
        return answer or (404, {"errors": [{"code": "not_found", "message": self.path}]})

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        status, answer = self.answer(body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        # What Front's and Salesforce's taps go by.
        self.send_header("x-ratelimit-remaining", "100")
        self.send_header("x-ratelimit-reset", "0")
        self.send_header("sforce-limit-info", "api-usage=10/15000")
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, World.now, flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit()
