"""Interprets the refusals of a token endpoint (RFC 6749, 5.2).

`error` alone is too coarse: Microsoft answers `invalid_grant` to an ended consent, to a blocked account and to
throttled requests, and distinguishes them by a number (AADSTS, in `error_codes`); Google does so by a sentence. The
endpoint's own text never reaches the client: only what was recognized in it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mail.refusals.token_meanings import (
    ACCOUNT_BLOCKED,
    ACCOUNT_GONE,
    ACCOUNT_LOCKED,
    ADMINISTRATOR,
    ANOTHER_CLIENT,
    ANOTHER_TENANT,
    CLIENT_DELETED,
    CLIENT_DISABLED,
    CLIENT_REFUSED,
    CLIENT_UNKNOWN,
    CONSENT_ENDED,
    CREDENTIALS_REFUSED,
    ENDPOINT_BUSY,
    INTERNAL_CLIENT,
    NOT_ASSIGNED,
    NOT_CONSENTED,
    NOT_UNDERSTOOD,
    PASSWORD_OUTDATED,
    PERSONAL_ONLY,
    SCOPE_NOT_GRANTED,
    SCOPE_NOT_REGISTERED,
    SCOPE_REFUSED,
    SECOND_FACTOR,
    SECRET_EXPIRED,
    SECRET_MISSING,
    SECRET_UNWANTED,
    SECRET_WRONG,
    SESSION_ENDED,
    SINGLE_PAGE,
    TENANT_UNKNOWN,
    TENANT_WANTED,
    TOKEN_UNREADABLE,
    WORK_ONLY,
    WRONG_REQUEST,
    Meaning,
)
from models.errors import MailFailure

TEXT_FIELDS = ("error_description", "error_subtype")
MAX_READ_LENGTH = 1_000
"""How many characters of each are read."""
_NUMBER = re.compile(r"AADSTS([1-9][0-9]{4,7})\b")

ERRORS: Mapping[str, Meaning] = {
    # RFC 6749, 5.2; OpenID Connect Core, 3.1.2.6; RFC 8628, 3.5.
    "invalid_grant": CONSENT_ENDED,
    "interaction_required": CONSENT_ENDED,
    "consent_required": NOT_CONSENTED,
    "login_required": CONSENT_ENDED,
    "invalid_client": CREDENTIALS_REFUSED,
    "unauthorized_client": ANOTHER_CLIENT,
    "invalid_scope": SCOPE_REFUSED,
    "access_denied": ACCOUNT_BLOCKED,
    "invalid_request": WRONG_REQUEST,
    "unsupported_grant_type": WRONG_REQUEST,
    "temporarily_unavailable": ENDPOINT_BUSY,
    "server_error": ENDPOINT_BUSY,
    "slow_down": ENDPOINT_BUSY,
    # Google.
    "deleted_client": CLIENT_DELETED,
    "disabled_client": CLIENT_DISABLED,
    "org_internal": INTERNAL_CLIENT,
    "admin_policy_enforced": ACCOUNT_BLOCKED,
    "rate_limit_exceeded": ENDPOINT_BUSY,
    # Microsoft.
    "invalid_resource": SCOPE_NOT_REGISTERED,
    # Zoho, Yahoo.
    "invalid_client_secret": SECRET_WRONG,
    "invalid_code": CONSENT_ENDED,
    "INVALID_REFRESH_TOKEN": CONSENT_ENDED,
}
"""The meaning of `error` if no number or sentence is more specific."""

ANY = "*"
WORDS: Sequence[tuple[str, str, Meaning]] = (
    # Google.
    ("invalid_grant", r"\binvalid_rapt\b|\brapt_required\b", SESSION_ENDED),
    ("invalid_grant", r"\baccount (has been |is |was )?(deleted|disabled|suspended|restricted)\b", ACCOUNT_GONE),
    ("invalid_client", r"client was not found", CLIENT_UNKNOWN),
    ("invalid_client", r"client secret is (invalid|wrong)", SECRET_WRONG),
    ("invalid_request", r"client_secret is missing", SECRET_MISSING),
    ("invalid_request", r"could not determine client id", CLIENT_UNKNOWN),
    # Zoho throttles without status 429.
    (ANY, r"too many requests", ENDPOINT_BUSY),
)
"""The meaning of a sentence in `error_description` with its `error`, for providers without numbers."""

INVALID_GRANT = 70_000

_GROUPS: Sequence[tuple[Meaning, tuple[int, ...]]] = (
    (
        CONSENT_ENDED,
        (
            INVALID_GRANT,
            *(50085, 50089, 50132, 50133, 50139, 50173),  # session ended or revoked
            *(70008, 700082, 700020),  # expired, by age or by disuse
        ),
    ),
    (SINGLE_PAGE, (700084,)),
    (SESSION_ENDED, (70043,)),
    (SECOND_FACTOR, (50072, 50074, 50076, 50078, 50079, 50158)),
    (PASSWORD_OUTDATED, (50055, 50125, 50135, 50144)),
    (NOT_CONSENTED, (65001, 65004, 90008)),
    (ADMINISTRATOR, (90094, 90095)),
    (TOKEN_UNREADABLE, (9002313,)),
    (SECRET_WRONG, (70002, 7000215)),
    (SECRET_EXPIRED, (7000222,)),
    (SECRET_MISSING, (7000216, 7000218)),
    (SECRET_UNWANTED, (700025,)),
    (CLIENT_UNKNOWN, (700011, 700016, 700038)),
    (CLIENT_DISABLED, (70001, 1000031, 7000112)),
    (NOT_ASSIGNED, (50105,)),
    (TENANT_UNKNOWN, (50059, 50128, 90002, 90019, 900021, 900023)),
    (TENANT_WANTED, (50194, 90124, 90130, 9001023)),
    (ANOTHER_TENANT, (16003, 50020, 50034, 51004, 90038, 90072)),
    (PERSONAL_ONLY, (9002331,)),
    (WORK_ONLY, (9002332,)),
    (SCOPE_REFUSED, (28000, 28002, 28003, 70011, 90009, 700022, 700023)),
    (SCOPE_NOT_REGISTERED, (50001, 65005, 500011, 650052, 650054, 650056, 650057)),
    (
        ACCOUNT_BLOCKED,
        (
            *(50005, 50097, 50129, 50131, 50155, 50187, 53000, 53001, 53002, 53003, 53009, 53011),
            *(500021, 500022, 500212, 500213, 530032, 530034, 530035, 530084),
        ),
    ),
    (ACCOUNT_GONE, (50014, 50057)),
    (ACCOUNT_LOCKED, (50053,)),
    (ENDPOINT_BUSY, (50033, 50087, 50196, 70012, 90006, 90012, 90024, 90033, 90055, 90090, 90091)),
)
NUMBERS: Mapping[int, Meaning] = {number: meaning for meaning, numbers in _GROUPS for number in numbers}
"""The meanings of Microsoft's numbers (Microsoft Entra authentication and authorization error codes)."""


