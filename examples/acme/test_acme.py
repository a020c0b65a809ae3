"""A suite of one's own: requirements of a vendor, decided with the plugin's fixtures."""

from __future__ import annotations

import pytest


@pytest.mark.environment
@pytest.mark.requirement("ACME-ENV-001")
def test_host_names_its_rack(preflight):
    """Decided by the check in conftest.py."""
    preflight("ACME-ENV-001")


@pytest.mark.serve
@pytest.mark.requirement("ACME-SRV-001")
def test_greets(server, openai_client, evidence):
    """Runs once for every served deployment of the run."""
    answer = openai_client.chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=8
    )
    text = answer.choices[0].message.content
    evidence.record(text=text)
    assert text and text.strip()
