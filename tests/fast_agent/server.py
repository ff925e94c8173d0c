"""The official Python SDK's server behind an authorization server.

The first line of stdin holds the options as JSON: `issuer`, and `transport` (`http` or `sse`). The
first line of stdout is `ready PORT`. It ends when stdin does, so it never outlives a test.
"""

import json
import os
import socket
import sys
import threading

import httpx
import uvicorn
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.fastmcp import FastMCP

options = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
port = listener.getsockname()[1]
is_sse = options["transport"] == "sse"
resource = f"http://127.0.0.1:{port}/{'sse' if is_sse else 'mcp'}"


class Verifier(TokenVerifier):
    """Asks the authorization server what a token is worth (RFC 7662)."""

    async def verify_token(self, token):
        form = {"token": token, "client_id": "resource", "client_secret": "resource"}
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{options['issuer']}/token/introspection", data=form)
        said = answer.json()
        if not said["active"] or said["aud"] != resource:
            return None
        scopes = said.get("scope", "").split()
        return AccessToken(token=token, client_id=said["client_id"], scopes=scopes)


server = FastMCP(
    "tests",
    token_verifier=Verifier(),
    auth=AuthSettings(
        issuer_url=options["issuer"], resource_server_url=resource, required_scopes=["api"]
    ),
)


@server.tool()
def hello() -> str:
    return "hi"


app = server.sse_app() if is_sse else server.streamable_http_app()
print("ready", port, flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
