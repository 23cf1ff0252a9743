"""The legacy REST path of Rocket.Chat's `email-inbox` endpoints: the table of its routes, under `/api/v1/`."""

from starlette.routing import Route, Router

from rest import inbox, session
from rest.problems import not_found

ROUTES = [
    Route("/email-inbox", inbox.save, methods=["POST"]),
    Route("/email-inbox.list", inbox.listing, methods=["GET"]),
    Route("/email-inbox.search", inbox.search, methods=["GET"]),
    Route("/email-inbox/{id}", inbox.show, methods=["GET"]),
    Route("/email-inbox/{id}", inbox.remove, methods=["DELETE"]),
    Route("/login", session.login, methods=["POST"]),
    Route("/logout", session.logout, methods=["POST"]),
    Route("/me", session.me, methods=["GET"]),
]

router = Router(ROUTES, redirect_slashes=False, default=not_found)
