"""RequestAuthentication: which tokens requests may carry."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, StrictBool, StrictStr

from agent.api.scalars import Duration, Text
from agent.api.security import CATEGORIES, GROUP, VERSIONS, SecurityObject
from agent.api.selectors import TargetReference, TargetReferences, WorkloadSelector
from agent.api.strict import Facts, OneOf, Rule, StrictPart


def _is_http(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https")
    except ValueError:
        return False


Url = Annotated[
    StrictStr,
    Field(min_length=1, max_length=2048),
    Rule[str]("url(self).getScheme() in ['http', 'https']", "accepted is a URL of http or https", _is_http),
]
Header = Annotated[StrictStr, Field(min_length=1, pattern=r"^[-_A-Za-z0-9]+$")]


class JwtHeader(StrictPart):
    """A header that carries a token."""

    name: Text
    """Name of the header."""
    prefix: StrictStr = ""
    """What stands before the token, such as "Bearer "."""


class ClaimToHeader(StrictPart):
    """A claim to hand on."""

    header: Header
    """Name of the header to write."""
    claim: Text
    """Name of the claim, with dots between the levels."""


class JwtRule(StrictPart):
    """An issuer of tokens, and where its tokens stand in a request."""

    one_ofs = (OneOf(("jwksUri", "jwks_uri", "jwks")),)

    issuer: Text | None = None
    """The claim `iss` that tokens must have; needed."""
    audiences: tuple[Text, ...] = ()
    """Values of the claim `aud` of which a token must have one; any if empty."""
    jwks_uri: Annotated[Url | None, Field(validation_alias=AliasChoices("jwksUri", "jwks_uri"))] = None
    """Where the issuer's keys are; found through OpenID discovery if neither this nor jwks is there."""
    jwks: StrictStr | None = None
    """The issuer's keys, as a JSON Web Key Set."""
    from_headers: tuple[JwtHeader, ...] = ()
    """Headers to look in; without any place, it is Authorization and the parameter access_token."""
    from_params: tuple[Text, ...] = ()
    """Parameters of the query to look in."""
    from_cookies: tuple[Text, ...] = ()
    """Cookies to look in."""
    output_payload_to_header: StrictStr = ""
    """Header to write the token's content to, in base64; none if empty."""
    forward_original_token: StrictBool = False
    """Whether the token itself goes on to the workload."""
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    """Headers to write single claims to."""
    timeout: Duration | None = None
    """Time limit of fetching the keys; 5s if absent."""
    space_delimited_claims: Annotated[tuple[Text, ...], Field(max_length=64)] = ()
    """Claims to split at spaces, besides scope and permission."""


class RequestAuthenticationSpec(StrictPart):
    """Issuers of tokens; a request with a token that none of them gave is refused, one without passes."""

    one_ofs = (OneOf(("selector", "targetRef", "targetRefs")),)

    selector: WorkloadSelector | None = None
    """Workloads, in the namespace of the resource, that it is for; all if absent."""
    target_ref: TargetReference | None = None
    """Deprecated: see targetRefs."""
    target_refs: TargetReferences = ()
    """Gateways or services that it is for, in place of a selector."""
    jwt_rules: Annotated[tuple[JwtRule, ...], Field(max_length=4096)] = ()
    """Issuers."""

    @property
    def targets(self) -> tuple[TargetReference, ...]:
        return self.target_refs or ((self.target_ref,) if self.target_ref else ())


class RequestAuthentication(SecurityObject):
    """Says which tokens are good for the chosen workloads; an AuthorizationPolicy says that there must be one."""

    facts = Facts(GROUP, "requestauthentications", VERSIONS, short_names=("ra",), categories=CATEGORIES)

    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
    """The issuers."""
