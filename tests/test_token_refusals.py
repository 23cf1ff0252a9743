"""What providers answer when they give no token, in their own words, and what each of it means. Row by row."""

import json
from typing import Any

import pytest

from mail.oauth2 import _refusal
from mail.refusals import token_meanings
from mail.refusals.token_meanings import CONSENT_ENDED, Meaning
from mail.refusals.tokens import ERRORS, NUMBERS, WORDS, token_failure
from models.account import Grant
from models.errors import ErrorCode, MailFailure
from models.secrets import Secret

IDS = "Trace ID: 6ee9ec92-6726-422a-85ce-86a1a6502800\r\nCorrelation ID: 521b9148-40bc-455a-ace1-c13802e053eb\r\n"
STAMP = "2026-11-03 13:51:30Z"

CONSENT, REFUSED, PROTOCOL = ErrorCode.CONSENT_REQUIRED, ErrorCode.AUTHENTICATION_FAILED, ErrorCode.PROTOCOL_ERROR


Row = tuple[Any, ...]


def row(*cells: object) -> Row:
    """What is answered; the code, the field of `oauth2` and a part of the message or the hint."""
    return cells


def microsoft(error: str, number: int, text: str, **more: Any) -> dict[str, Any]:
    """An answer of Microsoft's token endpoint."""
    return {
        "error": error,
        "error_description": f"AADSTS{number}: {text}\r\n{IDS}Timestamp: {STAMP}",
        "error_codes": [number],
        "timestamp": STAMP,
        "trace_id": "6ee9ec92-6726-422a-85ce-86a1a6502800",
        "correlation_id": "521b9148-40bc-455a-ace1-c13802e053eb",
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
        **more,
    }


def google(error: str, text: str, **more: str) -> dict[str, Any]:
    return {"error": error, "error_description": text, **more}


