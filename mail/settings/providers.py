"""A table of well-known mail providers: their servers, their login method, and a hint for the user.

It has only what is certain: a provider without servers in the table has none, or has different ones for each customer.
Servers and MX hosts match by suffix, the longest first; domains match exactly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class MailLogin(StrEnum):
    """The login method of a mail server."""

    PASSWORD = "PASSWORD"  # noqa: S105 - the name of a kind
    APP_PASSWORD = "APP_PASSWORD"  # noqa: S105 - the name of a kind
    OAUTH2 = "OAUTH2"


class UsernameKind(StrEnum):
    """The form of a username. OTHER: assigned by the server, or of more than one form."""

    FULL_ADDRESS = "FULL_ADDRESS"
    LOCAL_PART = "LOCAL_PART"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The host and port of a server."""

    server: str
    port: int
    secure: bool = True


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. `domains` are those of its users' addresses; `mx` and `servers` are suffixes of its host names."""

    name: str
    domains: tuple[str, ...]
    mx: tuple[str, ...]
    servers: tuple[str, ...]
    smtp: ServerAddress | None
    imap: ServerAddress | None
    username: UsernameKind
    login: MailLogin
    hint: str | None


def provider_of_domain(domain: str) -> Provider | None:
    """Returns the provider of the addresses at this domain, given in IDNA's ASCII form."""
    return _BY_DOMAIN.get(domain.lower().removesuffix("."))


def provider_of_mx(host: str) -> Provider | None:
    """Returns the provider of this MX host."""
    return _longest_match(_BY_MX, host)


@lru_cache(256)
def provider_of_server(server: str) -> Provider | None:
    """Returns the provider of this SMTP or IMAP server."""
    return _longest_match(_BY_SERVER, server)


def _longest_match(rows: Mapping[str, Provider], name: str) -> Provider | None:
    labels = name.lower().removesuffix(".").split(".")
    endings = (".".join(labels[start:]) for start in range(len(labels)))
    return next((rows[ending] for ending in endings if ending in rows), None)


def _row(
    name: str,
    *,
    domains: str = "",
    mx: str = "",
    servers: str = "",
    smtp: str = "",
    imap: str = "",
    username: UsernameKind = UsernameKind.FULL_ADDRESS,
    login: MailLogin = MailLogin.PASSWORD,
    hint: str | None = None,
) -> Provider:
    """Builds a row of the table. Lists are separated by spaces; servers are `host:port`."""
    out, into = _server_address(smtp), _server_address(imap)
    own = tuple(endpoint.server for endpoint in (out, into) if endpoint)
    known = tuple(dict.fromkeys((*servers.split(), *own)))
    return Provider(name, tuple(domains.split()), tuple(mx.split()), known, out, into, username, login, hint)


def _server_address(text: str) -> ServerAddress | None:
    server, _, port = text.partition(":")
    return ServerAddress(server, int(port)) if server else None


def _sending(name: str, smtp: str, hint: str, servers: str = "") -> Provider:
    """Builds a row for a service that sends mail and has no mailboxes."""
    return _row(name, servers=servers, smtp=smtp, username=UsernameKind.OTHER, hint=hint)


def _zoho(ending: str) -> tuple[Provider, Provider]:
    """Zoho has separate servers for each region, and for domains of its customers."""
    private = _row(
        "Zoho Mail",
        domains=f"zoho.{ending} zohomail.{ending}",
        smtp=f"smtp.zoho.{ending}:465",
        imap=f"imap.zoho.{ending}:993",
        hint=_ZOHO,
    )
    business = _row(
        "Zoho Mail",
        mx=f"zoho.{ending}",
        smtp=f"smtppro.zoho.{ending}:465",
        imap=f"imappro.zoho.{ending}:993",
        hint=_ZOHO,
    )
    return private, business


def _ionos(ending: str) -> Provider:
    return _row("IONOS", mx=f"ionos.{ending}", smtp=f"smtp.ionos.{ending}:465", imap=f"imap.ionos.{ending}:993")


