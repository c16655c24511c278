import os
import urllib.request

from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent

for number, convert in enumerate((to_binary, to_structured)):
    attributes = {"id": str(number), "source": "/billing", "type": "com.acme.paid", "time": "2026-11-20T10:00:00.123Z", "subject": "alice"}
    headers, body = convert(CloudEvent(attributes, {"total": 49.5}))
    headers = {**headers, "authorization": "Bearer " + os.environ["WEIR_KEY"]}
    request = urllib.request.Request(os.environ["WEIR_URL"] + "/v1/cloudevents", data=body, headers=headers)
    assert urllib.request.urlopen(request).status == 200
