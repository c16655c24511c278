"""Front: a report of each team and day."""

import hashlib
import json

TEAMS = [{"id": "tim_1", "name": "Support"}, {"id": "tim_2", "name": "Größere Kunden"}]


def answer(world, method, path, query, body):
    if path == "/me":
        return 200, {"id": "cmp_1"}
    if path == "/teams":
        return 200, {"_results": TEAMS}
    if path == "/analytics/reports" and method == "POST":
        asked = json.loads(body)
        report = hashlib.sha256(json.dumps([asked["start"], asked["filters"]]).encode()).hexdigest()[:12]
        return 201, {"_links": {"self": f"https://api2.frontapp.com/analytics/reports/{report}"}}
    if path.startswith("/analytics/reports/"):
        metrics = {"avg_first_response_time": 12.5, "num_messages_received": 42, "pct_tagged_conversations": 0.25, "avg_handle_time": None}
        return 200, {"status": "done", "metrics": [{"id": name, "value": value} for name, value in metrics.items()]}
