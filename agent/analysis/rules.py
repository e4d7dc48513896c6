"""Which parts of an AuthorizationPolicy's rule are about requests, so that only a waypoint or a gateway can tell."""

from __future__ import annotations

from typing import Final

from agent.api.authorization_rules import Rule

_OF_SOURCE: Final = {
    "request_principals": "requestPrincipals",
    "not_request_principals": "notRequestPrincipals",
    "remote_ip_blocks": "remoteIpBlocks",
    "not_remote_ip_blocks": "notRemoteIpBlocks",
    "trust_domains": "trustDomains",
    "not_trust_domains": "notTrustDomains",
}
_OF_OPERATION: Final = {
    "hosts": "hosts",
    "not_hosts": "notHosts",
    "methods": "methods",
    "not_methods": "notMethods",
    "paths": "paths",
    "not_paths": "notPaths",
}


def requests_parts(rule: Rule) -> list[str]:
    """Those of the rule, as its author wrote them; each once."""
    found = [written for to in rule.to for name, written in _OF_OPERATION.items() if getattr(to.operation, name)]
    found += [written for origin in rule.from_ for name, written in _OF_SOURCE.items() if getattr(origin.source, name)]
    found += [each.key for each in rule.when if not each.is_l4]
    return list(dict.fromkeys(found))
