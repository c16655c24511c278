import os
from datetime import datetime, timezone

from posthog import Posthog

client = Posthog(os.environ["WEIR_KEY"], host=os.environ["WEIR_URL"], gzip=True)
at = datetime(2026, 11, 20, 10, 0, 0, 123000, timezone.utc)
client.capture("order completed", distinct_id="alice", properties={"total": 49.5, "$current_url": "https://shop.example/pricing"}, timestamp=at)
client.set(distinct_id="alice", properties={"email": "alice@example.com"}, timestamp=at)
client.alias("anon-1", "alice", timestamp=at)
client.shutdown()
