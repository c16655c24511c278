"""A tap with its HTTP requests sent to a stand-in: https://HOST/PATH is asked for at BASE/HOST/PATH.

    VENV/bin/python wrapped.py BASE MODULE OPTION...

Nothing of the tap itself is changed.
"""

import importlib
import sys

from requests.adapters import HTTPAdapter

base, module = sys.argv[1:3]
send = HTTPAdapter.send


def send_to_stand_in(self, request, **options):
    scheme, rest = request.url.split("://", 1)
    if scheme == "https":
        request.url = f"{base}/{rest}"
    return send(self, request, **options)


HTTPAdapter.send = send_to_stand_in
sys.argv = [module, *sys.argv[3:]]
importlib.import_module(module).main()
