"""The authorization server inside the boot: `refresh-N` gives `access-N+1` and `refresh-N+1`, once.

Each question is a line in the file `asked`; while a file `stall` is there, answers wait.
"""

import http.server
import json
import os
import time
import urllib.parse

generation = 0


class Issuer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global generation
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        token = urllib.parse.parse_qs(body)["refresh_token"][0]
        with open("/run/test/asked", "a") as asked:
            asked.write(token + "\n")
        while os.path.exists("/run/test/stall"):
            time.sleep(0.02)
        status, answer = 400, {"error": "invalid_grant"}
        if token == f"refresh-{generation}":
            generation += 1
            status = 200
            answer = {
                "access_token": f"access-{generation}",
                "refresh_token": f"refresh-{generation}",
                "expires_in": 3600,
                "token_type": "Bearer",
            }
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8099), Issuer).serve_forever()