MICROSOFT: list[Row] = [
    # The client secret.
    row("invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is "
        "the client secret value, not the client secret ID, for a secret added to app '1111'.", REFUSED,
        "clientSecret", "not the secret's id"),
    row("invalid_client", 7000222, "The provided client secret keys for app '1111' are expired. Visit the Azure "
        "portal to create new keys for your app: https://aka.ms/NewClientSecret", REFUSED, "clientSecret",
        "Make a new"),
    row("invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or "
        "'client_secret'.", REFUSED, "clientSecret", "Set clientSecret"),
    row("invalid_client", 700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be "
        "presented.", REFUSED, "clientSecret", "to null"),
    row("invalid_client", 70002, "Error validating credentials.", REFUSED, "clientSecret", "client secret"),
    # The application.
    row("unauthorized_client", 700016, "Application with identifier '1111' was not found in the directory 'Example'. "
        "This can happen if the application has not been installed by the administrator of the tenant or consented to "
        "by any user in the tenant.", REFUSED, "clientId", "clientId"),
    row("unauthorized_client", 7000112, "Application '1111'(Mail) is disabled.", REFUSED, "clientId", "Enable"),
    row("invalid_grant", 50105, "Your administrator has configured the application Mail ('1111') to block users "
        "unless they are specifically granted ('assigned') access to the application.", REFUSED, "clientId", "assign"),
    # The tenant.
    row("invalid_request", 50194, "Application '1111'(Mail) is not configured as a multi-tenant application. Usage of "
        "the /common endpoint is not supported for such applications created after '10/15/2018'. Use a "
        "tenant-specific endpoint or configure the application to be multi-tenant.", REFUSED, "tokenUrl", "/TENANT/"),
    row("invalid_request", 90002, "Tenant 'example' not found. Check to make sure you have the correct tenant ID and "
        "are signing into the correct cloud.", REFUSED, "tokenUrl", "/TENANT/"),
    row("invalid_request", 900023, "Specified tenant identifier 'asdf' is neither a valid DNS name, nor a valid "
        "external domain.", REFUSED, "tokenUrl", "/TENANT/"),
    row("invalid_request", 9002331, "Application '1111'(Mail) is configured for use by Microsoft Account users only. "
        "Please use the /consumers endpoint to serve this request.", REFUSED, "tokenUrl", "/consumers/"),
    row("invalid_request", 9002332, "Application '1111'(Mail) is configured for use by Azure Active Directory users "
        "only. Please do not use the /consumers endpoint to serve this request.", REFUSED, "tokenUrl", "/TENANT/"),
    row("invalid_grant", 50020, "User account 'a@example.org' from identity provider 'live.com' does not exist in "
        "tenant 'Example' and cannot access the application '1111'(Mail) in that tenant.", REFUSED, "tokenUrl",
        "/TENANT/"),
    # The scope.
    row("invalid_grant", 70000, "The request was denied because one or more scopes requested are unauthorized or "
        "expired. The user must first sign in and grant the client application access to the requested scope.",
        REFUSED, "scope", "what was consented to"),
    row("invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid. The scope mail is "
        "not valid.", REFUSED, "scope", "scope"),
    row("invalid_request", 90009, "Application '1111'(Mail) is requesting a token for itself. This scenario is "
        "supported only if resource is specified using the GUID based App Identifier.", REFUSED, "scope", "scope"),
    row("invalid_resource", 500011, "The resource principal named https://outlook.office.com was not found in the "
        "tenant named Example.", REFUSED, "scope", "API permissions"),
    row("invalid_client", 650057, "Invalid resource. The client has requested access to a resource which is not "
        "listed in the requested permissions in the client's application registration.", REFUSED, "scope",
        "API permissions"),
    # What a new consent repairs.
    row("invalid_grant", 70000, "The user could not be authenticated as the grant is expired. The user must sign in "
        "again.", CONSENT, "refreshToken", "consent again"),
    row("invalid_grant", 70000, "The user could not be authenticated or user interaction is required. The user must "
        "sign in again and if needed grant the client application access to the requested scope.", CONSENT,
        "refreshToken", "consent again"),
    row("invalid_grant", 70008, "The provided authorization code or refresh token has expired due to inactivity. Send "
        "a new interactive authorization request for this user and resource.", CONSENT, "refreshToken",
        "consent again"),
    row("invalid_grant", 700082, "The refresh token has expired due to inactivity. The token was issued on "
        "2026-01-01T11:08:13Z and was inactive for 90.00:00:00.", CONSENT, "refreshToken", "consent again"),
    row("invalid_grant", 700084, "The refresh token was issued to a single page app (SPA), and therefore has a fixed, "
        "limited lifetime of 1.00:00:00, which cannot be extended. It is now expired.", CONSENT, "refreshToken",
        "single-page"),
    row("invalid_grant", 50173, "The provided grant has expired due to it being revoked, a fresh auth token is "
        "needed. The user might have changed or reset their password.", CONSENT, "refreshToken", "consent again"),
    row("interaction_required", 70043, "The refresh token has expired or is invalid due to sign-in frequency checks "
        "by conditional access.", CONSENT, "refreshToken", "sign-in frequency"),
    row("invalid_grant", 65001, "The user or administrator has not consented to use the application with ID '1111' "
        "named 'Mail'. Send an interactive authorization request for this user and resource.", CONSENT, "refreshToken",
        "consent again"),
    row("invalid_grant", 90094, "Admin consent is required for the permissions requested by this application.",
        CONSENT, "refreshToken", "administrator"),
    row("interaction_required", 50076, "Due to a configuration change made by your administrator, or because you "
        "moved to a new location, you must use multi-factor authentication to access '00000002'.", CONSENT,
        "refreshToken", "second factor"),
    row("interaction_required", 50079, "Due to a configuration change made by your administrator, or because you "
        "moved to a new location, you must enroll in multi-factor authentication.", CONSENT, "refreshToken",
        "second factor"),
    # What no consent repairs, though Microsoft calls it invalid_grant or interaction_required.
    row("invalid_grant", 53003, "Access has been blocked by Conditional Access policies. The access policy does not "
        "allow token issuance.", REFUSED, "", "Conditional Access"),
    row("interaction_required", 53000, "Device is not in required device state: compliant.", REFUSED, "",
        "administrator"),
    row("invalid_grant", 50057, "The user account is disabled.", REFUSED, "", "restore"),
    row("invalid_grant", 50053, "The account is locked, you've tried to sign in too many times with an incorrect user "
        "ID or password.", REFUSED, "", "unlock"),
    row("invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.", REFUSED, "refreshToken",
        "whole"),
    row("invalid_grant", 50196, "The server terminated an operation because it encountered a client request loop.",
        PROTOCOL, "tokenUrl", "Try again later"),
    row("temporarily_unavailable", 90033, "A transient error has occurred. Please try again.", PROTOCOL, "tokenUrl",
        "Try again later"),
    # A number that nobody knows: `error` alone has a say.
    row("invalid_grant", 9_999_999, "Something new.", CONSENT, "refreshToken", "consent again"),
]  # fmt: skip