def _netease(domain: str) -> Provider:
    return _row(
        "NetEase Mail",
        domains=domain,
        smtp=f"smtp.{domain}:465",
        imap=f"imap.{domain}:993",
        login=MailLogin.APP_PASSWORD,
        hint="Switch IMAP and SMTP on in the webmail's settings and use the authorisation code that it shows.",
    )


_GOOGLE = "Use an app password (which needs 2-step verification), or OAuth2. Google refuses the account's own password."
_MICROSOFT_365 = (
    "Microsoft 365 refuses passwords for IMAP: use OAuth2. The administrator must allow IMAP and authenticated SMTP."
)
_OUTLOOK = "Outlook.com refuses passwords: use OAuth2, and switch IMAP on in the settings of the webmail."
_APP_PASSWORD = "Make an app password in the settings of the account and use it in place of the account's own."  # noqa: S105
_SECOND_FACTOR = "With two-factor authentication, an app password is needed."
_SWITCH_ON = "Switch IMAP on in the settings of the webmail first. " + _SECOND_FACTOR
_ZOHO = "Switch IMAP on in the settings of Zoho Mail first. " + _SECOND_FACTOR
_API_KEY = "Use the SMTP credentials that the service shows; it has no mailboxes, so IMAP is somewhere else."

_SES_REGIONS = (
    "us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 sa-east-1 eu-west-1 eu-west-2 eu-west-3 eu-central-1 "
    "eu-north-1 eu-south-1 ap-south-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-southeast-1 ap-southeast-2 "
    "ap-southeast-3 me-south-1 af-south-1 il-central-1 us-gov-west-1"
)

