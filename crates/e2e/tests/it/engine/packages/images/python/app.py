"""Counts visits in redis, whose host the environment names."""

import http.server
import os
import signal
import socket
import sys
import urllib.request


def count():
    """Adds one to the counter, and returns it."""
    with socket.create_connection((os.environ["REDIS"], 6379), timeout=5) as redis:
        redis.sendall(b"INCR visits\r\n")
        answer = redis.makefile("rb").readline()
    if not answer.startswith(b":"):
        raise OSError(answer)
    return int(answer[1:])


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers `/visits`, and `/health` without redis."""

    def do_GET(self):
        try:
            status, text = 200, "well" if self.path == "/health" else f"visit {count()}"
        except OSError as error:
            status, text = 503, str(error)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text) + 1))
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())


def leave(*_):
    """Ends with a status of its own, so that a clean end can be told."""
    print("leaving")
    sys.exit(0)


if sys.argv[1:] == ["--check"]:
    urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=5)
else:
    # The first process of its namespace has no handlers but its own.
    signal.signal(signal.SIGTERM, leave)
    http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
