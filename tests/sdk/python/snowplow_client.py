import os
from urllib.parse import urlsplit

from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, StructuredEvent, Subject, Tracker

url = urlsplit(os.environ["WEIR_URL"])
failures = []
for method in ("post", "get"):
    emitter = Emitter(url.hostname, protocol=url.scheme, port=url.port, method=method, batch_size=1, on_failure=lambda sent, unsent: failures.append(unsent))
    subject = Subject().set_user_id("alice").set_domain_user_id("anon-1").set_screen_resolution(1920, 1080).set_lang("de-CH")
    tracker = Tracker(namespace="sp", emitters=emitter, subject=subject, app_id=os.environ["WEIR_ALIAS"])
    tracker.track(PageView(page_url="https://shop.example/" + method, page_title="Pricing", referrer="https://news.example/"))
    tracker.track(SelfDescribing(SelfDescribingJson("iglu:com.acme/order_completed/jsonschema/1-0-0", {"total": 49.5, "by": method})))
    tracker.track(StructuredEvent(category="shop", action=method, label="web", property_="pcs", value=2))
    tracker.flush()
assert not failures, failures
