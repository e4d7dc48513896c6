"""Checks of what an HTTP route does besides routing: headers, CORS, faults, retries, redirects, rewrites."""

from __future__ import annotations

import base64
import http
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from agent.api.networking.destinations import Percent
from agent.api.networking.http_policies import Abort, CorsPolicy, Delay, Fault, HeaderOperations, Headers, Retry
from agent.api.networking.http_route import Body, DirectResponse, Redirect, Rewrite
from agent.api.networking.matches import HttpMatch
from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said, warning

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")
_LEAST_PERCENTAGE: Final = 0.0001  # Envoy's finest denominator is a million
_LARGE_BODY: Final = 100 * 1024
_LARGEST_BODY: Final = 1024 * 1024
_STATUSES: Final = frozenset(int(status) for status in http.HTTPStatus)
# Conditions of Envoy's headers x-envoy-retry-on and x-envoy-retry-grpc-on.
_RETRIES: Final = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
_GRPC_STATUSES: Final = frozenset(
    [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ]
)


def is_authority(header: str) -> bool:
    return header.lower() in (":authority", "host")


def of_headers(headers: Headers | None, path: Path) -> Iterator[Remark]:
    if headers and headers.request:
        yield from _operations(headers.request, (*path, "request"), may_set_authority=True)
    if headers and headers.response:
        yield from _operations(headers.response, (*path, "response"), may_set_authority=False)


def of_authority(rewrite: Rewrite | None, headers: Headers | None, path: Path) -> Iterator[Remark]:
    """The authority is set in one place at most."""
    request = headers.request if headers else None
    names = [name for name in (*request.set, *request.add) if is_authority(name)] if request else []
    if len(names) + bool(rewrite and rewrite.authority) > 1:
        yield error("the authority is set more than once, by rewrite or headers; accepted is once", *path)


def of_cors(cors: CorsPolicy, path: Path) -> Iterator[Remark]:
    for number, origin in enumerate(cors.allow_origins):
        if not (origin.exact or origin.prefix or origin.regex):
            yield error("empty; accepted is one of exact, prefix and regex", *path, "allowOrigins", number)
        elif origin.regex:
            yield from faulty(formats.regex(origin.regex), *path, "allowOrigins", number, "regex")
    for number, method in enumerate(cors.allow_methods):
        if method not in _METHODS:
            yield error(said(method, ", ".join(_METHODS)), *path, "allowMethods", number)
    for field, names in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        for number, name in enumerate(names):
            if name != "*":
                yield from faulty(formats.header_name(name), *path, field, number)
    if cors.max_age is not None and cors.max_age.microseconds:
        yield error("read a part of a second; accepted are whole seconds", *path, "maxAge")


def of_fault(fault: Fault, path: Path) -> Iterator[Remark]:
    if fault.abort is None and fault.delay is None:
        yield error("empty; accepted is abort, delay or both", *path)
    if fault.abort:
        yield from _abort(fault.abort, (*path, "abort"))
    if fault.delay:
        yield from _delay(fault.delay, (*path, "delay"))


def of_retries(retry: Retry, path: Path) -> Iterator[Remark]:
    others = retry.per_try_timeout is not None or retry.retry_on or retry.retry_remote_localities is not None
    if not retry.attempts and others:
        yield error(
            "0 switches retries off, and other fields of retries are set; accepted is 1 or more", *path, "attempts"
        )
    for condition in retry.retry_on.split(",") if retry.retry_on else ():
        is_status = condition.isdecimal() and int(condition) in _STATUSES
        if not is_status and condition not in _RETRIES:
            yield error(said(condition, f"a status code, or one of {', '.join(sorted(_RETRIES))}"), *path, "retryOn")
    for field, time in (("perTryTimeout", retry.per_try_timeout), ("backoff", retry.backoff)):
        yield from of_duration(time, (*path, field))


def of_duration(time: timedelta | None, path: Path) -> Iterator[Remark]:
    if time is not None:
        yield from faulty(formats.duration(time), *path)


