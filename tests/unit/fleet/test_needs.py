"""Which workers fit a run, and what is said when none does."""

from __future__ import annotations

import pytest

from wsklab.orchestrator.fleet.needs import TOLD, Needs, Offer, offer_of

NEEDS = Needs("windows-kvm", "v1", 4500.0, {"windows": 12_000.0, "peer": 200.0})
FITS = Offer("fits", {"windows-kvm": 2.0, "lab-kvm": 4.0}, "v1", 9000.0, 300.0, frozenset({"windows"}))


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (FITS, None),
        (Offer("silent", {"windows-kvm": 1.0}), None),
        (Offer("old", {"windows-kvm": 1.0}, "v0"), "another version of wsklab than the client"),
        (Offer("unlicensed", {"lab-kvm": 1.0}, "v1"), "no windows-kvm but lab-kvm"),
        (Offer("none", {}, "v1"), "no windows-kvm but nothing"),
        (Offer("small", {"windows-kvm": 1.0}, "v1", 2000.0), "2000 MiB of memory, and a lab needs 4500"),
        (
            Offer("full", {"windows-kvm": 1.0}, "v1", 9000.0, 300.0, frozenset({"peer"})),
            "300 MiB of disk free, and the images need 12000",
        ),
    ],
)
def test_a_worker_fits_or_it_is_said_why_not(offer: Offer, why: str | None) -> None:
    assert NEEDS.unmet(offer) == why


def test_nobody_fits_in_one_sentence() -> None:
    offers = [Offer(f"n{place}", {"lab-tcg": 1.0}) for place in range(5)] + [Offer("old", {}, "v0")]
    assert NEEDS.nobody(offers) == (
        "no worker can play this run: n0, n1, n2 and 2 more: no windows-kvm but lab-tcg; "
        "old: another version of wsklab than the client (a worker runs Windows guests with `--windows`)"
    )
    assert NEEDS.nobody([]) == "there is no worker that offers windows-kvm"


def test_what_the_scheduler_says_of_a_worker() -> None:
    told = {"version": "v1", "memory_mib": 9000, "free_mib": 300, "images": ["windows"]}
    about = {"name": "fits", "resources": dict(FITS.slots), "metrics": {"cpu": 1.0, TOLD: told}}
    assert offer_of(about) == FITS
    assert offer_of({"name": "plain", "resources": None}) == Offer("plain", {})
    assert NEEDS.held(FITS) is False
    assert Needs("windows-kvm", images={"windows": 1.0}).held(FITS) is True