PROVIDERS: tuple[Provider, ...] = (
    _row(
        "Google",
        domains="gmail.com googlemail.com",
        mx="google.com googlemail.com",
        servers="gmail.com googlemail.com",
        smtp="smtp.gmail.com:465",
        imap="imap.gmail.com:993",
        login=MailLogin.APP_PASSWORD,
        hint=_GOOGLE,
    ),
    _row(
        "Microsoft 365",
        mx="mail.protection.outlook.com mx.microsoft",
        servers="office365.com",
        smtp="smtp.office365.com:587",
        imap="outlook.office365.com:993",
        login=MailLogin.OAUTH2,
        hint=_MICROSOFT_365,
    ),
    _row(
        "Outlook.com",
        domains="outlook.com outlook.de outlook.fr outlook.es outlook.it outlook.at outlook.be outlook.dk outlook.ie "
        "outlook.pt outlook.jp outlook.com.br hotmail.com hotmail.co.uk hotmail.de hotmail.fr hotmail.it "
        "hotmail.es hotmail.nl hotmail.se live.com live.co.uk live.de live.fr live.it live.nl live.se live.dk live.no "
        "live.at live.be live.ca msn.com windowslive.com",
        mx="olc.protection.outlook.com",
        servers="smtp-mail.outlook.com imap-mail.outlook.com smtp.live.com",
        smtp="smtp-mail.outlook.com:587",
        imap="outlook.office365.com:993",
        login=MailLogin.OAUTH2,
        hint=_OUTLOOK,
    ),
    _row(
        "Yahoo Mail",
        domains="yahoo.com yahoo.co.uk yahoo.de yahoo.fr yahoo.it yahoo.es yahoo.ca yahoo.in yahoo.co.in yahoo.co.id "
        "yahoo.com.br yahoo.com.ar yahoo.com.mx yahoo.com.au yahoo.com.sg yahoo.com.hk yahoo.com.tw yahoo.com.vn "
        "yahoo.ie yahoo.gr yahoo.se yahoo.no yahoo.dk yahoo.pl yahoo.ro ymail.com rocketmail.com myyahoo.com",
        mx="am0.yahoodns.net",
        servers="mail.yahoo.com",
        smtp="smtp.mail.yahoo.com:465",
        imap="imap.mail.yahoo.com:993",
        login=MailLogin.APP_PASSWORD,
        hint=_APP_PASSWORD,
    ),
    _row(
        "AOL",
        domains="aol.com aol.de aol.co.uk aol.fr aim.com",
        servers="aol.com",
        smtp="smtp.aol.com:465",
        imap="imap.aol.com:993",
        login=MailLogin.APP_PASSWORD,
        hint=_APP_PASSWORD,
    ),
    _row(
        "iCloud",
        domains="icloud.com me.com mac.com",
        mx="mail.icloud.com",
        servers="mail.me.com",
        smtp="smtp.mail.me.com:587",
        imap="imap.mail.me.com:993",
        username=UsernameKind.OTHER,
        login=MailLogin.APP_PASSWORD,
        hint="Make an app-specific password for the Apple Account. The username is the iCloud address, even where mail "
        "is sent from a domain of your own.",
    ),
    _row(
        "Fastmail",
        domains="fastmail.com fastmail.fm fastmail.net fastmail.org fastmail.to fastmail.us fastmail.de fastmail.co.uk "
        "sent.com messagingengine.com",
        mx="messagingengine.com",
        servers="fastmail.com messagingengine.com",
        smtp="smtp.fastmail.com:465",
        imap="imap.fastmail.com:993",
        login=MailLogin.APP_PASSWORD,
        hint=_APP_PASSWORD,
    ),
    *_zoho("com"),
    *_zoho("eu"),
    *_zoho("in"),
    *_zoho("com.au"),
    *_zoho("jp"),
    _row(
        "GMX",
        domains="gmx.net gmx.de gmx.at gmx.ch gmx.org gmx.info gmx.biz",
        mx="gmx.net",
        servers="gmx.net gmx.de",
        smtp="mail.gmx.net:465",
        imap="imap.gmx.net:993",
        hint=_SWITCH_ON,
    ),
    _row(
        "GMX",
        domains="gmx.com gmx.us gmx.co.uk gmx.fr gmx.es",
        servers="gmx.com",
        smtp="mail.gmx.com:465",
        imap="imap.gmx.com:993",
        hint=_SWITCH_ON,
    ),
    _row(
        "WEB.DE",
        domains="web.de",
        username=UsernameKind.OTHER,
        smtp="smtp.web.de:587",
        imap="imap.web.de:993",
        hint=_SWITCH_ON,
    ),
    _row(
        "mail.com",
        domains="mail.com email.com usa.com post.com consultant.com europe.com iname.com writeme.com dr.com "
        "engineer.com cheerful.com techie.com myself.com",
        mx="mail.com",
        smtp="smtp.mail.com:587",
        imap="imap.mail.com:993",
        hint=_SWITCH_ON,
    ),
    _row(
        "T-Online",
        domains="t-online.de magenta.de",
        mx="t-online.de",
        smtp="securesmtp.t-online.de:465",
        imap="secureimap.t-online.de:993",
        login=MailLogin.APP_PASSWORD,
        hint="Make a password for e-mail programs in the customer centre: the one of the Telekom login is refused.",
    ),
    *map(_ionos, ("de", "com", "co.uk", "fr", "es")),
    _row(
        "IONOS",
        domains="online.de onlinehome.de",
        mx="kundenserver.de",
        servers="1und1.de kundenserver.de",
        smtp="smtp.ionos.de:465",
        imap="imap.ionos.de:993",
    ),
    _row("IONOS", mx="1and1.com", servers="1and1.com", smtp="smtp.ionos.com:465", imap="imap.ionos.com:993"),
    _row("STRATO", mx="rzone.de", servers="strato.de", smtp="smtp.strato.de:465", imap="imap.strato.de:993"),
    _row(
        "OVHcloud",
        mx="mail.ovh.net",
        servers="ovh.net",
        smtp="ssl0.ovh.net:465",
        imap="ssl0.ovh.net:993",
        hint="These are the servers of MX Plan. Email Pro and Exchange have others, which the control panel shows.",
    ),
    _row("Gandi", mx="mail.gandi.net", smtp="mail.gandi.net:465", imap="mail.gandi.net:993"),
    _row(
        "Infomaniak",
        domains="ik.me ikmail.com etik.com",
        mx="infomaniak.ch",
        smtp="mail.infomaniak.com:465",
        imap="mail.infomaniak.com:993",
        hint=_SECOND_FACTOR,
    ),
    _row("Hetzner", mx="your-server.de", smtp="mail.your-server.de:465", imap="mail.your-server.de:993"),
    _row(
        "mailbox.org",
        domains="mailbox.org",
        mx="mailbox.org",
        smtp="smtp.mailbox.org:465",
        imap="imap.mailbox.org:993",
        hint=_SECOND_FACTOR,
    ),
    _row(
        "Posteo",
        domains="posteo.de posteo.net posteo.org posteo.eu posteo.at posteo.ch posteo.com",
        smtp="posteo.de:465",
        imap="posteo.de:993",
    ),
    _row("Migadu", mx="migadu.com", smtp="smtp.migadu.com:465", imap="imap.migadu.com:993"),
    _row("Purelymail", mx="purelymail.com", smtp="smtp.purelymail.com:465", imap="imap.purelymail.com:993"),
    _row(
        "Mailfence",
        domains="mailfence.com",
        mx="mailfence.com",
        smtp="smtp.mailfence.com:465",
        imap="imap.mailfence.com:993",
        hint=_SECOND_FACTOR,
    ),
    _row("freenet", domains="freenet.de", smtp="mx.freenet.de:465", imap="mx.freenet.de:993", hint=_SWITCH_ON),
    _row(
        "Yandex",
        domains="yandex.ru yandex.com ya.ru yandex.by yandex.kz narod.ru",
        mx="mx.yandex.net mx.yandex.ru",
        servers="yandex.ru",
        smtp="smtp.yandex.com:465",
        imap="imap.yandex.com:993",
        login=MailLogin.APP_PASSWORD,
        hint="Switch IMAP on in the settings of the webmail, then make an app password.",
    ),
    _row(
        "Mail.ru",
        domains="mail.ru inbox.ru list.ru bk.ru internet.ru",
        mx="mail.ru",
        smtp="smtp.mail.ru:465",
        imap="imap.mail.ru:993",
        login=MailLogin.APP_PASSWORD,
        hint=_APP_PASSWORD,
    ),
    _row(
        "QQ Mail",
        domains="qq.com foxmail.com",
        smtp="smtp.qq.com:465",
        imap="imap.qq.com:993",
        login=MailLogin.APP_PASSWORD,
        hint="Switch IMAP and SMTP on in the webmail's settings and use the authorisation code that it shows.",
    ),
    _row(
        "Tencent Exmail",
        mx="mxbiz1.qq.com mxbiz2.qq.com",
        smtp="smtp.exmail.qq.com:465",
        imap="imap.exmail.qq.com:993",
        hint="Where secure login is on, the client password that the webmail shows is needed.",
    ),
    *map(_netease, ("163.com", "126.com", "yeah.net")),
    _row("Rackspace", mx="emailsrvr.com", smtp="secure.emailsrvr.com:465", imap="secure.emailsrvr.com:993"),
    _row(
        "Namecheap Private Email",
        mx="privateemail.com",
        smtp="mail.privateemail.com:465",
        imap="mail.privateemail.com:993",
    ),
    _row("Hostinger", mx="hostinger.com", smtp="smtp.hostinger.com:465", imap="imap.hostinger.com:993"),
    _row("Titan", mx="titan.email", smtp="smtp.titan.email:465", imap="imap.titan.email:993"),
    _row("DreamHost", mx="dreamhost.com", smtp="smtp.dreamhost.com:465", imap="imap.dreamhost.com:993"),
    _row("one.com", mx="one.com", smtp="send.one.com:465", imap="imap.one.com:993"),
    _row("Loopia", mx="loopia.se", smtp="mailcluster.loopia.se:465", imap="mailcluster.loopia.se:993"),
    _row("Aruba", mx="aruba.it", smtp="smtps.aruba.it:465", imap="imaps.aruba.it:993"),
    _row(
        "GoDaddy",
        mx="secureserver.net",
        servers="secureserver.net",
        smtp="smtpout.secureserver.net:465",
        imap="imap.secureserver.net:993",
        hint="These are the servers of Workspace Email. Mailboxes that were moved to Microsoft 365 use "
        "outlook.office365.com and smtp.office365.com, with OAuth2.",
    ),
    _row("Amazon WorkMail", servers="awsapps.com", hint="The username is the address; the server names the region."),
    _row("Orange", domains="orange.fr wanadoo.fr", smtp="smtp.orange.fr:465", imap="imap.orange.fr:993"),
    _row("La Poste", domains="laposte.net", smtp="smtp.laposte.net:465", imap="imap.laposte.net:993"),
    _row("Seznam", domains="seznam.cz email.cz post.cz", smtp="smtp.seznam.cz:465", imap="imap.seznam.cz:993"),
    _row("Libero", domains="libero.it", smtp="smtp.libero.it:465", imap="imapmail.libero.it:993"),
    _row("Comcast", domains="comcast.net", smtp="smtp.comcast.net:465", imap="imap.comcast.net:993"),
    _row("Bluewin", domains="bluewin.ch", smtp="smtpauths.bluewin.ch:465", imap="imaps.bluewin.ch:993"),
    _row(
        "Proton Mail",
        domains="proton.me protonmail.com protonmail.ch pm.me",
        mx="protonmail.ch",
        servers="protonmail.ch proton.me",
        hint="Proton Mail has no IMAP of its own. Run Proton Mail Bridge and enter the servers and the password that "
        "it shows; this server must be allowed to connect to it.",
    ),
    _row(
        "Tuta",
        domains="tuta.com tuta.io tutanota.com tutanota.de tutamail.com keemail.me",
        mx="tutanota.de",
        servers="tutanota.com tutanota.de tuta.com",
        hint="Tuta has neither IMAP nor SMTP. An inbox can't be served by it.",
    ),
    _sending(
        "Amazon SES",
        "",
        "Use SMTP credentials made in the console of SES, not an access key; SES has no mailboxes.",
        servers=" ".join(f"email-smtp.{region}.amazonaws.com" for region in _SES_REGIONS.split()),
    ),
    _sending("SendGrid", "smtp.sendgrid.net:465", "The username is `apikey`, the password an API key. No mailboxes."),
    _sending("Mailgun", "smtp.mailgun.org:465", _API_KEY, servers="mailgun.org"),
    _sending("Postmark", "smtp.postmarkapp.com:587", "Username and password are the server's token. No mailboxes."),
    _sending("Brevo", "smtp-relay.brevo.com:465", _API_KEY, servers="brevo.com sendinblue.com"),
    _sending("Mailtrap", "live.smtp.mailtrap.io:587", _API_KEY, servers="mailtrap.io"),
    _sending("Mailjet", "in-v3.mailjet.com:465", _API_KEY, servers="mailjet.com"),
    _sending("Mandrill", "smtp.mandrillapp.com:465", _API_KEY),
    _sending("Resend", "smtp.resend.com:465", "The username is `resend`, the password an API key. No mailboxes."),
    _sending("SMTP2GO", "mail.smtp2go.com:465", _API_KEY, servers="smtp2go.com"),
    _sending("SparkPost", "smtp.sparkpostmail.com:587", _API_KEY, servers="sparkpostmail.com"),
)


def _index(pairs: Iterable[tuple[str, Provider]]) -> dict[str, Provider]:
    """Indexes the rows by suffix. The first row that names a suffix wins."""
    rows: dict[str, Provider] = {}
    for ending, provider in pairs:
        rows.setdefault(ending, provider)
    return rows


_BY_DOMAIN = _index((domain, provider) for provider in PROVIDERS for domain in provider.domains)
_BY_MX = _index((host, provider) for provider in PROVIDERS for host in provider.mx)
_BY_SERVER = _index((server, provider) for provider in PROVIDERS for server in provider.servers)
