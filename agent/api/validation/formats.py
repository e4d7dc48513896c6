"""The forms of texts that many kinds hold: each function says what is wrong with one, or None.

Hosts and names are DNS' (RFC 1123); regular expressions are RE2's, which Envoy compiles.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from functools import cache
from typing import Final, Protocol

import re2

from agent.api.validation.remarks import said

UNIX: Final = "unix://"  # before the path of a socket, where an address is due

LABEL: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_WILD_LABEL: Final = re.compile(r"\*-?[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")
_SUBDOMAIN_LENGTH: Final = 253
_HEADER: Final = re.compile(r"[-!#$%&'*+.^_`|~A-Za-z0-9]+")  # RFC 9110, 5.6.2: tchar
# What Envoy's formatter takes for a command: its name, arguments, a longest length.
_COMMANDS: Final = re.compile(r"([^%]|%%|%[A-Z0-9_]+(\([^)]*\))?(:[0-9]+)?%)*")
_TEXT_OF_HEADER: Final = re.compile("[^\x00-\x08\x0a-\x1f\x7f]*")
_LABEL_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_LONGEST_REASON: Final = 160
_LONGEST_REGEX: Final = 1024  # Envoy's limit of a compiled program is met by texts of this length


def host(value: str) -> str | None:
    """A DNS name, without a wildcard."""
    labels = value.removesuffix(".").split(".")
    if not value or len(value) > _SUBDOMAIN_LENGTH:
        return said(value, f"a host of 1 to {_SUBDOMAIN_LENGTH} characters")
    if not all(LABEL.fullmatch(label) for label in labels):
        return said(value, "a DNS name of labels such as reviews.shop.svc.cluster.local")
    if labels[-1].isdigit():
        return said(value, "a DNS name, the last label of which is no number")
    return None


def host_or_wildcard(value: str) -> str | None:
    """A DNS name of which the first label may be or begin with *."""
    first, dot, rest = value.partition(".")
    if not first.startswith("*"):
        return None if LABEL.fullmatch(value) else host(value)
    is_wild = first == "*" or (len(first) < 64 and _WILD_LABEL.fullmatch(first))
    if not is_wild or (dot and host(rest)):
        return said(value, "a wildcard such as *.example.com")
    return None


def is_partial_wildcard(value: str) -> bool:
    """Whether it is a wildcard within a label, such as *-v1.example.com."""
    return value.startswith("*") and value != "*" and not value.startswith("*.")


def name_of_label(value: str) -> str | None:
    """A DNS label in lower case, as names of objects are."""
    return None if LABEL.fullmatch(value) and value == value.lower() else said(value, "a DNS label, such as v1")


def label_of_name(value: str) -> str | None:
    """A DNS label in any case, as names of subsets and ports are."""
    return None if LABEL.fullmatch(value) else said(value, "a DNS label, such as v1")


def is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def address(value: str) -> str | None:
    return None if is_address(value) else said(value, "an IPv4 or IPv6 address")


def block(value: str) -> str | None:
    """An address, or a CIDR block."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return said(value, "an IPv4 or IPv6 address, or a CIDR block")
    return None


def socket(value: str) -> str | None:
    """What stands after unix://: an absolute path, or @ and a name of Linux' abstract ones."""
    if value.startswith("@") or (value.startswith("/") and not value.endswith("/")):
        return None
    return said(UNIX + value, "unix:// and an absolute path of a file, or unix://@ and a name")


def duration(value: timedelta) -> str | None:
    """Istio and Envoy count in whole milliseconds."""
    return said(str(value), "a duration in whole milliseconds") if value.microseconds % 1000 else None


def header_name(value: str) -> str | None:
    return None if _HEADER.fullmatch(value) else said(value, "a header's name, of RFC 9110")


def header_value(value: str) -> str | None:
    """What Envoy may be told to put into a header: %COMMAND% and %% besides plain text."""
    if not _TEXT_OF_HEADER.fullmatch(value):
        return said(value, "a text without control characters")
    if _COMMANDS.fullmatch(value) is None:
        return said(value, "a text in which % stands doubled, or around one of Envoy's commands: %HOSTNAME%")
    return None


def regex(value: str) -> str | None:
    """A regular expression that Envoy can compile."""
    if not value:
        return "read an empty text; accepted is a regular expression of RE2"
    if len(value) > _LONGEST_REGEX:
        return f"read {len(value)} characters; accepted are at most {_LONGEST_REGEX}"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options)
    except UnicodeEncodeError:
        return said(value, "a text without halves of characters")
    except re2.error as exc:
        reason = exc.args[0]
        told = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        return f"{said(value, 'a regular expression of RE2')} ({told})"
    return None


def cel(value: str) -> str | None:
    """An expression of CEL that Envoy can parse; which attributes it names is not looked at."""
    try:
        _cel().compile(value, disable_check=True)
    except (RuntimeError, TypeError) as exc:  # TypeError: of a text with half a surrogate pair
        reason = re.search(r"ERROR: [^ ]+ (.*)", str(exc))
        return f"{said(value, 'an expression of CEL')} ({reason[1] if reason else str(exc)[:_LONGEST_REASON]})"
    return None


@cache
def _cel() -> CelEnvironment:
    from cel_expr_python import cel as language

    found: CelEnvironment = language.NewEnv(variables={})
    return found


class CelEnvironment(Protocol):
    def compile(self, expression: str, disable_check: bool) -> object: ...


def label(key: str, value: str) -> str | None:
    """A label of an object."""
    if not _LABEL_KEY.fullmatch(key):
        return said(key, "a label's key, such as app.kubernetes.io/name")
    if not _LABEL_VALUE.fullmatch(value):
        return said(value, "a label's value: at most 63 letters, digits, -, _ and .")
    return None


def covers(wildcard: str, other: str) -> bool:
    """Whether every host that `other` stands for is one that `wildcard` stands for."""
    if not wildcard.startswith("*"):
        return wildcard == other
    return other.endswith(wildcard[1:]) and (len(other) >= len(wildcard) or other.startswith("*"))


def overlaps(first: str, second: str) -> bool:
    """Whether some host is what both stand for."""
    return covers(first, second) or covers(second, first)
