"""Log each event of lifecycle once; docs/subsystems/lifecycle.md shows the records."""

from __future__ import annotations

import logging

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.subsystems import lifecycle

log = logging.getLogger("ipfs_kit_py.mcp.enterprise.lifecycle")
log.setLevel(logging.INFO)
log.addHandler(IPFSHandler())

log.info(
    "rule made",
    extra=lifecycle.rule(
        action="created",
        rule_id="r-1",
        rule_kind="retention",
        rule_name="Seven years",
        expiration_action="delete",
    ),
)
log.info(
    "registered", extra=lifecycle.content(action="registered", content_id="c-9", new_state="active", size_bytes=4096)
)
log.info("classified", extra=lifecycle.classified(action="classified", content_id="c-9", classification="internal"))
log.info("kept", extra=lifecycle.retention(action="started", content_id="c-9", rule_id="r-1", new_state="active"))
log.info(
    "archived",
    extra=lifecycle.archived(
        action="archived",
        content_id="c-9",
        old_state="active",
        new_state="cold_storage",
        target_backend="s3",
    ),
)
log.warning(
    "violated",
    extra=lifecycle.compliance(
        action="checked",
        content_id="c-9",
        regulation="gdpr",
        compliant=False,
        reason="kept too long",
    ),
)
log.info("cheaper", extra=lifecycle.cost(action="advised", content_id="c-9", strategy="cold_storage"))
log.info("held", extra=lifecycle.legal_hold(action="placed", content_id="c-9", reason="case 7"))
log.info("all rules ran", extra=lifecycle.policy_run(action="run", evaluated=100, affected=3, duration_ms=12.5))
log.info("saved", extra=lifecycle.metadata_saved(action="saved", metadata_count=100, rule_counts={"retention": 1}))
logging.shutdown()
