"""A floor: Starlette that answers every request with the same inbox as JSON, and reads not even the request's body."""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SERVER = {"port": 465, "username": "support-00000000", "secure": True, "hasPassword": True}
INBOX = {
    "id": "inbox-00000000",
    "name": "Support 00000000",
    "email": "support-00000000@example.org",
    "active": True,
    "description": "Questions about orders, invoices and deliveries.",
    "senderInfo": "Support of Example",
    "department": None,
    "version": 1,
    "createdAt": "2030-01-31T12:00:00.000Z",
    "updatedAt": "2030-01-31T12:00:00.000Z",
    "smtp": {"server": "smtp.example.org", **SERVER},
    "imap": {"server": "imap.example.org", **SERVER, "maxRetries": 10},
}


async def answer(_request: Request) -> Response:
    return JSONResponse({"data": {"emailInbox": INBOX}})


app = Starlette(routes=[Route("/graphql", answer, methods=["POST"]), Route("/health/ready", answer)])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["EMAIL_INBOX_PORT"]))