def token_failure(status: int, answer: Mapping[str, Any], *, has_secret: bool) -> MailFailure:
    """Interprets a response; `answer` is its JSON object, empty if there was none.

    `has_secret`: whether the request sent a client secret. If not, the failure does not suggest to compare it.
    """
    error = answer["error"] if isinstance(answer.get("error"), str) else ""
    if status >= 500 or status == 429:
        return ENDPOINT_BUSY.failure(f"status {status}")
    description = " ".join(text[:MAX_READ_LENGTH] for name in TEXT_FIELDS if isinstance(text := answer.get(name), str))
    number = _number(answer.get("error_codes"), description)
    meaning = _by_number(number, description) or _by_words(error, description) or ERRORS.get(error)
    if meaning is None:
        return NOT_UNDERSTOOD.failure(f"AADSTS{number}" if number else f"status {status}")
    if meaning is CREDENTIALS_REFUSED and not has_secret:
        meaning = CLIENT_REFUSED
    known = error if error in ERRORS and meaning in (ENDPOINT_BUSY, WRONG_REQUEST) else ""
    return meaning.failure(f"AADSTS{number}" if number else known)


def _number(codes: object, description: str) -> int | None:
    """Returns Microsoft's number: the first known one, else the first."""
    given = codes if isinstance(codes, list) else []
    numbers = [code for code in given[:10] if isinstance(code, int) and 10_000 <= code < 100_000_000]
    numbers += [int(found) for found in _NUMBER.findall(description)[:1]]
    return next((number for number in numbers if number in NUMBERS), next(iter(numbers), None))


def _by_number(number: int | None, description: str) -> Meaning | None:
    if number == INVALID_GRANT and "scopes requested are unauthorized" in description:
        return SCOPE_NOT_GRANTED
    return NUMBERS.get(number) if number else None


def _by_words(error: str, description: str) -> Meaning | None:
    for code, words, meaning in WORDS:
        if code in (error, ANY) and re.search(words, description, re.IGNORECASE):
            return meaning
    return None
