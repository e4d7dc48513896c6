"""A whole application, much of it right, with at least twenty mistakes: each is named where it is, and nothing else."""

from __future__ import annotations

from pathlib import Path

from agent.analysis.run import Material, analyze

FOLDER = Path(__file__).with_name("twenty")
MISTAKES = {  # code, object, file and line
    ("IST0173", "DestinationRule shop/catalogue", "catalogue.yaml:49"),
    ("IST0112", "VirtualService shop/catalogue", "catalogue.yaml:62"),
    ("IST0101", "VirtualService shop/front", "edge.yaml:41"),
    ("WEFT0010", "AuthorizationPolicy shop/ledger", "policies.yaml:28"),
    ("WEFT0003", "Service reports/reports", "reports.yaml:6"),
    ("WEFT0017", "Service shop/events", "cart.yaml:14"),
    ("WEFT0012", "VirtualService shop/cart", "cart.yaml:50"),
    ("WEFT0018", "NetworkPolicy shop/cart", "cart.yaml:61"),
    ("IST0107", "Deployment shop/catalogue-v2", "catalogue.yaml:31"),
    ("IST0130", "VirtualService shop/catalogue", "catalogue.yaml:68"),
    ("IST0162", "Gateway edge/front", "edge.yaml:29"),
    ("IST0132", "VirtualService shop/blog", "edge.yaml:48"),
    ("IST0123", "Namespace payments", "namespaces.yaml:16"),
    ("IST0125", "Service payments/ledger", "payments.yaml:7"),
    ("WEFT0001", "DaemonSet payments/meter", "payments.yaml:30"),
    ("WEFT0021", "AuthorizationPolicy payments/shop-only", "payments.yaml:43"),
    ("IST0174", "DestinationRule payments/clearing", "payments.yaml:68"),
    ("IST0167", "Sidecar payments/default", "payments.yaml:74"),
    ("WEFT0009", "AuthorizationPolicy shop/readers", "policies.yaml:12"),
    ("IST0127", "AuthorizationPolicy shop/events", "policies.yaml:35"),
    ("IST0167", "RequestAuthentication payments/staff", "policies.yaml:49"),
    ("IST0157", "Telemetry reports/logs", "reports.yaml:28"),
    ("WEFT0016", "VirtualService shop/front", "edge.yaml:40"),
    ("IST0102", "Namespace reports", "namespaces.yaml:27"),
    ("WEFT0006", "Gateway payments/spare", "waypoints.yaml:14"),
}


def named() -> list[tuple[str, str, str]]:
    material = Material()
    for path in sorted(FOLDER.glob("*.yaml")):
        material.add_text(path.read_text(), path.name)
    return [(each.code, str(each.key), f"{each.file}:{each.line}") for each in analyze(material)]


def test_exactly_the_mistakes_are_named_each_once_in_its_line() -> None:
    found = named()
    assert set(found) == MISTAKES
    assert len(found) == len(MISTAKES)


def test_the_folder_mixes_more_than_twenty_kinds_of_mistakes() -> None:
    assert len({code for code, _, _ in MISTAKES}) > 20
