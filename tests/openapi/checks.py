"""What schemathesis does not know of weir.

A request may be right in parts. Of several events each is judged alone, so a body with a wrong one is answered with success where another
one was taken. The fault has to be told all the same: then it is in `rejected`.

A text may be JSON: the description can say that of `text/plain` and of lines only in words.
"""

import json

import schemathesis
from hypothesis import strategies
from schemathesis.specs.openapi.checks import AcceptedNegativeData, negative_data_rejection


@schemathesis.check
def faults_are_told(ctx, response, case):
    try:
        return negative_data_rejection(ctx, response, case)
    except AcceptedNegativeData:
        kind = response.headers.get("content-type", [""])[0]
        if kind.startswith("application/json") and response.json().get("rejected"):
            return None
        raise


names = strategies.text(min_size=1, max_size=40)
events = strategies.fixed_dictionaries(
    {"name": names}, optional={"id": names, "user_id": names, "properties": strategies.dictionaries(names, names, max_size=3)}
)
lines = strategies.lists(events, min_size=1, max_size=5).map(lambda items: "\n".join(map(json.dumps, items)).encode())
schemathesis.openapi.media_type("application/x-ndjson", lines)
schemathesis.openapi.media_type("text/plain", events.map(lambda event: json.dumps(event).encode()))