def of_redirect(redirect: Redirect, matches: Sequence[HttpMatch], path: Path) -> Iterator[Remark]:
    """`matches` are those of its route: of the paths, a prefix is what prefixRewrite takes the place of."""
    has_port = redirect.port is not None or redirect.derive_port is not None
    if not (redirect.uri or redirect.authority or has_port or redirect.scheme or redirect.prefix_rewrite):
        yield error("empty; accepted is one or more of uri, authority, scheme, port, derivePort, prefixRewrite", *path)
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:
        yield error(said(redirect.redirect_code, "a status code from 300 to 399"), *path, "redirectCode")
    if redirect.scheme not in ("", "http", "https"):
        yield error(said(redirect.scheme, "http or https"), *path, "scheme")
    if redirect.uri and redirect.prefix_rewrite:
        yield error("accepted is one of uri and prefixRewrite", *path)
    elif redirect.prefix_rewrite and any(match.uri is not None and match.uri.prefix is None for match in matches):
        yield error("accepted with matches of uri.prefix only", *path, "prefixRewrite")


def of_direct_response(response: DirectResponse, path: Path) -> Iterator[Remark]:
    if not 200 <= response.status <= 599:
        yield error(said(response.status, "a status code from 200 to 599"), *path, "status")
    size = _size(response.body) if response.body is not None else 0
    if size > _LARGEST_BODY:
        yield error(f"read {size} bytes; accepted are at most {_LARGEST_BODY}", *path, "body")
    elif size > _LARGE_BODY:
        yield warning(f"read {size} bytes, which each proxy must hold", *path, "body")


def of_rewrite(rewrite: Rewrite, path: Path) -> Iterator[Remark]:
    if rewrite.uri and rewrite.uri_regex_rewrite:
        yield error("accepted is one of uri and uriRegexRewrite", *path)
    if not (rewrite.uri or rewrite.authority or rewrite.uri_regex_rewrite):
        yield error("empty; accepted is one or more of uri, uriRegexRewrite, authority", *path)
    if rewrite.uri_regex_rewrite:
        if not rewrite.uri_regex_rewrite.rewrite:
            yield error("missing; it is required beside match", *path, "uriRegexRewrite", "rewrite")
        yield from faulty(formats.regex(rewrite.uri_regex_rewrite.match), *path, "uriRegexRewrite", "match")


def _size(body: Body) -> int:
    if body.bytes is not None:
        return len(base64.b64decode(body.bytes))
    return len((body.string or "").encode(errors="surrogatepass"))


def _operations(operations: HeaderOperations, path: Path, *, may_set_authority: bool) -> Iterator[Remark]:
    for field, headers in (("set", operations.set), ("add", operations.add)):
        for name, value in headers.items():
            if not (may_set_authority and is_authority(name)):
                yield from _name(name, (*path, field, name))
            yield from faulty(formats.header_value(value), *path, field, name)
    for number, name in enumerate(operations.remove):
        yield from _name(name, (*path, "remove", number))


def _name(name: str, path: Path) -> Iterator[Remark]:
    if not name or name.startswith(":") or is_authority(name):
        yield error(said(name, "a header's name; not Host, and none that begins with ':'"), *path)


def _abort(abort: Abort, path: Path) -> Iterator[Remark]:
    yield from _percentage(abort.percentage, path)
    if abort.http2_error is not None:
        yield error("not implemented; accepted is httpStatus or grpcStatus", *path, "http2Error")
    elif abort.grpc_status is not None and abort.grpc_status not in _GRPC_STATUSES:
        yield error(said(abort.grpc_status, f"one of {', '.join(sorted(_GRPC_STATUSES))}"), *path, "grpcStatus")
    elif abort.http_status is not None and not 200 <= abort.http_status <= 599:
        yield error(said(abort.http_status, "a status code from 200 to 599"), *path, "httpStatus")
    elif abort.http_status is None and abort.grpc_status is None:
        yield warning("has neither httpStatus nor grpcStatus, so that nothing is aborted", *path)


def _delay(delay: Delay, path: Path) -> Iterator[Remark]:
    yield from _percentage(delay.percentage, path)
    yield from of_duration(delay.fixed_delay, (*path, "fixedDelay"))
    if delay.percent:
        yield warning("deprecated: write percentage", *path, "percent", code="IST0002")
        if not 0 <= delay.percent <= 100:
            yield error(said(delay.percent, "a number from 0 to 100"), *path, "percent")
    if delay.exponential_delay is not None:
        yield error("not implemented; accepted is fixedDelay", *path, "exponentialDelay")


def _percentage(percentage: Percent | None, path: Path) -> Iterator[Remark]:
    if percentage and 0 < percentage.value < _LEAST_PERCENTAGE:
        yield error(said(percentage.value, f"0, or at least {_LEAST_PERCENTAGE}"), *path, "percentage", "value")
