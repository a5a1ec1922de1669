"""Where a store is, from its URL: libpq's part, milepost's own options, and what may be shown of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final, final
from urllib.parse import parse_qsl, unquote

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict

from milepost.errors import StoreUrlError

_UNDERSTOOD: Final = "understood is postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTIONS"
_OWN: Final = ("milepost_schema", "milepost_connections")
_SECRET: Final = ("password", "sslpassword", "oauth_client_secret")
_SCHEMA_BYTES_MAX: Final = 63
_CONNECTIONS_MAX: Final = 100
_CONNECTIONS: Final = 4

# A host that went away without a word is noticed within half a minute; libpq itself would wait for up to two hours.
_NETWORK: Final[Mapping[str, str]] = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "20",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "fallback_application_name": "milepost",
}
_SESSION: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    # Below the lease's 30: what a program that froze has locked must be free before its tasks are taken over.
    "idle_in_transaction_session_timeout": "20s",
}


@final
@frozen
class Place:
    """A PostgreSQL database and how to use it. `settings` are of the session, all but those in `own_options`.

    `connections` bounds how many transactions of milepost's own may be open at once, and as many effects of user code.
    Four, because more gain nothing measurable on a server's row locks and one log, and a server has only a hundred.
    """

    url: str
    conninfo: Mapping[str, str] = field(repr=False)
    schema: str = "milepost"
    connections: int = _CONNECTIONS
    migrate: bool = True

    @property
    def settings(self) -> dict[str, str]:
        """What every transaction needs to be set, the URL's own `options=-c NAME=VALUE` before milepost's."""
        given = _given_settings(self.conninfo.get("options", ""))
        known = {name.lower() for name in given}
        return {**{name: value for name, value in _SESSION.items() if name.lower() not in known}, **given}

    @property
    def statement_timeout(self) -> str:
        """The one of `settings`, as PostgreSQL writes it."""
        return {name.lower(): value for name, value in self.settings.items()}["statement_timeout"]


def place_of(url: str, *, migrate: bool = True) -> Place:
    """What `url` says. Raises `StoreUrlError`, which shows no secret."""
    bare, _, query = url.partition("?")
    _refuse_fragment(url, bare)
    options = _own_options(bare, query)
    rest = "&".join(part for part in query.split("&") if part.partition("=")[0] not in _OWN)
    conninfo = _conninfo(bare, f"{bare}?{rest}" if rest else bare)
    return Place(
        _shown(bare, query),
        {**{name: value for name, value in _NETWORK.items() if name not in conninfo}, **conninfo},
        schema=_schema(bare, options.get("milepost_schema", "milepost")),
        connections=_count(bare, options.get("milepost_connections", str(_CONNECTIONS))),
        migrate=migrate,
    )


def shown_without_secrets(url: str) -> str:
    """The URL as a message may show it: without user, password and options, nor a password in the port's place."""
    shown = re.sub(r"//.*@", "//***@", url.partition("?")[0])
    return repr(re.sub(r":(?!//|[0-9]+(,|/|$))[^/\]]*(?=/|$)", ":***", shown))


def _shown(bare: str, query: str) -> str:
    # The password may hold an @ that its writer forgot to encode, so everything up to the last one is the user's.
    scheme, _, rest = bare.partition("://")
    user, at, host = rest.rpartition("@")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in _SECRET]
    return f"{scheme}://{user.partition(':')[0]}{at}{host}" + (f"?{'&'.join(kept)}" if kept else "")


def _refuse_fragment(url: str, bare: str) -> None:
    if "#" in bare or "\0" in unquote(url):
        raise StoreUrlError(f"{shown_without_secrets(bare)}: write # in a URL as %23, and no NUL at all")


def _own_options(bare: str, query: str) -> dict[str, str]:
    own: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.startswith("milepost_") and name not in _OWN:
            raise StoreUrlError(
                f"{shown_without_secrets(bare)} has an option {name!r}; milepost's own are {' and '.join(_OWN)}"
            )
        if name in own:
            raise StoreUrlError(f"{shown_without_secrets(bare)} has the option {name} twice; give it once")
        if name in _OWN:
            own[name] = value
    return own


def _conninfo(bare: str, url: str) -> dict[str, str]:
    # libpq's messages may quote the part that it could not read, which may be the password. To libpq, a password ends
    # at a slash, and what follows it would become a host or a port.
    why = "cannot be read" if "@" in bare.partition("://")[2].partition("/")[2] else ""
    found: dict[str, Any] = {}
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error as error:
        option = re.search(r"invalid URI query parameter: (\S+)", str(error))
        why = f"has an option {option[1]} that libpq does not know" if option else "cannot be read"
    if not why and not re.fullmatch("[0-9,]*", str(found.get("port") or "")):
        why = "has a port that is no number"
    if why:
        raise StoreUrlError(f"{shown_without_secrets(bare)} {why}: {_UNDERSTOOD}; write special characters as %XX")
    return {name: str(value) for name, value in found.items() if value is not None}


def _schema(bare: str, schema: str) -> str:
    if not schema or len(schema.encode()) > _SCHEMA_BYTES_MAX or schema.startswith("pg_"):
        raise StoreUrlError(
            f"{shown_without_secrets(bare)} has a milepost_schema that PostgreSQL cannot have: 1 to "
            f"{_SCHEMA_BYTES_MAX} bytes, not beginning with pg_"
        )
    return schema


def _count(bare: str, connections: str) -> int:
    if not re.fullmatch("[0-9]{1,3}", connections) or not 1 <= int(connections) <= _CONNECTIONS_MAX:
        raise StoreUrlError(
            f"{shown_without_secrets(bare)} has a milepost_connections that is not from 1 to {_CONNECTIONS_MAX}"
        )
    return int(connections)


def _given_settings(options: str) -> dict[str, str]:
    """The `-c NAME=VALUE` and `--NAME=VALUE` of libpq's `options`."""
    try:
        words = shlex.split(options)
    except ValueError:
        return {}
    joined = re.sub(r"(^|\0)-c\0", r"\1-c", "\0".join(words)).split("\0")
    pairs = (word[2:].partition("=") for word in joined if word.startswith(("-c", "--")))
    return {name.replace("-", "_"): value for name, equals, value in pairs if equals and name}
