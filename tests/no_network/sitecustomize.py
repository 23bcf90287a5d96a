"""Python imports this by itself where its folder is on PYTHONPATH: no other machine is reached, and tries are kept.

MIXLAB_NETWORK_LOG names the file that gets a line for each try.
"""

import os
import sys

LOCAL = ("127.", "localhost", "::1", "0.0.0.0")
ASKING = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0,
          "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}  # which argument says where to


def refuse(event, arguments):
    if event not in ASKING:
        return
    place = arguments[ASKING[event]]
    host = place[0] if isinstance(place, tuple) else place
    if not isinstance(host, str | bytes) or (event == "socket.connect" and not isinstance(place, tuple)):
        return  # a socket of this machine, named by a path
    host = host.decode() if isinstance(host, bytes) else host
    if host and not host.startswith(LOCAL):
        with open(os.environ["MIXLAB_NETWORK_LOG"], "a") as log:
            log.write(f"{event} {host} {' '.join(sys.argv[:2])[:60]!r}\n")
        raise OSError(f"{host}: this test has no network")


if os.environ.get("MIXLAB_NETWORK_LOG"):
    sys.addaudithook(refuse)