GOOGLE: list[Row] = [
    row(401, google("deleted_client", "The OAuth client was deleted."), REFUSED, "clientId", "Register"),
    row(401, google("disabled_client", "The OAuth client was disabled."), REFUSED, "clientId", "Enable"),
    row(401, google("invalid_client", "The OAuth client was not found."), REFUSED, "clientId", "clientId"),
    row(401, google("invalid_client", "The provided client secret is invalid."), REFUSED, "clientSecret",
        "client secret"),
    row(401, google("invalid_client", "Unauthorized"), REFUSED, "clientSecret", "clientSecret"),
    row(400, google("invalid_request", "client_secret is missing."), REFUSED, "clientSecret", "Set clientSecret"),
    row(400, google("invalid_request", "Could not determine client ID from request."), REFUSED, "clientId",
        "clientId"),
    row(401, google("unauthorized_client", "Unauthorized"), REFUSED, "clientId", "consented to"),
    row(400, google("invalid_grant", "Token has been expired or revoked."), CONSENT, "refreshToken", "seven days"),
    row(400, google("invalid_grant", "Bad Request"), CONSENT, "refreshToken", "consent again"),
    row(400, google("invalid_grant", "reauth related error (invalid_rapt)", error_subtype="invalid_rapt"), CONSENT,
        "refreshToken", "session control"),
    row(400, google("invalid_grant", "Bad Request", error_subtype="rapt_required"), CONSENT, "refreshToken",
        "session"),
    row(400, google("invalid_grant", "Account has been deleted"), REFUSED, "", "restore"),
    row(400, google("invalid_grant", "The account has been deleted"), REFUSED, "", "restore"),
    row(400, google("invalid_scope", "Some requested scopes were invalid. {valid=[], invalid=[mail]}"), REFUSED,
        "scope", "scope"),
    row(403, google("org_internal", "This client is restricted to users within its organization."), REFUSED,
        "clientId", "organization"),
    row(400, google("admin_policy_enforced", "Access to your account data is restricted by policies of your "
        "organization."), REFUSED, "", "API controls"),
    row(403, google("rate_limit_exceeded", "Rate Limit Exceeded"), PROTOCOL, "tokenUrl", "Try again later"),
    # Zoho answers 200 to everything.
    row(200, {"error": "invalid_code"}, CONSENT, "refreshToken", "consent again"),
    row(200, {"error": "invalid_client_secret"}, REFUSED, "clientSecret", "client secret"),
    row(400,
        google("Access Denied", "You have made too many requests continuously. Please try again after some time."),
        PROTOCOL, "tokenUrl", "Try again later"),
]  # fmt: skip


def told(status: int, answer: dict[str, Any], *, has_secret: bool = True) -> MailFailure:
    """What is made of the answer, which is never repeated: not a word of the description, no id, no unknown error."""
    found = token_failure(status, json.loads(json.dumps(answer)), has_secret=has_secret)
    seen = f"{found} {found.hint}"
    description = str(answer.get("error_description", ""))
    for text in (description.partition(": ")[2] or description, "1111", "6ee9ec92", "521b9148", "Example"):
        assert not text or text not in seen
    return found


def is_meant(found: MailFailure, kind: ErrorCode, name: str, part: str) -> None:
    assert (found.kind, found.field) == (kind, ("oauth2", name) if name else ("oauth2",))
    assert part in f"{found} {found.hint}"


@pytest.mark.parametrize(("error", "number", "text", "kind", "name", "part"), MICROSOFT)
def test_what_microsoft_says(error: str, number: int, text: str, kind: ErrorCode, name: str, part: str) -> None:
    status = 401 if error == "invalid_client" else 400
    found = told(status, microsoft(error, number, text))
    is_meant(found, kind, name, part)
    assert str(found).endswith(f"(AADSTS{number}).")
    assert str(told(status, {**microsoft(error, number, text), "error_codes": None})) == str(found), "by its text alone"


