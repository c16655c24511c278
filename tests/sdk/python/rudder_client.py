import os
from datetime import datetime, timezone

import rudderstack.analytics as analytics

analytics.write_key = os.environ["WEIR_KEY"]
analytics.dataPlaneUrl = os.environ["WEIR_URL"]
analytics.debug = True
analytics.on_error = lambda error, items: print(error)
at = datetime(2026, 11, 20, 10, 0, 0, 123000, timezone.utc)
analytics.identify("alice", {"email": "alice@example.com"}, timestamp=at)
analytics.track("alice", "Order Completed", {"total": 49.5}, timestamp=at, anonymous_id="anon-1")
analytics.shutdown()
