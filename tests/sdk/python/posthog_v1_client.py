import os

os.environ["POSTHOG_CAPTURE_MODE"] = "v1"

import posthog_client  # noqa: E402, F401