@pytest.mark.parametrize(("status", "answer", "kind", "name", "part"), GOOGLE)
def test_what_google_and_others_say(status: int, answer: dict[str, Any], kind: ErrorCode, name: str, part: str) -> None:
    is_meant(told(status, answer), kind, name, part)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_has_no_time_says_nothing_else(number: int, status: int) -> None:
    assert told(status, microsoft("invalid_grant", number, "x")).kind is PROTOCOL


@pytest.mark.parametrize(
    "codes", [None, [], "70008", [None], ["70008"], [True], [-1], [10**30], {"70008": 1}, [1], [[70008]]]
)
@pytest.mark.parametrize("description", [None, 5, [], {}, "", "AADSTS", "AADSTS0", "AADSTS99999999999999999999"])
def test_numbers_that_are_none(codes: Any, description: Any) -> None:
    answer = {"error": "invalid_grant", "error_codes": codes, "error_description": description}
    assert str(token_failure(400, answer, has_secret=True)) == str(CONSENT_ENDED.failure())


@pytest.mark.parametrize("error", [None, 5, [], {}, {"code": 400, "status": "INVALID_ARGUMENT"}, "unheard_of", ""])
def test_an_error_that_is_none(error: Any) -> None:
    found = token_failure(400, {"error": error, "error_description": "unheard of as well"}, has_secret=True)
    assert (found.kind, found.field) == (PROTOCOL, ("oauth2", "tokenUrl"))
    assert "unheard" not in f"{found} {found.hint}"


def test_a_client_without_a_secret_is_told_of_its_id() -> None:
    is_meant(told(401, {"error": "invalid_client"}, has_secret=False), REFUSED, "clientId", "clientId")


def test_the_first_number_that_is_known_counts() -> None:
    answer = {**microsoft("invalid_grant", 50076, "x"), "error_codes": [1_234_567, 53003]}
    assert "AADSTS53003" in str(told(400, answer))


def test_every_meaning_is_reached_and_names_a_field_and_a_fix() -> None:
    meanings = [value for value in vars(token_meanings).values() if isinstance(value, Meaning)]
    reached = [*ERRORS.values(), *NUMBERS.values(), *(row[2] for row in WORDS)]
    beside = {"CLIENT_REFUSED", "SCOPE_NOT_GRANTED", "NO_TOKEN", "NOT_UNDERSTOOD"}
    assert all(meaning in reached for name, meaning in vars(token_meanings).items() if name.isupper()
               and isinstance(meaning, Meaning) and name not in beside)  # fmt: skip
    fields = {"", "refreshToken", "clientId", "clientSecret", "tokenUrl", "scope"}
    assert {meaning.field for meaning in meanings} == fields
    assert all(meaning.hint.endswith(".") and not meaning.message.endswith(".") for meaning in meanings)


def test_only_what_a_new_consent_repairs_asks_for_one() -> None:
    for meaning in vars(token_meanings).values():
        if isinstance(meaning, Meaning):
            asks = meaning.kind is CONSENT
            assert asks == (meaning.field == "refreshToken" and meaning is not token_meanings.TOKEN_UNREADABLE)
            assert not asks or "consent again" in meaning.hint


@pytest.mark.parametrize(
    ("error", "values", "kind", "part"),
    [
        ("invalid_client", {"client_secret": Secret(" s")}, REFUSED, "clientSecret begins or ends with a blank"),
        ("invalid_client", {"client_secret": Secret("s\u00a0s")}, REFUSED, "clientSecret holds a no-break space"),
        ("unauthorized_client", {"client_id": "client\u200b"}, REFUSED, "clientId begins or ends with a blank"),
        ("invalid_scope", {"scope": "mail "}, REFUSED, "scope begins or ends with a blank"),
        ("invalid_grant", {"refresh_token": Secret("1//token ")}, REFUSED, "refreshToken begins or ends with a blank"),
        ("invalid_grant", {}, CONSENT, "The consent has ended"),
    ],
)
def test_what_a_paste_has_left_is_told_first(error: str, values: dict[str, Any], kind: ErrorCode, part: str) -> None:
    """A refresh token that was pasted wrongly is no consent that has ended."""
    given = {"client_id": "c", "client_secret": Secret("s"), "refresh_token": Secret("1//token"), **values}
    found = _refusal(400, {"error": error}, Grant("https://token.example.org/", **given))
    assert found.kind is kind
    assert part in f"{found} {found.hint}"
    assert "1//token" not in f"{found} {found.hint}"
