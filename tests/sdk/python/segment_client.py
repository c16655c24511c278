import os
from datetime import datetime, timezone

import segment.analytics as analytics

analytics.write_key = os.environ["WEIR_KEY"]
analytics.host = os.environ["WEIR_URL"]
analytics.gzip = True
analytics.debug = True
analytics.on_error = lambda error, items: print(error)
at = datetime(2026, 11, 20, 10, 0, 0, 123000, timezone.utc)
context = {"ip": "203.0.113.7", "page": {"url": "https://shop.example/pricing", "title": "Pricing"}}
analytics.page("alice", "Docs", "Pricing", {"url": "https://shop.example/pricing"}, context, at)
analytics.identify("alice", {"email": "alice@example.com"}, timestamp=at)
analytics.track("alice", "Order Completed", {"total": 49.5}, context, at, anonymous_id="anon-1")
analytics.alias("anon-1", "alice", timestamp=at)
analytics.shutdown()
