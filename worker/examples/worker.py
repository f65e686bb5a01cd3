"""A worker in Python, without dependencies: python3 worker.py [PORT]"""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Worker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Keeps connections alive.

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200 if body else 422)
        if not body:
            self.send_header("Rollcall-Reason", "empty: %s" % self.headers["Rollcall-Sequence"])
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.upper())


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 0), Worker)
print("http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
